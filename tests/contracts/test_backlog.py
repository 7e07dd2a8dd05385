"""The backlog of a session: counted over all processes, forgotten with age, unlimited without Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.fakes import PHONE
from tests.support.stack import eventually
from unoapi.models.trace import TraceEntry
from unoapi.stores.backlog import RedisBacklog
from unoapi.stores.traces import RedisTraces

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient


def backlog(redis_client: RedisClient, *, most: int = 3, max_age_s: int = 60) -> RedisBacklog:
    return RedisBacklog(redis_client, RedisTraces(redis_client, ttl_s=60), most=most, max_age_s=max_age_s)


def entry(message_id: str) -> TraceEntry:
    return TraceEntry(step="accepted", phone=PHONE, message_id=message_id)


def test_it_is_full_at_the_bound_for_this_session_alone_and_in_every_process(redis_client: RedisClient) -> None:
    here, there = backlog(redis_client), backlog(redis_client)
    assert not here.is_full(PHONE)

    for number in range(3):
        here.enter(PHONE, f"wamid.{number}", entry(f"wamid.{number}"))

    assert here.is_full(PHONE)
    assert not here.is_full("5521999990000")
    eventually(lambda: backlog(redis_client).is_full(PHONE))
    there.leave(PHONE, "wamid.1")
    eventually(lambda: not here.is_full(PHONE))


def test_a_message_that_is_counted_twice_is_one(redis_client: RedisClient) -> None:
    here = backlog(redis_client, most=2)
    for _ in range(3):
        here.enter(PHONE, "wamid.1", entry("wamid.1"))
    time.sleep(0.1)

    assert not backlog(redis_client, most=2).is_full(PHONE)


def test_a_message_that_left_before_its_entry_was_written_does_not_count(redis_client: RedisClient) -> None:
    here, there = backlog(redis_client, most=1), backlog(redis_client, most=1)

    there.leave(PHONE, "wamid.1")
    time.sleep(0.1)
    here.enter(PHONE, "wamid.1", entry("wamid.1"))
    time.sleep(0.1)

    assert not backlog(redis_client, most=1).is_full(PHONE)


def test_a_message_that_never_left_expires_with_age(redis_client: RedisClient) -> None:
    here = backlog(redis_client, most=1, max_age_s=1)
    here.enter(PHONE, "wamid.1", entry("wamid.1"))
    eventually(lambda: backlog(redis_client, most=1, max_age_s=1).is_full(PHONE), within_s=0.9)
    time.sleep(1.1)

    assert not backlog(redis_client, most=1, max_age_s=1).is_full(PHONE)


def test_without_redis_and_without_a_bound_it_is_never_full(redis_client: RedisClient, away: RedisClient) -> None:
    for unlimited in (backlog(away), backlog(redis_client, most=0)):
        for number in range(5):
            unlimited.enter(PHONE, f"wamid.{number}", entry(f"wamid.{number}"))
        assert not unlimited.is_full(PHONE)
