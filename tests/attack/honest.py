"""A caller who does nothing wrong, all the while, and how long he waits.

He is a process of his own: as a thread of the attack he would wait for the attack's own work, too, and that is nobody's
fault but the test's. `python -m tests.attack.honest` is that process: it reads where to send from its standard input,
writes a line for each request, and ends when its input does.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

import requests

from tests.support.constants import CONTACT, ROOT

if TYPE_CHECKING:
    from tests.attack.stage import Caller

RATE = 8.0
SLOWER = 3.0
"""Times the median beside harmless load that nobody may wait longer."""
FLOOR_MS = 250.0
"""What is below this is the machine's, which carries the attack, too: it counts as this much. To parse a megabyte takes
one core of two up to 70 ms, in which the interpreter does nothing else."""
TIMEOUT_S = 20.0


class Honest:
    """Sends a text eight times a second."""

    def __init__(self, url: str, caller: Caller) -> None:
        self.waits_ms: list[float] = []
        self.refused: list[str] = []
        self._where = {"url": f"{url}/v15.0/{caller.phone}/messages", "token": caller.token}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.attack.honest"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(self._where)}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()  # he is ready
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        output, _ = self._process.communicate(timeout=TIMEOUT_S + 10)
        for line in output.splitlines():
            wait_ms, refusal = json.loads(line)
            self.waits_ms.append(wait_ms)
            if refusal:
                self.refused.append(refusal)

    @property
    def median_ms(self) -> float:
        return statistics.median(self.waits_ms) if self.waits_ms else TIMEOUT_S * 1000

    @property
    def p95_ms(self) -> float:
        ordered = sorted(self.waits_ms)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else TIMEOUT_S * 1000

    @property
    def slowest_ms(self) -> float:
        return max(self.waits_ms, default=TIMEOUT_S * 1000)

    def __str__(self) -> str:
        return f"honest: {self.median_ms:.0f} ms, p95 {self.p95_ms:.0f} ms, slowest {self.slowest_ms:.0f} ms"

    def problems(self, harmless_ms: float) -> list[str]:
        """What he suffered, compared with his median beside harmless load."""
        bar = max(SLOWER * harmless_ms, FLOOR_MS)
        found = [f"the honest caller was refused {len(self.refused)} x: {self.refused[0]}"] if self.refused else []
        if self.p95_ms > bar:
            found.append(f"the honest caller waited {self.p95_ms:.0f} ms (95th percentile; bar {bar:.0f} ms)")
        return found


def main() -> None:
    where = json.loads(sys.stdin.readline())
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "hello"}}
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {where['token']}"
        while not ended.wait(1 / RATE):
            refusal = ""
            began = time.monotonic()
            try:
                answer = session.post(where["url"], json=body, timeout=TIMEOUT_S)
            except requests.RequestException as error:
                refusal = type(error).__name__
                session.close()
            else:
                refusal = "" if answer.status_code == 200 else f"{answer.status_code}"
            sys.stdout.write(f"{json.dumps([(time.monotonic() - began) * 1000, refusal])}\n")


if __name__ == "__main__":
    main()
