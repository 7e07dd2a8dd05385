"""Many simulated sessions on one machine: `python -m tests.connector.many [sessions]` prints what they cost.

Then how long the others' commands take while one session's process is killed again and again, has a full disk, or may
write to nobody new.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.connector.phones import Phone
from tests.support.stack import CONTACT, Process, Stack, eventually, stack
from unoapi.connector.engines.simulated import NEW_CHATS_REFUSED
from unoapi.connector.session_folder import SessionFolder
from unoapi.devenv.servers import PrivateServers
from unoapi.models.connector.commands import ConnectorCommand, Send
from unoapi.models.connector.content import Text
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


MEASURED_S = 20.0
MOST = 4000
PER_SECOND = 20
"""So many commands a second the others get meanwhile."""


@dataclass(frozen=True)
class Cost:
    """Memory in MB: the part of a process that is its own, and its fair share of everything (PSS)."""

    sessions: int
    connected_s: float
    own_mb: float
    share_mb: float
    supervisor_mb: float
    commands: int
    commands_per_s: float
    left: int


@dataclass(frozen=True)
class Latency:
    """How long the other sessions' commands took from RabbitMQ to the send, in milliseconds.

    `troubles`: how often the one session was killed or whatever else. One that does not run yet is spared.
    """

    while_one: str
    median_ms: float
    p95_ms: float
    commands: int
    troubles: int


def measure(uno: Stack, *, sessions: int, commands: int) -> Cost:
    """Connect so many sessions, then publish commands for all of them at once: what the connector alone can do.

    The worker, which records that a session is connected, stops before.
    """
    phones = phones_of(uno, sessions)
    worker = uno.worker()
    for phone in phones:
        phone.log_in()
        uno.register([{"id": "none", "urlAbsolute": "http://127.0.0.1:9/"}], phone=phone.phone, provider="whatsmeow")
    started = time.monotonic()
    connector = uno.connector(UNOAPI_CONNECTOR_SENDS_PER_SECOND="1000")
    for phone in phones:
        phone.wait_online(within_s=300)
    connected_s = time.monotonic() - started
    worker.stop()
    time.sleep(2)
    own, share = memory(connector)
    supervisor = psutil.Process(connector.pid).memory_full_info().uss / 1e6
    published_at = time.monotonic()
    publish_commands(uno, phones, commands)
    wanted = commands // sessions * sessions
    eventually(lambda: count(phones) >= wanted, within_s=300, every_s=0.2, what="all sent")
    took_s = time.monotonic() - published_at
    return Cost(sessions, connected_s, own, share, supervisor, wanted, wanted / took_s, count(phones) - wanted)


def phones_of(uno: Stack, sessions: int) -> list[Phone]:
    return [Phone(uno, f"55119{number:08}") for number in range(sessions)]


def neighbours(uno: Stack, phones: Sequence[Phone]) -> list[Latency]:
    """How the others fare while the first session is well, killed, out of disk, and restricted. They are connected."""
    bad, *others = phones
    trouble = {"is well": lambda: False, "is killed": lambda: kill(bad), "has a full disk": lambda: fill_disk(bad),
               "is restricted": lambda: write_to_new(uno, bad)}  # fmt: skip
    return [latency(uno, others, name, make) for name, make in trouble.items()]


def latency(uno: Stack, phones: Sequence[Phone], while_one: str, make_trouble: Callable[[], bool]) -> Latency:
    """Publish commands evenly to the sessions in turn, and make trouble each second."""
    troubles = 0
    marks = {f"{while_one} {number}": 0.0 for number in range(int(MEASURED_S * PER_SECOND))}
    started = time.monotonic()
    with commands_of(uno) as put:
        for number, mark in enumerate(marks):
            if number % PER_SECOND == 0:
                troubles += make_trouble()
            time.sleep(max(0.0, started + number / PER_SECOND - time.monotonic()))
            marks[mark] = time.time()
            put(phones[number % len(phones)].phone, [(CONTACT, mark)])
    took: dict[str, float] = {}

    def all_left() -> bool:
        for phone in phones:
            for line in phone.sent():
                words = line["message"].get("conversation")
                if words in marks:
                    took[words] = 1000 * (line["at"] - marks[words])
        return len(took) == len(marks)

    eventually(all_left, within_s=120, every_s=1, what="all sent")
    times = sorted(took.values())
    return Latency(while_one, statistics.median(times), times[int(len(times) * 0.95)], len(times), troubles)


def process_of(phone: Phone) -> int:
    """The process that has the session's outbox open, and so locks it; 0 while there is none."""
    try:
        inode = SessionFolder(phone.folder.parents[1], phone.phone).outbox.stat().st_ino
    except FileNotFoundError:
        return 0
    locks = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return next((int(lock[-4]) for lock in locks if lock[-3].endswith(f":{inode}")), 0)


