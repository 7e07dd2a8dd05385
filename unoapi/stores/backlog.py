"""What a session has accepted and not yet sent: `unoapi-backlog:<P>`, message ids by the time they were accepted.

A message leaves when it was sent or given up, and at the latest at the age at which every send ends, so that nothing
that was forgotten counts for long. Who left stays for some seconds with a negative time: both are written behind, by
different processes, and the entry may come after the end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from unoapi.models.trace import TraceEntry
    from unoapi.stores.redis import RedisClient
    from unoapi.stores.traces import RedisTraces

FRESH_S = 1.0
LEFT_MS = 5_000
MAX_SESSIONS = 10_000


class RedisBacklog:
    """Counts of all processes. `most` messages may wait for one session; 0: any number. With Redis away: any number."""

    def __init__(self, store: RedisClient, traces: RedisTraces, *, most: int, max_age_s: int) -> None:
        self._store = store
        self._traces = traces
        self._most = most
        self._max_age_ms = max_age_s * 1000
        self._known: dict[str, tuple[int, float]] = {}

    def is_full(self, phone: str) -> bool:
        """Whether the session has as many messages waiting as it may. Asked of Redis at most once a second."""
        if not self._most:
            return False
        count, at = self._known.get(phone, (0, 0.0))
        if time.monotonic() - at > FRESH_S:
            count = self._count(phone)
            if len(self._known) >= MAX_SESSIONS:
                self._known.clear()
            self._known[phone] = (count, time.monotonic())
        return count >= self._most

    def enter(self, phone: str, message_id: str, entry: TraceEntry) -> None:
        """Count a message that was accepted, and write the step to its trace in the same breath."""
        if not self._most:
            self._traces.add(entry)
            return
        known = self._known.get(phone)
        if known is not None:
            self._known[phone] = (known[0] + 1, known[1])
        self._store.post(("ZADD", _key(phone), "NX", now_ms(), message_id), *self._traces.commands(entry))

    def leave(self, phone: str, message_id: str) -> None:
        """Count a message no more: it was sent, or given up."""
        if self._most:
            self._store.post(("ZADD", _key(phone), -now_ms(), message_id), ("PEXPIRE", _key(phone), self._max_age_ms))

    def _count(self, phone: str) -> int:
        now, oldest = now_ms(), now_ms() - self._max_age_ms
        try:
            _, count, _ = self._store.call(
                ("ZREMRANGEBYSCORE", _key(phone), -(now - LEFT_MS), oldest),
                ("ZCOUNT", _key(phone), oldest, "+inf"),
                ("PEXPIRE", _key(phone), 2 * self._max_age_ms),
            )
        except StoreUnavailable:
            return 0
        return int(count)


def _key(phone: str) -> str:
    return f"unoapi-backlog:{phone}"
