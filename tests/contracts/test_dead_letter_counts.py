"""Which number makes how many dead letters, on the real Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from tests.support.constants import PHONE
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.stores.dead_letter_counts import DAY_S, RedisDeadLetterCounts

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

OTHER = "5511900000077"


def test_the_number_with_the_most_is_counted_for_two_days(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    counts = RedisDeadLetterCounts(redis_client)
    assert counts.largest() == 0

    for phone in (PHONE, OTHER, PHONE):
        counts.add(phone)

    assert eventually(lambda: counts.largest() == 2)
    assert [counts.today(phone) for phone in (PHONE, OTHER, "5511900000078")] == [2, 1, 0]
    (key,) = raw_redis.keys("unoapi-dead-today:*")
    assert DAY_S < raw_redis.ttl(key) <= 2 * DAY_S


def test_the_log_names_a_number_that_made_many(redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unoapi.stores.dead_letter_counts.MANY", 2)
    counts = RedisDeadLetterCounts(redis_client)

    with structlog.testing.capture_logs() as logs:
        for phone in (PHONE, OTHER, PHONE, PHONE):
            counts.add(phone)
        redis_client.close()  # runs what was posted

    (line,) = [line for line in logs if line["event"] == "many_dead_letters"]
    assert (line["phone"], line["today"]) == (PHONE, 2)


def test_without_redis_counting_is_silent_and_reading_says_so(away: RedisClient) -> None:
    counts = RedisDeadLetterCounts(away)

    counts.add(PHONE)

    with pytest.raises(StoreUnavailable):
        counts.largest()
    with pytest.raises(StoreUnavailable):
        counts.today(PHONE)
