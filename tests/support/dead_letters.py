"""Dead letters of a running stack: makes them without waiting, and gives the service that lists them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.constants import PHONE
from tests.support.fakes import MemoryDeadLetterHolder, MemoryDeliveries, MemorySends, MemoryTraces
from tests.support.stack import TOPOLOGY
from unoapi.broker.dead_letter_queue import BrokerDeadLetterQueue
from unoapi.broker.dead_letters import to_dead_letter
from unoapi.models.attempts import Attempt, History
from unoapi.models.jobs import DeliverWebhook, Envelope, computed_id
from unoapi.services.dead_letters import DeadLetters

if TYPE_CHECKING:
    from tests.support.stack import Stack
    from unoapi.broker.publisher import ConfirmingPublisher, MessagePublisher


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


def bury(publisher: MessagePublisher, jobs: list[DeliverWebhook], *, reason: str = "delivery_failed") -> None:
    """Publish the jobs as dead letters, as if one attempt had ended with 500."""
    history = History().with_attempt(Attempt(status=500, duration_ms=3))
    messages = [
        to_dead_letter(Envelope(job, history=history), TOPOLOGY, reason=reason, error="HTTP 500") for job in jobs
    ]
    publisher.publish_messages(messages, timeout_s=30)


def dead_letters(stack: Stack, publisher: ConfirmingPublisher) -> DeadLetters:
    """The stack's dead letters, with nothing else of its memory."""
    return DeadLetters(
        BrokerDeadLetterQueue(stack.environment["AMQP_URL"], publisher.topology, publisher),
        MemoryDeadLetterHolder(),
        deliveries=MemoryDeliveries(),
        sends=MemorySends(),
        traces=MemoryTraces(),
    )
