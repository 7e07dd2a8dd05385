"""Which number makes how many dead letters: `unoapi-dead-today:<day>`, by phone.

Dead letters of one number have no bound: each is a message that somebody was promised to find there. So who fills the
queue is shown, to be dealt with by a person.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from unoapi.stores.redis import score_pairs
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

log = get_logger(__name__)

DAY_S = 86_400
MANY = 1000
"""After each so many dead letters of a number on one day, the log names it."""


class RedisDeadLetterCounts:
    """Counts by phone and day (UTC), for two days."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def add(self, phone: str) -> None:
        """Count a dead letter. Never raises, never waits."""

        def report(results: list[Any]) -> None:
            count = int(float(results[0]))
            if count % MANY == 0:
                log.warning("many_dead_letters", phone=phone, today=count, hint=f"unoapi dead list --phone {phone}")

        key = _key()
        self._redis.post(("ZINCRBY", key, 1, phone), ("EXPIRE", key, 2 * DAY_S), on_results=report)

    def today(self, phone: str) -> int:
        """How many a number made today. Raises StoreUnavailable."""
        (count,) = self._redis.call(("ZSCORE", _key(), phone))
        return int(float(count)) if count is not None else 0

    def largest(self) -> int:
        """How many the number with the most made today. Raises StoreUnavailable."""
        (first,) = self._redis.call(("ZREVRANGE", _key(), 0, 0, "WITHSCORES"))
        return next((int(score) for _, score in score_pairs(first)), 0)


def _key() -> str:
    return f"unoapi-dead-today:{int(time.time()) // DAY_S}"
