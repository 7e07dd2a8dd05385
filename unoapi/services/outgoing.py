"""Events on their way to the client's webhooks: stamp, fan out, deliver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unoapi.errors import DeliveryFailed, DeliveryRefused, Postponed, StoreUnavailable
from unoapi.models.events import Event
from unoapi.models.jobs import DeliverWebhook, FanOut, computed_id
from unoapi.services.retries import ensure_fresh

if TYPE_CHECKING:
    from unoapi.models.attempts import Attempt, History
    from unoapi.models.events import Traits
    from unoapi.models.session import Webhook
    from unoapi.ports import Deliveries, SessionStore, WebhookSender

GONE = 410
THROTTLED = frozenset({429, 503})


def stamp(event: Event, *, phone: str, sessions: SessionStore, told: bool = True) -> FanOut:
    """The job for an event, stamped with the ids of the webhooks that the session has now, never with tokens.

    When the session cannot be looked up the stamp stays empty, and the fan-out waits until it can.
    """
    webhook_ids: tuple[str, ...] | None
    try:
        session = sessions.find(phone)
        webhook_ids, stored = tuple(webhook.id for webhook in session.webhooks), session.stored
    except (Postponed, StoreUnavailable):
        webhook_ids, stored = None, False
    return FanOut(
        id=event.event_id,
        phone=phone,
        message_id=event.message_id,
        kind=event.kind,
        body=event.body,
        webhook_ids=webhook_ids,
        stored=stored,
        told=told,
    )


@dataclass(frozen=True)
class FannedOut:
    """One delivery per webhook that wants the event, and the ids of those that do not."""

    deliveries: list[DeliverWebhook]
    filtered: list[str]


def fan_out(job: FanOut, *, sessions: SessionStore, max_age_s: int) -> FannedOut:
    """Choose the webhooks that want this event. Raises SessionUnknown when their filters cannot be read now."""
    ensure_fresh(job, max_age_s=max_age_s)
    if job.webhook_ids is None:
        session = sessions.find(job.phone)
        webhook_ids, stored = tuple(webhook.id for webhook in session.webhooks), session.stored
    else:
        webhook_ids, stored = job.webhook_ids, job.stored
        session = sessions.resolve(job.phone, stored=stored)
    event = Event(event_id=job.id, message_id=job.message_id, kind=job.kind, body=job.body)
    traits = event.traits(job.phone)
    fanned = FannedOut([], [])
    for webhook_id in webhook_ids:
        webhook = session.webhook(webhook_id)
        # A webhook that was removed meanwhile still gets its delivery: it ends dead, with that reason, and is told.
        if webhook is not None and not wants(webhook, traits):
            fanned.filtered.append(webhook_id)
            continue
        fanned.deliveries.append(
            DeliverWebhook(
                id=computed_id("delivery", job.id, webhook_id),
                phone=job.phone,
                message_id=job.message_id,
                accepted_at_ms=job.accepted_at_ms,
                told=job.told,
                event_id=job.id,
                webhook_id=webhook_id,
                kind=job.kind,
                stored=stored,
                body=job.body,
            )
        )
    return fanned


def wants(webhook: Webhook, traits: Traits) -> bool:
    """Whether the filters of a webhook let an event through, in the order of the original's decisions."""
    if traits.group and not webhook.send_group_messages:
        return False
    if traits.newsletter and not webhook.send_newsletter_messages:
        return False
    if traits.status:
        return webhook.send_update_messages
    if traits.own:
        return webhook.send_outgoing_messages
    return webhook.send_incoming_messages


def deliver(  # noqa: PLR0913 (collaborators)
    job: DeliverWebhook,
    *,
    history: History,
    sessions: SessionStore,
    deliveries: Deliveries,
    sender: WebhookSender,
    max_age_s: int,
) -> Attempt | None:
    """Make one attempt. None when the delivery was done before.

    Raises DeliveryFailed (retry), Postponed (wait, no retry used up), DeliveryRefused, TooOld (give up).
    """
    state = deliveries.state(job.id, phone=job.phone, webhook_id=job.webhook_id)
    if state.done:
        return None
    ensure_fresh(job, max_age_s=max_age_s)
    if state.paused_ms:
        raise Postponed("the endpoint asked for a pause", after_ms=state.paused_ms)
    webhook = sessions.resolve(job.phone, stored=job.stored).webhook(job.webhook_id)
    if webhook is None:
        raise DeliveryRefused("the webhook was removed from the session", reason="webhook_removed")
    answer = sender.post(webhook, phone=job.phone, delivery_id=job.id, attempt=history.tries + 1, body=job.body)
    attempt = answer.as_attempt()
    if answer.delivered:
        return attempt
    if answer.blocked:
        raise DeliveryRefused(answer.error, reason="blocked", attempt=attempt)
    if attempt.status == GONE:
        raise DeliveryRefused("the endpoint answered 410: it is gone", reason="gone", attempt=attempt)
    if attempt.status in THROTTLED and answer.retry_after_s is not None:
        pause_ms = max(1000, answer.retry_after_s * 1000)
        deliveries.pause(phone=job.phone, webhook_id=job.webhook_id, pause_ms=pause_ms)
        raise Postponed(f"HTTP {attempt.status} with Retry-After", after_ms=pause_ms, attempt=attempt)
    raise DeliveryFailed(f"HTTP {attempt.status}" if attempt.status else attempt.error, attempt=attempt)
