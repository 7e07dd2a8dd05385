"""Whether a failed job is tried again, and how long it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import PHONE, make_delivery, make_send
from unoapi import errors
from unoapi.broker.topology import BUCKET_BOUNDS_S, Topology
from unoapi.errors import (
    BrokerUnavailable,
    CallbackFailed,
    DeadLettersBusy,
    DeliveryFailed,
    DeliveryRefused,
    FetchFailed,
    Held,
    MediaQuotaReached,
    MediaTooLarge,
    MessageRejected,
    NoConnector,
    PermanentError,
    Postponed,
    RequestError,
    SendFailed,
    SendPostponed,
    SessionUnknown,
    ShareUsed,
    StoreUnavailable,
    TooOld,
    TransientError,
    Unclaimed,
    UnknownMessage,
    UnoError,
)
from unoapi.models.attempts import Attempt, History
from unoapi.models.jobs import FireTimer, now_ms
from unoapi.services.retries import (
    JITTER,
    OWN_TROUBLE_MS,
    GiveUp,
    RetryAfter,
    RetrySchedule,
    backoff,
    bucket_wait_ms,
    decide,
    ensure_fresh,
    too_old,
    with_failure,
    with_jitter,
)

DAY_MS = 86_400_000

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPTS = st.integers(1, 10_000)
MILLISECONDS = st.integers(1, 86_400_000)
SCHEDULE = RetrySchedule(limit=3, base_ms=1000, cap_ms=3000)
ATTEMPT = Attempt(status=500, outcome="refused")
NEW = History()
BUGS = History(internal_errors=2)


def make_error(kind: type[UnoError]) -> UnoError:
    """An error of this class."""
    arguments: dict[type[UnoError], dict[str, object]] = {
        DeliveryFailed: {"message": "x", "attempt": ATTEMPT},
        CallbackFailed: {"message": "x", "attempt": ATTEMPT},
        DeliveryRefused: {"message": "x", "reason": "gone"},
        MessageRejected: {"title": "x", "code": 1, "details": "x"},
        UnknownMessage: {"title": "x", "code": 1, "details": "x"},
        RequestError: {"title": "x", "code": 1, "status": 400, "details": "x"},
        Postponed: {"message": "x", "after_ms": 700},
        SendPostponed: {"message": "x", "after_ms": 700},
        Held: {"message": "x", "token": "0123456789ab", "after_ms": 700},
        ShareUsed: {"message": "x", "after_ms": 700, "briefly": True},
        NoConnector: {"phone": "1"},
        Unclaimed: {},
        MediaTooLarge: {"limit": 1},
        MediaQuotaReached: {"limit": 1},
        DeadLettersBusy: {"holder": "x"},
    }
    make: Callable[..., UnoError] = kind
    return make(**arguments[kind]) if kind in arguments else make("x")


@pytest.mark.parametrize(
    ("error", "retries", "history", "decision"),
    [
        # Failures of others use the schedule: 1 s, 2 s, 3 s (the cap), then no more.
        (make_error(DeliveryFailed), 0, NEW, RetryAfter(1000, 1)),
        (make_error(DeliveryFailed), 1, NEW, RetryAfter(2000, 2)),
        (make_error(DeliveryFailed), 2, NEW, RetryAfter(3000, 3)),
        (make_error(DeliveryFailed), 3, NEW, GiveUp()),
        (make_error(SendFailed), 0, NEW, RetryAfter(1000, 1)),
        (make_error(FetchFailed), 3, NEW, GiveUp()),
        (make_error(CallbackFailed), 2, NEW, RetryAfter(3000, 3)),
        (UnoError("of no other class"), 0, NEW, RetryAfter(1000, 1)),
        # A wait uses up nothing, also when there is nothing left.
        (make_error(Postponed), 0, NEW, RetryAfter(700, 0)),
        (make_error(Postponed), 3, NEW, RetryAfter(700, 3)),
        (make_error(SessionUnknown), 3, NEW, RetryAfter(10_000, 3)),
        (make_error(NoConnector), 3, NEW, RetryAfter(5000, 3)),
        # Nor does RabbitMQ or Redis being away.
        (make_error(BrokerUnavailable), 3, NEW, RetryAfter(OWN_TROUBLE_MS, 3)),
        (make_error(StoreUnavailable), 0, NEW, RetryAfter(OWN_TROUBLE_MS, 0)),
        # Bugs have a schedule of their own, and leave the receiver's as it is.
        (ValueError("x"), 3, History(internal_errors=1), RetryAfter(1000, 3)),
        (ValueError("x"), 0, History(internal_errors=2), RetryAfter(2000, 0)),
        (ValueError("x"), 0, History(internal_errors=3), RetryAfter(3000, 0)),
        (ValueError("x"), 0, History(internal_errors=4), GiveUp()),
        (make_error(DeliveryFailed), 0, History(internal_errors=4), RetryAfter(1000, 1)),
        # What will never go well is given up at once.
        (make_error(DeliveryRefused), 0, NEW, GiveUp()),
        (make_error(TooOld), 0, NEW, GiveUp()),
    ],
)  # fmt: skip
def test_the_error_decides_what_happens_next(
    error: Exception, retries: int, history: History, decision: RetryAfter | GiveUp
) -> None:
    assert decide(error, history, retries=retries, schedule=SCHEDULE, draw=0.0) == decision


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UnoError)]
)
def test_each_class_of_error_has_its_place_in_the_decision(kind: type[UnoError]) -> None:
    decision = decide(make_error(kind), NEW, retries=0, schedule=SCHEDULE, draw=0.0)

    uses_up_none = issubclass(kind, (Postponed, BrokerUnavailable, StoreUnavailable))
    if issubclass(kind, PermanentError):
        assert decision == GiveUp()
    elif issubclass(kind, TransientError):
        assert isinstance(decision, RetryAfter)
        assert decision.retries == (0 if uses_up_none else 1)


def test_a_limit_of_0_leaves_one_attempt() -> None:
    once = RetrySchedule(limit=0, base_ms=1000, cap_ms=3000)

    assert decide(make_error(DeliveryFailed), NEW, retries=0, schedule=once, draw=0.0) == GiveUp()
    assert decide(ValueError("x"), History(internal_errors=1), retries=0, schedule=once, draw=0.0) == GiveUp()
    assert decide(make_error(Postponed), NEW, retries=0, schedule=once, draw=0.0) == RetryAfter(700, 0)


def test_a_wait_gets_its_jitter_unless_it_is_spread_already() -> None:
    spread = Postponed("x", after_ms=700, jitter=False)

    assert decide(make_error(DeliveryFailed), NEW, retries=0, schedule=SCHEDULE, draw=1.0) == RetryAfter(1100, 1)
    assert decide(make_error(StoreUnavailable), NEW, retries=0, schedule=SCHEDULE, draw=1.0) == RetryAfter(2200, 0)
    assert decide(make_error(Postponed), NEW, retries=0, schedule=SCHEDULE, draw=1.0) == RetryAfter(770, 0)
    assert decide(spread, NEW, retries=0, schedule=SCHEDULE, draw=1.0) == RetryAfter(700, 0)


@pytest.mark.parametrize(
    ("error", "tries", "internal_errors"),
    [
        (make_error(DeliveryFailed), 1, 2),  # its own attempt
        (make_error(SendFailed), 1, 2),
        (Postponed("x", after_ms=1, attempt=ATTEMPT), 1, 2),  # a request was made
        (make_error(Postponed), 0, 2),
        (make_error(BrokerUnavailable), 0, 2),
        (make_error(StoreUnavailable), 0, 2),
        (make_error(TooOld), 0, 2),
        (DeliveryRefused("x", reason="gone", attempt=ATTEMPT), 1, 2),
        (ValueError("x"), 1, 3),
    ],
)
def test_a_failure_is_recorded_as_an_attempt_when_one_was_made(
    error: Exception, tries: int, internal_errors: int
) -> None:
    history = with_failure(BUGS, error)

    assert (history.tries, history.internal_errors, len(history.attempts)) == (tries, internal_errors, tries)


def test_a_send_that_could_not_be_claimed_is_marked_and_costs_no_attempt() -> None:
    history = with_failure(NEW, Unclaimed())

    assert (history.unclaimed, history.tries) == (True, 0)


def test_the_attempt_of_a_bug_names_its_class_and_quotes_nothing() -> None:
    (attempt,) = with_failure(NEW, ValueError("a body that must not show")).attempts

    assert (attempt.error, attempt.outcome) == ("ValueError", "own_fault")


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


def test_a_long_retry_schedule_reaches_its_cap() -> None:
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
def test_what_is_deferred_waits_for_exactly_the_bound_of_a_bucket(at_least_ms: int, draw: float, wait_ms: int) -> None:
    assert bucket_wait_ms(at_least_ms, draw=draw) == wait_ms
    assert wait_ms // 1000 in BUCKET_BOUNDS_S


def test_a_clock_that_jumps_ends_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, old = make_send(), make_send(accepted_at_ms=now_ms() - 3 * DAY_MS)
    jumped = now_ms() + 2 * DAY_MS
    monkeypatch.setattr("unoapi.services.retries.now_ms", lambda: jumped)

    assert not too_old(fresh, max_age_s=DAY_MS // 1000)
    assert too_old(old, max_age_s=DAY_MS // 1000)


def test_the_age_of_a_timer_counts_from_when_it_runs_out() -> None:
    started = now_ms() - 3 * DAY_MS
    step = {"timeout": 3 * DAY_MS, "message": "x"}
    timer = FireTimer(id="t", phone=PHONE, accepted_at_ms=started, to="5549988887777", step=step)
    late = timer.model_copy(update={"accepted_at_ms": started - 2 * DAY_MS})

    assert not too_old(timer, max_age_s=DAY_MS // 1000)
    assert too_old(late, max_age_s=DAY_MS // 1000)
