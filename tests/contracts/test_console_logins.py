"""Logins of the console that were ended: the fake and the real one alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import MemoryConsoleLogins
from unoapi.stores.console_logins import RedisConsoleLogins

if TYPE_CHECKING:
    import redis

    from unoapi.ports import ConsoleLogins
    from unoapi.stores.redis import RedisClient


@pytest.fixture(params=["memory", "redis", "away"])
def logins(request: pytest.FixtureRequest) -> ConsoleLogins:
    if request.param == "memory":
        return MemoryConsoleLogins()
    client: RedisClient = request.getfixturevalue("redis_client" if request.param == "redis" else "away")
    return RedisConsoleLogins(client)


def test_a_login_is_over_when_it_was_ended_and_no_other(logins: ConsoleLogins) -> None:
    logins.end("one", within_s=60)

    assert logins.is_ended("one")
    assert not logins.is_ended("other")


def test_it_is_over_in_every_process_and_forgotten_when_its_cookie_is_too_old(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    first, second = RedisConsoleLogins(redis_client), RedisConsoleLogins(redis_client)
    first.end("one", within_s=60)
    redis_client.call(("PING",))

    while not raw_redis.exists("unoapi-console-ended:one"):
        pass
    assert second.is_ended("one")
    assert 0 < int(raw_redis.ttl("unoapi-console-ended:one")) <= 60
