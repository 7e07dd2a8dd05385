"""The templates of a session: `unoapi-template:<P>`, a JSON list as the client gave it."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

from unoapi.errors import StoreUnavailable, describe
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.stores.redis import RedisClient

log = get_logger(__name__)

SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
MOST_TRIES = 50
LONGEST_PAUSE_S = 0.02
"""Before the next try, so that not all who lost go on together."""


class RedisTemplates:
    """Templates by phone."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def get(self, phone: str) -> list[dict[str, Any]] | None:
        """What is stored; None when nothing ever was. Raises StoreUnavailable."""
        (text,) = self._redis.call(("GET", _key(phone)))
        return _read(phone, text)

    def put(self, phone: str, templates: list[dict[str, Any]]) -> None:
        """Store all of a phone. Raises StoreUnavailable."""
        self._redis.call(("SET", _key(phone), json.dumps(templates)))

    def change(
        self, phone: str, made: Callable[[list[dict[str, Any]] | None], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Store what is made of what is stored, and return it: made anew when somebody else changed that meanwhile.

        Raises StoreUnavailable, and what `made` raises.
        """
        for _ in range(MOST_TRIES):
            (before,) = self._redis.call(("GET", _key(phone)))
            after = made(_read(phone, before))
            (done,) = self._redis.call(("EVAL", SWAP, 1, _key(phone), before or "", json.dumps(after)))
            if done:
                return after
            time.sleep(random.uniform(0, LONGEST_PAUSE_S))  # noqa: S311 (no secret)
        raise StoreUnavailable("others change the templates of this number all the time")


def _read(phone: str, text: str | bytes | None) -> list[dict[str, Any]] | None:
    if text is None:
        return None
    try:
        stored = json.loads(text)
    except ValueError as error:
        log.error("templates_unreadable", phone=phone, error=describe(error), hint="save the templates again")
        return []
    items = stored if isinstance(stored, list) else [stored]
    return [item for item in items if isinstance(item, dict) and item.get("name")]


def _key(phone: str) -> str:
    return f"unoapi-template:{phone}"
