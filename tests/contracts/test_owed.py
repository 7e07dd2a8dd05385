"""Commands that Redis did not take are carried out later; one that it never takes fails no other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import CONTACT, PHONE, make_delivery, make_fan_out
from tests.support.stack import eventually
from unoapi.errors import CommandRefused
from unoapi.stores import owed
from unoapi.stores.ordering import RedisOrdering
from unoapi.stores.owed import OwedCommands

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient


@pytest.fixture
def commands(redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> OwedCommands:
    monkeypatch.setattr(owed, "TRY_AGAIN_S", 0.05)
    return OwedCommands(redis_client)


def skip_redis(client: RedisClient) -> None:
    client._skip_until = time.monotonic() + 60


def test_what_redis_did_not_take_is_carried_out_when_it_is_back(
    commands: OwedCommands, redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    skip_redis(redis_client)
    commands.post(("SET", "a", "1"), ("SET", "a", "2"))
    owed_then = len(commands)

    redis_client.stop_skipping()
    commands.settle()

    assert eventually(lambda: raw_redis.get("a")) == "2"
    assert (owed_then, len(commands)) == (2, 0)


def test_a_command_that_redis_never_takes_is_posted_once_and_fails_no_other(
    commands: OwedCommands, redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    raw_redis.set("text", "of another program")
    skip_redis(redis_client)
    commands.post(("SET", "a", "1"), ("ZREM", "text", "x"), ("SET", "b", "1"))

    redis_client.stop_skipping()
    commands.settle()

    assert eventually(lambda: raw_redis.get("a") and raw_redis.get("b"))
    assert not len(commands)
    assert raw_redis.info("commandstats")["cmdstat_zrem"]["failed_calls"] == 1


def test_while_writes_are_refused_what_is_owed_is_tried_once_in_a_while(
    commands: OwedCommands, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owed, "TRY_AGAIN_S", 60.0)
    raw_redis.config_set("maxmemory", "1")
    try:
        commands.post(*(("SET", f"{number}", "1") for number in range(100)))
        eventually(lambda: len(commands) == 100)
        raw_redis.config_resetstat()

        for _ in range(50):
            commands.settle()
            eventually(lambda: len(commands) == 100)
    finally:
        raw_redis.config_set("maxmemory", "0")

    assert raw_redis.info("commandstats").get("cmdstat_set", {}).get("rejected_calls", 0) <= 100


def test_of_too_much_the_oldest_is_forgotten(commands: OwedCommands, redis_client: RedisClient) -> None:
    skip_redis(redis_client)

    commands.post(*(("SET", f"{number}", "1") for number in range(owed.MOST + 10)))

    assert len(commands) == owed.MOST


def test_a_wrong_command_is_known_as_such(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    raw_redis.set("text", "of another program")

    with pytest.raises(CommandRefused, match="WRONGTYPE"):
        redis_client.call(("ZREM", "text", "x"))
    with pytest.raises(CommandRefused, match="ERR"):
        redis_client.call(("INCR", "text"))


def test_a_line_that_another_program_overwrote_ends_no_other_order(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    """The command that takes a delivery out of it failed for ever, and with it those of all other lines."""
    order = RedisOrdering(redis_client)
    raw_redis.set(f"unoapi-line:{PHONE}:default:{CONTACT}", "of another program")
    order.leave(make_delivery(contact=CONTACT), take=True)
    raw_redis.zadd(f"unoapi-line:{PHONE}:default:other", {"first": 1, "delivery-1": 2})

    assert order.position(make_delivery(contact="other")) == 1


def test_an_event_that_waits_for_nobody_settles_what_is_owed_since_redis_was_away(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    """Else what was delivered meanwhile blocks its conversation until the next event of an ordered webhook."""
    order = RedisOrdering(redis_client)
    ordered = make_fan_out(ordered=("default",), contact=CONTACT)
    order.join([ordered])
    skip_redis(redis_client)
    order.skip([(ordered, "default")])
    redis_client.stop_skipping()

    order.skip([])

    assert eventually(lambda: not raw_redis.exists(f"unoapi-line:{PHONE}:default:{CONTACT}"))
