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

    AnyConnections = RedisConnections | MemoryConnections

ONLINE, OFFLINE = SessionState(state="connected"), SessionState(state="disconnected", reason="no network")
QR = QrCode(code="https://wa.me/x", n=2, of=6)


class World(Protocol):
    """Connections, and the hand that takes Redis away."""

    @property
    def connections(self) -> AnyConnections: ...
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
def connections(world: World) -> AnyConnections:
    return world.connections


def test_a_phone_without_a_status_is_disconnected(connections: AnyConnections) -> None:
    assert connections.status(PHONE) == "disconnected"
    assert connections.details(PHONE) == {"status": "disconnected", "left": False}


def test_the_newest_state_counts(connections: AnyConnections) -> None:
    connections.record(PHONE, ONLINE, at_ms=2000, seq=1)
    connections.record(PHONE, OFFLINE, at_ms=1000, seq=9)

    assert connections.status(PHONE) == "online"
    assert connections.status("5511000000000") == "disconnected"


@pytest.mark.parametrize(("seq", "status"), [(4, "online"), (5, "offline"), (6, "offline")])
def test_of_the_same_millisecond_the_later_event_counts(connections: AnyConnections, seq: int, status: str) -> None:
    connections.record(PHONE, ONLINE, at_ms=1000, seq=5)
    connections.record(PHONE, OFFLINE, at_ms=1000, seq=seq)

    assert connections.status(PHONE) == status


def test_a_clock_that_was_wrong_does_not_keep_a_state_for_ever(connections: AnyConnections) -> None:
    connections.record(PHONE, ONLINE, at_ms=now_ms() + 86_400_000, seq=1)
    connections.record(PHONE, OFFLINE, at_ms=now_ms(), seq=2)

    assert connections.status(PHONE) == "offline"


def test_a_code_is_beside_the_state_until_the_next_state(connections: AnyConnections) -> None:
    connections.record(PHONE, SessionState(state="qr"), at_ms=1000, seq=1)
    connections.record(PHONE, QR, at_ms=1001, seq=2)
    connections.record(PHONE, PairingCode(code="ABCD1234"), at_ms=1002, seq=3)

    details = connections.details(PHONE)
    assert details == {
        "status": "connecting", "left": True, "state": {"state": "qr"},
        "qr": {"code": "https://wa.me/x", "n": 2, "of": 6}, "pairing_code": {"code": "ABCD1234"},
    }  # fmt: skip
    connections.record(PHONE, ONLINE, at_ms=1003, seq=4)
    assert connections.details(PHONE) == {"status": "online", "left": True, "state": {"state": "connected"}}


def test_a_number_that_no_connector_runs_is_left_after_two_minutes(connections: AnyConnections) -> None:
    def left(state: SessionState, *, ago_s: int, seq: int) -> bool:
        connections.record(PHONE, state, at_ms=now_ms() - ago_s * 1000, seq=seq)
        return bool(connections.details(PHONE)["left"])

    assert left(ONLINE, ago_s=180, seq=1)
    assert left(SessionState(state="qr"), ago_s=170, seq=2)
    assert not left(OFFLINE, ago_s=160, seq=3)
    assert not left(ONLINE, ago_s=60, seq=4)


def test_the_key_of_a_message_is_saved(connections: AnyConnections) -> None:
    connections.remember_key(
        PHONE, "wamid.1", chat="1@g.us", participant="2@s.whatsapp.net", from_me=True, theirs="3EB0"
    )
    connections.remember_key(PHONE, "3EB1", chat="1@g.us")

    eventually(lambda: connections.key(PHONE, "3EB1"), what="the key is written soon")
    assert connections.key(PHONE, "wamid.1") == MessageKey("3EB0", "1@g.us", "2@s.whatsapp.net", from_me=True)
    assert connections.key(PHONE, "3EB1") == MessageKey("3EB1", "1@g.us")
    assert connections.key(PHONE, "3EB2") is None


def test_a_result_ends_the_wait_for_it(connections: AnyConnections) -> None:
    assert connections.is_awaited(PHONE, "c") is False
    connections.expect(PHONE, "c", within_s=60)

    assert connections.is_awaited(PHONE, "c") is True
    assert connections.settle(PHONE, "c") is False
    assert connections.is_awaited(PHONE, "c") is False
    assert connections.give_up(PHONE, "c") is False, "it has come"


def test_who_sees_that_a_result_has_come_sees_the_key_of_its_message(connections: AnyConnections) -> None:
    connections.expect(PHONE, "wamid.1", within_s=60)

    connections.settle(PHONE, "wamid.1", key=MessageKey("3EB0", "1@s.whatsapp.net", from_me=True))

    assert connections.is_awaited(PHONE, "wamid.1") is False
    assert connections.key(PHONE, "wamid.1") == MessageKey("3EB0", "1@s.whatsapp.net", from_me=True)


def test_a_wait_that_was_given_up_says_so_to_a_late_result(connections: AnyConnections) -> None:
    connections.expect(PHONE, "c", within_s=60)

    assert connections.give_up(PHONE, "c") is True
    assert connections.is_awaited(PHONE, "c") is False
    assert connections.give_up(PHONE, "c") is True, "the task may run twice"
    assert connections.settle(PHONE, "c") is True
    assert connections.settle(PHONE, "c") is False


def test_nothing_is_given_up_that_nobody_waits_for(connections: AnyConnections) -> None:
    assert connections.give_up(PHONE, "c") is False


def test_a_caller_counts_once_in_ten_seconds(connections: AnyConnections) -> None:
    assert connections.is_new_call(PHONE, CONTACT, "C1") is True
    assert connections.is_new_call(PHONE, CONTACT, "C1") is True, "the same call again"
    assert connections.is_new_call(PHONE, CONTACT, "C2") is False
    assert connections.is_new_call(PHONE, "5511000000000", "C3") is True


