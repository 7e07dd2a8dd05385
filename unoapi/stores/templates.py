"""The templates of a session: `unoapi-template:<P>`, a JSON list as the client gave it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from unoapi.errors import describe
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

log = get_logger(__name__)


class RedisTemplates:
    """Templates by phone."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def get(self, phone: str) -> list[dict[str, Any]] | None:
        """What is stored; None when nothing ever was. Raises StoreUnavailable."""
        (text,) = self._redis.call(("GET", _key(phone)))
        if text is None:
            return None
        try:
            stored = json.loads(text)
        except ValueError as error:
            log.error("templates_unreadable", phone=phone, error=describe(error), hint="save the templates again")
            return []
        items = stored if isinstance(stored, list) else [stored]
        return [item for item in items if isinstance(item, dict) and item.get("name")]

    def put(self, phone: str, templates: list[dict[str, Any]]) -> None:
        """Store all of a phone. Raises StoreUnavailable."""
        self._redis.call(("SET", _key(phone), json.dumps(templates)))


def _key(phone: str) -> str:
    return f"unoapi-template:{phone}"
