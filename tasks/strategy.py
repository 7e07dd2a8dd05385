"""How a worker's threads get messages: straight from Celery's consumer.

Celery makes a request of each message, which knows time limits, ETAs, callbacks, revocation and results; a tracer runs
it. Nothing of that is used here, and it costs more than the work itself. `UnoTask.__call__` decides everything that may
happen to a job, so a thread calls it, and then settles the message as Celery would:

    consumer --> thread: UnoTask.__call__ --> done, retried, given up: acknowledge
                                          --> Reject: reject, to the dead queue or back to its own

Task events are the same, for Flower. Pools of processes, and messages that ask for more, go Celery's own way.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state
from celery.worker.strategy import default

from unoapi.broker.messages import PUBLISHED_HEADER, to_message
from unoapi.errors import describe
from unoapi.models.jobs import Envelope
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery
    from kombu.message import Message

    from tasks.base import UnoTask
    from unoapi.models.jobs import Job

log = get_logger(__name__)


def strategy(task: UnoTask, app: Celery, consumer: Any) -> Callable[..., None]:
    """What the consumer does with each message of a task. Celery calls it when it begins to consume."""
    ordinary: Callable[..., None] = default(task, app, consumer)
    executor = getattr(consumer.pool, "executor", None)
    if executor is None:
        return ordinary

    def handle(message: Message, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
        if body is not None or callbacks or asks_for_more(message):
            ordinary(message, body, ack, reject, callbacks)
            return
        events = consumer.event_dispatcher
        run = _Run(
            task,
            headers=message.headers,
            delivery_info=message.delivery_info,
            read_arguments=partial(_arguments, message.body),
            send_event=events.send if events is not None and events.enabled else None,
            acknowledge=partial(ack, log, consumer.connection_errors),
            reject=partial(reject, log, consumer.connection_errors),
        )
        run.note_received()
        executor.submit(run)

    return handle


def asks_for_more(message: Message) -> bool:
    """Whether a message is none of ours: it wants something that only Celery's request knows."""
    headers = message.headers
    return (
        message.content_type != "application/json"
        or bool(headers.get("eta") or headers.get("expires") or headers.get("shadow"))
        or any(headers.get("timelimit") or ())
    )


def run_at_once(job: Job, *, within: UnoTask) -> None:
    """Run a job as its own message would be run, before the message of the task that causes it is acknowledged.

    When this returns it is done, or its retry or dead letter is published. Raises Reject when that was not possible:
    the message that causes it is then repeated, or dead, in its place.
    """
    rejected: list[bool] = []
    headers = to_message(Envelope(job), within.uno.topology).headers
    del headers[PUBLISHED_HEADER]  # it waited in no queue
    run = _Run(
        cast("UnoTask", within.app.tasks[job.task]),
        headers=headers,
        delivery_info={"routing_key": within.uno.topology.queue(job.queue), "redelivered": False},
        read_arguments=lambda: (job,),
        send_event=getattr(within.request, "send_event", None),
        acknowledge=lambda: None,
        reject=rejected.append,
    )
    run.note_received()
    run()
    if rejected:
        raise Reject("what it causes could be neither done nor put back", requeue=rejected[0])


class _Run:
    """One message on its way through a thread; what `celery inspect` and Flower see of it."""

    def __init__(  # noqa: PLR0913 (what is known of a message)
        self,
        task: UnoTask,
        *,
        headers: dict[str, Any],
        delivery_info: dict[str, Any],
        read_arguments: Callable[[], tuple[Any, ...]],
        send_event: Callable[..., None] | None,
        acknowledge: Callable[[], None],
        reject: Callable[[bool], None],
    ) -> None:
        self.task = task
        self.name = task.name
        self.id = headers["id"]
        self._headers = headers
        self._delivery_info = delivery_info
        self._read_arguments = read_arguments
        self._send_event = send_event
        self._acknowledge, self._reject = acknowledge, reject
        self._began = 0.0

    def note_received(self) -> None:
        """Count it, and send its event."""
        headers = self._headers
        state.task_reserved(self)
        self._send(
            "task-received",
            name=self.name,
            args=headers.get("argsrepr", ""),
            kwargs=headers.get("kwargsrepr", ""),
            root_id=headers.get("root_id", self.id),
            parent_id=headers.get("parent_id"),
            retries=headers.get("retries", 0),
            eta=None,
            expires=None,
        )

    def __call__(self) -> None:
        """Run the task and settle the message, in a thread of the pool."""
        self._began = time.monotonic()
        state.task_accepted(self)
        self._send("task-started")
        try:
            self._call_task()
        except Retry as retried:
            self._done("task-retried", exception=repr(retried.exc), traceback="")
        except Ignore:
            self._acknowledge()
        except Reject as rejected:
            self._give_back(requeue=bool(getattr(rejected, "requeue", False)))
        except Exception as error:  # noqa: BLE001 (its dead letter is confirmed)
            self._done("task-failed", exception=repr(error), traceback="")
        except BaseException:
            self._give_back(requeue=True)
            raise
        else:
            self._done("task-succeeded", result="None", runtime=time.monotonic() - self._began)
        finally:
            state.task_ready(self)

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 (Celery's signature)
        """What `celery inspect` shows: ids, never the job."""
        return {
            "id": self.id,
            "name": self.name,
            "args": self._headers.get("argsrepr", ""),
            "kwargs": self._headers.get("kwargsrepr", ""),
            "type": self.name,
            "time_start": time.time() - (time.monotonic() - self._began) if self._began else None,
            "delivery_info": {"routing_key": self._delivery_info.get("routing_key")},
        }

    def _call_task(self) -> None:
        arguments = self._read_arguments()
        self.task.push_request(
            id=self.id,
            args=arguments,
            headers=self._headers,
            retries=self._headers.get("retries", 0),
            delivery_info=self._delivery_info,
            send_event=self._send_event,
        )
        try:
            self.task(*arguments)
        finally:
            self.task.pop_request()

    def _done(self, event: str, **fields: Any) -> None:
        self._acknowledge()
        self._send(event, **fields)

    def _give_back(self, *, requeue: bool) -> None:
        self._reject(requeue)
        self._send("task-rejected", requeue=requeue)

    def _send(self, event: str, **fields: Any) -> None:
        if self._send_event is None:
            return
        try:
            self._send_event(event, uuid=self.id, **fields)
        except Exception as error:  # noqa: BLE001 (who watches must not keep a message from being run or settled)
            log.warning("task_event_not_sent", type=event, error=describe(error))


def _arguments(body: Any) -> tuple[Any, ...]:
    """The task's arguments; none when the body cannot be read: the task then refuses the message."""
    try:
        return tuple(json.loads(body)[0])
    except (ValueError, TypeError, LookupError, RecursionError):
        return ()
