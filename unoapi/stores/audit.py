"""The audit log: `unoapi-audit`, a list of JSON, the newest first. It is bounded, and may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from unoapi.models.audit import AuditEntry

if TYPE_CHECKING:
    from collections.abc import Collection

    from unoapi.stores.redis import RedisClient

KEY = "unoapi-audit"
MAX_ENTRIES = 10_000
PAGE = 500


class RedisAudit:
    """The last `most` changes."""

    def __init__(self, redis: RedisClient, *, most: int = MAX_ENTRIES) -> None:
        self._redis = redis
        self._most = most

    def add(self, entry: AuditEntry) -> None:
        """Put an entry in front. Never raises, never waits."""
        text = entry.model_dump_json(exclude_defaults=True, exclude={"at_ms"})
        self._redis.post(("LPUSH", KEY, f"{entry.at_ms} {text}"), ("LTRIM", KEY, 0, self._most - 1))

    def latest(
        self, limit: int = 100, *, phones: Collection[str] | None = None, before_ms: int | None = None
    ) -> list[AuditEntry]:
        """The newest entries, the newest first; of `phones` alone, if they are given. Raises StoreUnavailable."""
        found: list[AuditEntry] = []
        for start in range(0, self._most, PAGE):
            (texts,) = self._redis.call(("LRANGE", KEY, start, start + PAGE - 1))
            for text in texts:
                entry = _unpacked(text)
                if (
                    entry is not None
                    and (phones is None or entry.phone in phones)
                    and (before_ms is None or entry.at_ms < before_ms)
                ):
                    found.append(entry)
                if len(found) >= limit:
                    return found
            if len(texts) < PAGE:
                break
        return found


def _unpacked(text: str) -> AuditEntry | None:
    """The entry, or none: one of another version is no reason to hide the others."""
    at_ms, _, rest = text.partition(" ")
    try:
        entry = AuditEntry.model_validate_json(rest)
        return entry.model_copy(update={"at_ms": int(at_ms)})
    except (ValidationError, ValueError):
        return None
