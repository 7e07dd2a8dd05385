"""A caller who does nothing wrong, all the while, and how long he waits."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Self

import requests

from tests.support.constants import CONTACT

if TYPE_CHECKING:
    from tests.attack.stage import Caller

RATE = 8.0
SLOWER = 3.0
"""Times the median alone that nobody may wait longer."""
FLOOR_MS = 250.0
"""What is below this is the machine's, which also carries the attack itself: it counts as this much."""
TIMEOUT_S = 20.0


class Honest:
    """Sends a text eight times a second and looks at his session."""

    def __init__(self, url: str, caller: Caller) -> None:
        self.waits_ms: list[float] = []
        self.refused: list[str] = []
        self._url = f"{url}/v15.0/{caller.phone}/messages"
        self._headers = {"Authorization": f"Bearer {caller.token}"}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT_S + 5)

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

    def problems(self, alone_ms: float) -> list[str]:
        """What he suffered, compared with his median when nobody attacks."""
        bar = max(SLOWER * alone_ms, FLOOR_MS)
        problems = [f"the honest caller was refused {len(self.refused)} x: {self.refused[0]}"] if self.refused else []
        if self.p95_ms > bar:
            problems.append(f"the honest caller waited {self.p95_ms:.0f} ms (95th percentile; bar {bar:.0f} ms)")
        return problems

    def _work(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._stop.wait(1 / RATE):
                body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "hello"}}
                began = time.monotonic()
                try:
                    answer = session.post(self._url, json=body, headers=self._headers, timeout=TIMEOUT_S)
                except requests.RequestException as error:
                    self.refused.append(type(error).__name__)
                    session.close()
                else:
                    if answer.status_code != 200:
                        self.refused.append(f"{answer.status_code}")
                self.waits_ms.append((time.monotonic() - began) * 1000)
