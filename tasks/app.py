"""The Celery application: `celery -A tasks.app worker`."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from celery.signals import celeryd_init, setup_logging, worker_process_shutdown, worker_ready, worker_shutdown

from unoapi.bootstrap import count_metrics, expose_metrics, unoapi
from unoapi.broker.celery import make_celery
from unoapi.errors import EX_CONFIG, BrokerUnavailable, ConfigurationError
from unoapi.telemetry.logging import get_logger
from unoapi.telemetry.metrics import metrics

log = get_logger(__name__)

# Celery warns of the superuser because of pickle, which this application does not accept.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

try:
    _uno = unoapi()
except ConfigurationError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(EX_CONFIG)

app = make_celery(_uno.settings.amqp_url.get_secret_value(), _uno.topology, threads=_uno.settings.unoapi_worker_threads)
app.publisher = _uno.publisher
app.conf.imports = (
    "tasks.sending", "tasks.connector", "tasks.webhooks", "tasks.failures", "tasks.notifications", "tasks.media",
    "tasks.timers", "tasks.contacts", "tasks.dead_letters", "tasks.sessions",
)  # fmt: skip


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Celery would replace the logging that is set up already."""


@celeryd_init.connect
def _declare_topology(**_: Any) -> None:
    """Declare everything before consuming; wait for RabbitMQ, but stop for objects that do not fit."""
    count_metrics(unoapi())
    metrics().expect_work()
    while True:
        try:
            unoapi().publisher.check(timeout_s=5.0)
        except ConfigurationError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(EX_CONFIG)
        except BrokerUnavailable as error:
            log.warning("waiting_for_rabbitmq", error=f"{error}", hint="check AMQP_URL and that RabbitMQ runs")
        else:
            log.info("topology_declared", prefix=unoapi().topology.prefix)
            unoapi().sessions.load_marker()
            return


@worker_ready.connect
def _expose(**_: Any) -> None:
    """In the main process, after the pool's children are made: they only count."""
    expose_metrics(unoapi())


@worker_process_shutdown.connect
@worker_shutdown.connect
def _close(**_: Any) -> None:
    unoapi().close()
