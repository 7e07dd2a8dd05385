"""The dead letters of a running stack, as the services see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.fakes import MemoryDeadLetterHolder, MemoryDeliveries, MemorySends, MemoryTraces
from unoapi.broker.dead_letter_queue import BrokerDeadLetterQueue
from unoapi.services.dead_letters import DeadLetters

if TYPE_CHECKING:
    from tests.support.stack import Stack
    from unoapi.broker.publisher import ConfirmingPublisher


def dead_letters(stack: Stack, publisher: ConfirmingPublisher) -> DeadLetters:
    """The dead letters in RabbitMQ, with nothing else of the stack's memory."""
    return DeadLetters(
        BrokerDeadLetterQueue(stack.environment["AMQP_URL"], publisher.topology, publisher),
        MemoryDeadLetterHolder(),
        deliveries=MemoryDeliveries(),
        sends=MemorySends(),
        traces=MemoryTraces(),
    )
