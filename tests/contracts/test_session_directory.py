"""SessionDirectory: finding sessions by their ids and tokens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol
from unittest import mock

import pytest

from tests.support.fakes import PHONE, MemoryDirectory, MemorySessions, make_webhook
from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import now_ms
from unoapi.models.session import computed_waba_id
from unoapi.stores.connections import connection_key, lease_key, status_key
from unoapi.stores.session_directory import RedisSessionDirectory
from unoapi.stores.sessions import RedisSessions, environment_config

if TYPE_CHECKING:
    import redis

    from unoapi.models.session import Session
    from unoapi.ports import SessionDirectory
    from unoapi.stores.redis import RedisClient

OTHER = "5521977776666"
META = {"phoneNumberId": "pnid", "businessAccountId": "waba"}


class World(Protocol):
    """Where sessions are stored, and a directory that has not seen them yet."""

    def save(self, phone: str, config: dict[str, Any]) -> Session: ...
    def directory(self) -> SessionDirectory: ...
    def go_away(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self._sessions = MemorySessions(environment=(make_webhook(),))
        self.save = self._sessions.save

    def directory(self) -> MemoryDirectory:
        return MemoryDirectory(self._sessions)

    def go_away(self) -> None:
        self._sessions.away = True


class RedisWorld:
    def __init__(self, redis_client: RedisClient) -> None:
        self._redis = redis_client
        self.save = self._sessions().save

    def directory(self) -> RedisSessionDirectory:
        return RedisSessionDirectory(self._redis, self._sessions())

    def go_away(self) -> None:
        self._redis._skip_until = time.monotonic() + 60

    def _sessions(self) -> RedisSessions:
        return RedisSessions(self._redis, environment_config(make_webhook().model_dump()))


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest) -> World:
    return MemoryWorld() if request.param == "memory" else RedisWorld(request.getfixturevalue("redis_client"))


def phones(sessions: list[Session]) -> list[str]:
    return [session.phone for session in sessions]


@pytest.mark.parametrize("node", [PHONE, "pnid", "waba"])
def test_a_session_is_found_by_each_of_its_ids(world: World, node: str) -> None:
    world.save(PHONE, {"webhookForward": META})
    world.save(OTHER, {})

    assert world.directory().phones_of(node) == (PHONE,)
    assert phones(world.directory().sessions_of(node)) == [PHONE]


def test_a_session_without_an_account_has_a_computed_one(world: World) -> None:
    world.save(PHONE, {})

    assert world.directory().phones_of(computed_waba_id(PHONE)) == (PHONE,)
    assert computed_waba_id(PHONE) == "145130418570703"


def test_numbers_of_one_account_are_all_found_by_it(world: World) -> None:
    world.save(OTHER, {"webhookForward": {"businessAccountId": "waba"}})
    world.save(PHONE, {"webhookForward": META})

    assert world.directory().phones_of("waba") == (PHONE, OTHER)
    assert phones(world.directory().sessions_of("waba")) == phones(world.directory().all()) == [PHONE, OTHER]


def test_an_id_that_a_session_has_no_more_does_not_mean_it(world: World) -> None:
    world.save(PHONE, {"webhookForward": META})
    world.save(PHONE, {"webhookForward": {"phoneNumberId": "new"}})

    assert world.directory().phones_of("pnid") == ("pnid",)
    assert world.directory().phones_of("new") == (PHONE,)


def test_an_unknown_id_stands_for_itself_also_while_the_store_is_away(world: World) -> None:
    there = world.directory().phones_of(OTHER)
    world.go_away()

    assert there == world.directory().phones_of(OTHER) == (OTHER,)
    for ask in (world.directory().all, lambda: world.directory().opened_by("a")):
        with pytest.raises(StoreUnavailable):
            ask()


def test_a_phone_goes_before_another_ones_id(world: World) -> None:
    world.save(PHONE, {"webhookForward": {"phoneNumberId": OTHER}})
    world.save(OTHER, {})

    assert world.directory().phones_of(OTHER) == (OTHER,)


def test_a_token_opens_the_sessions_that_have_it(world: World) -> None:
    world.save(PHONE, {"authToken": "a"})
    world.save(OTHER, {})
    directory = world.directory()

    assert phones(directory.opened_by("a")) == phones(directory.opened_lately("a")) == [PHONE]
    assert directory.opened_by("") == directory.opened_by("b") == []


def test_a_number_without_a_status_is_left_out(world: World) -> None:
    world.save(PHONE, {})

    assert world.directory().statuses([PHONE]) == world.directory().statuses([]) == {}


def test_the_token_before_a_change_opens_until_its_time(world: World) -> None:
    previous = {"previousAuthToken": "old", "previousAuthTokenUntil": round(time.time()) + 60}
    world.save(PHONE, {"authToken": "new", **previous})
    world.save(OTHER, {"authToken": "b", **previous, "previousAuthTokenUntil": 1})
    directory = world.directory()

    assert phones(directory.opened_by("new")) == phones(directory.opened_by("old")) == [PHONE]


def test_numbers_that_a_connector_keeps_connected_are_counted_by_their_status(world: World) -> None:
    world.save(PHONE, {})
    world.save(OTHER, {})
    world.save("5531955554444", {"provider": "sandbox"})
    world.save("5531955553333", {"autoConnect": False})

    assert world.directory().count_phones() == {"disconnected": 2}


def test_sessions_are_read_again_when_one_was_changed_and_else_seldom(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.session_directory.FRESH_S", 0.0)
    here, elsewhere = RedisWorld(redis_client), RedisWorld(redis_client)
    here.save(PHONE, {"label": "first"})
    directory = here.directory()
    directory.all()
    read_again = mock.Mock(wraps=directory._sessions.read_again)
    monkeypatch.setattr(directory._sessions, "read_again", read_again)

    labels = [[session.label for session in directory.all()] for _ in range(3)]
    elsewhere.save(PHONE, {"label": "second"})
    elsewhere.save(OTHER, {})
    changed = [session.label for session in directory.all()]
    elsewhere._sessions().remove(PHONE, remember_s=60)

    assert (labels, changed, phones(directory.all())) == ([["first"]] * 3, ["second", ""], [OTHER])
    assert read_again.call_count == 2
    raw_redis.set(f"unoapi-config:{OTHER}", '{"label": "by hand"}')
    monkeypatch.setattr("unoapi.stores.session_directory.RELOAD_S", 0.0)
    assert [session.label for session in directory.all()] == ["by hand"]


def test_a_token_that_is_new_opens_its_session_at_once_whoever_wrote_it(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.session_directory.MISSED_S", 0.0)
    monkeypatch.setattr("unoapi.stores.session_directory.PAUSE_RATIO", 0)
    world = RedisWorld(redis_client)
    world.save(PHONE, {"authToken": "before"})
    directory = world.directory()
    assert directory.opened_by("after") == []

    raw_redis.set(f"unoapi-config:{PHONE}", '{"authToken": "after"}')

    assert phones(directory.opened_by("after")) == [PHONE]


@pytest.mark.parametrize("recorded", ["online", "connecting"])
@pytest.mark.parametrize(
    ("leased", "age_s", "is_left"),
    [(True, 86_400, False), (False, 60, False), (False, 180, True), (False, None, False)],
)
def test_a_phone_is_connected_no_longer_than_a_connector_runs_it(
    redis_client: RedisClient, raw_redis: redis.Redis, *, leased: bool, age_s: int | None, is_left: bool, recorded: str
) -> None:
    raw_redis.set(status_key(PHONE), recorded)
    raw_redis.set(status_key(OTHER), "standby")
    if age_s is not None:  # else it was not recorded by a connector
        raw_redis.hset(connection_key(PHONE), "at", now_ms() - age_s * 1000)
    if leased:
        raw_redis.set(lease_key(PHONE), "server_1:abc")

    statuses = RedisWorld(redis_client).directory().statuses([PHONE, OTHER, "5511000000000"])

    assert statuses == {PHONE: "offline" if is_left else recorded, OTHER: "standby"}
