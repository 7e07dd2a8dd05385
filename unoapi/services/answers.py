"""What the answer of an HTTP receiver means for the job that posted to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors import DeliveryFailed, DeliveryRefused, Postponed

if TYPE_CHECKING:
    from unoapi.models.attempts import Answer

GONE = 410
THROTTLED = frozenset({429, 503})


def delivery_error(answer: Answer) -> DeliveryRefused | DeliveryFailed:
    """The error of an answer that is no 2xx: DeliveryRefused when no retry can help, else DeliveryFailed."""
    attempt = answer.as_attempt()
    if answer.blocked:
        return DeliveryRefused(answer.error, reason="blocked", attempt=attempt)
    if answer.status == GONE:
        return DeliveryRefused("the endpoint answered 410: it is gone", reason="gone", attempt=attempt)
    return DeliveryFailed(answer.summary, attempt=attempt)


def asked_to_wait(answer: Answer) -> Postponed | None:
    """The wait that a receiver asks for (429 or 503 with `Retry-After`), which uses up no retry; else none."""
    if answer.status not in THROTTLED or answer.retry_after_s is None:
        return None
    message = f"{answer.summary} with Retry-After"
    return Postponed(message, after_ms=answer.retry_after_s * 1000, attempt=answer.as_attempt())
