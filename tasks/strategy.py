"""How a worker's threads get messages: straight from Celery's consumer.

Celery makes a request of each message, which knows time limits, ETAs, callbacks, revocation and results; a tracer runs
it. Nothing of that is used here, and it costs more than the work itself.

    consumer --> a new event or delivery --> FirstAttempts: one thread for all of them
             --> a message to a contact  --> behind the one before it: `Lines`
             --> any other message, and what is not plain there --> a thread of the pool: `Run`

Pools of processes, and messages that ask for more, go Celery's own way.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from celery.worker.strategy import default

from tasks.first_attempts import FIRST_TASKS, FirstAttempts
from tasks.lines import Lines, line_of
from tasks.running import Run, arguments
from unoapi.broker.celery import DrainingPool
from unoapi.models.jobs import SendMessage
from unoapi.telemetry.logging import get_logger
from unoapi.telemetry.tracing import is_tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery
    from kombu.message import Message

    from tasks.base import UnoTask

log = get_logger(__name__)


def strategy(task: UnoTask, app: Celery, consumer: Any) -> Callable[..., None]:
    """What the consumer does with each message of a task. Celery calls it when it begins to consume."""
    ordinary: Callable[..., None] = default(task, app, consumer)
    executor = getattr(consumer.pool, "executor", None)
    if executor is None:
        return ordinary
    task.uno.bulkhead.share_out(consumer.pool.num_processes)
    first_attempts = _first_attempts(task, consumer)
    lines = Lines(executor.submit, most=consumer.pool.num_processes // 2) if task.name == SendMessage.task else None

    def handle(message: Message, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
        if body is not None or callbacks or asks_for_more(message):
            ordinary(message, body, ack, reject, callbacks)
            return
        events = consumer.event_dispatcher
        run = Run(
            task,
            headers=message.headers,
            delivery_info=message.delivery_info,
            read_arguments=partial(arguments, message.body),
            send_event=events.send if events is not None and events.enabled else None,
            acknowledge=partial(ack, log, consumer.connection_errors),
            reject=partial(reject, log, consumer.connection_errors),
        )
        run.note_received()
        if first_attempts is not None and first_attempts.take(run):
            return
        if lines is not None and (line := line_of(run)):
            lines.run(run, *line)
            return
        executor.submit(run)

    return handle


def _first_attempts(task: UnoTask, consumer: Any) -> FirstAttempts | None:
    """The thread for first attempts, if the task's messages may go there. Spans know one message per thread."""
    pool = consumer.pool
    if task.name not in FIRST_TASKS or is_tracing() or not isinstance(pool, DrainingPool):
        return None
    if pool.beside is None:
        path = pool.beside = FirstAttempts(task.uno, window=pool.num_processes, to_pool=pool.executor.submit)
        task.uno.releases.ahead = path
        path.start()
    return cast("FirstAttempts", pool.beside)


def asks_for_more(message: Message) -> bool:
    """Whether a message is none of ours: it wants something that only Celery's request knows."""
    headers = message.headers
    return (
        message.content_type != "application/json"
        or bool(headers.get("eta") or headers.get("expires") or headers.get("shadow"))
        or any(headers.get("timelimit") or ())
    )
