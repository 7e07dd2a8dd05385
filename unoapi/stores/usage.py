"""What numbers used of services that cost something: `unoapi-usage:<P>:<day>`, by kind, for two days."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

DAY_S = 86_400
SPEND = """
local used = redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
if tonumber(ARGV[3]) > 0 and used > tonumber(ARGV[3]) then
  redis.call('HINCRBY', KEYS[1], ARGV[1], -ARGV[2])
  return 0
end
return 1
"""


class RedisUsage:
    """Counts by phone, day (UTC) and kind."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def spend(self, phone: str, kind: str, amount: int, *, most: int) -> bool:
        """Count an amount, unless the day's would be more than `most` then; 0 is no limit. Whether it was counted.

        Raises StoreUnavailable.
        """
        (counted,) = self._redis.call(("EVAL", SPEND, 1, _key(phone), kind, amount, most, 2 * DAY_S))
        return bool(counted)

    def give_back(self, phone: str, kind: str, amount: int) -> None:
        """Count an amount no more: nothing came of it. Never raises, never waits."""
        key = _key(phone)
        self._redis.post(("HINCRBY", key, kind, -amount), ("EXPIRE", key, 2 * DAY_S))

    def used(self, phone: str, kind: str) -> int:
        """What was counted today. Raises StoreUnavailable."""
        (amount,) = self._redis.call(("HGET", _key(phone), kind))
        return int(amount or 0)


def _key(phone: str) -> str:
    return f"unoapi-usage:{phone}:{int(time.time()) // DAY_S}"
