"""What every task shares. A message runs through `UnoTask.__call__` from top to bottom."""

from __future__ import annotations

import random
import time
from contextlib import nullcontext
from logging import DEBUG, INFO, WARNING
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state as worker_state
from pydantic import ValidationError

from unoapi.broker.dead_letters import to_dead_letter
from unoapi.broker.messages import (
    DELIVERIES_HEADER,
    NOT_BEFORE_HEADER,
    came_ms,
    history_of,
    to_quarantine,
    waited_in,
)
from unoapi.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    Held,
    PermanentError,
    Poison,
    Postponed,
    ShareUsed,
    UnoError,
    describe,
    safe_traceback,
)
from unoapi.models.jobs import JOBS, DeliverWebhook, Envelope, Job, MessageJob, now_ms
from unoapi.models.trace import TraceEntry
from unoapi.services.failure_callbacks import attempt_report, follow_up_jobs
from unoapi.services.retries import OWN_TROUBLE, GiveUp, decide, ensure_fresh, with_failure
from unoapi.telemetry.logging import bound, get_logger
from unoapi.telemetry.metrics import metrics
from unoapi.telemetry.tracing import HEADER as TRACE_HEADER
from unoapi.telemetry.tracing import is_tracing, span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from tasks.app import Worker
    from unoapi.bootstrap import Uno
    from unoapi.broker.messages import Message
    from unoapi.models.attempts import Attempt, History
    from unoapi.models.trace import Step

log = get_logger(__name__)
Following = TypeVar("Following", bound=MessageJob)

NOT_TRACED: AbstractContextManager[None] = nullcontext()
PUBLISH_DEADLINE_S = 30.0
ALARM_PATIENCE_S = 900.0
"""Half of the time after which RabbitMQ takes a message back that is not acknowledged."""
EARLY_MS = 5
MAX_REDELIVERIES = 3
"""A message that is redelivered more often may be what ends the workers."""
MAX_WORKER_LOSSES = 3


