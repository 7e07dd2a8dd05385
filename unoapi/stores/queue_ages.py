"""How long the messages of a queue can have waited: two times per queue, in the Redis hash `unoapi-queue-clock:…`.

RabbitMQ does not give the age of a message without taking it out of its turn. But a queue is in order: nothing that
waits came before the message that was taken last, nor before the queue was seen empty. So consumers write down when the
message they took had come, and the queue monitor writes down an empty queue. What waits is at most as old as the later
of the two.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unoapi.stores.redis import Command, RedisClient

WRITE_EVERY_S = 1.0
TTL_S = 7 * 86_400


class RedisQueueAges:
    """The times of one installation, named by its prefix. Written without waiting, at most once a second and queue."""

    def __init__(self, redis: RedisClient, *, prefix: str) -> None:
        self._redis = redis
        self._key = f"unoapi-queue-clock:{prefix}"
        self._written_at: dict[str, float] = {}

    def taken(self, queue: str, came_ms: int) -> None:
        """Record that a message was taken that had come at `came_ms`. Never raises, never waits."""
        now = time.monotonic()
        if now - self._written_at.get(queue, -WRITE_EVERY_S) >= WRITE_EVERY_S:
            self._written_at[queue] = now
            self._redis.post(("HSET", self._key, f"taken:{queue}", came_ms), ("EXPIRE", self._key, TTL_S))

    def since(self, ready: Mapping[str, int], *, passing: Mapping[str, int] | None = None) -> dict[str, int]:
        """For each queue that is not empty the time before which nothing in it came, in Unix milliseconds.

        `ready` are the counts of just now. A queue without any time counts from now on, so that after a loss of Redis's
        data ages begin anew. `passing` are queues that come and go, of which there may be many: nothing is stored about
        them while they are empty. Raises StoreUnavailable.
        """
        (times_of,) = self._redis.call(("HGETALL", self._key))
        now, since_ms = now_ms(), {}
        updates: list[Command] = []
        for queue, count in {**ready, **(passing or {})}.items():
            fields = (f"taken:{queue}", f"empty:{queue}")
            times = [_time(times_of.get(field)) for field in fields]
            if count == 0 and queue in (passing or {}):
                updates += [("HDEL", self._key, *fields)] if any(times) else []
            elif count == 0 or not any(times):
                updates.append(("HSET", self._key, fields[1], now))
            if count:
                since_ms[queue] = max(times) or now
        if updates:
            self._redis.post(*updates, ("EXPIRE", self._key, TTL_S))
        return since_ms


def _time(stored: object) -> int:
    """Unix milliseconds; 0 for none, and for anything in Redis that is no time."""
    text = str(stored or "")
    return int(text) if text.isascii() and text.isdigit() else 0
