"""Messages that a session has accepted and not yet sent: `unoapi-backlog:<P>`, ids by the time of acceptance.

A message leaves when it was sent or given up, and at the latest at the age at which every send ends, so that nothing
that was forgotten counts for long. A message that left stays for some seconds with a negative time: different processes
write that it entered and that it left, without waiting, and the first may reach Redis after the second.
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
    """The backlogs of all sessions, over all processes.

    `most` messages may wait for one session; 0, or Redis away: any number.
    """

    def __init__(self, redis: RedisClient, traces: RedisTraces, *, most: int, max_age_s: int) -> None:
        self._redis = redis
        self._traces = traces
        self._most = most
        self._max_age_ms = max_age_s * 1000
        self._counts: dict[str, tuple[int, float]] = {}

    def is_full(self, phone: str) -> bool:
        """Whether the session has as many messages waiting as it may. Asked of Redis at most once a second."""
        if not self._most:
            return False
        count, at = self._counts.get(phone, (0, 0.0))
        if time.monotonic() - at > FRESH_S:
            count = self._count(phone)
            if len(self._counts) >= MAX_SESSIONS:
                self._counts.clear()
            self._counts[phone] = (count, time.monotonic())
        return count >= self._most

    def enter(self, phone: str, message_id: str, entry: TraceEntry) -> None:
        """Count a message that was accepted, and add the step to its trace with the same call."""
        if not self._most:
            self._traces.add(entry)
            return
        counted = self._counts.get(phone)
        if counted is not None:
            self._counts[phone] = (counted[0] + 1, counted[1])
        self._redis.post(("ZADD", _key(phone), "NX", now_ms(), message_id), *self._traces.commands(entry))

    def leave(self, phone: str, message_id: str) -> None:
        """Count a message no more: it was sent, or given up."""
        if self._most:
            self._redis.post(("ZADD", _key(phone), -now_ms(), message_id), ("PEXPIRE", _key(phone), self._max_age_ms))

    def _count(self, phone: str) -> int:
        now, oldest = now_ms(), now_ms() - self._max_age_ms
        try:
            _, count, _ = self._redis.call(
                ("ZREMRANGEBYSCORE", _key(phone), -(now - LEFT_MS), oldest),
                ("ZCOUNT", _key(phone), oldest, "+inf"),
                ("PEXPIRE", _key(phone), 2 * self._max_age_ms),
            )
        except StoreUnavailable:
            return 0
        return int(count)


def _key(phone: str) -> str:
    return f"unoapi-backlog:{phone}"
