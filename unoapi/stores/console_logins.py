"""Logins of the console that were ended before they expired."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

MAX_REMEMBERED = 10_000
"""Of this process's own, which hold also while Redis is away."""


class RedisConsoleLogins:
    """The ids of ended logins (`unoapi-console-ended:<id>`), each for as long as its cookie would work."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._ended: dict[str, float] = {}

    def end(self, login_id: str, *, within_s: int) -> None:
        """Let nobody use this login any more. Never raises."""
        if len(self._ended) >= MAX_REMEMBERED:
            self._ended.pop(next(iter(self._ended)))
        self._ended[login_id] = time.monotonic() + within_s
        self._redis.post(("SET", _key(login_id), "1", "EX", within_s))

    def is_ended(self, login_id: str) -> bool:
        """Whether it was ended. Never raises; with Redis away it is what this process knows."""
        if self._ended.get(login_id, 0) > time.monotonic():
            return True
        try:
            (ended,) = self._redis.call(("EXISTS", _key(login_id)))
        except StoreUnavailable:
            return False
        return bool(ended)


def _key(login_id: str) -> str:
    return f"unoapi-console-ended:{login_id}"
