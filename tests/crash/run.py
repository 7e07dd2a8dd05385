"""One crash run on servers of its own."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from tests.crash.outcome import Fault, Outcome
from tests.support.event_clients import ID_PATTERN, Clients
from tests.support.harness import drain, throw_away_servers
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import PHONE, REGISTERED_S, Stack, stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from tests.support.stack import Process

WEBHOOK = "/hook"
WORKERS = 2
WITHOUT_CONFIGURATION_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much to do. The worker kills are spread over the whole run, beside the kills of the other faults."""

    events: int = 5_000
    rate: float = 120.0
    clients: int = 8
    worker_kills: int = 6
    accept_within_s: float = 300.0
    drain_within_s: float = 240.0


SMALL = Size(events=600, rate=50.0, worker_kills=3, accept_within_s=90.0, drain_within_s=100.0)
"""A look at a holding queue that a killed worker had begun is made again after 64 s, and is counted until then."""


def crash_run(size: Size, console: Console) -> Outcome:
    """Run once; everything is stopped afterwards, however it ends."""
    with (
        tempfile.TemporaryDirectory(prefix="unoapi-crash-") as folder,
        throw_away_servers(Path(folder) / "servers") as servers,
        Receiver() as receiver,
        stack(
            servers, Path(folder), UNOAPI_MESSAGE_RETRY_DELAY="500", UNOAPI_MESSAGE_RETRY_LIMIT="5", LOG_LEVEL="info"
        ) as uno,
    ):
        return CrashRun(size, uno, receiver, console).outcome()


class CrashRun:
    """The events, the faults and the count."""

    def __init__(self, size: Size, uno: Stack, receiver: Receiver, console: Console) -> None:
        self._size = size
        self._uno = uno
        self._receiver = receiver
        self._console = console
        self._workers: list[Process] = []
        self._faults: list[Fault] = []
        self._started = time.monotonic()

    def outcome(self) -> Outcome:
        """Post the events, break things on the way, and count."""
        begun = time.monotonic()
        uno, size = self._uno, self._size
        self._receiver.record("count", key=ID_PATTERN)
        self._receiver.script(WEBHOOK, Behaviour(failures=2, share=0.2))
        uno.web()
        self._configure()
        self._workers = [uno.worker(name=f"worker{number}") for number in range(WORKERS)]
        time.sleep(REGISTERED_S)
        self._print(f"{size.events:,} events are posted, {size.rate:g} per second; 20 % of them fail twice first")
        clients = Clients(uno.url, phone=PHONE, events=size.events, rate=size.rate, threads=size.clients)
        self._started = time.monotonic()
        with clients:
            for share, fault in self._schedule():
                wanted = int(share * size.events)
                clients.wait(lambda wanted=wanted: len(clients.accepted) >= wanted, timeout_s=size.accept_within_s)  # type: ignore[misc]
                fault()
            clients.wait(clients.finished, timeout_s=size.accept_within_s)
        posting_s = time.monotonic() - self._started
        self._print(f"all events are accepted after {posting_s:.1f} s; waiting until the queues are empty")
        left = self._drain()
        dead = frozenset(str(dead_letter["message_id"]) for dead_letter in uno.dead())
        outcome = Outcome(
            accepted=frozenset(clients.accepted),
            keys=self._receiver.keys(WEBHOOK),
            dead=dead,
            left_in_queues=left,
            refusals=dict(clients.refusals),
            slowest_request_s=clients.slowest_s,
            faults=self._faults,
            posting_s=posting_s,
            seconds=time.monotonic() - begun,
        )
        for lost in sorted(outcome.lost)[:5]:
            self._console.print(uno.cli("trace", lost, check=False).stdout, markup=False, highlight=False)
        return outcome

    def _schedule(self) -> list[tuple[float, Callable[[], None]]]:
        """Faults, by the share of the events that is accepted before each."""
        kills = self._size.worker_kills
        schedule: list[tuple[float, Callable[[], None]]] = [(0.4, self._flush_redis), (0.6, self._kill_broker)]
        schedule += [
            ((number + 0.5) / kills, lambda number=number: self._kill_worker(number % WORKERS))  # type: ignore[misc]
            for number in range(kills)
        ]
        return sorted(schedule, key=lambda step: step[0])

    def _kill_worker(self, number: int) -> None:
        self._fault(f"worker {number} killed with SIGKILL")
        self._workers[number].kill()
        self._workers[number] = self._uno.worker(name=f"worker{number}")

    def _flush_redis(self) -> None:
        """Empty Redis; one worker is killed and starts while the configuration is missing."""
        self._fault("Redis flushed")
        redis.Redis.from_url(self._uno.servers.redis_url).flushall()
        gone = time.monotonic()
        self._kill_worker(0)
        time.sleep(max(0.0, gone + WITHOUT_CONFIGURATION_S - time.monotonic()))
        self._configure()
        self._fault("the session's configuration written again")

    def _kill_broker(self) -> None:
        """Kill RabbitMQ and, while it is away, a worker."""
        rabbit = self._uno.servers.rabbit
        self._fault("RabbitMQ killed with SIGKILL")
        rabbit.kill()
        self._fault("worker 1 killed with SIGKILL")
        self._workers[1].kill()
        rabbit.start()
        rabbit.wait_ready()
        self._fault("RabbitMQ is back")
        self._workers[1] = self._uno.worker(name="worker1")

    def _configure(self) -> None:
        self._uno.register([{"id": "main", "urlAbsolute": self._receiver.url(WEBHOOK)}])

    def _drain(self) -> int:
        """Wait until all queues but the dead one are empty. Returns how many messages are left when time is over."""
        deadline = time.monotonic() + self._size.drain_within_s
        while True:
            drain(self._uno, within_s=deadline - time.monotonic())
            for worker in self._workers:
                worker.stop(timeout_s=30)  # puts back what it has taken, so that the count below is complete
            left = self._uno.unfinished()
            if left == 0 or time.monotonic() > deadline:
                return left
            self._workers = [self._uno.worker(name=f"worker{number}") for number in range(WORKERS)]

    def _fault(self, what: str) -> None:
        self._faults.append(Fault(time.monotonic() - self._started, what))
        self._print(f"{self._faults[-1].at_s:6.1f} s  {what}")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False)
