"""Counts over time: by the minute for all together, by the hour for a number and an endpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryActivity
from tests.support.stack import eventually
from unoapi.models.activity import ALL, BUCKET_BYTES, DELIVERED, RECEIVED, SENT, Point
from unoapi.models.endpoints import Endpoint
from unoapi.models.trace import TraceEntry, read_entry
from unoapi.stores.activity import RedisActivity

if TYPE_CHECKING:
    import redis

    from unoapi.models.activity import Span
    from unoapi.stores.redis import Command, RedisClient

NOON = 1_767_268_800  # the first of January 2026
CRM = Endpoint(PHONE, "crm")


class Clock:
    """A time that a test sets."""

    now_s = float(NOON)

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
def activity(request: pytest.FixtureRequest, clock: Clock) -> MemoryActivity | RedisActivity:
    if request.param == "memory":
        return MemoryActivity(now_s=clock)
    return RedisActivity(request.getfixturevalue("redis_client"), now_s=clock)


def step(word: str, **fields: object) -> TraceEntry:
    return read_entry({"step": word, "phone": PHONE, "message_id": "wamid.1", "webhook": "crm", **fields})


def last_point(activity: MemoryActivity | RedisActivity, series: str, span: Span) -> Point:
    """The point of now, as soon as it has something."""
    activity.flush()
    point: Point = eventually(lambda: any((last := activity.read(series, span).points[-1]).counts) and last)
    return point


def test_nothing_is_counted_at_first(activity: MemoryActivity | RedisActivity) -> None:
    hour = activity.read(ALL, "hour")

    assert (len(hour.points), hour.step_s) == (60, 60)
    assert not any(hour.totals.counts)
    assert activity.last_errors([CRM]) == [None]


@pytest.mark.parametrize(
    ("series", "span"), [(ALL, "hour"), (ALL, "day"), (ALL, "month"), (PHONE, "week"), (CRM.key, "week")]
)
def test_a_delivery_counts_for_all_for_its_number_and_for_its_endpoint(
    activity: MemoryActivity | RedisActivity, series: str, span: Span
) -> None:
    activity.note(step("delivered", duration_ms=20))
    activity.note(step("attempt", status=503, duration_ms=20))

    point = last_point(activity, series, span)

    assert point.as_json() == {
        "received": 0, "sent": 0, "send_failed": 0, "delivered": 1, "failed": 1, "dead": 0, "p50_ms": 18, "p95_ms": 24,
    }  # fmt: skip


def test_messages_count_for_their_number_alone(activity: MemoryActivity | RedisActivity) -> None:
    activity.count(PHONE, RECEIVED)
    activity.count(PHONE, SENT, 2)

    point = last_point(activity, PHONE, "week")

    assert (point.counts[RECEIVED], point.counts[SENT]) == (1, 2)
    assert last_point(activity, ALL, "hour").counts[SENT] == 2
    assert not any(activity.read("5521977776666", "week").totals.counts)


def test_what_happens_at_each_endpoint_of_a_number_and_to_itself_counts_once_for_the_number_and_for_all(
    activity: MemoryActivity | RedisActivity,
) -> None:
    others = replace(step("delivered", duration_ms=20), webhook="other:one")
    activity.count(PHONE, RECEIVED)
    for entry in (step("delivered", duration_ms=20), others, others):
        activity.note(entry)
    activity.note(replace(others, phone="5521977776666"))

    counts = {series: last_point(activity, series, "week").counts for series in (PHONE, CRM.key, f"{PHONE}:other:one")}
    counts[ALL] = last_point(activity, ALL, "hour").counts

    assert {series: (each[RECEIVED], each[DELIVERED]) for series, each in counts.items()} == {
        ALL: (1, 4), PHONE: (1, 3), CRM.key: (0, 1), f"{PHONE}:other:one": (0, 2),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("later_s", "span", "position"),
    [(59, "hour", -1), (60, "hour", -2), (3599, "hour", -60), (13 * 3600, "day", -1 - 156), (86_400, "month", -25)],
)
def test_what_was_counted_moves_back_with_the_time_also_over_midnight(
    activity: MemoryActivity | RedisActivity, clock: Clock, later_s: int, span: Span, position: int
) -> None:
    activity.count(PHONE, SENT)
    last_point(activity, ALL, "hour")

    clock.now_s += later_s

    assert [place for place, point in enumerate(activity.read(ALL, span).points) if point.counts[SENT]] == [
        len(activity.read(ALL, span).points) + position
    ]


def test_the_last_error_of_an_endpoint_is_there_without_when_it_is_tried_again(
    activity: MemoryActivity | RedisActivity,
) -> None:
    activity.note(step("attempt", status=500, duration_ms=9, detail="HTTP 500; again in 10.0 s"))
    last = step("attempt", status=None, duration_ms=15_000, detail="no answer; in time; again in 20.0 s")
    activity.note(last)
    activity.flush()

    errors = eventually(lambda: (found := activity.last_errors([CRM, Endpoint(PHONE, "bot")]))[0] and found)

    assert errors[1] is None
    assert errors[0] is not None
    assert errors[0].as_json() == {
        "at": last.at.isoformat(), "status": None, "error": "no answer; in time", "duration_ms": 15_000,
    }  # fmt: skip


def test_a_number_has_no_minutes(activity: MemoryActivity | RedisActivity) -> None:
    with pytest.raises(ValueError, match="hour"):
        activity.read(PHONE, "hour")


def test_counts_are_written_by_themselves_within_a_second(redis_client: RedisClient) -> None:
    activity = RedisActivity(redis_client)

    activity.count(PHONE, SENT)

    assert eventually(lambda: sum(point.counts[SENT] for point in activity.read(ALL, "hour").points) == 1)


def test_of_many_numbers_a_part_is_written_each_second_and_all_in_the_end(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.activity.WRITTEN_TOGETHER", 20)
    monkeypatch.setattr("unoapi.stores.activity.FLUSH_S", 0.05)
    activity = RedisActivity(redis_client)
    phones = [f"55119{70_000_000 + number}" for number in range(50)]
    written: list[set[object]] = []
    post = redis_client.post

    def noted(*commands: Command) -> None:
        written.append({key for _, key, *_ in commands})
        post(*commands)

    monkeypatch.setattr(redis_client, "post", noted)

    for phone in phones:
        activity.count(phone, SENT)

    eventually(lambda: all(activity.read(phone, "week").totals.counts[SENT] == 1 for phone in phones), what="all")
    assert max(map(len, written)) <= 22  # all together have a key by the minute, too
    assert len(written) >= 3


def test_with_too_many_to_be_written_what_happens_at_another_endpoint_counts_for_its_number(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.activity.MAX_SERIES", 1)
    activity = RedisActivity(redis_client)
    activity.count(PHONE, RECEIVED)

    activity.note(step("delivered", duration_ms=20))
    activity.count("5521977776666", RECEIVED)

    of_all, of_number = last_point(activity, ALL, "hour").counts, last_point(activity, PHONE, "week").counts
    assert [(each[RECEIVED], each[DELIVERED]) for each in (of_all, of_number)] == [(2, 1), (1, 1)]


def test_a_series_is_bounded_in_bytes_and_in_time(
    redis_client: RedisClient, raw_redis: redis.Redis, clock: Clock
) -> None:
    """The last minute of a day is the end of its string."""
    activity = RedisActivity(redis_client, now_s=clock)
    clock.now_s += 12 * 3600 - 1

    activity.note(step("delivered", duration_ms=60_000))
    last_point(activity, ALL, "hour")

    day = NOON // 86_400
    keys = {key: raw_redis.strlen(key) for key in raw_redis.keys("unoapi-activity:*")}
    hours = [f"unoapi-activity:{series}:h:{day}" for series in (ALL, PHONE, CRM.key)]
    assert keys == {f"unoapi-activity:all:m:{day}": 1440 * BUCKET_BYTES} | dict.fromkeys(hours, 24 * BUCKET_BYTES)
    assert all(0 < raw_redis.ttl(key) <= 32 * 86_400 for key in keys)


def test_what_redis_holds_of_another_version_is_no_reason_to_fail(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    activity = RedisActivity(redis_client)
    raw_redis.set("unoapi-last-error:5511999990000:crm", "soon")

    assert activity.last_errors([CRM]) == [None]


def test_without_redis_counting_is_silent(away: RedisClient) -> None:
    activity = RedisActivity(away)

    for _ in range(1000):
        activity.count(PHONE, SENT)
    activity.flush()
