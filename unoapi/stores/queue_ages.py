"""Since when what stands in a queue can have come: a clock per queue, kept in Redis.

A queue does not tell how old its messages are, and to look at one would take it out of its turn. But a queue is in
order: nothing that waits came before what was taken last, nor before the queue was seen empty. So those who take a
message note when it had come, and those who look note an empty queue. What waits is at most as old as the later note.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unoapi.stores.redis import Command, RedisClient

NOTE_EVERY_S = 1.0
KEPT_S = 7 * 86_400


class RedisQueueAges:
    """The clocks of one installation, named by its prefix. Notes are written behind, at most one a second and queue."""

    def __init__(self, store: RedisClient, *, prefix: str) -> None:
        self._store = store
        self._key = f"unoapi-queue-clock:{prefix}"
        self._noted: dict[str, float] = {}

    def taken(self, queue: str, came_ms: int) -> None:
        """Note that a message which came then was taken. Never raises, never waits."""
        now = time.monotonic()
        if now - self._noted.get(queue, -NOTE_EVERY_S) >= NOTE_EVERY_S:
            self._noted[queue] = now
            self._store.post(("HSET", self._key, f"taken:{queue}", came_ms), ("EXPIRE", self._key, KEPT_S))

    def since(self, ready: Mapping[str, int], *, passing: Mapping[str, int] | None = None) -> dict[str, int]:
        """For each queue that is not empty the time before which nothing in it came, in Unix milliseconds.

        `ready` is what was seen just now. A queue of which nothing is known counts from now on, so that after a loss of
        Redis's data ages begin anew. `passing` are queues that come and go, of which there may be many: nothing is kept
        of them while they are empty. Raises StoreUnavailable.
        """
        (known,) = self._store.call(("HGETALL", self._key))
        now, found = now_ms(), {}
        notes: list[Command] = []
        for queue, count in {**ready, **(passing or {})}.items():
            fields = (f"taken:{queue}", f"empty:{queue}")
            times = [_time(known.get(field)) for field in fields]
            if count == 0 and queue in (passing or {}):
                notes += [("HDEL", self._key, *fields)] if any(times) else []
            elif count == 0 or not any(times):
                notes.append(("HSET", self._key, fields[1], now))
            if count:
                found[queue] = max(times) or now
        if notes:
            self._store.post(*notes, ("EXPIRE", self._key, KEPT_S))
        return found


def _time(note: object) -> int:
    """Unix milliseconds, or 0 for none: whatever stands in Redis, a look must go on."""
    text = str(note or "")
    return int(text) if text.isascii() and text.isdigit() else 0
