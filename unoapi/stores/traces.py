"""The steps of each message: `unoapi-trace:<id>`. They may be lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from unoapi.models.trace import TraceEntry

if TYPE_CHECKING:
    from unoapi.stores.redis import Command, RedisClient

MAX_TRACE_ENTRIES = 200


class RedisTraces:
    """Traces: a stream per message id, bounded in length and time."""

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    def add(self, *entries: TraceEntry) -> None:
        """Append steps. Never raises, never waits."""
        self._redis.post(*(command for entry in entries for command in self.commands(entry)))

    def commands(self, entry: TraceEntry) -> tuple[Command, ...]:
        """The commands that append one step."""
        if not entry.message_id:
            return ()
        key = _trace_key(entry.message_id)
        text = entry.model_dump_json(exclude_defaults=True, exclude={"message_id"})
        return (("XADD", key, "MAXLEN", MAX_TRACE_ENTRIES, "*", "step", text), ("EXPIRE", key, self._ttl_s))

    def read(self, message_id: str) -> list[TraceEntry]:
        """All steps of a message, oldest first. Raises StoreUnavailable."""
        (items,) = self._redis.call(("XRANGE", _trace_key(message_id), "-", "+"))
        entries = []
        for _, fields in items:
            try:
                entries.append(TraceEntry.model_validate({**json.loads(fields["step"]), "message_id": message_id}))
            except (ValueError, TypeError, LookupError):
                continue  # an entry of another version is no reason to hide the others
        return sorted(entries, key=lambda entry: entry.at)


def _trace_key(message_id: str) -> str:
    return f"unoapi-trace:{message_id}"
