"""Statuses: of a message they never go backwards, and the same event passes again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE
from unoapi.stores.statuses import MAX_MEMBERS, RANKS, RedisStatuses

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

EVENT, OTHER_EVENT = "5c3ee5b8-5bd6-4a77-9a39-3f8a0b5a7d11", "5c3ee5b8-5bd6-5a77-9a39-3f8a0b5a7d11"
KEY = f"unoapi-told:{PHONE}:wamid.1"


@pytest.fixture
def statuses(redis_client: RedisClient) -> RedisStatuses:
    return RedisStatuses(redis_client, ttl_s=60)


def admit(statuses: RedisStatuses, status: str, event_id: str = EVENT) -> bool:
    return statuses.admit(PHONE, "wamid.1", status=status, event_id=event_id)


@pytest.mark.parametrize("last", RANKS)
@pytest.mark.parametrize("status", RANKS)
def test_a_status_passes_when_it_is_higher_than_the_last_one(statuses: RedisStatuses, last: str, status: str) -> None:
    admit(statuses, last, OTHER_EVENT)

    assert admit(statuses, status) == (RANKS[status] > RANKS[last])


def test_the_same_event_passes_again_until_a_higher_one_has_passed(statuses: RedisStatuses) -> None:
    assert [admit(statuses, "delivered"), admit(statuses, "delivered")] == [True, True]
    assert admit(statuses, "read", OTHER_EVENT)
    assert not admit(statuses, "delivered")


def test_each_message_of_each_phone_has_its_own_last_status(statuses: RedisStatuses) -> None:
    admit(statuses, "read")

    assert statuses.admit(PHONE, "wamid.2", status="sent", event_id=EVENT)
    assert statuses.admit("5521977776666", "wamid.1", status="sent", event_id=EVENT)


@pytest.mark.parametrize("status", ["", "warning", "delivered"])
def test_what_has_no_order_always_passes(statuses: RedisStatuses, status: str) -> None:
    admit(statuses, "read")

    assert statuses.admit(PHONE, "" if status == "delivered" else "wamid.1", status=status, event_id=EVENT)


@pytest.mark.parametrize(
    ("status", "event_id", "admitted"),
    [
        ("sent", EVENT, False),
        ("delivered", EVENT, True),
        ("delivered", OTHER_EVENT[::-1], False),
        ("read", EVENT, True),
    ],
)
def test_a_status_of_the_version_before_counts(
    statuses: RedisStatuses, raw_redis: redis.Redis, status: str, event_id: str, admitted: bool
) -> None:
    raw_redis.set(KEY, f"20:{EVENT[:13]}")

    assert admit(statuses, status, event_id) == admitted


@pytest.mark.parametrize("text", ["", "x", "20", "20:", ":", "delivered"])
def test_what_cannot_be_read_stops_no_status(statuses: RedisStatuses, raw_redis: redis.Redis, text: str) -> None:
    raw_redis.set(KEY, text)

    assert admit(statuses, "read")


def test_the_last_status_takes_no_more_than_a_number_and_is_forgotten(
    statuses: RedisStatuses, raw_redis: redis.Redis
) -> None:
    admit(statuses, "delivered")

    assert raw_redis.object("encoding", KEY) == "int"
    assert 0 < raw_redis.ttl(KEY) <= 60


def test_without_redis_every_status_passes(away: RedisClient) -> None:
    assert admit(RedisStatuses(away, ttl_s=60), "sent")


def test_field_report_8_in_a_group_each_member_has_a_last_status_of_its_own(statuses: RedisStatuses) -> None:
    def read(member: str, status: str = "read", event_id: str = EVENT) -> bool:
        return statuses.admit(PHONE, "wamid.1", status=status, event_id=event_id, member=member)

    assert [read("777@lid"), read("888@lid", event_id=OTHER_EVENT)] == [True, True]
    assert not read("777@lid", "delivered")
    assert read("777@lid"), "the same event passes again"
    assert not read("777@lid", event_id=OTHER_EVENT)


def test_the_members_of_a_large_group_take_no_more_memory(statuses: RedisStatuses, raw_redis: redis.Redis) -> None:
    for number in range(MAX_MEMBERS + 5):
        assert statuses.admit(PHONE, "wamid.1", status="read", event_id=f"event-{number}", member=f"{number}@lid")

    assert raw_redis.hlen(f"{KEY}:members") == MAX_MEMBERS
    assert raw_redis.object("encoding", f"{KEY}:members") == "listpack"
    assert 0 < int(raw_redis.ttl(f"{KEY}:members")) <= 60
