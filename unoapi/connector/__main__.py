"""`python -m unoapi.connector`: the connector of this machine. Runs its sessions until it is told to stop."""

from __future__ import annotations

import signal
import sys

from unoapi.bootstrap import unoapi
from unoapi.connector.engines.registry import is_installed
from unoapi.connector.router import Router
from unoapi.connector.supervisor import Supervisor
from unoapi.errors import EX_CONFIG, BrokerUnavailable, ConfigurationError
from unoapi.telemetry.logging import get_logger

log = get_logger(__name__)


def main() -> int:
    """Run until SIGTERM. Without the engine's library it only says so and waits: nothing else needs it."""
    try:
        uno = unoapi()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    supervisor = Supervisor(uno)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stopping.set())
    if not is_installed(uno.settings):
        log.info("no_whatsapp_engine", hint="pip install '.[whatsmeow]' to connect phones; all else works without it")
        supervisor.stopping.wait()
        return 0
    while not supervisor.stopping.is_set():
        try:
            uno.publisher.check(timeout_s=5.0)
            break
        except BrokerUnavailable as error:
            log.warning("waiting_for_rabbitmq", error=f"{error}")
        except ConfigurationError as error:
            sys.stderr.write(f"{error}\n")
            return EX_CONFIG
    router = Router(uno, supervisor)
    router.start()
    log.info(
        "connector_started",
        server=uno.settings.unoapi_server_name,
        engine=uno.settings.unoapi_connector_engine,
    )
    supervisor.run()
    router.stop()
    uno.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
