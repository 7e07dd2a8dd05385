"""How long the ladder waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import make_delivery
from unoapi.broker.topology import BUCKET_BOUNDS_S, Topology
from unoapi.errors import TooOld
from unoapi.models.jobs import now_ms
from unoapi.services.retries import JITTER, backoff, ensure_fresh, parked, too_old, with_jitter

ATTEMPTS = st.integers(1, 10_000)
MILLISECONDS = st.integers(1, 86_400_000)


def test_the_wait_doubles_from_the_base() -> None:
    waits = [backoff(attempt, base_ms=10_000, cap_ms=3_600_000) for attempt in range(1, 6)]

    assert waits == [10_000, 20_000, 40_000, 80_000, 160_000]


@given(ATTEMPTS, MILLISECONDS, MILLISECONDS)
def test_a_later_retry_never_waits_less(attempt: int, base_ms: int, cap_ms: int) -> None:
    now = backoff(attempt, base_ms=base_ms, cap_ms=cap_ms)

    assert backoff(attempt + 1, base_ms=base_ms, cap_ms=cap_ms) >= now


@given(ATTEMPTS, MILLISECONDS, MILLISECONDS)
def test_a_wait_stays_between_the_base_and_the_cap(attempt: int, base_ms: int, cap_ms: int) -> None:
    assert min(base_ms, cap_ms) <= backoff(attempt, base_ms=base_ms, cap_ms=cap_ms) <= cap_ms


def test_a_long_ladder_reaches_its_cap() -> None:
    assert backoff(30, base_ms=1, cap_ms=86_400_000) == 86_400_000


@given(MILLISECONDS, st.floats(0, 1))
def test_jitter_is_added_only_and_little(wait_ms: int, draw: float) -> None:
    assert wait_ms <= with_jitter(wait_ms, draw=draw) <= wait_ms * (1 + JITTER)


def test_two_that_failed_together_do_not_come_back_together() -> None:
    assert with_jitter(10_000, draw=0.0) != with_jitter(10_000, draw=1.0)


@given(st.integers(1, BUCKET_BOUNDS_S[-1] * 1000))
def test_a_wait_goes_to_the_first_bucket_that_is_long_enough(delay_ms: int) -> None:
    number = Topology("unoapi").bucket(delay_ms)

    assert delay_ms <= BUCKET_BOUNDS_S[number] * 1000
    assert number == 0 or delay_ms > BUCKET_BOUNDS_S[number - 1] * 1000


def test_a_job_is_too_old_only_after_its_maximum_age() -> None:
    fresh = make_delivery(accepted_at_ms=now_ms() - 9_000)
    old = make_delivery(accepted_at_ms=now_ms() - 11_000)

    assert not too_old(fresh, max_age_s=10)
    assert too_old(old, max_age_s=10)
    ensure_fresh(fresh, max_age_s=10)
    with pytest.raises(TooOld, match="10 s"):
        ensure_fresh(old, max_age_s=10)


@pytest.mark.parametrize(
    ("at_least_ms", "draw", "wait_ms"),
    [
        (0, 0.0, 1000),
        (1000, 0.4, 1000),
        (1001, 0.4, 2000),
        (5000, 0.4, 8000),
        (5000, 0.6, 16_000),
        (60_000, 1.0, 128_000),
    ],
)
def test_what_is_parked_waits_for_exactly_the_bound_of_a_bucket(at_least_ms: int, draw: float, wait_ms: int) -> None:
    assert parked(at_least_ms, draw=draw) == wait_ms
    assert wait_ms // 1000 in BUCKET_BOUNDS_S
