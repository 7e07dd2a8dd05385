"""Timers, and who wrote last: `unoapi-timer:<P>:<contact>`, `unoapi-message-direction:<P>:<contact>`.

The second is `incoming` when the number itself wrote last. When the contact did it is gone: most of those who write are
never asked about, and one command forgets them all. An earlier version wrote `outgoing` for them.

`unoapi-timers:<P>` counts the timers that wait in RabbitMQ, stopped ones included, by the time when each leaves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.models.contacts import contact_key, contact_keys
from unoapi.models.jobs import now_ms
from unoapi.models.timers import MAX_TIMEOUT_MS, TimerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unoapi.models.timers import Conversation
    from unoapi.stores.redis import Command, RedisClient


class RedisTimers:
    """When the timer of a contact was started or stopped last. A timer whose data are lost does not fire."""

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    def touch(self, phone: str, contact: str, *, at_ms: int) -> None:
        """Remember a start or a stop, in milliseconds since the epoch. Raises StoreUnavailable."""
        keys = (_timer_key(phone, key) for key in contact_keys(contact))
        self._redis.call(*(("SET", key, at_ms, "EX", self._ttl_s) for key in keys))

    def state(self, phone: str, contact: str) -> TimerState:
        """The last start or stop, and who wrote last. Raises StoreUnavailable."""
        ((last, direction),) = self._redis.call(("MGET", _timer_key(phone, contact), _direction_key(phone, contact)))
        return TimerState(last_ms=int(last) if str(last or "").isdigit() else None, direction=str(direction or ""))

    def waiting(self, phone: str) -> int:
        """How many timers of a number wait in RabbitMQ, as far as that is known. Raises StoreUnavailable."""
        key = _waiting_key(phone)
        _, count = self._redis.call(("ZREMRANGEBYSCORE", key, "-inf", now_ms()), ("ZCARD", key))
        return int(count)

    def waits(self, phone: str, timer_id: str, *, until_ms: int) -> None:
        """Count a timer until then, in milliseconds since the epoch. Never raises, never waits."""
        key = _waiting_key(phone)
        self._redis.post(("ZADD", key, until_ms, timer_id), ("PEXPIREAT", key, now_ms() + MAX_TIMEOUT_MS))

    def wrote(self, last: Mapping[Conversation, bool]) -> None:
        """Remember who wrote last: the number itself (true), or the contact. Never raises, never waits."""
        commands: list[Command] = []
        answered: list[str] = []
        for (phone, contact), own in last.items():
            if own:
                commands.append(("SET", _direction_key(phone, contact), "incoming", "EX", self._ttl_s))
            else:
                answered.append(_direction_key(phone, contact))
        if answered:
            commands.append(("DEL", *answered))
        if commands:
            self._redis.post(*commands)


def _timer_key(phone: str, contact: str) -> str:
    return f"unoapi-timer:{phone}:{contact_key(contact)}"


def _waiting_key(phone: str) -> str:
    return f"unoapi-timers:{phone}"


def _direction_key(phone: str, contact: str) -> str:
    return f"unoapi-message-direction:{phone}:{contact_key(contact)}"
