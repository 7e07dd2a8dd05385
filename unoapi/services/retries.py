"""How long to wait before the next try, and when waiting ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors import TooOld
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from unoapi.models.jobs import Job

JITTER = 0.1
"""Largest added share of a wait. Added only: a wait is never early."""


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


def parked(at_least_ms: int, *, draw: float) -> int:
    """A wait for what may go on later: the next power of two seconds, or twice that.

    Those are the bounds of the waiting buckets, in which only the first message runs out: who waits for exactly the
    bound holds up nobody, and all come back as they came, not as a flood. `draw` is a random number from 0 to 1.
    """
    bound_ms = 1000
    while bound_ms < at_least_ms:
        bound_ms *= 2
    return bound_ms * (2 if draw >= 0.5 else 1)  # noqa: PLR2004


def too_old(job: Job, *, max_age_s: int) -> bool:
    """Whether the job has waited longer than it may."""
    return now_ms() - job.accepted_at_ms > max_age_s * 1000


def ensure_fresh(job: Job, *, max_age_s: int) -> None:
    """Raise TooOld when the job has waited longer than it may."""
    if too_old(job, max_age_s=max_age_s):
        raise TooOld(f"not done within {max_age_s} s after it was accepted")
