"""MessageIds: WhatsApp's ids and ours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.fakes import PHONE, MemoryIds
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.stores.message_ids import RedisMessageIds
from unoapi.stores.redis import RedisClient

if TYPE_CHECKING:
    from unoapi.devenv.servers import PrivateServers
    from unoapi.ports import MessageIds


@pytest.fixture(params=["memory", "redis"])
def ids(request: pytest.FixtureRequest) -> MessageIds:
    return (
        MemoryIds() if request.param == "memory" else RedisMessageIds(request.getfixturevalue("redis_client"), ttl_s=60)
    )


def test_an_unknown_id_is_its_own(ids: MessageIds) -> None:
    assert ids.ours(PHONE, "3EB0AA") == "3EB0AA"


def test_a_pair_is_remembered_for_its_phone_alone(ids: MessageIds) -> None:
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")

    assert eventually(lambda: ids.ours(PHONE, "3EB0AA") == "wamid.1")
    assert ids.ours("5521977776666", "3EB0AA") == "3EB0AA"


def test_the_newest_pair_counts(ids: MessageIds) -> None:
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.2")

    assert eventually(lambda: ids.ours(PHONE, "3EB0AA") == "wamid.2")


def test_without_redis_every_id_of_theirs_is_its_own_and_none_of_ours_is_taken_for_theirs(away: RedisClient) -> None:
    memory, real = MemoryIds(), RedisMessageIds(away, ttl_s=60)
    memory.away = True
    both: tuple[MessageIds, ...] = (memory, real)

    for ids in both:
        ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")

        assert ids.ours(PHONE, "3EB0AA") == "3EB0AA"
        with pytest.raises(StoreUnavailable):
            ids.theirs(PHONE, "wamid.1")


def test_the_key_is_the_one_that_other_programs_read_and_it_expires(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    RedisMessageIds(redis_client, ttl_s=60).remember(PHONE, theirs="3EB0AA", ours="wamid.1")

    key = f"unoapi-id:{PHONE}:3EB0AA"
    assert eventually(lambda: raw_redis.get(key)) == "wamid.1"
    assert 0 < raw_redis.ttl(key) <= 60


@pytest.mark.parametrize("asked", [False, True], ids=["at the next message", "at the next question"])
def test_a_pair_that_redis_did_not_take_is_written_later(
    redis_client: RedisClient, raw_redis: redis.Redis, *, asked: bool
) -> None:
    """The statuses of a message that was sent during a hiccup would have an id that its client does not know."""
    ids = RedisMessageIds(redis_client, ttl_s=60)
    redis_client._skip_until = time.monotonic() + 60
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")
    ids.remember_ours(PHONE, theirs="3EB0BB", ours="wamid.2")

    redis_client.stop_skipping()
    if asked:
        ids.ours(PHONE, "3EB0CC")
    else:
        ids.remember(PHONE, theirs="3EB0CC", ours="wamid.3")

    assert eventually(lambda: raw_redis.get(f"unoapi-id:{PHONE}:3EB0BB")) == "wamid.2"
    assert ids.ours(PHONE, "3EB0AA") == "wamid.1"


@pytest.mark.usefixtures("raw_redis")
def test_a_pair_that_was_lost_on_its_way_is_written_later(servers: PrivateServers) -> None:
    """Nobody knew yet that Redis is away."""
    client = RedisClient(servers.redis_url)
    ids = RedisMessageIds(client, ttl_s=60)
    client._post_client, there = redis.Redis(port=1), client._post_client
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")
    eventually(lambda: len(ids._owed), what="the pair is owed")

    client._post_client = there
    client._calls = client._posts = None
    client.stop_skipping()

    assert ids.ours(PHONE, "3EB0AA") == "3EB0AA"
    assert eventually(lambda: ids.ours(PHONE, "3EB0AA") == "wamid.1")
    client.close()
