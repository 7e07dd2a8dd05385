"""Events towards the webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.errors import BrokerUnavailable, DeliveryFailed, DeliveryRefused, Postponed, describe
from unoapi.models.attempts import History
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut
from unoapi.models.trace import TraceEntry
from unoapi.services import bulkhead, failure_callbacks, ordering, webhooks
from unoapi.telemetry.logging import bound, get_logger
from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from unoapi.models.endpoints import EndpointChange

log = get_logger(__name__)


@app.task(name=FanOut.task, base=UnoTask)
def fan_out(job: FanOut) -> None:
    """Queue one delivery for each webhook that wants the event."""
    uno = unoapi()
    if not uno.statuses.admit(job.phone, job.message_id, status=job.kind, event_id=job.id):
        uno.order.skip(job, job.ordered)
        uno.traces.add(_step(job, "superseded", "").model_copy(update={"detail": "a later status was told already"}))
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
    uno.order.skip(job, [each for each in job.ordered if each in fanned.filters])
    uno.blacklist.mute(job.phone, fanned.counterparty, fanned.muted)
    if fanned.wrote:
        uno.timers.wrote(job.phone, fanned.counterparty, own=fanned.wrote == "own")
    if not fanned.deliveries and not fanned.filtered:
        uno.traces.add(_step(job, "filtered", "").model_copy(update={"detail": "the number has no webhook"}))
    uno.traces.add(
        *(
            _step(job, "filtered", webhook_id).model_copy(update={"detail": why})
            for webhook_id, why in fanned.filters.items()
        ),
        *(_step(job, "queued", delivery.webhook_id, delivery.id) for delivery in fanned.deliveries),
    )


@app.task(name=DeliverWebhook.task, base=UnoTask, bind=True)
def deliver(self: UnoTask, job: DeliverWebhook) -> None:
    """Make one attempt to deliver. In an ordered conversation, make those that wait for it, too."""
    if not job.contact:
        _attempt(job, self.history)
        return
    lines = unoapi().order
    ordering.ensure_turn(job, lines)
    try:
        _attempt(job, self.history)
    finally:
        # Retried, parked or done: the next one need not wait for it.
        ordering.pass_on(job, lines, _attempt_for_another)


def _attempt(job: DeliverWebhook, history: History) -> None:
    uno = unoapi()
    try:
        attempt = webhooks.deliver(
            job,
            history=history,
            context=webhooks.DeliveryContext(
                sessions=uno.sessions,
                deliveries=uno.deliveries,
                sender=uno.webhooks,
                breakers=uno.breakers,
                bulkhead=uno.share,
                notify=_tell,
                max_age_s=uno.settings.unoapi_message_max_age,
            ),
        )
    except (DeliveryFailed, DeliveryRefused, Postponed) as error:
        if error.attempt is not None:
            metrics().attempted(error.attempt.outcome, duration_ms=error.attempt.duration_ms)
        raise
    if attempt is None:
        if not job.contact:  # there it is the message that waited, and nothing worth telling
            uno.traces.add(_step(job, "duplicate", job.webhook_id, job.id))
        log.info("webhook_duplicate_skipped", webhook_id=job.webhook_id)
        return
    metrics().attempted(attempt.outcome, duration_ms=attempt.duration_ms)
    entry = TraceEntry(
        step="delivered",
        phone=job.phone,
        message_id=job.message_id,
        kind=job.kind,
        webhook=job.webhook_id,
        delivery_id=job.id,
        attempt=history.tries + 1,
        status=attempt.status,
        duration_ms=attempt.duration_ms,
    )
    uno.deliveries.finish(job.id, entry)
    log.info("webhook_delivered", webhook_id=job.webhook_id, status=attempt.status, duration_ms=attempt.duration_ms)


def _attempt_for_another(job: DeliverWebhook) -> None:
    """Make the attempt of a delivery whose message waits in RabbitMQ. When it fails, that message makes its own."""
    with bound(message_id=job.message_id, phone=job.phone, task_id=job.id):
        try:
            _attempt(job, History())
        except Exception as error:  # noqa: BLE001 (the message that waits is handled as any other)
            log.info("attempt_for_another_failed", webhook_id=job.webhook_id, error=describe(error))


def _tell(job: DeliverWebhook, news: EndpointChange) -> None:
    """Say once that an endpoint went down or came back. A broker that is away now must not undo a delivery."""
    uno = unoapi()
    event = "endpoint_down" if news.down else "endpoint_up"
    log.log(30 if news.down else 20, event, webhook_id=job.webhook_id, since_ms=news.since_ms)
    detail = "it is down: deliveries wait" if news.down else "it is up again"
    uno.traces.add(_step(job, "endpoint", job.webhook_id, job.id).model_copy(update={"detail": detail}))
    if not uno.settings.status_failed_webhook_url:
        return
    try:
        uno.publisher.publish([Envelope(bulkhead.news_report(job, news))])
    except BrokerUnavailable as error:
        log.warning("endpoint_news_not_published", webhook_id=job.webhook_id, error=f"{error}")


def _step(job: FanOut | DeliverWebhook, step: str, webhook_id: str, delivery_id: str = "") -> TraceEntry:
    return TraceEntry.model_validate(
        {
            "step": step,
            "phone": job.phone,
            "message_id": job.message_id,
            "kind": job.kind,
            "webhook": webhook_id,
            "delivery_id": delivery_id,
        }
    )
