"""Flower, as the Procfile starts it: behind a password, with a memory, and with all queues in its Broker tab.

    python -m unoapi.cli.flower [Flower's own options]

Flower asks the broker only for queues that a worker consumes, so what waits, is in quarantine or is dead would be
missing; here it asks us. Without `FLOWER_BASIC_AUTH` it listens on loopback only, or does not start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, cast

import flower.command  # type: ignore[import-untyped]
from celery.bin.celery import main as celery
from flower.api import BaseApiHandler  # type: ignore[import-untyped]
from flower.api.tasks import GetQueueLengths  # type: ignore[import-untyped]
from flower.app import Flower  # type: ignore[import-untyped]
from flower.views.broker import BrokerView  # type: ignore[import-untyped]
from flower.views.monitor import Metrics  # type: ignore[import-untyped]
from tornado.web import HTTPError, RequestHandler, authenticated

from unoapi.bootstrap import unoapi
from unoapi.errors import EX_CONFIG, BrokerUnavailable, ConfigurationError
from unoapi.settings import is_loopback, read_secrets
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from unoapi.broker.queue_monitor import QueueMonitor

log = get_logger(__name__)

SAVE_EVERY_MS = 60_000
MOST_TASKS = 10_000


class AllQueues:
    """Takes the place of Flower's own view of the broker."""

    def __init__(self, monitor: QueueMonitor) -> None:
        self._monitor = monitor

    async def queues(self, _: Any) -> list[dict[str, Any]]:
        """Every queue, in the words of RabbitMQ's management API; none while RabbitMQ is away."""
        try:
            depths = await asyncio.get_running_loop().run_in_executor(None, self._monitor.queues)
        except BrokerUnavailable as error:
            log.warning("queues_not_read", error=f"{error}")
            return []
        return [
            {
                "name": depth.queue,
                "messages": None if depth.ready is None else depth.ready + (depth.unacked or 0),
                "messages_ready": depth.ready,
                "messages_unacknowledged": depth.unacked,
                "consumers": depth.consumers,
                "oldest_s": depth.oldest_s,
            }
            for depth in depths
        ]


class BrokerPage(BrokerView):  # type: ignore[misc] # Flower has no types
    """The Broker tab."""

    def get_broker(self) -> AllQueues:
        """Instead of Flower's, which asks RabbitMQ's management API."""
        return AllQueues(self.application.queue_monitor)


class QueueLengths(GetQueueLengths):  # type: ignore[misc] # Flower has no types
    """The same for programs."""

    def get_broker(self) -> AllQueues:
        """Instead of Flower's, which asks RabbitMQ's management API."""
        return AllQueues(self.application.queue_monitor)


class SwitchedOff(BaseApiHandler):  # type: ignore[misc] # Flower has no types
    """What would discard messages, let them stand, or make jobs that nobody has checked."""

    @authenticated
    def post(self) -> None:
        """Say why, in the window that Flower's button opens, too."""
        raise HTTPError(403, "Switched off: it could lose messages. Workers are stopped and scaled where they run.")


class OwnMetrics(Metrics):  # type: ignore[misc] # Flower has no types
    """Flower's own metrics, which it would show without the password."""

    get = authenticated(Metrics.get)


class Alive(RequestHandler):
    """Says that this process runs, in the form that Prometheus reads, and nothing else: it wants no password."""

    def get(self) -> None:
        """Answer without a sample."""
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish("# alive\n")


class GuardedFlower(Flower):  # type: ignore[misc] # Flower has no types
    """Flower that does not show itself to strangers."""

    queue_monitor: QueueMonitor

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        prefix = (self.options.url_prefix or "").strip("/")
        before = f"/{prefix}" if prefix else ""
        # Handlers that are added go before Flower's own.
        pages = {
            "broker": BrokerPage,
            "api/queues/length": QueueLengths,
            "metrics": OwnMetrics,
            "health/live": Alive,
            "api/worker/(?:shutdown|pool|queue)/.+": SwitchedOff,
            "api/task/(?:revoke|abort|timeout|rate-limit|apply|async-apply|send-task)/.+": SwitchedOff,
        }
        self.add_handlers(r".*", [(f"{before}/{path}", page) for path, page in pages.items()])

    def start_http_server(self) -> int | None:
        """Listen, unless everybody could look. Exits with 78 then."""
        chosen = self.options
        if not (chosen.basic_auth or chosen.auth or chosen.unix_socket or is_loopback(chosen.address)):
            sys.stderr.write(
                f"Flower would be open to everybody on {chosen.address or 'all addresses'}: set FLOWER_BASIC_AUTH to "
                "<user>:<password>, or FLOWER_ADDRESS to 127.0.0.1\n"
            )
            sys.exit(EX_CONFIG)
        chosen.address = chosen.address.strip("[]")  # an IPv6 address is bound without its brackets
        port = cast("int | None", super().start_http_server())
        log.info("flower_listening", address=chosen.address, port=port)
        return port


def remember(folder: Path) -> None:
    """Keep what Flower knows over a restart, unless the environment says otherwise or the folder cannot be used."""
    os.environ.setdefault("FLOWER_MAX_TASKS", str(MOST_TASKS))
    os.environ.setdefault("FLOWER_STATE_SAVE_INTERVAL", str(SAVE_EVERY_MS))
    if "FLOWER_DB" not in os.environ:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            os.environ.setdefault("FLOWER_PERSISTENT", "false")
        os.environ["FLOWER_DB"] = str(folder / "flower")
    os.environ.setdefault("FLOWER_PERSISTENT", "true")


def main() -> None:
    """Run Flower until SIGTERM or SIGINT."""
    try:
        uno = unoapi()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EX_CONFIG)
    os.umask(0o077)  # its memory holds phones and message ids
    for name in [name for name, value in os.environ.items() if name.startswith("FLOWER_") and not value]:
        del os.environ[name]  # an empty variable counts as not set
    login, faults = read_secrets(os.environ, ["FLOWER_BASIC_AUTH"])
    if faults:
        sys.stderr.write(f"{faults[0]}\n")
        sys.exit(EX_CONFIG)
    os.environ.update(login)
    remember(uno.settings.base_store)
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)  # it warns while no worker has started yet
    os.environ.setdefault("FLOWER_ADDRESS", "127.0.0.1")
    GuardedFlower.queue_monitor = uno.queue_monitor  # Flower makes its application itself
    flower.command.Flower = GuardedFlower
    sys.argv = ["celery", "--quiet", "--app", "tasks.app", "flower", *sys.argv[1:]]
    celery()


if __name__ == "__main__":
    main()
