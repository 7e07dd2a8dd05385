"""Replays of events: `unoapi-replay:<P>:<webhook>` is the last one of each endpoint, as JSON.

Its job has all that it needs, so this may be lost: then it goes on from where the job stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from unoapi.models.replays import STANDS_MS, Replay

if TYPE_CHECKING:
    from unoapi.models.endpoints import Endpoint
    from unoapi.stores.redis import RedisClient

TTL_S = 7 * 86_400

_SAVE = """
local stored = redis.call('GET', KEYS[1])
if stored then
  local replay = cjson.decode(stored)
  if replay.id ~= ARGV[1] or replay.state ~= 'running' then return 0 end
  if ARGV[2] ~= '' and replay.run ~= ARGV[2] then return 0 end
end
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
return 1
"""
_BEGIN = """
local stored = redis.call('GET', KEYS[1])
if stored then
  local replay = cjson.decode(stored)
  if replay.state == 'running' and replay.updated_ms > tonumber(ARGV[3]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class RedisReplays:
    """The last replay of each endpoint. Raises StoreUnavailable."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def begin(self, replay: Replay) -> bool:
        """Write a new one. False: one goes on."""
        moved_since_ms = replay.updated_ms - STANDS_MS
        key = _key(replay.endpoint)
        (begun,) = self._redis.call(("EVAL", _BEGIN, 1, key, replay.model_dump_json(), TTL_S, moved_since_ms))
        return bool(begun)

    def save(self, replay: Replay, *, run: str) -> bool:
        """Write how far it is. False: it was cancelled, or another run of it goes on. An empty `run` is any."""
        key = _key(replay.endpoint)
        (saved,) = self._redis.call(("EVAL", _SAVE, 1, key, replay.id, run, replay.model_dump_json(), TTL_S))
        return bool(saved)

    def find(self, endpoint: Endpoint) -> Replay | None:
        """The last one; none also for what cannot be read."""
        (stored,) = self._redis.call(("GET", _key(endpoint)))
        try:
            return Replay.model_validate_json(stored) if stored else None
        except ValidationError:
            return None


def _key(endpoint: Endpoint) -> str:
    return f"unoapi-replay:{endpoint.key}"
