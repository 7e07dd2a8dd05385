"""Who works at the dead queue now: `unoapi-dead-busy`. The lock itself is RabbitMQ's; this only names its holder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

KEY = "unoapi-dead-busy"
DAY_S = 86_400


class RedisDeadLetterHolder:
    """The name of the holder in Redis, for a day at most."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def write(self, holder: str) -> None:
        """Say who has the lock."""
        self._redis.post(("SET", KEY, holder, "EX", DAY_S))

    def read(self) -> str:
        """Who has the lock; empty when that is not known."""
        try:
            (holder,) = self._redis.call(("GET", KEY))
        except StoreUnavailable:
            return ""
        return str(holder or "")

    def clear(self) -> None:
        """Nobody has the lock any more."""
        self._redis.post(("DEL", KEY))
