"""The real Redis of the run, empty for each test, and one that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from unoapi.stores.redis import RedisClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

NOWHERE = "redis://127.0.0.1:1"


@pytest.fixture
def raw_redis(servers: PrivateServers) -> Iterator[redis.Redis]:
    """Redis itself, to read what the stores wrote."""
    direct = redis.Redis.from_url(servers.redis_url, decode_responses=True)
    direct.flushall()
    yield direct
    direct.close()


@pytest.fixture
def redis_client(
    servers: PrivateServers,
    raw_redis: redis.Redis,  # noqa: ARG001 (empties it)
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RedisClient]:
    # What a store saves is tested here, not how soon a busy machine answers.
    monkeypatch.setattr("unoapi.stores.redis.CALL_TIMEOUT_S", 2.0)
    running = RedisClient(servers.redis_url)
    yield running
    running.close()


@pytest.fixture
def away() -> Iterator[RedisClient]:
    """Redis that is not there."""
    absent = RedisClient(NOWHERE)
    yield absent
    absent.close()
