"""Failures that the operator was not told yet: `unoapi-alerts`, `unoapi-alerts:…`. All of it may be lost."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unoapi.errors import StoreUnavailable
from unoapi.models.alerts import Alert, AlertGroup
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

KEY = "unoapi-alerts"
BEGAN_KEY, SENT_KEY, TAKEN_KEY = f"{KEY}:began", f"{KEY}:sent", f"{KEY}:taken:"
TTL_S = 3 * 86_400
MAX_GROUPS = 200
GATHER_MS = 10_000
"""What fails together is told together: a receiver that stops fails many times within seconds."""
EARLY_MS = 500
GRACE_MS = 60_000
"""A digest that did not come so long after its time got lost; the next failure begins another one."""
OVERFLOW = "others"
# Of each group the number (n), the first (f) and the last (l).
_ADD = """
local group = ARGV[1]
if redis.call('HEXISTS', KEYS[1], 'n' .. group) == 0 and redis.call('HLEN', KEYS[1]) >= 3 * tonumber(ARGV[3]) then
  group = ARGV[4]
end
redis.call('HINCRBY', KEYS[1], 'n' .. group, 1)
redis.call('HSETNX', KEYS[1], 'f' .. group, ARGV[2])
redis.call('HSET', KEYS[1], 'l' .. group, ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[5])
if redis.call('EXISTS', KEYS[2]) == 1 then
  return -1
end
local left = tonumber(redis.call('GET', KEYS[3]) or '0') + tonumber(ARGV[7]) - tonumber(ARGV[6])
return math.max(tonumber(ARGV[8]), math.min(left, tonumber(ARGV[7])))
"""
_TAKE = """
if redis.call('EXISTS', KEYS[4]) == 0 then
  local left = tonumber(redis.call('GET', KEYS[3]) or '0') + tonumber(ARGV[2]) - tonumber(ARGV[1])
  if left > tonumber(ARGV[3]) then
    return math.min(left, tonumber(ARGV[2]))
  end
  redis.call('DEL', KEYS[2])
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return {}
  end
  redis.call('RENAME', KEYS[1], KEYS[4])
  redis.call('EXPIRE', KEYS[4], ARGV[4])
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
end
return redis.call('HGETALL', KEYS[4])
"""


class RedisAlerts:
    """Failures in groups, and when the last alert was. At least `spacing_ms` are between two alerts."""

    def __init__(self, redis: RedisClient, *, spacing_ms: int) -> None:
        self._redis = redis
        self._spacing_ms = spacing_ms

    def add(self, alert: Alert) -> int | None:
        """Gather one failure. In how many milliseconds a digest is due, unless one is on its way.

        Raises StoreUnavailable.
        """
        keys = (KEY, BEGAN_KEY, SENT_KEY)
        bounds = (MAX_GROUPS, OVERFLOW, TTL_S, now_ms(), self._spacing_ms, GATHER_MS)
        (wait_ms,) = self._redis.call(("EVAL", _ADD, 3, *keys, alert.group, alert.model_dump_json(), *bounds))
        return None if int(wait_ms) < 0 else int(wait_ms)

    def began(self, wait_ms: int) -> None:
        """A digest that is due in so many milliseconds was published. Never raises: at worst another one begins."""
        with suppress(StoreUnavailable):
            self._redis.call(("SET", BEGAN_KEY, "1", "PX", wait_ms + GRACE_MS))

    def take(self, token: str) -> list[AlertGroup] | int:
        """All groups, the same again under the same token; in how many milliseconds, when it is too early.

        Raises StoreUnavailable.
        """
        keys = (KEY, BEGAN_KEY, SENT_KEY, TAKEN_KEY + token)
        (taken,) = self._redis.call(("EVAL", _TAKE, 4, *keys, now_ms(), self._spacing_ms, EARLY_MS, TTL_S))
        return taken if isinstance(taken, int) else _groups(taken)

    def forget(self, token: str) -> None:
        """Those of a token are told. Never raises, never waits."""
        self._redis.post(("DEL", TAKEN_KEY + token))


def _groups(pairs: list[Any]) -> list[AlertGroup]:
    fields = {str(name): str(value) for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
    groups = []
    for name, count in fields.items():
        if name.startswith("n"):
            try:
                first, last = (Alert.model_validate_json(fields[f"{end}{name[1:]}"]) for end in "fl")
                groups.append(AlertGroup(int(count), first, last, overflow=name[1:] == OVERFLOW))
            except (LookupError, ValueError, ValidationError):
                continue  # a key that another program overwrote tells nothing
    return groups
