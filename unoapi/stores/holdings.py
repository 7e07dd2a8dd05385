"""The holding queues: which endpoint has which one. All of it may be lost: each queue's own job writes it again.

`unoapi-holding:<P>:<webhook>` is `<token> new|waiting|empty <look>[ ended]`, with the number of the next look, and
whether the last one, which had no message, has ended. `unoapi-holdings` lists all, by the time of the last look. Times
are Unix milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.models.endpoints import Endpoint, Holding
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

INDEX_KEY = "unoapi-holdings"
TTL_MS = 600_000
"""Longer than the pause between two looks at a queue."""
MAX_QUEUES = 1_000
"""The deliveries of more endpoints than these wait in the buckets."""

_KEEP = """
local holding = redis.call('GET', KEYS[1]) or ''
local token, next, ended = string.match(holding, '^(%S+) %S+ (%d+)(.*)$')
if token and token ~= ARGV[1] then return 0 end
next, ended = tonumber(next or 0), ended or ''
local look = tonumber(ARGV[7])
if look >= 0 then
  if next > look + 1 or (next == look + 1 and ended ~= '') then return -1 end
  if next == look + 1 and ARGV[8] ~= '1' then return -2 end
  next, ended = look + 1, ''
end
local since = ARGV[3] - ARGV[4]
if not token and not redis.call('ZSCORE', KEYS[2], ARGV[6]) then
  if redis.call('ZCOUNT', KEYS[2], since, '+inf') >= tonumber(ARGV[5]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. next .. ended, 'PX', ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[6])
return redis.call('ZCOUNT', KEYS[2], since, '+inf')
"""
_END = """
local holding = redis.call('GET', KEYS[1]) or ''
local token, next = string.match(holding, '^(%S+) %S+ (%d+)$')
if token == ARGV[1] and tonumber(next) == ARGV[2] + 1 then
  redis.call('SET', KEYS[1], holding .. ' ended', 'KEEPTTL')
end
"""
_FORGET = """
redis.call('ZREM', KEYS[2], ARGV[2])
local holding = redis.call('GET', KEYS[1])
if holding and string.match(holding, '^%S+') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class RedisHoldings:
    """The holding queues in Redis, at most `most`. Raises StoreUnavailable."""

    def __init__(self, redis: RedisClient, *, most: int = MAX_QUEUES) -> None:
        self._redis = redis
        self._most = most

    def begin(  # noqa: PLR0913 (the fields of an entry)
        self, endpoint: Endpoint, token: str, *, look: int, redelivered: bool, ready: bool, waiting: bool
    ) -> int:
        """The same as `keep`, at the beginning of a look. LOOK_ENDED or LOOK_BEGUN: it was made before.

        One that is `redelivered` may be made again, until the next one is.
        """
        return self._keep(endpoint, token, ready=ready, waiting=waiting, look=look, redelivered=redelivered)

    def end(self, endpoint: Endpoint, token: str, *, look: int) -> None:
        """Note that a look has ended, so that it is not made again when its message comes. Never raises."""
        self._redis.post(("EVAL", _END, 1, holding_key(endpoint), token, look))

    def keep(self, endpoint: Endpoint, token: str, *, ready: bool, waiting: bool) -> int:
        """Write that the endpoint has this queue, and get how many queues there are.

        0: it has another one, or there are too many.
        """
        return self._keep(endpoint, token, ready=ready, waiting=waiting, look=-1, redelivered=False)

    def _keep(  # noqa: PLR0913 (the fields of an entry)
        self, endpoint: Endpoint, token: str, *, ready: bool, waiting: bool, look: int, redelivered: bool
    ) -> int:
        phase = "new" if not ready else "waiting" if waiting else "empty"
        keys = (holding_key(endpoint), INDEX_KEY)
        bounds = (now_ms(), TTL_MS, self._most, _member(endpoint, token))
        (count,) = self._redis.call(("EVAL", _KEEP, 2, *keys, token, phase, *bounds, look, int(redelivered)))
        return int(count)

    def forget(self, endpoint: Endpoint, token: str) -> None:
        """Let nobody find this queue any more."""
        member = _member(endpoint, token)
        self._redis.call(("EVAL", _FORGET, 2, holding_key(endpoint), INDEX_KEY, token, member))

    def all(self) -> list[tuple[Endpoint, str]]:
        """All queues, as endpoint and token; the one that was looked at last comes last."""
        return self._between("-inf", "+inf")

    def left_alone(self) -> list[tuple[Endpoint, str]]:
        """The queues at which nobody has looked for long."""
        return self._between("-inf", now_ms() - TTL_MS)

    def _between(self, earliest: int | str, latest: int | str) -> list[tuple[Endpoint, str]]:
        (members,) = self._redis.call(("ZRANGEBYSCORE", INDEX_KEY, earliest, latest))
        queues = []
        for member in members:
            token, _, key = member.partition(" ")
            phone, _, webhook_id = key.partition(":")
            queues.append((Endpoint(phone, webhook_id), token))
        return queues


def holding_key(endpoint: Endpoint) -> str:
    """The key that names an endpoint's holding queue."""
    return f"unoapi-holding:{endpoint.key}"


def read_holding(stored: object) -> Holding | None:
    """What is stored under that key."""
    token, phase = (*str(stored or "").split(" "), "", "")[:2]
    return Holding(token, ready=phase != "new", waiting=phase == "waiting") if token else None


def _member(endpoint: Endpoint, token: str) -> str:
    return f"{token} {endpoint.key}"