def test_with_redis_away_what_decides_is_an_error_and_the_rest_goes_on(world: World) -> None:
    connections = world.connections
    world.go_away()

    for call in (
        lambda: connections.status(PHONE),
        lambda: connections.details(PHONE),
        lambda: connections.record(PHONE, ONLINE, at_ms=1, seq=1),
        lambda: connections.key(PHONE, "m"),
        lambda: connections.expect(PHONE, "c", within_s=1),
        lambda: connections.settle(PHONE, "c"),
        lambda: connections.give_up(PHONE, "c"),
        lambda: connections.is_awaited(PHONE, "c"),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    connections.remember_key(PHONE, "m", chat="1@g.us")
    assert connections.is_new_call(PHONE, CONTACT, "C1") is True


# --- Redis alone: what other programs see ---


def test_the_status_has_the_key_of_the_node_version(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    RedisConnections(redis_client, ttl_s=60).record(PHONE, SessionState(state="standby"), at_ms=1, seq=1)

    assert raw_redis.get(f"unoapi-status:{PHONE}") == "standby"


def test_a_change_is_broadcast(servers: PrivateServers, redis_client: RedisClient) -> None:
    listener = redis.Redis.from_url(servers.redis_url, decode_responses=True).pubsub()  # type: ignore[no-untyped-call]
    listener.subscribe(CHANNEL)
    listener.get_message(timeout=5)
    RedisConnections(redis_client, ttl_s=60).record(PHONE, QR, at_ms=1, seq=1)

    message = listener.get_message(timeout=5)

    assert json.loads(message["data"])["type"] == "qr"
    listener.close()


def test_calls_and_keys_are_forgotten(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    connections = RedisConnections(redis_client, ttl_s=60)
    connections.is_new_call(PHONE, CONTACT, "C1")
    connections.remember_key(PHONE, "m", chat="1@g.us")
    eventually(lambda: raw_redis.exists(f"unoapi-key:{PHONE}:m"), what="the key is written soon")

    assert 0 < raw_redis.pttl(f"unoapi-ring:{PHONE}:{CONTACT}") <= 10_000
    assert 50 < raw_redis.ttl(f"unoapi-key:{PHONE}:m") <= 60


@pytest.mark.parametrize(
    "key",
    [
        MessageKey("3EB0", "1@g.us", "2@s.whatsapp.net", from_me=True),
        MessageKey("3EB0", "2@s.whatsapp.net", from_me=True),
        MessageKey("3EB0", "5@lid", "2:7@s.whatsapp.net"),
        MessageKey("3EB0", "2@s.whatsapp.net"),
    ],
    ids=str,
)
def test_a_key_is_read_as_it_was_also_one_of_the_version_before(
    redis_client: RedisClient, raw_redis: redis.Redis, key: MessageKey
) -> None:
    connections = RedisConnections(redis_client, ttl_s=60)
    connections.remember_key(
        PHONE, "new", chat=key.chat, participant=key.participant, from_me=key.from_me, theirs="3EB0"
    )
    raw_redis.set(f"unoapi-key:{PHONE}:old", json.dumps({name: value for name, value in vars(key).items() if value}))

    assert eventually(lambda: connections.key(PHONE, "new"), what="the key is written soon") == key
    assert connections.key(PHONE, "old") == key


@pytest.mark.parametrize("text", ["{", "5", "null", "[]", '["3EB0"]', '["3EB0",5]', '{"chat":"1"}'])
def test_a_key_that_cannot_be_read_is_none(redis_client: RedisClient, raw_redis: redis.Redis, text: str) -> None:
    raw_redis.set(f"unoapi-key:{PHONE}:m", text)

    assert RedisConnections(redis_client, ttl_s=60).key(PHONE, "m") is None


def test_a_late_result_and_the_end_of_the_wait_never_both_answer(redis_client: RedisClient) -> None:
    """The client gets exactly one answer: from whichever comes first."""
    connections = RedisConnections(redis_client, ttl_s=60)
    for number in range(50):
        command = f"c{number}"
        connections.expect(PHONE, command, within_s=60)
        answers: list[str] = []
        start = threading.Barrier(2)

        def result(command: str = command, answers: list[str] = answers, start: threading.Barrier = start) -> None:
            start.wait()
            if not connections.settle(PHONE, command):
                answers.append("result")

        waiter = threading.Thread(target=result)
        waiter.start()
        start.wait()
        if connections.give_up(PHONE, command):
            answers.append("no connector")
        waiter.join()
        assert len(answers) == 1


def test_the_key_of_a_message_of_the_node_version_is_read(raw_redis: redis.Redis, redis_client: RedisClient) -> None:
    keys = {
        "UNO.1": {"remoteJid": "1@g.us", "fromMe": False, "id": "3EB0", "participant": "2@s.whatsapp.net"},
        "3EB1": {"remoteJid": "2@s.whatsapp.net", "fromMe": True, "id": "3EB1", "originalId": "x"},
        "3EB2": {"remoteJid": "2@s.whatsapp.net"},
    }
    for message_id, key in keys.items():
        raw_redis.set(f"unoapi-key:{PHONE}:{message_id}", json.dumps(key))
    connections = RedisConnections(redis_client, ttl_s=60)

    assert connections.key(PHONE, "UNO.1") == MessageKey("3EB0", "1@g.us", "2@s.whatsapp.net")
    assert connections.key(PHONE, "3EB1") == MessageKey("3EB1", "2@s.whatsapp.net", from_me=True)
    assert connections.key(PHONE, "3EB2") is None