def kill(phone: Phone) -> bool:
    pid = process_of(phone)
    if pid:
        os.kill(pid, signal.SIGKILL)
    return bool(pid)


def fill_disk(phone: Phone) -> bool:
    """No file of the session's process may grow any more, as on a full disk; and something is to be written."""
    pid = process_of(phone)
    if pid:
        with contextlib.suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, 1))
    phone.receives(f"3EB0{time.time_ns()}", {"kind": "text", "body": "hi"})
    return bool(pid)


def write_to_new(uno: Stack, phone: Phone) -> bool:
    with commands_of(uno) as put:
        put(phone.phone, [(f"{NEW_CHATS_REFUSED}{number:02}", "hi") for number in range(20)])
    return True


def memory(connector: Process) -> tuple[float, float]:
    """MB of one session's process on average: its own, its share."""
    children = psutil.Process(connector.pid).children()  # the server that forks them is one of many
    infos = [child.memory_full_info() for child in children]
    return sum(info.uss for info in infos) / len(infos) / 1e6, sum(info.pss for info in infos) / len(infos) / 1e6


@contextlib.contextmanager
def commands_of(uno: Stack) -> Iterator[Callable[[str, Sequence[tuple[str, str]]], None]]:
    """Publishes texts, as `(to, body)`, for a session to the entry queue: past the API."""
    from unoapi.broker.connector_commands import CommandQueue  # noqa: PLC0415 (after the environment is set)
    from unoapi.broker.publisher import ConfirmingPublisher  # noqa: PLC0415
    from unoapi.broker.topology import Topology  # noqa: PLC0415

    publisher = ConfirmingPublisher(uno.environment["AMQP_URL"], Topology("unoapi"))
    queue = CommandQueue(publisher)

    def put(phone: str, texts: Sequence[tuple[str, str]]) -> None:
        now = now_ms()
        sends = [
            ConnectorCommand(
                type="send", command_id=f"{phone}-{time.time_ns()}-{number}", session=phone, to=to,
                created_at=now, expires_at=now + 600_000, data=Send(content=Text(body=body)).model_dump(mode="json"),
            )
            for number, (to, body) in enumerate(texts)
        ]  # fmt: skip
        queue.put(sends)

    try:
        yield put
    finally:
        publisher.close()


def publish_commands(uno: Stack, phones: Sequence[Phone], commands: int) -> None:
    """Publish as many commands for each session."""
    texts = [(CONTACT, "hello")] * (commands // len(phones))
    with commands_of(uno) as put, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda phone: put(phone.phone, texts), phones))


def count(phones: Sequence[Phone]) -> int:
    """Messages that left. Only counted, not read: this runs beside what is measured."""
    files = (phone.folder / "sent.jsonl" for phone in phones)
    return sum(file.read_bytes().count(b'"message":') for file in files if file.exists())


def main(sessions: int) -> None:
    with tempfile.TemporaryDirectory(prefix="unoapi-many-") as folder:
        servers = PrivateServers(Path(folder) / "servers", durable=False)
        servers.start()
        try:
            with stack(servers, Path(folder), LOG_LEVEL="info") as uno:
                uno.web()
                sys.stdout.write(f"{measure(uno, sessions=sessions, commands=min(sessions * 40, MOST))}\n")
                for row in neighbours(uno, phones_of(uno, sessions)):
                    sys.stdout.write(f"{row}\n")
        finally:
            servers.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
