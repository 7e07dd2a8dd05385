"""The connector process of this machine: `python -m unoapi.connector`. Runs its sessions until SIGTERM."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from unoapi.bootstrap import ensure_usable, unoapi
from unoapi.connector.engines.registry import is_installed
from unoapi.connector.leases import RedisLeases
from unoapi.connector.router import Router
from unoapi.connector.supervisor import SessionLauncher, Supervisor
from unoapi.errors import EX_CONFIG, BrokerUnavailable, ConfigurationError
from unoapi.models.processes import this_process
from unoapi.services.process_reports import ProcessReports
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    import threading

    from unoapi.bootstrap import Uno

log = get_logger(__name__)

USAGE = """Usage: python -m unoapi.connector

Connects the phones whose `server` is UNOAPI_SERVER_NAME, until SIGTERM. It takes no arguments: the settings are in the
environment (docs/settings.md).
"""
USAGE_ERROR = 2


def make_connector(uno: Uno) -> tuple[Supervisor, Router]:
    """Join the parts of the connector process."""
    settings = uno.settings
    leases = RedisLeases(uno.redis, settings.unoapi_server_name)
    supervisor = Supervisor(
        server=settings.unoapi_server_name,
        folder=settings.unoapi_connector_store,
        max_connect_retry=settings.max_connect_retry,
        max_connect_time_s=settings.max_connect_time,
        sessions=uno.sessions,
        leases=leases,
        publisher=uno.publisher,
        launch=SessionLauncher(),
    )
    router = Router(
        amqp_url=settings.amqp_url.get_secret_value(),
        server=settings.unoapi_server_name,
        publisher=uno.publisher,
        sessions=uno.sessions,
        leases=leases,
        control=supervisor.submit,
        on_taken=uno.queue_ages.taken,
    )
    return supervisor, router


def main() -> int:
    """Run until SIGTERM; the exit code. Without the engine's library it waits: no other process needs it."""
    if words := sys.argv[1:]:
        asked = set(words) <= {"-h", "--help"}
        (sys.stdout if asked else sys.stderr).write(USAGE)
        return 0 if asked else USAGE_ERROR
    try:
        uno = unoapi()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    supervisor, router = make_connector(uno)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stopping.set())
    if not is_installed(uno.settings):
        log.info("no_whatsapp_engine", hint="make whatsmeow installs what connects phones; all else works without it")
        supervisor.stopping.wait()
        return 0
    try:
        _wait_for_rabbitmq(uno, supervisor.stopping)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    router.start()
    reports = ProcessReports(this_process("connector", queues=("outgoing.whatsmeow",)), uno.processes)
    reports.start()
    log.info(
        "connector_started",
        server=uno.settings.unoapi_server_name,
        engine=uno.settings.unoapi_connector_engine,
    )
    supervisor.run()
    router.stop()
    reports.end()
    uno.close()
    return 0


def _wait_for_rabbitmq(uno: Uno, stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            ensure_usable(uno)
        except BrokerUnavailable as error:
            log.warning("waiting_for_rabbitmq", error=f"{error}")
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
