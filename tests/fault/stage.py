"""Servers, processes and a receiver that the rows share, and how long everything may take."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tests.fault.misbehaving import expired
from tests.support.event_clients import ID_PATTERN
from tests.support.harness import drain, throw_away_servers
from tests.support.receiver import Receiver
from tests.support.stack import REGISTERED_S, Process, Stack, eventually, stack

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from unoapi.devenv.servers import PrivateServers

WORKERS = 2
THREADS = 20
RETRY_DELAY_MS = 200
EVENTS_MAX_BYTES = 1_000_000_000
STORE_AWAY = "The store does not answer"
"""In the 503 of what needs Redis."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much to do, and how long what is away stays away."""

    events: int = 1_000
    rate: float = 60.0
    kills: int = 5
    rabbit_away_s: float = 90.0
    alarm_s: float = 60.0
    long_alarm_s: float = 900.0
    redis_away_s: float = 30.0
    node_away_s: float = 20.0
    retry_limit: int = 5
    outage_schedules: int = 20
    endpoints: int = 1_000
    many_down_retry_ms: int = 10_000  # the default
    many_down_rate: float = 100.0
    neighbour_s: float = 10.0
    neighbour_rounds: int = 5
    neighbour_floor_ms: float = 10.0  # a 95th percentile below this is the machine's: it counts as this much
    neighbour_deadline_ms: int = 5_000
    replay_events: int = 10_000
    replay_others: int = 990_000
    replay_within_s: float = 900.0
    within_s: float = 240.0

    @property
    def retry_schedule_s(self) -> float:
        """From the first attempt to the last, without the attempts themselves."""
        return RETRY_DELAY_MS / 1000 * (2.0**self.retry_limit - 1)


SHORT = Size(
    events=200,
    kills=2,
    rabbit_away_s=5.0,
    alarm_s=4.0,
    long_alarm_s=8.0,
    redis_away_s=4.0,
    node_away_s=10.0,
    retry_limit=2,
    endpoints=20,
    many_down_retry_ms=2_000,
    neighbour_s=2.0,
    neighbour_rounds=3,
    neighbour_floor_ms=250.0,  # other tests run beside; without a bulkhead it is the deadline, 1.5 s
    neighbour_deadline_ms=1_500,
    replay_events=300,
    replay_others=3_000,
    replay_within_s=60.0,
    within_s=60.0,
)


@dataclass
class Stage:
    """The processes, servers and receiver of one run, and the counters that its rows share."""

    size: Size
    folder: Path
    servers: PrivateServers
    receiver: Receiver
    uno: Stack
    expired: ssl.SSLContext
    web: Process
    workers: list[Process] = field(default_factory=list)
    phones: int = 0
    declared: float = 0.0

    def phone(self) -> str:
        """A session's number that no other row uses."""
        self.phones += 1
        return f"55119000{self.phones:05d}"

    def register(self, phone: str, name: str, url: str, **options: Any) -> None:
        """Give a session its one webhook. For seconds after the fault before, the API may still skip Redis."""

        def is_stored() -> bool:
            try:
                self.uno.register([{"id": name, "urlAbsolute": url, **options}], phone=phone)
            except AssertionError as refused:
                if STORE_AWAY not in f"{refused}":
                    raise
                return False
            return True

        eventually(is_stored, what=f"the session of {phone}", within_s=15, every_s=0.5)

    def wait_until_registered(self) -> None:
        """Before RabbitMQ is broken."""
        time.sleep(max(0.0, self.declared + REGISTERED_S - time.monotonic()))

    def kill_worker(self, number: int) -> None:
        self.workers[number].kill()
        self.workers[number] = self.uno.worker(name=f"worker{number}", threads=THREADS)

    def restart_workers(self) -> None:
        """End them in order, so that what they have taken is back on its queue; then start them again."""
        for worker in self.workers:
            worker.stop(timeout_s=30)
        self.workers = [self.uno.worker(name=f"worker{number}", threads=THREADS) for number in range(WORKERS)]

    def kill_web(self) -> None:
        self.web.kill()
        self.web = self.uno.web()

    def arrived(self, path: str) -> set[str]:
        """Ids of the events that were answered with 2xx at a path of the receiver."""
        return {key for key, (_, answered) in self.receiver.keys(path).items() if answered}

    def drain(self, done: Callable[[], bool], *, within_s: float | None = None) -> int:
        """Wait until `done` and all queues but the dead one are empty. Returns how many messages are left."""
        return drain(self.uno, within_s=within_s or self.size.within_s, done=done)


@contextmanager
def staged(
    size: Size, make_servers: Callable[[Path], AbstractContextManager[PrivateServers]] = throw_away_servers
) -> Iterator[Stage]:
    """Everything that the rows need; all of it is stopped afterwards, however it ends."""
    with TemporaryDirectory(prefix="unoapi-fault-") as name, Receiver() as receiver:
        folder = Path(name)
        context, authority = expired(folder)
        settings = {
            "UNOAPI_MESSAGE_RETRY_LIMIT": f"{size.retry_limit}",
            "UNOAPI_MESSAGE_RETRY_DELAY": f"{RETRY_DELAY_MS}",
            "UNOAPI_WORKER_THREADS": f"{THREADS}",
            "LOG_LEVEL": "info",
            "UNOAPI_EVENTS_MAX_BYTES": f"{EVENTS_MAX_BYTES}",
            "SSL_CERT_FILE": str(authority),
        }
        with make_servers(folder / "servers") as servers, stack(servers, folder, **settings) as uno:
            receiver.record("count", key=ID_PATTERN)
            web = uno.web()
            stage = Stage(size, folder, servers, receiver, uno, context, web)
            stage.restart_workers()
            uno.suspect()  # what a fault had redelivered too often goes on there
            stage.declared = time.monotonic()
            yield stage
