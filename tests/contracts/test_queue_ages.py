"""The ages of queues, in a real Redis: what waits is at most as old as the time that was written last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import now_ms
from unoapi.stores.queue_ages import RedisQueueAges
from unoapi.stores.redis import RedisClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

LONG_AGO = 1_767_225_600_000


@pytest.fixture
def raw_redis(servers: PrivateServers) -> Any:
    raw_redis = redis.Redis.from_url(servers.redis_url, decode_responses=True)
    raw_redis.flushall()
    return raw_redis


@pytest.fixture
def redis_client(servers: PrivateServers) -> Iterator[RedisClient]:
    opened = RedisClient(servers.redis_url)
    yield opened
    opened.close()


def written(raw_redis: Any) -> None:
    """Wait until what was posted is written."""
    time.sleep(0.1)
    eventually(lambda: 0 < raw_redis.ttl("unoapi-queue-clock:unoapi") <= 7 * 86_400)


def test_the_age_of_an_unknown_queue_begins_with_the_first_read(raw_redis: Any, redis_client: RedisClient) -> None:
    queue_ages = RedisQueueAges(redis_client, prefix="unoapi")
    before = now_ms()

    first = queue_ages.since({"outgoing": 3})["outgoing"]
    written(raw_redis)
    time.sleep(0.05)

    assert before <= first <= now_ms()
    assert queue_ages.since({"outgoing": 3})["outgoing"] in (first, first + 1)


def test_the_last_message_taken_bounds_the_age(raw_redis: Any, redis_client: RedisClient) -> None:
    queue_ages = RedisQueueAges(redis_client, prefix="unoapi")

    queue_ages.taken("outgoing", LONG_AGO)
    queue_ages.taken("outgoing", LONG_AGO + 1)  # within the same second
    written(raw_redis)

    assert queue_ages.since({"outgoing": 1, "incoming": 0}) == {"outgoing": LONG_AGO}


def test_an_empty_queue_begins_anew(raw_redis: Any, redis_client: RedisClient) -> None:
    queue_ages = RedisQueueAges(redis_client, prefix="unoapi")
    queue_ages.taken("outgoing", LONG_AGO)
    written(raw_redis)

    assert queue_ages.since({"outgoing": 0}) == {}
    written(raw_redis)

    assert now_ms() - queue_ages.since({"outgoing": 1})["outgoing"] < 2000


def test_nothing_is_stored_of_queues_that_come_and_go_while_they_are_empty(
    raw_redis: Any, redis_client: RedisClient
) -> None:
    queue_ages = RedisQueueAges(redis_client, prefix="unoapi")
    queue_ages.taken("session.1", LONG_AGO)
    queue_ages.taken("session.2", LONG_AGO)
    written(raw_redis)

    ages = queue_ages.since({}, passing={"session.1": 2, "session.2": 0, "session.3": 1, "session.4": 0})
    written(raw_redis)

    assert ages["session.1"] == LONG_AGO
    assert ages.keys() == {"session.1", "session.3"}
    kept = {"taken:session.1", "count:session.1", "empty:session.3"}
    assert set(raw_redis.hgetall("unoapi-queue-clock:unoapi")) == kept


def test_installations_have_times_of_their_own_and_rubbish_is_no_time(
    raw_redis: Any, redis_client: RedisClient
) -> None:
    RedisQueueAges(redis_client, prefix="other").taken("outgoing", LONG_AGO)
    raw_redis.hset("unoapi-queue-clock:unoapi", mapping={"taken:outgoing": "x", "empty:outgoing": "-5"})
    time.sleep(0.1)

    assert now_ms() - RedisQueueAges(redis_client, prefix="unoapi").since({"outgoing": 1})["outgoing"] < 2000


def test_without_redis_there_are_no_ages() -> None:
    away = RedisClient("redis://127.0.0.1:1")
    queue_ages = RedisQueueAges(away, prefix="unoapi")

    queue_ages.taken("outgoing", LONG_AGO)
    with pytest.raises(StoreUnavailable):
        queue_ages.since({"outgoing": 1})
    away.close()


# --- rates ---


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    times = [now_ms()]
    monkeypatch.setattr("unoapi.stores.queue_ages.now_ms", lambda: times[0])
    monkeypatch.setattr("unoapi.stores.queue_ages.WRITE_EVERY_S", 0.0)
    return times


def test_two_looks_say_how_many_come_and_go_a_second(
    raw_redis: Any, redis_client: RedisClient, clock: list[int]
) -> None:
    web, worker = (RedisQueueAges(redis_client, prefix="unoapi") for _ in range(2))
    assert web.rates({"outgoing": 5, "incoming": 0}) == {}
    for _ in range(20):
        worker.taken("outgoing", LONG_AGO)
    written(raw_redis)
    clock[0] += 10_000

    rates = web.rates({"outgoing": 15, "incoming": 0})
    written(raw_redis)

    assert rates == {"outgoing": (3.0, 2.0), "incoming": (0.0, 0.0)}
    clock[0] += 1_000
    assert RedisQueueAges(redis_client, prefix="unoapi").rates({"outgoing": 99}) == rates  # too soon for another look


@pytest.mark.parametrize(
    "look", ["", "x", "[]", "[1, 2, 3]", '[1, {"a": 2}, {}]', '["now", {}, {}]', "[1e999, {}, {}]"]
)
def test_a_look_that_nobody_can_read_or_of_long_ago_says_nothing(
    raw_redis: Any, redis_client: RedisClient, clock: list[int], look: str
) -> None:
    queue_ages = RedisQueueAges(redis_client, prefix="unoapi")
    raw_redis.hset("unoapi-queue-clock:unoapi", "look", look)

    assert queue_ages.rates({"outgoing": 1}) == {}
    written(raw_redis)
    clock[0] += 400_000
    assert queue_ages.rates({"outgoing": 1}) == {}


def test_a_queue_whose_count_began_anew_has_no_rate(
    raw_redis: Any, redis_client: RedisClient, clock: list[int]
) -> None:
    queue_ages = RedisQueueAges(redis_client, prefix="unoapi")
    raw_redis.hset("unoapi-queue-clock:unoapi", "count:outgoing", 100)
    queue_ages.rates({"outgoing": 1})
    written(raw_redis)
    raw_redis.hset("unoapi-queue-clock:unoapi", "count:outgoing", 3)
    clock[0] += 10_000

    assert queue_ages.rates({"outgoing": 1}) == {}
