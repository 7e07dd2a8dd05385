"""The status that was published last of each message (`unoapi-told:<P>:<id>`): statuses never go backwards.

Of a message to a group it is that of each member (`unoapi-told:<P>:<id>:members`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable

if TYPE_CHECKING:
    from unoapi.stores.redis import Command, RedisClient

RANKS = {"sent": 10, "failed": 15, "delivered": 20, "read": 30, "played": 40, "deleted": 50}
"""`failed` may be corrected: a message whose outcome nobody knew can still be delivered."""
EVENT_DIGITS = 14
"""Of a digest of the event's id: enough to tell the few of one message apart, and few enough for a number, which Redis
needs no text for."""
EARLIER_CHARS = 13
"""Of the event's id itself, in what the version before wrote; read until the version after next."""
MAX_MEMBERS = 128
"""Of a group whose statuses of one message are remembered; those of further ones all pass."""
_DECIDE = """
if last then
  local rank, event = string.match(last, '^(%d%d):(.*)$')
  local same = event and string.sub(event, 1, string.len(ARGV[3])) == ARGV[3]
  if not rank then
    rank, event = string.match(last, '^(%d%d)(%d+)$')
    same = event == ARGV[2]
  end
  if rank and tonumber(rank) > tonumber(ARGV[1]) then return 0 end
  if rank and tonumber(rank) == tonumber(ARGV[1]) then return same and 1 or 0 end
end
"""
ADMIT = f"""
local last = redis.call('GET', KEYS[1])
{_DECIDE}
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'EX', ARGV[4])
return 1
"""
ADMIT_MEMBER = f"""
local last = redis.call('HGET', KEYS[1], ARGV[5])
{_DECIDE}
if last or redis.call('HLEN', KEYS[1]) < tonumber(ARGV[6]) then
  redis.call('HSET', KEYS[1], ARGV[5], ARGV[1] .. ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return 1
"""


WITHDRAW = """
local last = redis.call('GET', KEYS[1])
if last and string.sub(last, 1, 2) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""


def withdraw_failure(phone: str, message_id: str) -> Command:
    """The command that forgets that a message failed, if that is what was told last: it is sent again."""
    return ("EVAL", WITHDRAW, 1, _key(phone, message_id), RANKS["failed"])


class RedisStatuses:
    """The highest status of each message. With Redis away every status passes."""

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    def admit(self, phone: str, message_id: str, *, status: str, event_id: str, member: str = "") -> bool:
        """Whether a status may be published: it is higher than the last one, or the same event again. Never raises.

        In a group each `member` has a last one of its own.
        """
        command = self.admission(phone, message_id, status=status, event_id=event_id, member=member)
        if command is None:
            return True
        try:
            (admitted,) = self._redis.call(command)
        except StoreUnavailable:
            return True
        return bool(admitted)

    def admission(self, phone: str, message_id: str, *, status: str, event_id: str, member: str = "") -> Command | None:
        """The command that answers `admit`; none when every status of this kind passes."""
        rank = RANKS.get(status)
        if rank is None or not message_id:
            return None
        key, event = _key(phone, message_id), (_digits(event_id), event_id[:EARLIER_CHARS])
        if not member:
            return ("EVAL", ADMIT, 1, key, rank, *event, self._ttl_s)
        whose = (_digits(member), MAX_MEMBERS)
        return ("EVAL", ADMIT_MEMBER, 1, f"{key}:members", rank, *event, self._ttl_s, *whose)


def _key(phone: str, message_id: str) -> str:
    return f"unoapi-told:{phone}:{message_id}"


def _digits(event_id: str) -> str:
    digest = int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:8], "big")
    return f"{digest % 10**EVENT_DIGITS:0{EVENT_DIGITS}}"
