"""What numbers use on a day of services that cost something."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryUsage
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.stores.usage import DAY_S, RedisUsage

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

OTHER = "5511900000077"


@pytest.fixture(params=["memory", "redis"])
def usage(request: pytest.FixtureRequest) -> MemoryUsage | RedisUsage:
    return MemoryUsage() if request.param == "memory" else RedisUsage(request.getfixturevalue("redis_client"))


def test_what_is_over_the_bound_of_a_day_is_not_counted(usage: MemoryUsage | RedisUsage) -> None:
    assert [usage.spend(PHONE, "seconds", amount, most=10) for amount in (6, 5, 4, 1)] == [True, False, True, False]

    assert usage.used(PHONE, "seconds") == 10


def test_numbers_and_kinds_are_counted_by_themselves(usage: MemoryUsage | RedisUsage) -> None:
    usage.spend(PHONE, "seconds", 10, most=10)

    assert usage.spend(OTHER, "seconds", 10, most=10)
    assert usage.spend(PHONE, "characters", 10, most=10)


def test_nothing_is_too_much_without_a_bound(usage: MemoryUsage | RedisUsage) -> None:
    assert usage.spend(PHONE, "seconds", 10**9, most=0)
    assert usage.used(PHONE, "seconds") == 10**9


def test_what_is_given_back_may_be_spent_again(usage: MemoryUsage | RedisUsage) -> None:
    usage.spend(PHONE, "seconds", 10, most=10)

    usage.give_back(PHONE, "seconds", 10)

    assert eventually(lambda: usage.used(PHONE, "seconds") == 0)
    assert usage.spend(PHONE, "seconds", 10, most=10)


def test_a_day_is_forgotten_after_two(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    RedisUsage(redis_client).spend(PHONE, "seconds", 1, most=0)

    (key,) = raw_redis.keys("*")
    assert key == f"unoapi-usage:{PHONE}:{int(time.time()) // DAY_S}"
    assert DAY_S < raw_redis.ttl(key) <= 2 * DAY_S


def test_without_redis_nothing_is_spent(away: RedisClient) -> None:
    with pytest.raises(StoreUnavailable):
        RedisUsage(away).spend(PHONE, "seconds", 1, most=0)

    RedisUsage(away).give_back(PHONE, "seconds", 1)
