"""What every task shares: the retry on the ladder, the dead letter, the failure that is told."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from pydantic import ValidationError

from unoapi.bootstrap import unoapi
from unoapi.broker.dead_letters import to_dead_letter
from unoapi.broker.messages import (
    DELIVERIES_HEADER,
    NOT_BEFORE_HEADER,
    came_ms,
    history_of,
    to_message,
    to_quarantine,
    waited_in,
)
from unoapi.errors import (
    BrokerUnavailable,
    PermanentError,
    Poison,
    Postponed,
    StoreUnavailable,
    UnoError,
    describe,
    safe_traceback,
)
from unoapi.models.attempts import Attempt, History
from unoapi.models.jobs import JOBS, DeliverWebhook, Envelope, Job, now_ms
from unoapi.models.trace import TraceEntry
from unoapi.services.failure_callbacks import follow_up_jobs
from unoapi.services.retries import backoff, with_jitter
from unoapi.telemetry.logging import bound, get_logger
from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.broker.messages import Message

log = get_logger(__name__)

PUBLISH_DEADLINE_S = 30.0
EARLY_MS = 5
OWN_TROUBLE = (BrokerUnavailable, StoreUnavailable)
"""Not the receiver's fault: uses up no retry."""
OWN_TROUBLE_MS = 2000
MAX_REDELIVERIES = 3
"""A message that is redelivered more often may be what ends the workers."""
MAX_DEATHS = 3


class UnoTask(Task[Any, Any]):
    """A task that takes one job.

    The class of an error decides: transient ones and bugs go up the ladder, permanent ones are given up at once.
    """

    abstract = True
    Request = "unoapi.broker.celery:SafeRequest"
    autoretry_for: ClassVar[tuple[type[Exception], ...]] = (Exception,)
    dont_autoretry_for: ClassVar[tuple[type[Exception], ...]] = (PermanentError,)
    max_retries = None  # the limit is the settings'; `retry` below keeps it

    @property
    def history(self) -> History:
        """What happened to this job before."""
        return history_of(self.request.headers)

    @property
    def redelivered(self) -> bool:
        """Whether a worker had this job before and stopped in the middle of it."""
        return self.history.redelivered or bool((self.request.delivery_info or {}).get("redelivered"))

    def __call__(self, *args: Any, **_: Any) -> Any:
        """Run the task with its job, and give the job up when its error says so."""
        self._note_taken()
        job = self._job(args)
        with metrics().busy.track_inprogress(), bound(message_id=job.message_id, phone=job.phone, task_id=job.id):
            try:
                self._ensure_due(job)
                self._quarantine_poison(job)
                return self.run(job)
            except (Ignore, Reject, Retry):
                raise
            except Exception as error:  # noqa: BLE001 (every error ends here: as a dead letter)
                self._give_up_or_reject(job, error)
                # Raised without its cause: its text goes to dashboards, and may quote what the job holds.
                raise _told(error) from None

    def retry(self, *_: Any, exc: BaseException | None = None, **__: Any) -> Any:
        """Put the job back for later: into a waiting bucket, with everything that happened so far.

        Called by `autoretry_for`; its own idea of the countdown, in whole seconds, is not used.
        """
        error = exc or UnoError("asked for a retry")
        job = JOBS[self.name].model_validate((self.request.args or [None])[0])
        history = _with_attempt(self.history, error).model_copy(update={"redelivered": self.redelivered})
        if isinstance(error, Postponed):
            delay_ms, retries = error.after_ms, self.request.retries
        elif isinstance(error, OWN_TROUBLE):
            delay_ms, retries = OWN_TROUBLE_MS, self.request.retries
        else:
            settings = unoapi().settings
            ours = not isinstance(error, UnoError)
            step = history.internal_errors if ours else self.request.retries + 1
            if step > settings.unoapi_message_retry_limit:
                raise error
            # A bug has a ladder of its own: it leaves the receiver all attempts.
            retries = self.request.retries if ours else step
            delay_ms = backoff(
                step,
                base_ms=settings.unoapi_message_retry_delay,
                cap_ms=settings.unoapi_message_retry_max_delay,
            )
        if not isinstance(error, Postponed) or error.jitter:
            delay_ms = with_jitter(delay_ms, draw=random.random())  # noqa: S311 (spreads load, hides nothing)
        envelope = Envelope(job, delay_ms=delay_ms, retries=retries, history=history)
        self._publish([to_message(envelope, unoapi().topology)])
        metrics().retried(_reason(error) if isinstance(error, Exception) else "bug")
        _tell_retry(job, error, history, delay_ms)
        raise Retry(exc=_told(error), when=delay_ms / 1000)  # type: ignore[arg-type]

    def _note_taken(self) -> None:
        """For the ages of queues: when this message had come to its queue, and to the bucket where it waited before."""
        uno, headers = unoapi(), self.request.headers
        queue, came = (self.request.delivery_info or {}).get("routing_key"), came_ms(headers)
        if queue and came is not None:
            uno.clock.taken(queue, came)
        if waited := waited_in(headers, uno.topology):
            uno.clock.taken(*waited)

    def _job(self, args: tuple[Any, ...]) -> Job:
        """The job in the message. One that cannot be read goes to the dead queue, as the broker has it."""
        try:
            return JOBS[self.name].model_validate(args[0] if args else None)
        except ValidationError as error:
            log.error(
                "invalid_job", task=self.name, task_id=self.request.id, error=describe(error), hint="unoapi dead list"
            )
            metrics().died("invalid_job")
            raise Reject(describe(error), requeue=False) from None

    def _ensure_due(self, job: Job) -> None:
        """Hop again when the wait was longer than the longest bucket."""
        due_ms = (self.request.headers or {}).get(NOT_BEFORE_HEADER)
        if isinstance(due_ms, int) and due_ms - now_ms() > EARLY_MS:
            envelope = Envelope(job, due_ms - now_ms(), self.request.retries, self.history)
            self._publish([to_message(envelope, unoapi().topology)])
            raise Ignore

    def _quarantine_poison(self, job: Job) -> None:
        """Move a message that was redelivered too often to where it can only end a process that has nothing else."""
        history = self.history
        if history.worker_losses >= MAX_DEATHS:
            raise Poison(f"{history.worker_losses} processes ended while they had this message alone")
        uno, request = unoapi(), self.request
        count = (request.headers or {}).get(DELIVERIES_HEADER)
        suspect = (request.delivery_info or {}).get("routing_key") == uno.topology.queue("suspect")
        if suspect or not isinstance(count, int) or count <= MAX_REDELIVERIES:
            return
        history = history.model_copy(update={"redelivered": True})
        self._publish([to_quarantine(Envelope(job, retries=request.retries, history=history), uno.topology)])
        uno.traces.add(
            _entry(job, "suspected", history, detail=f"redelivered {count} times; handled alone from now on")
        )
        log.warning("suspected", task=job.task, redeliveries=count, hint="see that the `suspect` process runs")
        raise Ignore

    def _give_up_or_reject(self, job: Job, error: Exception) -> None:
        """Give the job up. A bug on the way leaves the message to the broker: Celery would acknowledge it."""
        try:
            self._give_up(job, error)
        except Reject:
            raise
        except Exception as trouble:  # noqa: BLE001 (the message must survive any of them)
            log.error("not_given_up", task=job.task, error=describe(trouble), traceback=safe_traceback(trouble))
            raise Reject(describe(error), requeue=False) from None

    def _give_up(self, job: Job, error: Exception) -> None:
        """Keep the job as a dead letter and tell what follows, all confirmed before the message is acknowledged."""
        uno = unoapi()
        history = _with_attempt(self.history, error)
        reason = _reason(error)
        envelopes = follow_up_jobs(
            job,
            reason=reason,
            error=describe(error),
            history=history,
            sessions=uno.sessions,
            callbacks=uno.settings.status_failed_webhook_url is not None,
            notices=uno.settings.notify_failed_messages,
        )
        trouble = "" if isinstance(error, UnoError) else safe_traceback(error)
        letter = to_dead_letter(
            Envelope(job, history=history), uno.topology, reason=reason, error=describe(error), traceback=trouble
        )
        self._publish([letter, *(to_message(envelope, uno.topology) for envelope in envelopes)])
        metrics().died(reason)
        uno.backlog.leave(job.phone, job.id)
        attempt = getattr(error, "attempt", None)
        uno.traces.add(_entry(job, "dead", history, detail=f"{reason}: {describe(error)}", attempt=attempt))
        log.error(
            "given_up",
            task=job.task,
            queue=uno.topology.queue(job.queue),
            reason=reason,
            error=describe(error),
            attempts=history.tries,
            webhook_id=getattr(job, "webhook_id", ""),
            hint=f"unoapi dead show {job.id}",
        )

    def _publish(self, messages: Sequence[Message]) -> None:
        """Publish with patience. What cannot be published stays where it is: neither lost nor dead."""
        deadline = time.monotonic() + PUBLISH_DEADLINE_S
        while True:
            try:
                return unoapi().publisher.publish_messages(messages)
            except BrokerUnavailable as error:
                if time.monotonic() >= deadline:
                    log.error("not_published", error=f"{error}", hint="check RabbitMQ; the message stays on its queue")
                    raise Reject(f"{error}", requeue=True) from None
                time.sleep(1.0)


