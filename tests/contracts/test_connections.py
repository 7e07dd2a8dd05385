"""Connections: how sessions are connected, where messages stand, which results are awaited, who rings."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Protocol

import pytest
import redis

from tests.support.fakes import CONTACT, PHONE, MemoryConnections
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.connector.events import PairingCode, QrCode, SessionState
from unoapi.models.jobs import now_ms
from unoapi.models.message_keys import MessageKey
from unoapi.stores.connections import CHANNEL, RedisConnections

if TYPE_CHECKING:
    from unoapi.devenv.servers import PrivateServers
    from unoapi.stores.redis import RedisClient

    Known = RedisConnections | MemoryConnections

ONLINE, OFFLINE = SessionState(state="connected"), SessionState(state="disconnected", reason="no network")
QR = QrCode(code="https://wa.me/x", n=2, of=6)


class World(Protocol):
    """Connections, and the hand that takes Redis away."""

    @property
    def connections(self) -> Known: ...
    def go_away(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.connections = MemoryConnections()

    def go_away(self) -> None:
        self.connections.away = True


class RedisWorld:
    def __init__(self, redis_client: RedisClient) -> None:
        self.redis, self.connections = redis_client, RedisConnections(redis_client, ttl_s=60)

    def go_away(self) -> None:
        self.redis._skip_until = time.monotonic() + 60


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest) -> World:
    return MemoryWorld() if request.param == "memory" else RedisWorld(request.getfixturevalue("redis_client"))


@pytest.fixture
def known(world: World) -> Known:
    return world.connections


def test_nothing_known_is_disconnected(known: Known) -> None:
    assert known.status(PHONE) == "disconnected"
    assert known.details(PHONE) == {"status": "disconnected", "at_ms": 0}


def test_the_newest_state_counts(known: Known) -> None:
    known.record(PHONE, ONLINE, at_ms=2000, seq=1)
    known.record(PHONE, OFFLINE, at_ms=1000, seq=9)

    assert known.status(PHONE) == "online"
    assert known.status("5511000000000") == "disconnected"


@pytest.mark.parametrize(("seq", "status"), [(4, "online"), (5, "offline"), (6, "offline")])
def test_of_the_same_millisecond_the_later_event_counts(known: Known, seq: int, status: str) -> None:
    known.record(PHONE, ONLINE, at_ms=1000, seq=5)
    known.record(PHONE, OFFLINE, at_ms=1000, seq=seq)

    assert known.status(PHONE) == status


def test_a_clock_that_was_wrong_does_not_hold_a_state_for_ever(known: Known) -> None:
    known.record(PHONE, ONLINE, at_ms=now_ms() + 86_400_000, seq=1)
    known.record(PHONE, OFFLINE, at_ms=now_ms(), seq=2)

    assert known.status(PHONE) == "offline"


def test_a_code_stands_beside_the_state_until_the_next_state(known: Known) -> None:
    known.record(PHONE, SessionState(state="qr"), at_ms=1000, seq=1)
    known.record(PHONE, QR, at_ms=1001, seq=2)
    known.record(PHONE, PairingCode(code="ABCD1234"), at_ms=1002, seq=3)

    details = known.details(PHONE)
    assert details == {
        "status": "connecting", "at_ms": 1002, "state": {"state": "qr"},
        "qr": {"code": "https://wa.me/x", "n": 2, "of": 6}, "pairing_code": {"code": "ABCD1234"},
    }  # fmt: skip
    known.record(PHONE, ONLINE, at_ms=1003, seq=4)
    assert known.details(PHONE) == {"status": "online", "at_ms": 1003, "state": {"state": "connected"}}


def test_it_is_known_where_a_message_stands(known: Known) -> None:
    known.remember_key(PHONE, "wamid.1", chat="1@g.us", participant="2@s.whatsapp.net", from_me=True, theirs="3EB0")
    known.remember_key(PHONE, "3EB1", chat="1@g.us")

    eventually(lambda: known.key(PHONE, "3EB1"), what="the key is written soon")
    assert known.key(PHONE, "wamid.1") == MessageKey("3EB0", "1@g.us", "2@s.whatsapp.net", from_me=True)
    assert known.key(PHONE, "3EB1") == MessageKey("3EB1", "1@g.us")
    assert known.key(PHONE, "3EB2") is None


def test_a_result_ends_the_wait_for_it(known: Known) -> None:
    known.expect(PHONE, "c", within_s=60)

    assert known.settle(PHONE, "c") is False
    assert known.give_up(PHONE, "c") is False, "it has come"


def test_a_wait_that_was_given_up_says_so_to_a_late_result(known: Known) -> None:
    known.expect(PHONE, "c", within_s=60)

    assert known.give_up(PHONE, "c") is True
    assert known.give_up(PHONE, "c") is True, "the task may run twice"
    assert known.settle(PHONE, "c") is True
    assert known.settle(PHONE, "c") is False


def test_nothing_is_given_up_that_nobody_waits_for(known: Known) -> None:
    assert known.give_up(PHONE, "c") is False


def test_a_caller_counts_once_in_ten_seconds(known: Known) -> None:
    assert known.is_new_call(PHONE, CONTACT, "C1") is True
    assert known.is_new_call(PHONE, CONTACT, "C1") is True, "the same call, told again"
    assert known.is_new_call(PHONE, CONTACT, "C2") is False
    assert known.is_new_call(PHONE, "5511000000000", "C3") is True


def test_with_redis_away_what_decides_is_an_error_and_the_rest_goes_on(world: World) -> None:
    known = world.connections
    world.go_away()

    for call in (
        lambda: known.status(PHONE),
        lambda: known.details(PHONE),
        lambda: known.record(PHONE, ONLINE, at_ms=1, seq=1),
        lambda: known.key(PHONE, "m"),
        lambda: known.expect(PHONE, "c", within_s=1),
        lambda: known.give_up(PHONE, "c"),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    known.remember_key(PHONE, "m", chat="1@g.us")
    assert known.settle(PHONE, "c") is False
    assert known.is_new_call(PHONE, CONTACT, "C1") is True


# --- Redis alone: what other programs see ---


def test_the_status_stands_where_the_node_version_had_it(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    RedisConnections(redis_client, ttl_s=60).record(PHONE, SessionState(state="standby"), at_ms=1, seq=1)

    assert raw_redis.get(f"unoapi-status:{PHONE}") == "standby"


def test_news_are_broadcast(servers: PrivateServers, redis_client: RedisClient) -> None:
    listener = redis.Redis.from_url(servers.redis_url, decode_responses=True).pubsub()  # type: ignore[no-untyped-call]
    listener.subscribe(CHANNEL)
    listener.get_message(timeout=5)
    RedisConnections(redis_client, ttl_s=60).record(PHONE, QR, at_ms=1, seq=1)

    told = listener.get_message(timeout=5)

    assert json.loads(told["data"])["type"] == "qr"
    listener.close()


def test_calls_and_keys_are_forgotten(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    known = RedisConnections(redis_client, ttl_s=60)
    known.is_new_call(PHONE, CONTACT, "C1")
    known.remember_key(PHONE, "m", chat="1@g.us")
    eventually(lambda: raw_redis.exists(f"unoapi-key:{PHONE}:m"), what="the key is written soon")

    assert 0 < raw_redis.pttl(f"unoapi-ring:{PHONE}:{CONTACT}") <= 10_000
    assert 50 < raw_redis.ttl(f"unoapi-key:{PHONE}:m") <= 60


def test_a_late_result_and_the_end_of_the_wait_never_both_tell(redis_client: RedisClient) -> None:
    """Whoever comes first tells the client; the other one knows."""
    known = RedisConnections(redis_client, ttl_s=60)
    for number in range(50):
        command = f"c{number}"
        known.expect(PHONE, command, within_s=60)
        told: list[str] = []
        start = threading.Barrier(2)

        def result(command: str = command, told: list[str] = told, start: threading.Barrier = start) -> None:
            start.wait()
            if not known.settle(PHONE, command):
                told.append("result")

        waiter = threading.Thread(target=result)
        waiter.start()
        start.wait()
        if known.give_up(PHONE, command):
            told.append("no connector")
        waiter.join()
        assert len(told) == 1
