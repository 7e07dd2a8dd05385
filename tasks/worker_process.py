"""What a worker process does beside its tasks: at its start, once an hour, and at its end."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from celery.signals import celeryd_init, setup_logging, worker_process_shutdown, worker_ready, worker_shutdown
from celery.worker import state

from tasks import bulk, dead_letters, media, webhooks
from unoapi.bootstrap import count_metrics, ensure_usable, expose_metrics, freeze_imports
from unoapi.errors import EX_CONFIG, BrokerUnavailable, ConfigurationError, describe, safe_traceback
from unoapi.models.processes import this_process
from unoapi.services.process_reports import ProcessReports
from unoapi.telemetry.logging import get_logger
from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unoapi.bootstrap import Uno

log = get_logger(__name__)

HOUR_S = 3600.0
HOURLY: Mapping[str, Callable[[Uno], object]] = {
    "media": media.sweep,
    "suspect": dead_letters.expire,
    "bulk": bulk.look_again,
    "outgoing": webhooks.look_again,
}
"""By queue: done by the main process of its workers, so that nothing has to wait for a month in RabbitMQ."""


def connect(uno: Uno) -> None:
    """Answer Celery's signals. They belong to the process, so this is done once, by its entry point."""
    # Celery warns of the superuser because of pickle, which this application does not accept.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    stopped = threading.Event()
    reports: dict[int, ProcessReports] = {}
    """By the process that made them: children of a pool end, and are not the worker."""

    def start(**_: Any) -> None:
        count_metrics(uno)
        metrics().expect_work()
        declare_topology(uno)
        freeze_imports()  # before the pool's children are made, which share with this process what nobody touches

    def ready(sender: Any = None, **_: Any) -> None:
        """In the main process, after the pool's children are made: they only count."""
        expose_metrics(uno)
        freeze_imports()
        queues = getattr(getattr(sender, "task_consumer", None), "queues", [])
        consumed = {queue.name for queue in queues}
        reports[os.getpid()] = report = _reports(uno, sender, consumed)
        report.start()
        for queue, work in HOURLY.items():
            if uno.topology.queue(queue) in consumed:
                start_hourly(work, uno, stopped=stopped, name=queue)

    def end(**_: Any) -> None:
        stopped.set()
        if report := reports.get(os.getpid()):
            report.end()
        uno.close()

    def leave_logging_alone(**_: Any) -> None:
        """Celery would replace the logging that is set up already."""

    setup_logging.connect(leave_logging_alone, weak=False)
    celeryd_init.connect(start, weak=False)
    worker_ready.connect(ready, weak=False)
    worker_process_shutdown.connect(end, weak=False)
    worker_shutdown.connect(end, weak=False)


def _reports(uno: Uno, consumer: Any, queues: set[str]) -> ProcessReports:
    """The reports of a worker, whose name begins with that of its line in the Procfile: worker.<pid>@<host>."""
    name, pool = f"{getattr(consumer, 'hostname', None) or 'worker'}", getattr(consumer, "pool", None)
    process = this_process(
        "".join(takewhile(str.isalpha, name))[:50],
        queues=sorted(queue.removeprefix(f"{uno.topology.prefix}.") for queue in queues),
        places=getattr(pool, "limit", None),
    )
    return ProcessReports(process, uno.processes, busy=lambda: len(state.active_requests))


def declare_topology(uno: Uno) -> None:
    """Declare everything before consuming; wait for RabbitMQ, but end the process for objects that do not fit."""
    while True:
        try:
            ensure_usable(uno)
        except ConfigurationError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(EX_CONFIG)
        except BrokerUnavailable as error:
            log.warning("waiting_for_rabbitmq", error=f"{error}", hint="check AMQP_URL and that RabbitMQ runs")
        else:
            log.info("topology_declared", prefix=uno.topology.prefix)
            uno.sessions.load_marker()
            return


def start_hourly(work: Callable[[Uno], object], uno: Uno, *, stopped: threading.Event, name: str) -> None:
    """Do the work now, and then every hour, in a thread."""

    def run() -> None:
        while True:
            try:
                work(uno)
            except Exception as error:  # noqa: BLE001 (without this thread it is not done again until the next start)
                log.error("hourly_work_failed", work=name, error=describe(error), traceback=safe_traceback(error))
            if stopped.wait(HOUR_S):
                return

    threading.Thread(target=run, name=f"hourly {name}", daemon=True).start()