class UnoTask(Task[Any, Any]):
    """A task that takes one job. The class of the error that it raises decides what happens next.

    Celery wraps `run`: for an error of `autoretry_for` it calls `retry`, which puts the job back for later. An error of
    `dont_autoretry_for`, and one that `retry` raises again, leaves `run`, and the job is given up.
    """

    abstract = True
    Request = "unoapi.broker.celery:SafeRequest"
    Strategy = "tasks.strategy:strategy"
    autoretry_for: ClassVar[tuple[type[Exception], ...]] = (Exception,)
    dont_autoretry_for: ClassVar[tuple[type[Exception], ...]] = (PermanentError,)
    max_retries = None  # Celery's own limit; ours is the retry schedule's
    early_look_ms: ClassVar[int] = 0
    """After so long a job that is retried much later comes back once, and `goes_on_early` decides."""

    @property
    def uno(self) -> Uno:
        """The parts that the worker was made of."""
        return cast("Worker", self.app).uno

    @property
    def history(self) -> History:
        """What happened to this job before, and what `carry` added."""
        history = history_of(self.request.headers)
        carried = getattr(self.request, "carried", None)
        return history.model_copy(update=carried) if carried else history

    def carry(self, **fields: Any) -> None:
        """Set fields of the history that go with this job from now on: through retries, and into the dead letter."""
        carried = getattr(self.request, "carried", None) or {}
        vars(self.request)["carried"] = {**carried, **fields}  # the request is this run's alone

    @property
    def redelivered(self) -> bool:
        """Whether a worker had this job before and stopped in the middle of it."""
        return self.history.redelivered or bool(self._delivery_info.get("redelivered"))

    def as_perhaps_repeated(self, following: Following) -> Following:
        """A message's next job; after a worker stopped with this one it may be the second, not sent without Redis."""
        return following.model_copy(update={"claimed_only": True}) if self.redelivered else following

    @property
    def _delivery_info(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.request.delivery_info or {})

    def __call__(self, *args: Any, **_: Any) -> Any:
        """Run the task with the job of one message."""
        job = self._begin(args)
        with (
            metrics().busy.track_inprogress(),
            bound(message_id=job.message_id, phone=job.phone, task_id=job.id),
            self._span(job),
        ):
            try:
                self._ensure_due(job)
                self._quarantine_poison(job)
                ensure_fresh(job, max_age_s=self.uno.settings.unoapi_message_max_age)
                return self.run(job)  # calls `retry` for errors of `autoretry_for`
            except (Ignore, Reject, Retry):
                raise
            except Exception as error:  # noqa: BLE001 (every error ends here: as a dead letter)
                self._give_up_or_reject(job, error)
                raise _public(error) from None

    def retry(self, *_: Any, exc: BaseException | None = None, **__: Any) -> Any:
        """Put the job back into a waiting bucket, with its history; raise the error when it is to be given up.

        Celery's own idea of the countdown, in whole seconds, is not used.
        """
        error = exc or UnoError("asked for a retry")
        history = with_failure(self.history, error).model_copy(update={"redelivered": self.redelivered})
        decision = decide(
            error,
            history,
            retries=self.request.retries,
            schedule=self.uno.retry_schedule,
            draw=random.random(),  # noqa: S311 (spreads load, hides nothing)
        )
        if isinstance(decision, GiveUp):
            raise error
        job: Job = self.request.get("job")  # read before the task ran
        holding = error.token if isinstance(error, Held) else ""
        looks = not isinstance(error, Postponed) and decision.delay_ms >= 2 * self.early_look_ms
        look_ms = self.early_look_ms if looks else 0
        again = Envelope(job, decision.delay_ms, decision.retries, history, holding=holding, look_ms=look_ms)
        self.publish_patiently([again, *self.attempt_reports(job, error, history, decision.delay_ms)])
        self._report_retry(job, error, history, decision.delay_ms)
        raise Retry(exc=_public(error), when=decision.delay_ms / 1000)  # type: ignore[arg-type]

    def _span(self, job: Job) -> AbstractContextManager[Any]:
        """This run as a step of the trace that its message belongs to."""
        if not is_tracing():
            return NOT_TRACED
        names = {"messaging.system": "rabbitmq", "messaging.destination.name": self.uno.topology.queue(job.queue)}
        names |= {"messaging.message.id": job.id, "unoapi.message_id": job.message_id, "unoapi.phone": job.phone}
        names |= {"unoapi.webhook": str(getattr(job, "webhook_id", ""))}
        parent = (self.request.headers or {}).get(TRACE_HEADER)
        return span(job.task, "consumer", parent=parent, **names, **{"unoapi.retries": self.request.retries})

    # --- before the task runs ---

    def _begin(self, args: tuple[Any, ...]) -> Job:
        """The job. Whatever goes wrong before there is one, the broker dead-letters it: Celery would acknowledge it."""
        try:
            self._note_queue_ages()
            return self._read_job(args)
        except Reject:
            raise
        except Exception as error:  # noqa: BLE001 (the message must survive any of them)
            log.error("job_not_begun", task=self.name, task_id=self.request.id, error=describe(error))
            raise Reject(describe(error), requeue=False) from None

    def _note_queue_ages(self) -> None:
        """Record when this message had come to its queue, and to the bucket where it waited before."""
        headers, ages = self.request.headers, self.uno.queue_ages
        queue, came = self._delivery_info.get("routing_key"), came_ms(headers)
        if queue and came is not None:
            ages.taken(queue, came)
        if waited := waited_in(headers, self.uno.topology):
            ages.taken(*waited)

    def _read_job(self, args: tuple[Any, ...]) -> Job:
        """The job in the message, which `retry` finds on the request. An unreadable message goes to the dead queue."""
        try:
            job = JOBS[self.name].model_validate(args[0] if args else None)
        except ValidationError as error:
            log.error(
                "invalid_job", task=self.name, task_id=self.request.id, error=describe(error), hint="unoapi dead list"
            )
            metrics().died("invalid_job")
            raise Reject(describe(error), requeue=False) from None
        self.request.update(job=job)
        return job

    def goes_on_early(self, job: Job) -> bool:  # noqa: ARG002 (for those that know)
        """Whether a job that is back before it is due runs now."""
        return False

    def _ensure_due(self, job: Job) -> None:
        """Wait once more when the wait was longer than the longest bucket, or when this was but a look."""
        due_ms = (self.request.headers or {}).get(NOT_BEFORE_HEADER)
        if isinstance(due_ms, int) and (left_ms := due_ms - now_ms()) > EARLY_MS and not self.goes_on_early(job):
            self.publish_patiently([Envelope(job, left_ms, self.request.retries, self.history)])
            raise Ignore

    def _quarantine_poison(self, job: Job) -> None:
        """Move a message that was redelivered too often to where it can only end a process that has nothing else."""
        count = (self.request.headers or {}).get(DELIVERIES_HEADER)
        history, topology = self.history, self.uno.topology
        if history.worker_losses >= MAX_WORKER_LOSSES:
            raise Poison(f"{history.worker_losses} processes ended while they had this message alone")
        in_quarantine = self._delivery_info.get("routing_key") == topology.queue("suspect")
        if in_quarantine or not isinstance(count, int) or count <= MAX_REDELIVERIES:
            return
        history = history.model_copy(update={"redelivered": True})
        self.publish_patiently(
            [], [to_quarantine(Envelope(job, retries=self.request.retries, history=history), topology)]
        )
        detail = f"redelivered {count} times; handled alone from now on"
        self.uno.traces.add(_entry(job, "suspected", history, detail=detail))
        log.warning("suspected", task=job.task, redeliveries=count, hint="see that the `suspect` process runs")
        raise Ignore

    # --- when it is given up ---

    def _give_up_or_reject(self, job: Job, error: Exception) -> None:
        """Give the job up. When that fails, the broker dead-letters the message: Celery would acknowledge it."""
        try:
            self._give_up(job, error)
        except Reject:
            raise
        except Exception as trouble:  # noqa: BLE001 (the message must survive any of them)
            log.error("not_given_up", task=job.task, error=describe(trouble), traceback=safe_traceback(trouble))
            raise Reject(describe(error), requeue=False) from None

    def _give_up(self, job: Job, error: Exception) -> None:
        """Publish the dead letter and the follow-up jobs, all confirmed before the message is acknowledged."""
        uno, history, reason = self.uno, with_failure(self.history, error), _reason(error)
        follow_ups = follow_up_jobs(
            job,
            reason=reason,
            error=describe(error),
            history=history,
            sessions=uno.sessions,
            callbacks=uno.settings.status_failed_webhook_url is not None,
            notices=uno.settings.notify_failed_messages,
            alerts=bool(uno.alert_channels.names),
        )
        dead_letter = to_dead_letter(
            Envelope(job, history=history),
            uno.topology,
            reason=reason,
            error=describe(error),
            traceback="" if isinstance(error, UnoError) else safe_traceback(error),
        )
        self.publish_patiently(follow_ups, [dead_letter])
        uno.backlog.leave(job.phone, job.id)
        if isinstance(job, MessageJob):
            uno.send_order.leave(job)
        self._report_given_up(job, error, history)

    def publish_patiently(self, envelopes: Sequence[Envelope], messages: Sequence[Message] = ()) -> None:
        """Publish with patience. When RabbitMQ stays away the message stays on its queue: neither lost nor dead.

        During an alarm it waits here: to give it back counts as a delivery, and after twenty of them it is dead.
        """
        started = time.monotonic()
        while True:
            try:
                return self.uno.publisher.publish(envelopes, messages=messages)
            except BrokerUnavailable as error:
                alarm = isinstance(error, BrokerBlocked) and worker_state.should_stop is None
                if time.monotonic() - started >= (ALARM_PATIENCE_S if alarm else PUBLISH_DEADLINE_S):
                    log.error("not_published", error=f"{error}", hint="check RabbitMQ; the message stays on its queue")
                    raise Reject(f"{error}", requeue=True) from None
                time.sleep(1.0)

    # --- what is recorded ---

    def attempt_reports(self, job: Job, error: BaseException, history: History, delay_ms: int) -> list[Envelope]:
        """The callback about this attempt, if the operator wants one for each."""
        settings = self.uno.settings
        wanted = settings.unoapi_report_attempts and settings.status_failed_webhook_url is not None
        if (
            not wanted
            or not isinstance(job, DeliverWebhook)
            or not job.notify_on_failure
            or isinstance(error, Postponed)
        ):
            return []
        return [Envelope(attempt_report(job, history, delay_ms=delay_ms))] if _attempt_of(error) else []

    def _report_retry(self, job: Job, error: BaseException, history: History, delay_ms: int) -> None:
        metrics().retried(_reason(error))
        postponed = isinstance(error, (Postponed, *OWN_TROUBLE))
        attempt = _attempt_of(error)
        step: Step = "postponed" if postponed and attempt is None else "attempt"
        until = "in the queue of the endpoint" if isinstance(error, Held) else f"again in {delay_ms / 1000:.1f} s"
        detail = f"{describe(error)}; {until}"
        self.uno.traces.add(_entry(job, step, history, detail=detail, attempt=attempt))
        log.log(
            _level(error, postponed=postponed),
            "postponed" if postponed else "will_retry",
            task=job.task,
            error=describe(error),
            after_ms=delay_ms,
            attempts=history.tries,
            webhook_id=getattr(job, "webhook_id", ""),
        )

    def _report_given_up(self, job: Job, error: Exception, history: History) -> None:
        reason = _reason(error)
        metrics().died(reason)
        self.uno.dead_letter_counts.add(job.phone)
        detail = f"{reason}: {describe(error)}"
        self.uno.traces.add(_entry(job, "dead", history, detail=detail, attempt=_attempt_of(error)))
        log.error(
            "given_up",
            task=job.task,
            queue=self.uno.topology.queue(job.queue),
            reason=reason,
            error=describe(error),
            attempts=history.tries,
            webhook_id=getattr(job, "webhook_id", ""),
            hint=f"unoapi dead show {job.id}",
        )


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, UnoError) else "bug"


def _level(error: BaseException, *, postponed: bool) -> int:
    """What waits its turn, or for an endpoint of which one line tells, is for who debugs: it may be thousands."""
    if not postponed:
        return WARNING
    return DEBUG if type(error) in (Postponed, Held, ShareUsed) else INFO


def _attempt_of(error: BaseException) -> Attempt | None:
    attempt: Attempt | None = getattr(error, "attempt", None)
    return attempt


def _public(error: BaseException) -> UnoError:
    """The error for dashboards. Its own text may quote what the job holds, and so may its cause."""
    return UnoError(f"{_reason(error)}: {describe(error)}")


def _entry(job: Job, step: Step, history: History, *, detail: str, attempt: Attempt | None = None) -> TraceEntry:
    kind = job.kind if isinstance(job, DeliverWebhook) else job.task
    return TraceEntry.of(job, step, kind=kind, tries=history.tries or None, attempt=attempt, detail=detail)
