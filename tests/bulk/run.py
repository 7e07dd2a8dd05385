"""One campaign on servers of its own: what is killed meanwhile, and the count at the end."""

from __future__ import annotations

import csv
import io
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import requests
from rich.table import Table

from tests.connector.phones import Phone, connected_phone
from tests.support.harness import throw_away_servers
from tests.support.receiver import Receiver
from tests.support.stack import OPERATOR, PHONE, QUEUES, Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from tests.support.stack import Process

BULK = f"/v15.0/{PHONE}/bulk"
SENDS_PER_SECOND = "60"
REPLY_EVERY_S = 2.0
REPLY_WITHIN_S = 2.0
OTHER_CONTACT = "55219{:08}"
OVER_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many rows, of which kinds, and how fast they leave."""

    rows: int = 2000
    bad: int = 100
    duplicates: int = 50
    opt_outs: int = 30
    batch: int = 15
    kills: bool = True


SHORT = Size(rows=60, bad=6, duplicates=3, opt_outs=3, kills=False)


@dataclass
class Outcome:
    """What was to be sent and what was."""

    wanted: set[str]
    sent: Counter[str]
    rows: list[dict[str, str]]
    size: Size
    shown: dict[str, Any]
    replies: dict[str, float]
    refused: int
    paused_sent: int
    fastest: int
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def unclear(self) -> set[str]:
        """Rows of which the report itself says that they may have left or not."""
        words = [row for row in self.rows if row["status"] == "unknown" or "unknown" in row["error"].lower()]
        return {row["number"] for row in words}

    @property
    def lost(self) -> set[str]:
        return self.wanted - self.sent.keys() - self.unclear

    @property
    def doubled(self) -> set[str]:
        return {number for number, count in self.sent.items() if count > 1}

    @property
    def unwanted(self) -> set[str]:
        return self.sent.keys() - self.wanted

    @property
    def wrong_rows(self) -> list[str]:
        """Where the report contradicts the phone."""
        left = {"sent", "delivered", "read"}
        return [
            row["number"]
            for row in self.rows
            if (row["status"] in left) != (row["number"] in self.sent)
            and row["number"] in self.wanted
            and row["status"] != "duplicate"
            and row["number"] not in self.unclear
        ]

    @property
    def slow_replies(self) -> list[float]:
        return sorted(seconds for seconds in self.replies.values() if seconds > REPLY_WITHIN_S)

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(row["status"] for row in self.rows))

    @property
    def report_is_right(self) -> bool:
        size, counts = self.size, self.counts
        refused = counts.get("bad-row") == size.bad and counts.get("duplicate", 0) == size.duplicates
        return refused and counts.get("opted-out", 0) == size.opt_outs and not self.wrong_rows

    @property
    def ok(self) -> bool:
        kept = self.fastest <= 2 * self.size.batch and not self.paused_sent
        clean = not (self.lost or self.doubled or self.unwanted)
        # Replies that a killed process had, or that wait for RabbitMQ, are late for that.
        quick = not self.slow_replies or (self.size.kills and len(self.slow_replies) <= len(self.replies) // 3)
        return self.shown["status"] == "done" and clean and kept and self.report_is_right and quick

    def table(self) -> Table:
        table = Table("what", "count", title="campaign OK" if self.ok else "campaign BROKEN")
        replies = sorted(self.replies.values())
        middle = replies[len(replies) // 2] if replies else 0.0
        for what, count in (
            ("rows that were to be sent", len(self.wanted)),
            ("messages that left", sum(self.sent.values())),
            ("lost", len(self.lost)),
            ("sent twice", len(self.doubled)),
            ("sent to nobody of the list", len(self.unwanted)),
            ("of unknown outcome, by the report", len(self.unclear)),
            ("contradicted by the report", len(self.wrong_rows)),
            ("states in the report", self.counts),
            ("state of the campaign", self.shown["status"]),
            ("most in a second", f"{self.fastest} (asked for {self.size.batch})"),
            ("sent during the pause", self.paused_sent),
            ("replies", f"{len(replies)}, in the middle {middle:.2f} s, the slowest {max(replies, default=0):.2f} s"),
            (f"replies later than {REPLY_WITHIN_S:g} s", len(self.slow_replies)),
            ("replies refused while something was away", self.refused),
            ("faults", "; ".join(self.faults) or "none"),
            ("seconds", f"{self.seconds:.0f}"),
        ):
            table.add_row(what, f"{count}")
        return table


def bulk_run(size: Size, console: Console) -> Outcome:
    """Run once; everything is stopped afterwards, however it ends."""
    with (
        tempfile.TemporaryDirectory(prefix="unoapi-bulk-") as folder,
        throw_away_servers(Path(folder) / "servers") as servers,
        stack(servers, Path(folder), UNOAPI_CONNECTOR_SENDS_PER_SECOND=SENDS_PER_SECOND, LOG_LEVEL="info") as uno,
    ):
        return BulkRun(size, uno, console).outcome()


def number(position: int) -> str:
    return f"55119{90000000 + position}"


class BulkRun:
    """The campaign, the replies beside it, the faults, and the count."""

    def __init__(self, size: Size, uno: Stack, console: Console) -> None:
        self._size, self._uno, self._console = size, uno, console
        self._faults: list[str] = []
        self._begun = time.monotonic()
        self._replies: dict[str, float] = {}
        self._refused = 0
        self._over = threading.Event()

    def outcome(self) -> Outcome:
        size, uno = self._size, self._uno
        self._web = uno.web()
        self._workers = [uno.worker(name="worker", queues=tuple(name for name in QUEUES if name != "media"))]
        self._media = uno.worker(name="media", threads=2, queues=("media",), pool="prefork")
        with Receiver() as receiver:
            self._phone = connected_phone(uno, receiver.url("/hook"))
            self._connector: Process = uno.processes[-1]
            good = [number(position) for position in range(size.rows - size.bad - size.duplicates)]
            out = good[:: max(1, len(good) // size.opt_outs)][: size.opt_outs]
            assert uno.post(f"{BULK}/opt_outs", {"numbers": out}).ok
            self._campaign = self._begin(good)
            replying = threading.Thread(target=self._reply, daemon=True)
            replying.start()
            paused_sent = self._disturb(len(good) - len(out))
            self._wait(self._is_over, what="the end")
            self._over.set()
            replying.join(60)
            eventually(lambda: all(self._replies.values()) or self._left_since(), within_s=20)
            sent = self._sent()
            rows = list(csv.DictReader(io.StringIO(self._get(f"{BULK}/{self._campaign}/report").text), delimiter=";"))
            return Outcome(
                wanted=set(good) - set(out),
                sent=Counter(to for to, _ in sent if to.startswith("55119")),
                rows=rows,
                size=size,
                shown=self._shown(),
                replies=self._reply_times(sent),
                refused=self._refused,
                paused_sent=paused_sent,
                fastest=_most_in_a_second([at for to, at in sent if to.startswith("55119")]),
                faults=self._faults,
                seconds=time.monotonic() - self._begun,
            )

    def _begin(self, good: list[str]) -> str:
        """A file in windows-1252 with bad rows and duplicates among the good ones."""
        size = self._size
        lines = [f"{one};João {position};Olá #NOME" for position, one in enumerate(good)]
        lines += [f"{good[position]};De novo;Olá" for position in range(size.duplicates)]
        for position in range(size.bad):
            lines.insert(position * 7, ("abc;x;y", ";sem número;y", "123;curto;y", "so uma coluna")[position % 4])
        text = "\r\n".join(["TELEFONE;NOME;MENSAGEM", *lines])
        answer = requests.post(
            f"{self._uno.url}{BULK}",
            headers={"Authorization": f"Bearer {OPERATOR}"},
            data={"batch": f"{size.batch}", "delay": "1"},
            files={"file": ("lista.csv", text.encode("cp1252"))},
            timeout=30,
        )
        assert answer.ok, answer.text
        return str(answer.json()["id"])

    def _disturb(self, wanted: int) -> int:
        """The faults, by the share of rows that left before each; what was sent during the pause."""
        self._wait(lambda: self._count() >= 0.1 * wanted, what="a tenth")
        paused_sent = self._pause()
        if self._size.kills:
            faults: list[tuple[float, Callable[[], None]]] = [
                (0.2, self._kill_worker),
                (0.3, self._kill_media),
                (0.4, self._kill_connector),
                (0.55, self._kill_web),
                (0.7, self._kill_broker),
                (0.85, self._kill_worker),
            ]
            for share, fault in faults:
                self._wait(lambda share=share: self._count() >= share * wanted, what=f"{share}")  # type: ignore[misc]
                fault()
        return paused_sent

    def _pause(self) -> int:
        assert self._uno.post(f"{BULK}/{self._campaign}/pause").ok
        self._note("paused")
        time.sleep(3)
        before = self._count()
        time.sleep(4)
        after = self._count()
        assert self._uno.post(f"{BULK}/{self._campaign}/resume").ok
        self._note("resumed")
        return after - before

    def _kill_worker(self) -> None:
        self._workers[0].kill()
        self._note("worker killed")
        self._workers = [self._uno.worker(name="worker", queues=tuple(name for name in QUEUES if name != "media"))]

    def _kill_media(self) -> None:
        self._media.kill()
        self._note("media killed")
        self._media = self._uno.worker(name="media", threads=2, queues=("media",), pool="prefork")

    def _kill_connector(self) -> None:
        self._connector.kill()
        self._note("connector killed")
        self._connector = self._uno.connector()

    def _kill_web(self) -> None:
        self._web.kill()
        self._note("web killed")
        self._web = self._uno.web()

    def _kill_broker(self) -> None:
        rabbit = self._uno.servers.rabbit
        rabbit.kill()
        self._note("RabbitMQ killed")
        rabbit.start()
        rabbit.wait_ready()
        self._note("RabbitMQ back")

    def _reply(self) -> None:
        """Somebody answers contacts beside the campaign."""
        position = 0
        while not self._over.wait(REPLY_EVERY_S):
            position += 1
            to = OTHER_CONTACT.format(90000000 + position)
            at = time.time()
            try:
                answer = self._uno.send("a reply", to=to)
            except requests.RequestException:
                self._refused += 1
                continue
            if answer.ok:
                self._replies[to] = at
            else:
                self._refused += 1

    def _reply_times(self, sent: list[tuple[str, float]]) -> dict[str, float]:
        left = dict(reversed(sent))
        return {to: left.get(to, time.time()) - at for to, at in self._replies.items()}

    def _left_since(self) -> bool:
        return set(self._replies) <= {to for to, _ in self._sent()}

    def _sent(self) -> list[tuple[str, float]]:
        lines = Phone(self._uno).sent()
        return [(line["to"].partition("@")[0], float(line["at"])) for line in lines]

    def _count(self) -> int:
        return sum(to.startswith("55119") for to, _ in self._sent())

    def _is_over(self) -> bool:
        return bool(self._shown().get("status") in ("done", "held", "failed", "stopped"))

    def _shown(self) -> dict[str, Any]:
        try:
            return dict(self._get(f"{BULK}/{self._campaign}").json())
        except (requests.RequestException, ValueError):
            return {}

    def _get(self, path: str) -> requests.Response:
        return requests.get(f"{self._uno.url}{path}", headers={"Authorization": f"Bearer {OPERATOR}"}, timeout=30)

    def _wait(self, check: Callable[[], bool], *, what: str) -> None:
        """Until it is so, as long as anything goes on."""
        last, since = -1, time.monotonic()
        while not check():
            count = self._count()
            if count != last:
                last, since = count, time.monotonic()
            if time.monotonic() - since > OVER_S:
                self._explain()
                raise AssertionError(f"{what}: nothing has left for {OVER_S:g} s")
            time.sleep(0.25)

    def _explain(self) -> None:
        """Print what is left of a run that stands still."""
        shown = self._shown()
        shown.pop("bad_rows", None)
        kept = redis.Redis.from_url(self._uno.environment["REDIS_URL"], decode_responses=True)
        self._print(shown, kept.hgetall(f"unoapi-bulk:{PHONE}:{self._campaign}"), self._uno.unfinished_by_queue())
        self._print(self._uno.dead(), *self._uno.cli("trace", self._campaign, check=False).stdout.splitlines()[-20:])
        for process in self._uno.processes:
            lines = [line for line in process.output().splitlines() if "message_sent" not in line]
            self._print(f"{process.log}, running: {process.running()}", *(line[:300] for line in lines[-20:]))

    def _print(self, *lines: object) -> None:
        for line in lines:
            self._console.print(f"{line}", markup=False, highlight=False)

    def _note(self, what: str) -> None:
        self._faults.append(what)
        self._console.print(f"{time.monotonic() - self._begun:6.1f} s  {what} after {self._count()} messages")


def _most_in_a_second(times: list[float]) -> int:
    ordered = sorted(times)
    first = most = 0
    for last, at in enumerate(ordered):
        while at - ordered[first] > 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
