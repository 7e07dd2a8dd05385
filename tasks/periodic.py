"""Work that is done once an hour, in the main process of the workers of one queue."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from celery.signals import worker_ready, worker_shutdown

from unoapi.bootstrap import unoapi

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_S = 3600.0
_stopped = threading.Event()


def hourly(queue: str, work: Callable[[], object]) -> None:
    """Do the work at the start of a worker that takes from the queue, and then every hour. `work` must not raise."""

    def begin(sender: Any = None, **_: Any) -> None:
        queues = getattr(getattr(sender, "task_consumer", None), "queues", [])
        if any(each.name == unoapi().topology.queue(queue) for each in queues):
            threading.Thread(target=_forever, args=(work,), name=f"hourly {queue}", daemon=True).start()

    worker_ready.connect(begin, weak=False)


def _forever(work: Callable[[], object]) -> None:
    while True:
        work()
        if _stopped.wait(HOUR_S):
            return


@worker_shutdown.connect
def _stop(**_: Any) -> None:
    _stopped.set()
