"""Events of one conversation, one after the other: for webhooks that ask for it (`ordered`).

A delivery that comes before its turn waits in RabbitMQ, as ever, and whoever is done before it makes its attempt at
once, so that a conversation is as fast as its receiver and holds one thread at a time. The message that waited finds
its delivery done, or, when that attempt failed, makes its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.errors import Postponed

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.jobs import DeliverWebhook
    from unoapi.ports import Ordering

WAIT_MS = 1000
WAIT_PER_POSITION_MS = 100
LONGEST_WAIT_MS = 8_000
LONGEST_RUN_S = 10.0
"""For so long one task makes the attempts of others, which its own acknowledgement waits for."""


def ensure_turn(job: DeliverWebhook, order: Ordering) -> None:
    """Raise Postponed while an earlier event of the conversation is on its way."""
    position = order.position(job)
    if position:
        wait_ms = min(WAIT_MS + position * WAIT_PER_POSITION_MS, LONGEST_WAIT_MS)
        raise Postponed("an earlier event of the conversation is on its way", after_ms=wait_ms)


def pass_on(job: DeliverWebhook, order: Ordering, attempt: Callable[[DeliverWebhook], None]) -> None:
    """Make room for the next, and make the attempts of those who wait for it. `attempt` must not raise."""
    deadline = time.monotonic() + LONGEST_RUN_S
    following = order.leave(job, take=True)
    while following is not None:
        attempt(following)
        # When the time is up, the next one is left to the message that comes by itself.
        following = order.leave(following, take=time.monotonic() < deadline)
