"""Idempotency keys on the real Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.stack import PHONE, eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.claims import KeyState
from unoapi.stores.idempotency import TTL_S, RedisIdempotency

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

DIGEST, OTHER = "a" * 64, "b" * 64


def test_a_key_is_free_until_its_request_was_accepted(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    keys = RedisIdempotency(redis_client)

    first, again = (keys.claim(PHONE, "k", digest=DIGEST) for _ in range(2))
    keys.settle(PHONE, "k", digest=DIGEST)

    assert (first, again) == (KeyState(), KeyState(taken=True))
    assert eventually(lambda: keys.claim(PHONE, "k", digest=DIGEST).accepted)
    (name,) = raw_redis.keys("*")
    assert 0 < raw_redis.ttl(name) <= TTL_S


def test_the_key_of_a_refused_request_is_free_again(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    keys = RedisIdempotency(redis_client)
    keys.claim(PHONE, "k", digest=DIGEST)

    keys.give_back(PHONE, "k", digest=DIGEST)

    assert eventually(lambda: not raw_redis.keys("*"))


def test_a_key_under_which_another_request_was_accepted_is_not_given_back(redis_client: RedisClient) -> None:
    keys = RedisIdempotency(redis_client)
    keys.claim(PHONE, "k", digest=DIGEST)
    keys.settle(PHONE, "k", digest=DIGEST)

    keys.give_back(PHONE, "k", digest=DIGEST)

    assert eventually(lambda: keys.claim(PHONE, "k", digest=DIGEST).accepted)


def test_another_body_is_seen_before_and_after_the_acceptance(redis_client: RedisClient) -> None:
    keys = RedisIdempotency(redis_client)
    keys.claim(PHONE, "k", digest=DIGEST)

    assert keys.claim(PHONE, "k", digest=OTHER).other_body
    keys.settle(PHONE, "k", digest=DIGEST)
    eventually(lambda: keys.claim(PHONE, "k", digest=DIGEST).accepted)
    assert keys.claim(PHONE, "k", digest=OTHER).other_body


def test_another_phone_has_its_own_keys(redis_client: RedisClient) -> None:
    keys = RedisIdempotency(redis_client)
    keys.claim(PHONE, "k", digest=DIGEST)

    assert keys.claim("5511000000000", "k", digest=OTHER) == KeyState()


def test_without_redis_it_says_so(away: RedisClient) -> None:
    with pytest.raises(StoreUnavailable):
        RedisIdempotency(away).claim(PHONE, "k", digest=DIGEST)
