"""The clocks of queues, in a real Redis: what waits is at most as old as the last note."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import now_ms
from unoapi.stores.queue_ages import RedisQueueAges
from unoapi.stores.redis import RedisClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

LONG_AGO = 1_767_225_600_000


@pytest.fixture
def memory(servers: PrivateServers) -> Any:
    raw_redis = redis.Redis.from_url(servers.redis_url, decode_responses=True)
    raw_redis.flushall()
    return raw_redis


@pytest.fixture
def redis_client(servers: PrivateServers) -> Iterator[RedisClient]:
    opened = RedisClient(servers.redis_url)
    yield opened
    opened.close()


def written(memory: Any) -> None:
    """Wait for what is written behind."""
    time.sleep(0.1)
    assert 0 < memory.ttl("unoapi-queue-clock:unoapi") <= 7 * 86_400


def test_of_an_unknown_queue_ages_begin_with_the_first_look(memory: Any, redis_client: RedisClient) -> None:
    clock = RedisQueueAges(redis_client, prefix="unoapi")
    before = now_ms()

    first = clock.since({"outgoing": 3})["outgoing"]
    written(memory)
    time.sleep(0.05)

    assert before <= first <= now_ms()
    assert clock.since({"outgoing": 3})["outgoing"] in (first, first + 1)


def test_the_last_message_taken_bounds_the_age(memory: Any, redis_client: RedisClient) -> None:
    clock = RedisQueueAges(redis_client, prefix="unoapi")

    clock.taken("outgoing", LONG_AGO)
    clock.taken("outgoing", LONG_AGO + 1)  # within the same second
    written(memory)

    assert clock.since({"outgoing": 1, "incoming": 0}) == {"outgoing": LONG_AGO}


def test_an_empty_queue_begins_anew(memory: Any, redis_client: RedisClient) -> None:
    clock = RedisQueueAges(redis_client, prefix="unoapi")
    clock.taken("outgoing", LONG_AGO)
    written(memory)

    assert clock.since({"outgoing": 0}) == {}
    written(memory)

    assert now_ms() - clock.since({"outgoing": 1})["outgoing"] < 2000


def test_of_queues_that_come_and_go_nothing_is_kept_while_they_are_empty(
    memory: Any, redis_client: RedisClient
) -> None:
    clock = RedisQueueAges(redis_client, prefix="unoapi")
    clock.taken("session.1", LONG_AGO)
    clock.taken("session.2", LONG_AGO)
    written(memory)

    found = clock.since({}, passing={"session.1": 2, "session.2": 0, "session.3": 1, "session.4": 0})
    written(memory)

    assert found["session.1"] == LONG_AGO
    assert found.keys() == {"session.1", "session.3"}
    assert set(memory.hgetall("unoapi-queue-clock:unoapi")) == {"taken:session.1", "empty:session.3"}


def test_installations_have_clocks_of_their_own_and_rubbish_is_no_time(memory: Any, redis_client: RedisClient) -> None:
    RedisQueueAges(redis_client, prefix="other").taken("outgoing", LONG_AGO)
    memory.hset("unoapi-queue-clock:unoapi", mapping={"taken:outgoing": "x", "empty:outgoing": "-5"})
    time.sleep(0.1)

    assert now_ms() - RedisQueueAges(redis_client, prefix="unoapi").since({"outgoing": 1})["outgoing"] < 2000


def test_without_redis_nothing_is_claimed() -> None:
    away = RedisClient("redis://127.0.0.1:1")
    clock = RedisQueueAges(away, prefix="unoapi")

    clock.taken("outgoing", LONG_AGO)
    with pytest.raises(StoreUnavailable):
        clock.since({"outgoing": 1})
    away.close()
