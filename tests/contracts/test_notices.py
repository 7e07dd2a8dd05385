"""Notices: at most one per endpoint and quarter of an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryNotices
from unoapi.models.endpoints import Endpoint
from unoapi.stores.notices import RedisNotices

if TYPE_CHECKING:
    import redis

    from unoapi.ports import Notices
    from unoapi.stores.redis import RedisClient


@pytest.fixture(params=["memory", "redis", "redis away"])
def notices(request: pytest.FixtureRequest) -> Notices:
    if request.param == "memory":
        return MemoryNotices()
    return RedisNotices(request.getfixturevalue("redis_client" if request.param == "redis" else "away"))


def claim(notices: Notices, notice_id: str, *, phone: str = PHONE, webhook_id: str = "a") -> bool:
    return notices.claim(Endpoint(phone, webhook_id), notice_id=notice_id)


def test_the_first_notice_of_an_endpoint_goes_out_and_the_next_does_not(notices: Notices) -> None:
    assert [claim(notices, "1"), claim(notices, "2"), claim(notices, "3")] == [True, False, False]


def test_the_same_notice_may_always_go_again(notices: Notices) -> None:
    assert [claim(notices, "1"), claim(notices, "1")] == [True, True]


def test_other_endpoints_and_other_phones_have_notices_of_their_own(notices: Notices) -> None:
    claim(notices, "1")

    assert claim(notices, "2", webhook_id="b")
    assert claim(notices, "3", phone="5521977776666")


def test_all_processes_count_together(redis_client: RedisClient) -> None:
    assert claim(RedisNotices(redis_client), "1")
    assert not claim(RedisNotices(redis_client), "2")


def test_the_window_is_a_quarter_of_an_hour(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    claim(RedisNotices(redis_client), "1")

    (key,) = raw_redis.keys("*")
    assert 890 <= raw_redis.ttl(key) <= 900

    raw_redis.delete(key)
    assert claim(RedisNotices(redis_client), "2")


def test_without_redis_the_window_ends_too(away: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    notices = RedisNotices(away)
    claim(notices, "1")

    monkeypatch.setattr("unoapi.stores.notices.NOTICE_WINDOW_S", 0)

    assert claim(notices, "2")
