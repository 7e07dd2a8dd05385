"""Counting steps, and what is said of the counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.fakes import PHONE
from unoapi.models.activity import (
    COUNTED,
    DEAD,
    DELIVERED,
    FAILED,
    LATENCY_BOUNDS_MS,
    LONGEST_MS,
    SEND_FAILED,
    SLOTS,
    Activity,
    Point,
    counted_in,
    error_of,
    latency_slot,
    unpacked,
)
from unoapi.models.trace import TraceEntry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "slots"),
    [
        ({"step": "delivered", "webhook": "crm", "duration_ms": 30}, (DELIVERED, len(COUNTED) + 2)),
        ({"step": "delivered", "webhook": "crm"}, (DELIVERED, len(COUNTED))),
        ({"step": "attempt", "webhook": "crm", "status": 503, "duration_ms": 3}, (FAILED,)),
        ({"step": "attempt", "kind": "incoming.send"}, ()),
        ({"step": "dead", "webhook": "crm", "duration_ms": 3}, (DEAD, FAILED)),
        ({"step": "dead", "webhook": "crm"}, (DEAD,)),
        ({"step": "failed"}, (SEND_FAILED,)),
        ({"step": "received", "kind": "failed"}, (SEND_FAILED,)),
        ({"step": "accepted", "kind": "failed"}, (SEND_FAILED,)),
        ({"step": "received", "kind": "delivered"}, ()),
        ({"step": "accepted", "kind": "text"}, ()),
        ({"step": "postponed", "webhook": "crm"}, ()),
    ],
    ids=str,
)
def test_a_step_counts_in_its_slots(fields: dict[str, Any], slots: tuple[int, ...]) -> None:
    assert counted_in(TraceEntry(phone=PHONE, message_id="wamid.1", **fields)) == slots


@pytest.mark.parametrize(
    ("durations_ms", "p50_ms", "p95_ms"),
    [
        ([], None, None),
        ([1], 5, 10),
        ([30] * 20, 38, 49),
        ([1] * 90 + [400] * 10, 6, 375),
        ([20_000], 35_000, 57_500),
    ],
)
def test_the_quantiles_lie_in_the_bucket_of_their_duration(
    durations_ms: list[int], p50_ms: int | None, p95_ms: int | None
) -> None:
    counts = [0] * SLOTS
    for duration_ms in durations_ms:
        counts[latency_slot(duration_ms)] += 1
    point = Point(NOW, tuple(counts))

    assert (point.quantile_ms(0.5), point.quantile_ms(0.95)) == (p50_ms, p95_ms)


def test_every_duration_has_a_slot() -> None:
    longest = max(*LATENCY_BOUNDS_MS, LONGEST_MS, 10**9)

    assert {latency_slot(duration) for duration in (0, 10, 11, longest)} == {6, 7, SLOTS - 1}


def test_without_an_attempt_there_is_no_rate_of_success() -> None:
    nothing = Activity("hour", 60, [Point(NOW)])
    one_of_four = Activity("hour", 60, [Point(NOW, (0, 0, 0, 1, 3, 0, *[0] * 10))])

    assert nothing.as_json()["totals"]["success_rate"] is None
    assert one_of_four.as_json()["totals"]["success_rate"] == 0.25


def test_buckets_that_were_never_written_are_zero() -> None:
    assert unpacked(b"\0\0\0\7" + b"\0" * 60 + b"\0\0\0\1", buckets=3) == [
        (7, *[0] * 15),
        (1, *[0] * 15),
        (0,) * 16,
    ]


@pytest.mark.parametrize(
    ("step", "detail", "error"),
    [
        ("attempt", "HTTP 500; again in 1.1 s", "HTTP 500"),
        ("attempt", "HTTP 500; the endpoint is down; again in 1.0 s", "HTTP 500"),
        ("dead", "gone: the endpoint answered 410: it is gone", "gone: the endpoint answered 410: it is gone"),
    ],
)
def test_the_last_error_of_an_endpoint_says_neither_when_it_is_tried_again_nor_that_it_is_down(
    step: Any, detail: str, error: str
) -> None:
    """It is shown beside the state that the endpoint has now."""
    assert error_of(TraceEntry(step=step, phone=PHONE, message_id="wamid.1", detail=detail)) == error
