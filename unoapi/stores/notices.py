"""The last notice about each endpoint: `unoapi-notice:<P>:<webhook>`. It may be lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable

if TYPE_CHECKING:
    from unoapi.models.endpoints import Endpoint
    from unoapi.stores.redis import RedisClient

MAX_REMEMBERED = 10_000
NOTICE_WINDOW_S = 900


class RedisNotices:
    """At most one notice per endpoint and quarter of an hour; with Redis away per process."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._here: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def claim(self, endpoint: Endpoint, *, notice_id: str) -> bool:
        """Whether this notice may go out now."""
        key = f"unoapi-notice:{endpoint.key}"
        try:
            _, holder = self._redis.call(("SET", key, notice_id, "NX", "EX", NOTICE_WINDOW_S), ("GET", key))
        except StoreUnavailable:
            return self._claim_here(key, notice_id)
        return bool(holder == notice_id)

    def _claim_here(self, key: str, notice_id: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if len(self._here) >= MAX_REMEMBERED:
                self._here.clear()
            at, holder = self._here.get(key, (now - NOTICE_WINDOW_S, ""))
            if now - at >= NOTICE_WINDOW_S:
                self._here[key] = (now, notice_id)
                return True
            return holder == notice_id