def _with_attempt(history: History, error: BaseException) -> History:
    """Add the attempt that the error tells of; a bug is written down too, a wait without a request is not."""
    attempt: Attempt | None = getattr(error, "attempt", None)
    ours = not isinstance(error, UnoError)
    if ours:
        history = history.model_copy(update={"internal_errors": history.internal_errors + 1})
    if attempt is None and not isinstance(error, (Postponed, PermanentError, *OWN_TROUBLE)):
        attempt = Attempt(error=describe(error), outcome="own_fault" if ours else "")
    return history if attempt is None else history.with_attempt(attempt)


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, UnoError) else "bug"


def _told(error: BaseException) -> UnoError:
    return UnoError(f"{_reason(error) if isinstance(error, Exception) else 'bug'}: {describe(error)}")


def _entry(job: Job, step: Any, history: History, *, detail: str, attempt: Attempt | None = None) -> TraceEntry:
    delivery = job if isinstance(job, DeliverWebhook) else None
    return TraceEntry(
        step=step,
        phone=job.phone,
        message_id=job.message_id,
        kind=delivery.kind if delivery else job.task,
        webhook=delivery.webhook_id if delivery else "",
        delivery_id=job.id if delivery else "",
        attempt=history.tries or None,
        status=attempt.status if attempt else None,
        duration_ms=attempt.duration_ms if attempt else None,
        detail=detail[:300],
    )


def _tell_retry(job: Job, error: BaseException, history: History, delay_ms: int) -> None:
    postponed = isinstance(error, (Postponed, *OWN_TROUBLE))
    attempt: Attempt | None = getattr(error, "attempt", None)
    unoapi().traces.add(
        _entry(
            job,
            "postponed" if postponed and attempt is None else "attempt",
            history,
            detail=f"{describe(error)}; again in {delay_ms / 1000:.1f} s",
            attempt=attempt,
        )
    )
    log.log(
        20 if postponed else 30,
        "postponed" if postponed else "will_retry",
        task=job.task,
        error=describe(error),
        after_ms=delay_ms,
        attempts=history.tries,
        webhook_id=getattr(job, "webhook_id", ""),
    )
