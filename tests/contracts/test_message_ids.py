"""MessageIds: WhatsApp's ids and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryIds
from tests.support.stack import eventually
from unoapi.stores.message_ids import RedisMessageIds

if TYPE_CHECKING:
    import redis

    from unoapi.ports import MessageIds
    from unoapi.stores.redis import RedisClient


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


def test_without_redis_every_id_is_its_own(away: RedisClient) -> None:
    ids = RedisMessageIds(away, ttl_s=60)

    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")

    assert ids.ours(PHONE, "3EB0AA") == "3EB0AA"


def test_the_key_is_the_one_that_other_programs_read_and_it_expires(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    RedisMessageIds(redis_client, ttl_s=60).remember(PHONE, theirs="3EB0AA", ours="wamid.1")

    key = f"unoapi-id:{PHONE}:3EB0AA"
    assert eventually(lambda: raw_redis.get(key)) == "wamid.1"
    assert 0 < raw_redis.ttl(key) <= 60
