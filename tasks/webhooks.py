"""Events on their way to the webhooks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from celery import shared_task

from tasks.base import UnoTask
from unoapi.errors import BrokerUnavailable, DeliveryFailed, DeliveryRefused, Postponed, describe
from unoapi.models.attempts import History
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut
from unoapi.models.trace import TraceEntry
from unoapi.services import failure_callbacks, ordering, webhooks
from unoapi.telemetry.logging import bound, get_logger
from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.models.endpoints import EndpointChange

log = get_logger(__name__)


@shared_task(name=FanOut.task, base=UnoTask, bind=True)
def fan_out(self: UnoTask, job: FanOut) -> None:
    """Queue one delivery for each webhook that wants the event."""
    uno = self.uno
    if not uno.statuses.admit(job.phone, job.message_id, status=job.kind, event_id=job.id):
        uno.ordering.skip(job, job.ordered)
        uno.traces.add(TraceEntry.of(job, "superseded", detail="a later status was published already"))
        return
    fanned = webhooks.fan_out(
        job, sessions=uno.sessions, max_age_s=uno.settings.unoapi_message_max_age, blacklist=uno.blacklist
    )
    envelopes = [Envelope(delivery) for delivery in fanned.deliveries]
    report = failure_callbacks.status_report(job) if uno.settings.status_failed_webhook_url else None
    if report is not None:
        envelopes.append(Envelope(report))
    if envelopes:
        uno.publisher.publish(envelopes)
    uno.ordering.skip(job, [webhook_id for webhook_id in job.ordered if webhook_id in fanned.filters])
    uno.blacklist.mute(job.phone, fanned.counterparty, fanned.muted)
    if fanned.wrote:
        uno.timers.wrote(job.phone, fanned.counterparty, own=fanned.wrote == "own")
    uno.traces.add(*fanned.trace(job))


@shared_task(name=DeliverWebhook.task, base=UnoTask, bind=True)
def deliver(self: UnoTask, job: DeliverWebhook) -> None:
    """Make one attempt to deliver. In an ordered conversation, make those that wait for it, too."""
    uno = self.uno
    if not job.contact:
        _attempt(uno, job, self.history)
        return
    ordering.ensure_turn(job, uno.ordering)
    done = False
    try:
        _attempt(uno, job, self.history)
        done = True
    finally:
        # Retried, postponed or done: the next one need not wait for it.
        ordering.pass_on(job, uno.ordering, lambda waiting: _attempt_for_another(uno, waiting), done=done)


def _attempt(uno: Uno, job: DeliverWebhook, history: History) -> None:
    """Make one attempt, and record what became of it. Raises what `webhooks.deliver` raises."""
    try:
        attempt = webhooks.deliver(
            job,
            history=history,
            context=webhooks.DeliveryContext(
                sessions=uno.sessions,
                deliveries=uno.deliveries,
                sender=uno.webhook_client,
                breakers=uno.breakers,
                bulkhead=uno.bulkhead,
                notify=partial(_report_change, uno),
                max_age_s=uno.settings.unoapi_message_max_age,
            ),
        )
    except (DeliveryFailed, DeliveryRefused, Postponed) as error:
        if error.attempt is not None:
            metrics().attempted(error.attempt.outcome, duration_ms=error.attempt.duration_ms)
        raise
    if attempt is None:
        if not job.contact:  # there it is the message that waited, whose delivery another task has made
            uno.traces.add(TraceEntry.of(job, "duplicate"))
        log.info("webhook_duplicate_skipped", webhook_id=job.webhook_id)
        return
    metrics().attempted(attempt.outcome, duration_ms=attempt.duration_ms)
    uno.deliveries.finish(job.id, TraceEntry.of(job, "delivered", tries=history.tries + 1, attempt=attempt))
    log.info("webhook_delivered", webhook_id=job.webhook_id, status=attempt.status, duration_ms=attempt.duration_ms)


def _attempt_for_another(uno: Uno, job: DeliverWebhook) -> bool:
    """Make the attempt of a delivery whose message waits in RabbitMQ. Whether it is done; else that message tries."""
    with bound(message_id=job.message_id, phone=job.phone, task_id=job.id):
        try:
            _attempt(uno, job, History())
        except Exception as error:  # noqa: BLE001 (the message that waits is handled as any other)
            log.info("attempt_for_another_failed", webhook_id=job.webhook_id, error=describe(error))
            return False
    return True


def _report_change(uno: Uno, job: DeliverWebhook, change: EndpointChange) -> None:
    """Report once that an endpoint went down or came back. A broker that is away now must not undo a delivery."""
    event = "endpoint_down" if change.down else "endpoint_up"
    log.log(30 if change.down else 20, event, webhook_id=job.webhook_id, since_ms=change.since_ms)
    detail = "it is down: deliveries wait" if change.down else "it is up again"
    uno.traces.add(TraceEntry.of(job, "endpoint", detail=detail))
    if not uno.settings.status_failed_webhook_url:
        return
    try:
        uno.publisher.publish([Envelope(failure_callbacks.endpoint_report(job, change))])
    except BrokerUnavailable as error:
        log.warning("endpoint_change_not_reported", webhook_id=job.webhook_id, error=f"{error}")
