"""Many simulated sessions on one machine: `python -m tests.connector.many [sessions]` prints what they cost."""

from __future__ import annotations

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
from unoapi.devenv.servers import PrivateServers
from unoapi.models.connector.commands import ConnectorCommand, Send
from unoapi.models.connector.content import Text
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def measure(uno: Stack, *, sessions: int, commands: int) -> Cost:
    """Connect so many sessions, then publish commands for all of them at once."""
    phones = [Phone(uno, f"55119{number:08}") for number in range(sessions)]
    for phone in phones:
        phone.log_in()
        uno.register([{"id": "none", "urlAbsolute": "http://127.0.0.1:9/"}], phone=phone.phone, provider="whatsmeow")
    started = time.monotonic()
    connector = uno.connector(UNOAPI_CONNECTOR_SENDS_PER_SECOND="1000")
    for phone in phones:
        phone.wait_online(within_s=300)
    connected_s = time.monotonic() - started
    time.sleep(2)
    own, share = memory(connector)
    supervisor = psutil.Process(connector.pid).memory_full_info().uss / 1e6
    published_at = time.monotonic()
    publish_commands(uno, phones, commands)
    wanted = commands // sessions * sessions
    eventually(lambda: count(phones) >= wanted, within_s=300, every_s=0.2, what="all sent")
    took_s = time.monotonic() - published_at
    return Cost(sessions, connected_s, own, share, supervisor, wanted, wanted / took_s, count(phones) - wanted)


def memory(connector: Process) -> tuple[float, float]:
    """MB of one session's process on average: its own, its share."""
    children = psutil.Process(connector.pid).children()  # the server that forks them is one of many
    infos = [child.memory_full_info() for child in children]
    return sum(info.uss for info in infos) / len(infos) / 1e6, sum(info.pss for info in infos) / len(infos) / 1e6


def publish_commands(uno: Stack, phones: Sequence[Phone], commands: int) -> None:
    """Publish commands to the entry queue, past the API: what the connector alone can do."""
    from unoapi.broker.connector_commands import CommandQueue  # noqa: PLC0415 (after the environment is set)
    from unoapi.broker.publisher import ConfirmingPublisher  # noqa: PLC0415
    from unoapi.broker.topology import Topology  # noqa: PLC0415

    publisher = ConfirmingPublisher(uno.environment["AMQP_URL"], Topology("unoapi"))
    queue = CommandQueue(publisher)
    data = Send(content=Text(body="hello")).model_dump(mode="json")

    def fill(phone: Phone) -> None:
        now = now_ms()
        sends = [
            ConnectorCommand(
                type="send", command_id=f"{phone.phone}-{number}", session=phone.phone, to=CONTACT,
                created_at=now, expires_at=now + 600_000, data=data,
            )
            for number in range(commands // len(phones))
        ]  # fmt: skip
        queue.put(sends)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, phones))
    publisher.close()


def count(phones: Sequence[Phone]) -> int:
    """Messages that left."""
    return sum(len(phone.sent()) for phone in phones)


def main(sessions: int) -> None:
    with tempfile.TemporaryDirectory(prefix="unoapi-many-") as folder:
        servers = PrivateServers(Path(folder) / "servers", durable=False)
        servers.start()
        try:
            with stack(servers, Path(folder)) as uno:
                uno.web()
                uno.worker()
                sys.stdout.write(f"{measure(uno, sessions=sessions, commands=sessions * 40)}\n")
        finally:
            servers.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
