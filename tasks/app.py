"""The Celery application of the workers: `celery -A tasks.app worker`. Importing it changes nothing."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from tasks import (
    alerts,
    bulk,
    callbacks,
    commander,
    connector,
    contacts,
    failures,
    media,
    notifications,
    sending,
    sessions,
    timers,
    voice,
    webhooks,
    worker_process,
)
from unoapi.bootstrap import unoapi
from unoapi.broker.celery import UnoCelery
from unoapi.errors import EX_CONFIG, ConfigurationError

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

TASK_MODULES = (
    alerts, bulk, callbacks, commander, connector, contacts, failures, media, notifications, sending, sessions, timers,
    voice,
    webhooks,
)  # fmt: skip
"""Their tasks are Celery's shared tasks: every application that is made has them."""


class Worker(UnoCelery):
    """The Celery application with the parts that its tasks work with."""

    def __init__(self, uno: Uno) -> None:
        super().__init__(
            uno.settings.amqp_url.get_secret_value(),
            uno.topology,
            uno.publisher,
            threads=uno.settings.unoapi_worker_threads,
        )
        self.uno = uno


def make_worker(uno: Uno) -> Worker:
    """An application whose tasks can be called, or run by a worker process. It connects to nothing by itself."""
    worker = Worker(uno)
    worker.finalize()
    return worker


def __getattr__(name: str) -> Worker:
    """`tasks.app.app` is what Celery looks for. It is made of the environment's settings when it is asked for."""
    if name != "app":
        raise AttributeError(name)
    return _worker_of_this_process()


@lru_cache(maxsize=1)
def _worker_of_this_process() -> Worker:
    try:
        worker = make_worker(unoapi())
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EX_CONFIG)
    worker_process.connect(worker.uno)
    return worker
