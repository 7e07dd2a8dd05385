"""How long the messages of a queue can have waited: two times per queue, in the Redis hash `unoapi-queue-clock:…`.

Beside them stands how many messages were taken from each queue, and the last look at these counts (`look`): from two
looks comes how many messages a second go through a queue.

RabbitMQ does not give the age of a message without taking it out of its turn. But a queue is in order: nothing that
waits came before the message that was taken last, nor before the queue was seen empty. So consumers write down when the
message they took had come, and the queue monitor writes down an empty queue. What waits is at most as old as the later
of the two.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from unoapi.stores.redis import Command, RedisClient

WRITE_EVERY_S = 1.0
TTL_S = 7 * 86_400
LOOK_MS, OLD_LOOK_MS = 5_000, 300_000
"""Between two looks at the counts at least, and at most: what was long ago says nothing about now."""


class QueueRate(NamedTuple):
    """Messages a second that come into a queue, and that are taken out of it."""

    in_per_s: float
    out_per_s: float


class RedisQueueAges:
    """The times of one installation, named by its prefix. Written without waiting, at most once a second and queue."""

    def __init__(self, redis: RedisClient, *, prefix: str) -> None:
        self._redis = redis
        self._key = f"unoapi-queue-clock:{prefix}"
        self._written_at: dict[str, float] = {}
        self._counts: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._counted: dict[str, int] = {}

    def taken(self, queue: str, came_ms: int) -> None:
        """Record that a message was taken that had come at `came_ms`. Never raises, never waits."""
        now, count = time.monotonic(), next(self._counts[queue])
        if now - self._written_at.get(queue, -WRITE_EVERY_S) >= WRITE_EVERY_S:
            self._written_at[queue] = now
            new, self._counted[queue] = count - self._counted.get(queue, 0), count
            self._redis.post(
                ("HSET", self._key, f"taken:{queue}", came_ms),
                ("HINCRBY", self._key, f"count:{queue}", max(0, new)),
                ("EXPIRE", self._key, TTL_S),
            )

    def rates(self, ready: Mapping[str, int]) -> dict[str, QueueRate]:
        """How many messages a second went through each queue since the last look, as far as there was one lately.

        `ready` are the counts of just now. Raises StoreUnavailable.
        """
        names = sorted(ready)
        ((stored, *counts),) = self._redis.call(("HMGET", self._key, "look", *(f"count:{name}" for name in names)))
        numbers = {name: (_time(count), ready[name]) for name, count in zip(names, counts, strict=True)}
        at_ms = now_ms()
        last_ms, before, rates = _read_look(stored)
        if 0 <= at_ms - last_ms < LOOK_MS:
            return rates
        seconds = (at_ms - last_ms) / 1000
        rates = {
            name: QueueRate(max(0.0, (taken + waiting - before[name][1]) / seconds), taken / seconds)
            for name, (count, waiting) in numbers.items()
            if 0 < seconds * 1000 <= OLD_LOOK_MS and name in before and (taken := count - before[name][0]) >= 0
        }
        look = json.dumps([at_ms, numbers, rates])
        self._redis.post(("HSET", self._key, "look", look), ("EXPIRE", self._key, TTL_S))
        return rates

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
            fields = (f"taken:{queue}", f"empty:{queue}", f"count:{queue}")
            times = [_time(times_of.get(field)) for field in fields[:2]]
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


def _read_look(stored: object) -> tuple[int, dict[str, list[int]], dict[str, QueueRate]]:
    """When the last look was, the counts then, and the rates that it came to; all of nothing if it cannot be read."""
    try:
        at_ms, numbers, rates = json.loads(f"{stored}")
        before: dict[str, Any] = {name: [int(taken), int(ready)] for name, (taken, ready) in numbers.items()}
        return int(at_ms), before, {name: QueueRate(float(in_), float(out)) for name, (in_, out) in rates.items()}
    except (ValueError, TypeError, AttributeError, OverflowError):
        return 0, {}, {}
