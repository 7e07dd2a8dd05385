"""The latest messages: `unoapi-messages:<P>`, and `unoapi-messages` of all numbers, the newest first. They may be lost.

Lists, because an entry takes little more there than its text: about 100 bytes. `unoapi-body:<P>:<id>` is a message's
body, where `UNOAPI_CONSOLE_BODIES` is on.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING

from unoapi.models.message_log import LoggedMessage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from unoapi.stores.redis import Command, RedisClient

ALL_KEY = "unoapi-messages"
SEPARATOR = "\x1f"
TRIM_EVERY = 16
"""One message in so many, drawn by chance, also cuts the lists."""
PAGE = 500
MAX_LOOKED = 5_000
"""So many entries are looked through for some messages at once: a page of each number, or more of few numbers."""
MAX_BODY_CHARS = 8_192
MAX_CONTACT_CHARS, MAX_TYPE_CHARS = 128, 32
BODY_TTL_S = 7 * 86_400
LATEST_MS = 10**14
"""No message was accepted after the year 5138."""


class RedisMessageLog:
    """The latest `most` messages of each number, and of all together (0: none), for `ttl_s` seconds.

    `bodies`: whether their bodies are saved, too.
    """

    def __init__(self, redis: RedisClient, *, most: int, ttl_s: int, bodies: bool = False) -> None:
        self._redis = redis
        self._most = most
        self._ttl_s = ttl_s
        self._bodies = bodies

    def add(self, message: LoggedMessage, body: str = "") -> None:
        """Put a message in front. Never raises, never waits."""
        self.add_all([(message, body)])

    def add_all(self, messages: Sequence[tuple[LoggedMessage, str]]) -> None:
        """Put messages with their bodies in front, the last one first. Never raises, never waits."""
        if not self._most or not messages:
            return
        lists = defaultdict[str, list[str]](list)
        for message, _ in messages:
            text = _packed(message)
            lists[log_key(message.phone)].append(text)
            lists[ALL_KEY].append(f"{message.phone}{SEPARATOR}{text}")
        trims = random.random() * TRIM_EVERY < len(messages)  # noqa: S311 (chance, no secret)
        commands: list[Command] = []
        for key, texts in lists.items():
            commands += [("LPUSH", key, *texts), ("EXPIRE", key, self._ttl_s)]
            if trims:
                commands.append(("LTRIM", key, 0, self._most - 1))
        if self._bodies:
            commands += [
                ("SET", _body_key(message.phone, message.id), body[:MAX_BODY_CHARS], "EX", min(self._ttl_s, BODY_TTL_S))
                for message, body in messages
                if body
            ]
        self._redis.post(*commands)

    def latest(self, phone: str = "") -> Iterator[LoggedMessage]:
        """The messages of a number, or of all, the newest first. Raises StoreUnavailable."""
        key, start = log_key(phone) if phone else ALL_KEY, 0
        while start < self._most:
            (texts,) = self._redis.call(("LRANGE", key, start, min(start + PAGE, self._most) - 1))
            for text in texts:
                if (message := _unpacked(text, phone)) is not None:
                    yield message
            if len(texts) < PAGE:
                return
            start += PAGE

    def find(self, messages: Collection[tuple[str, str]]) -> dict[tuple[str, str], LoggedMessage]:
        """Messages by phone and id, as far as they are among the latest of their numbers. Raises StoreUnavailable.

        Of many numbers at once only the very latest are looked through.
        """
        wanted, found = set(messages), dict[tuple[str, str], LoggedMessage]()
        phones = sorted({phone for phone, _ in wanted})
        if not phones or not self._most:
            return found
        each = min(self._most, max(PAGE, MAX_LOOKED // len(phones)))
        together = max(1, MAX_LOOKED // each)
        for start in range(0, len(phones), together):
            part = phones[start : start + together]
            lists = self._redis.call(*(("LRANGE", log_key(phone), 0, each - 1) for phone in part))
            for phone, texts in zip(part, lists, strict=True):
                for text in texts:
                    key = (phone, text.rpartition(SEPARATOR)[2])
                    if key in wanted and (message := _unpacked(text, phone)) is not None:
                        found.setdefault(key, message)
        return found

    def body(self, phone: str, message_id: str) -> str | None:
        """The body of a message, if it was saved. Raises StoreUnavailable."""
        if not self._bodies:
            return None
        (text,) = self._redis.call(("GET", _body_key(phone, message_id)))
        return text if text is None else f"{text}"


def _packed(message: LoggedMessage) -> str:
    fields = (
        f"{message.at_ms}", message.direction[0], message.type[:MAX_TYPE_CHARS],
        message.contact[:MAX_CONTACT_CHARS], message.id,
    )  # fmt: skip
    text = SEPARATOR.join(fields)
    if text.count(SEPARATOR) == len(fields) - 1:
        return text
    return SEPARATOR.join(field.replace(SEPARATOR, " ") for field in fields)


def _unpacked(text: str, phone: str) -> LoggedMessage | None:
    """The message, or none: one of another version is no reason to hide the others."""
    try:
        if not phone:
            phone, text = text.split(SEPARATOR, 1)
        at_text, direction, kind, contact, message_id = text.split(SEPARATOR, 4)
        at_ms = int(at_text)
    except ValueError:
        return None
    if not 0 <= at_ms < LATEST_MS:
        return None
    return LoggedMessage(at_ms, phone, "sent" if direction == "s" else "received", contact, kind, message_id)


def log_key(phone: str) -> str:
    """The key of a number's latest messages."""
    return f"unoapi-messages:{phone}"


def _body_key(phone: str, message_id: str) -> str:
    return f"unoapi-body:{phone}:{message_id}"
