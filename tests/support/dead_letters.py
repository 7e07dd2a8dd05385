"""Makes dead letters without waiting for deliveries to be given up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.constants import PHONE
from tests.support.stack import TOPOLOGY
from unoapi.broker.dead_letters import to_dead_letter
from unoapi.models.attempts import Attempt, History
from unoapi.models.jobs import DeliverWebhook, Envelope, computed_id

if TYPE_CHECKING:
    from unoapi.broker.publisher import ConfirmingPublisher


def delivery(number: int, *, phone: str = PHONE, webhook: str = "main") -> DeliverWebhook:
    return DeliverWebhook(
        id=computed_id("letter", phone, webhook, str(number)),
        phone=phone,
        message_id=f"wamid.{number}",
        event_id=f"event-{number}",
        webhook_id=webhook,
        kind="message",
        stored=True,
        body=json.dumps({"number": number}),
    )


def bury(publisher: ConfirmingPublisher, jobs: list[DeliverWebhook], *, reason: str = "delivery_failed") -> None:
    """Publish the jobs as dead letters, as if one attempt had ended with 500."""
    history = History().with_attempt(Attempt(status=500, duration_ms=3))
    dead_letters = [
        to_dead_letter(Envelope(job, history=history), TOPOLOGY, reason=reason, error="HTTP 500") for job in jobs
    ]
    publisher.publish_messages(dead_letters, timeout_s=30)
