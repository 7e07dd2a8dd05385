"""What is remembered of a chat: `unoapi-chat:<P>:<chat>`, with the last menu and the timer. All of it may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from unoapi.errors import StoreUnavailable
from unoapi.models.chats import MENU_STATES, NO_CHAT, Chat, Menu, last_of
from unoapi.models.contacts import contact_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unoapi.models.chats import MenuState
    from unoapi.stores.redis import RedisClient

MENU, STATE, TIMER = "menu", "state", "timer"


class RedisChats:
    """The chats of all sessions. A chat is forgotten `ttl_s` after the last thing that was remembered of it."""

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    def remember_menu(self, phone: str, chat: str, menu: Menu) -> None:
        """Save the menu that was sent last. Never raises, never waits."""
        self._set(phone, chat, MENU, menu.model_dump_json(exclude_defaults=True))

    def remember_menu_state(self, phone: str, chat: str, message_id: str, state: MenuState) -> None:
        """Save what became of a menu: beside it, so that none is overwritten that is sent just now.

        Never raises, never waits.
        """
        self._set(phone, chat, STATE, f"{state} {message_id}")

    def remember_timer(self, phone: str, chat: str, seconds: int) -> None:
        """Save after how long the chat's messages disappear; 0: they stay. Never raises, never waits."""
        if seconds > 0:
            self._set(phone, chat, TIMER, seconds)
        else:
            self._redis.post(("HDEL", _key(phone, chat), TIMER))

    def find(self, phone: str, chats: Sequence[str]) -> Chat:
        """What is known of a chat: the last menu, and the timer under the first of its names that has one.

        Never raises; it fails open.
        """
        names = [chat for chat in dict.fromkeys(chats) if chat]
        try:
            answers = self._redis.call(*(("HMGET", _key(phone, chat), MENU, STATE, TIMER) for chat in names))
        except StoreUnavailable:
            return NO_CHAT
        menu = last_of((_menu(text) for text, _, _ in answers), _states(text for _, text, _ in answers))
        timer = str(next((text for _, _, text in answers if text), ""))
        return Chat(menu=menu, timer_s=int(timer) if timer.isdigit() else 0)

    def _set(self, phone: str, chat: str, field: str, value: str | int) -> None:
        key = _key(phone, chat)
        self._redis.post(("HSET", key, field, value), ("EXPIRE", key, self._ttl_s))


def _menu(text: str | None) -> Menu | None:
    try:
        return Menu.model_validate_json(text) if text else None
    except ValidationError:
        return None


def _states(texts: Iterable[str | None]) -> Iterator[tuple[str, MenuState]]:
    for text in texts:
        written, _, message_id = (text or "").partition(" ")
        yield from ((message_id, state) for state in MENU_STATES if state == written)


def _key(phone: str, chat: str) -> str:
    return f"unoapi-chat:{phone}:{contact_key(chat)}"
