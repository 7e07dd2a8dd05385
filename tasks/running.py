"""One message on its way through a worker. `UnoTask.__call__` decides everything that may happen to its job.

    the task returns, is retried, or gives its job up --> acknowledge
    it raises Reject                                  --> reject: to the dead queue, or back to its own

Task events are those of Celery's own requests, for Flower.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state

from unoapi.broker.messages import PUBLISHED_HEADER, to_message
from unoapi.errors import describe
from unoapi.models.jobs import Envelope
from unoapi.models.strict_json import parsed_own
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks.base import UnoTask
    from unoapi.models.attempts import EarlierAnswer
    from unoapi.models.jobs import Job

log = get_logger(__name__)


def run_at_once(job: Job, *, within: UnoTask) -> None:
    """Run a job as its own message would be run, before the message of the task that causes it is acknowledged.

    When this returns it is done, or its retry or dead letter is published. Raises Reject when that was not possible:
    the message that causes it is then repeated, or dead, in its place.
    """
    rejected: list[bool] = []
    headers = to_message(Envelope(job), within.uno.topology).headers
    del headers[PUBLISHED_HEADER]  # it waited in no queue
    run = Run(
        cast("UnoTask", within.app.tasks[job.task]),
        headers=headers,
        delivery_info={"routing_key": within.uno.topology.queue(job.queue), "redelivered": False},
        read_arguments=lambda: (job,),
        send_event=getattr(within.request, "send_event", None),
        acknowledge=lambda: None,
        reject=rejected.append,
    )
    run.answer = within.request.get("answer")
    run.note_received()
    run()
    if rejected:
        raise Reject("what it causes could be neither done nor put back", requeue=rejected[0])


class Run:
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
        self.headers = headers
        self.delivery_info = delivery_info
        self._read_arguments = read_arguments
        self._send_event = send_event
        self._acknowledge, self._reject = acknowledge, reject
        self._began = 0.0
        self._arguments: tuple[Any, ...] | None = None
        self.answer: EarlierAnswer | None = None
        """What the receiver has answered already, where the attempt was made before the task runs."""

    def read_arguments(self) -> tuple[Any, ...]:
        """The task's arguments, read once."""
        if self._arguments is None:
            self._arguments = self._read_arguments()
        return self._arguments

    def note_received(self) -> None:
        """Count it, and send its event."""
        headers = self.headers
        state.task_reserved(self)
        shown = _shown(self.name, headers.get("argsrepr", ""), root_id=headers.get("root_id", self.id))
        shown["retries"] = headers.get("retries", 0)
        self._send("task-received", **shown)

    def __call__(self) -> None:
        """Run the task and settle the message, in a thread of the pool."""
        self.begin()
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

    def begin(self) -> None:
        """Note that its work begins; once."""
        if not self._began:
            self._began = time.monotonic()
            state.task_accepted(self)

    def succeed(self, within: Job | None = None) -> None:
        """Acknowledge it: all is done without its task. Flower shows as its result what was done `within` it."""
        result = "None" if within is None else f"{within.task} id={within.id} {within.summary}"
        self._done("task-succeeded", result=result, runtime=time.monotonic() - self._began)
        state.task_ready(self)

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 (Celery's signature)
        """What `celery inspect` shows: ids, never the job."""
        return {
            "id": self.id,
            "name": self.name,
            "args": self.headers.get("argsrepr", ""),
            "kwargs": self.headers.get("kwargsrepr", ""),
            "type": self.name,
            "time_start": time.time() - (time.monotonic() - self._began) if self._began else None,
            "delivery_info": {"routing_key": self.delivery_info.get("routing_key")},
        }

    def _call_task(self) -> None:
        given = self.read_arguments()
        self.task.push_request(
            id=self.id,
            args=given,
            headers=self.headers,
            retries=self.headers.get("retries", 0),
            delivery_info=self.delivery_info,
            send_event=self._send_event,
            answer=self.answer,
        )
        try:
            self.task(*given)
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
        fields.setdefault("uuid", self.id)
        try:
            self._send_event(event, **fields)
        except Exception as error:  # noqa: BLE001 (who watches must not keep a message from being run or settled)
            log.warning("task_event_not_sent", type=event, error=describe(error))


def _shown(name: str, summary: str, *, root_id: str | None) -> dict[str, Any]:
    """What Flower shows of a task that was received; what is not there is none: its parent, when it was to begin."""
    return {"name": name, "args": summary, "kwargs": "", "root_id": root_id, "retries": 0}


def arguments(body: Any) -> tuple[Any, ...]:
    """The task's arguments; none when the body cannot be read: the task then refuses the message."""
    try:
        return tuple(parsed_own(body)[0])
    except (ValueError, TypeError, LookupError, RecursionError):
        return ()
