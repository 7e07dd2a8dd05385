"""Chats: the last menu and the timer of each; all of it may be lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.support.fakes import CONTACT, PHONE, MemoryChats
from tests.support.stack import eventually
from unoapi.models.chats import NO_CHAT, Menu, MenuRow
from unoapi.stores.chats import RedisChats

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

    AnyChats = RedisChats | MemoryChats

MENU = Menu(message_id="wamid.1", kind="list", rows=(MenuRow(id="a", title="A"), MenuRow(title="Site")))
OTHER = Menu(message_id="wamid.2", kind="button", rows=(MenuRow(id="b", title="B"),))


class World(Protocol):
    @property
    def chats(self) -> AnyChats: ...
    def go_away(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.chats = MemoryChats()

    def go_away(self) -> None:
        self.chats.away = True


class RedisWorld:
    def __init__(self, redis_client: RedisClient) -> None:
        self.redis, self.chats = redis_client, RedisChats(redis_client, ttl_s=60)

    def go_away(self) -> None:
        self.redis._skip_until = time.monotonic() + 60


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest) -> World:
    return MemoryWorld() if request.param == "memory" else RedisWorld(request.getfixturevalue("redis_client"))


def test_the_menu_that_was_sent_last_counts_under_whichever_name(world: World) -> None:
    world.chats.remember_menu(PHONE, CONTACT, MENU.model_copy(update={"at_ms": 1}))
    world.chats.remember_menu(PHONE, "1@lid", OTHER.model_copy(update={"at_ms": 2}))

    for names in ([CONTACT, "1@lid"], ["1@lid", CONTACT]):
        found = eventually(lambda names=names: world.chats.find(PHONE, names).menu, within_s=5)  # type: ignore[misc]
        assert found.message_id == OTHER.message_id


def test_what_became_of_a_menu_counts_under_whichever_name(world: World) -> None:
    world.chats.remember_menu(PHONE, CONTACT, MENU.model_copy(update={"at_ms": 1}))
    world.chats.remember_menu_state(PHONE, "1@lid", MENU.message_id, "over")

    over = MENU.model_copy(update={"at_ms": 1, "state": "over"})
    for names in ([CONTACT, "1@lid"], ["1@lid", CONTACT]):
        eventually(lambda names=names: world.chats.find(PHONE, names).menu == over, within_s=5)  # type: ignore[misc]


def test_what_became_of_a_menu_says_nothing_of_the_next_one(world: World) -> None:
    world.chats.remember_menu(PHONE, CONTACT, OTHER)
    world.chats.remember_menu_state(PHONE, CONTACT, MENU.message_id, "answered")
    world.chats.remember_timer(PHONE, CONTACT, 60)

    eventually(lambda: world.chats.find(PHONE, [CONTACT]).timer_s == 60, within_s=5)
    assert world.chats.find(PHONE, [CONTACT]).menu == OTHER


def test_the_last_menu_of_a_chat_is_known_by_every_name_of_its_contact(world: World) -> None:
    world.chats.remember_menu(PHONE, CONTACT, MENU)
    world.chats.remember_menu(PHONE, f"{CONTACT}@s.whatsapp.net", OTHER)

    eventually(lambda: world.chats.find(PHONE, ["1@lid", f"{CONTACT}@s.whatsapp.net"]).menu == OTHER, within_s=5)
    assert world.chats.find(PHONE, ["554988887777"]).menu == OTHER
    assert world.chats.find(PHONE, ["5511988887777"]) == NO_CHAT
    assert world.chats.find("5511999990009", [CONTACT]) == NO_CHAT


def test_a_timer_is_known_until_it_is_switched_off(world: World) -> None:
    world.chats.remember_menu(PHONE, CONTACT, MENU)
    world.chats.remember_timer(PHONE, CONTACT, 86_400)
    eventually(lambda: world.chats.find(PHONE, [CONTACT]).timer_s == 86_400, within_s=5)

    world.chats.remember_timer(PHONE, CONTACT, 0)

    eventually(lambda: world.chats.find(PHONE, [CONTACT]).timer_s == 0, within_s=5)
    assert world.chats.find(PHONE, [CONTACT]).menu == MENU


def test_while_redis_is_away_nothing_is_known_and_nothing_waits(world: World) -> None:
    world.chats.remember_menu(PHONE, CONTACT, MENU)
    world.go_away()

    assert world.chats.find(PHONE, [CONTACT]) == NO_CHAT
    world.chats.remember_timer(PHONE, CONTACT, 60)


def test_what_stands_in_redis_in_another_form_is_no_menu(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    raw_redis.hset(f"unoapi-chat:{PHONE}:{CONTACT}", mapping={"menu": "no json", "timer": "soon"})

    assert RedisChats(redis_client, ttl_s=60).find(PHONE, [CONTACT]) == NO_CHAT


def test_a_chat_is_forgotten_after_its_time(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    RedisChats(redis_client, ttl_s=60).remember_menu(PHONE, CONTACT, MENU)

    eventually(lambda: 0 < int(raw_redis.ttl(f"unoapi-chat:{PHONE}:{CONTACT}")) <= 60, within_s=5)
