"""Events of one conversation, one after the other: for webhooks that ask for it (`ordered`).

A delivery that comes before its turn waits in RabbitMQ like any other. The task that finishes the delivery before it
makes its attempt at once, so that a conversation is as fast as its receiver and uses one thread at a time. When the
message that waited comes back, its delivery is done, or, when that attempt failed, it makes an attempt of its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.errors import Postponed, ShareUsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.jobs import DeliverWebhook
    from unoapi.ports import Ordering

WAIT_MS = 1000
WAIT_PER_POSITION_MS = 100
LONGEST_WAIT_MS = 8_000
LONGEST_RUN_S = 10.0
"""For so long one task makes the attempts of others; its own message is acknowledged only after them."""


def ensure_turn(job: DeliverWebhook, order: Ordering) -> None:
    """Raise Postponed while an earlier event of the conversation is on its way."""
    position = order.position(job)
    if position:
        wait_ms = min(WAIT_MS + position * WAIT_PER_POSITION_MS, LONGEST_WAIT_MS)
        raise Postponed("an earlier event of the conversation is on its way", after_ms=wait_ms)


def pass_on(
    job: DeliverWebhook, order: Ordering, attempt: Callable[[DeliverWebhook], bool], *, done: bool = False
) -> None:
    """Let the next delivery go, and make the attempts of those that wait already.

    `done` is whether the job was delivered; `attempt` says the same of the others, and raises nothing but ShareUsed.
    """
    deadline = time.monotonic() + LONGEST_RUN_S
    following = order.leave(job, take=True, done=done)
    while following is not None:
        try:
            done = attempt(following)
        except ShareUsed:  # nothing was posted: later ones must not pass it
            order.give_back(following)
            return
        # When the time is up, the next one is left to the message that comes by itself.
        following = order.leave(following, take=time.monotonic() < deadline, done=done)
