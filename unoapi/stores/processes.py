"""The processes that run: the Redis hash `unoapi-processes:<prefix>`, one field for each, as JSON. It may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from unoapi.models.jobs import now_ms
from unoapi.models.processes import Process

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

FORGOTTEN_MS = 3_600_000
"""Who was not heard of for so long is nobody's concern any more."""
TTL_S = 86_400
MAX_LISTED = 1_000


class RedisProcesses:
    """The processes of one installation, named by its prefix."""

    def __init__(self, redis: RedisClient, *, prefix: str) -> None:
        self._redis = redis
        self._key = f"unoapi-processes:{prefix}"

    def report(self, process: Process) -> None:
        """Say that it runs. Never raises, never waits."""
        seen = process.model_copy(update={"seen_ms": now_ms()})
        self._redis.post(("HSET", self._key, seen.name, seen.model_dump_json()), ("EXPIRE", self._key, TTL_S))

    def forget(self, name: str) -> None:
        """Say that it ended. Never raises."""
        self._redis.post(("HDEL", self._key, name))

    def all(self) -> list[Process]:
        """Those that were heard of within an hour, by name. The others are removed. Raises StoreUnavailable."""
        (stored,) = self._redis.call(("HGETALL", self._key))
        since_ms = now_ms() - FORGOTTEN_MS
        processes = {name: _read(text) for name, text in stored.items()}
        known = [process for process in processes.values() if process is not None and process.seen_ms >= since_ms]
        if gone := sorted(processes.keys() - {process.name for process in known}):
            self._redis.post(("HDEL", self._key, *gone))
        return sorted(known, key=lambda process: process.name)[:MAX_LISTED]


def _read(text: str) -> Process | None:
    try:
        return Process.model_validate_json(text)
    except ValidationError:
        return None
