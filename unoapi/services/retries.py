"""Whether a failed job is tried again, how long it waits, and when waiting ends."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unoapi.errors import (
    BrokerUnavailable,
    PermanentError,
    Postponed,
    SendFailed,
    SendPostponed,
    StoreUnavailable,
    TooOld,
    TransientError,
    Unclaimed,
    UnoError,
    describe,
)
from unoapi.models.attempts import Attempt
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from unoapi.models.attempts import History
    from unoapi.models.jobs import Job

OWN_TROUBLE = (BrokerUnavailable, StoreUnavailable)
"""RabbitMQ or Redis is away: not the receiver's fault, so it uses up no retry."""
OWN_TROUBLE_MS = 2000
LONGEST_STORE_WAIT_MS = 60_000
PATIENCE_MS = ((1_000, 1_000), (5_000, 4_000), (15_000, 10_000))
"""Up to this age, a status waits so long for the message that it belongs to."""

SMALLEST_JUMP_MS = 60_000
_CLOCKS_APART_MS = now_ms() - time.monotonic_ns() // 1_000_000
JITTER = 0.1
"""Largest added share of a wait. Added only: a wait is never early."""


@dataclass(frozen=True)
class RetrySchedule:
    """How many retries follow the first attempt, and the waits before them: see `backoff`."""

    limit: int
    base_ms: int
    cap_ms: int


@dataclass(frozen=True)
class RetryAfter:
    """Try again after `delay_ms`; `retries` is how many of the schedule's retries are used up then."""

    delay_ms: int
    retries: int


@dataclass(frozen=True)
class GiveUp:
    """Try no more: the job becomes a dead letter."""


def decide(
    error: BaseException, history: History, *, retries: int, schedule: RetrySchedule, draw: float
) -> RetryAfter | GiveUp:
    """What happens to a job after this error. `history` counts it already, `retries` are those used up before.

    | error | decision |
    | --- | --- |
    | PermanentError | give up |
    | Postponed | after the time that it names; no retry is used up |
    | BrokerUnavailable, StoreUnavailable | after two seconds; no retry is used up |
    | any other UnoError | the next retry of the schedule |
    | a bug | a schedule of its own, so that it leaves the receiver all attempts |

    `draw` is a random number from 0 to 1, for the jitter.
    """
    if isinstance(error, PermanentError):
        return GiveUp()
    if isinstance(error, Postponed):
        return RetryAfter(with_jitter(error.after_ms, draw=draw) if error.jitter else error.after_ms, retries)
    if isinstance(error, OWN_TROUBLE):
        return RetryAfter(with_jitter(OWN_TROUBLE_MS, draw=draw), retries)
    is_bug = not isinstance(error, UnoError)
    step = history.internal_errors if is_bug else retries + 1
    if step > schedule.limit:
        return GiveUp()
    delay_ms = backoff(step, base_ms=schedule.base_ms, cap_ms=schedule.cap_ms)
    return RetryAfter(with_jitter(delay_ms, draw=draw), retries if is_bug else step)


def with_failure(history: History, error: BaseException) -> History:
    """The history after this error. A bug counts as an attempt, too; a wait without a request does not."""
    if isinstance(error, Unclaimed):
        history = history.model_copy(update={"unclaimed": True})
    if isinstance(error, (SendFailed, SendPostponed)):
        history = history.model_copy(update={"refusal": error.refusal})
    if isinstance(error, TransientError) and error.held_claim:
        history = history.with_held_claim(error.held_claim)
    attempt: Attempt | None = getattr(error, "attempt", None)
    is_bug = not isinstance(error, UnoError)
    if is_bug:
        history = history.model_copy(update={"internal_errors": history.internal_errors + 1})
    if attempt is None and not isinstance(error, (Postponed, PermanentError, *OWN_TROUBLE)):
        attempt = Attempt(error=describe(error), outcome="own_fault" if is_bug else "")
    return history if attempt is None else history.with_attempt(attempt)


def backoff(attempt: int, *, base_ms: int, cap_ms: int) -> int:
    """Wait before the next try, in milliseconds: base x 2^(attempt - 1), at most the cap.

    `attempt` counts from 1. Never negative, never above `cap_ms`.
    """
    exponent = min(attempt - 1, 40)  # beyond that every cap is reached, and the number stays small
    return min(base_ms << exponent, cap_ms)


def with_jitter(wait_ms: int, *, draw: float) -> int:
    """The wait with a little added, so that many that failed together do not come back together.

    `draw` is a random number from 0 to 1.
    """
    return wait_ms + int(wait_ms * JITTER * draw)


def bucket_wait_ms(at_least_ms: int, *, draw: float) -> int:
    """A wait for what may go on later: the next power of two seconds, or twice that.

    Those are the bounds of the waiting buckets, in which only the first message can expire: one that waits for exactly
    the bound delays no other, and all come back as they came, not as a flood. `draw` is a random number from 0 to 1.
    """
    bound_ms = 1000
    while bound_ms < at_least_ms:
        bound_ms *= 2
    return bound_ms * (2 if draw >= 0.5 else 1)  # noqa: PLR2004


def too_old(job: Job, *, max_age_s: int) -> bool:
    """Whether the job has waited longer than it may, by a clock that did not jump since this process started."""
    age_ms = now_ms() - job.due_at_ms
    return age_ms > max_age_s * 1000 and age_ms - _jumped_ms() > max_age_s * 1000


def _jumped_ms() -> int:
    """By how much the clock was set forward since this process started; 0 for less than `SMALLEST_JUMP_MS`.

    Else a clock that is set wrong for a moment would end all waiting.
    """
    jumped_ms = now_ms() - time.monotonic_ns() // 1_000_000 - _CLOCKS_APART_MS
    return jumped_ms if jumped_ms >= SMALLEST_JUMP_MS else 0


def ensure_fresh(job: Job, *, max_age_s: int) -> None:
    """Raise TooOld when the job has waited longer than it may."""
    if too_old(job, max_age_s=max_age_s):
        raise TooOld(f"not done within {max_age_s} s after it was accepted")


def wait_for_store(error: StoreUnavailable, *, age_ms: int) -> Postponed:
    """The wait of what cannot go on without a store: the longer it is away, the longer, so that workers stay free."""
    after_ms = min(max(OWN_TROUBLE_MS, age_ms // 2), LONGEST_STORE_WAIT_MS)
    return Postponed(f"it waits for what does not answer: {error}", after_ms=after_ms)


def wait_for_pair(age_ms: int, *, answer_ms: int = 0) -> None:
    """Raise Postponed while it may still come to light which of our messages a status means.

    A status may overtake the answer to the send, which alone says under which id WhatsApp has the message; that may
    take `answer_ms`, if that is longer than usual.
    """
    for until_ms, wait_ms in (*PATIENCE_MS, (answer_ms, PATIENCE_MS[-1][1])):
        if 0 <= age_ms < until_ms:
            raise Postponed("the message of this status is not known yet", after_ms=wait_ms)
