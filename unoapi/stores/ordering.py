"""The queue in front of an ordered webhook, one for each conversation: `unoapi-line:<P>:<webhook>:<contact>`.

It holds delivery ids by the time they came, by Redis's own clock, so that all processes agree. Three keys beside it:

- `…:held` names the first delivery and since when it has been the first, so that one that got lost blocks nobody long;
- `unoapi-parked:<delivery>` is the copy of a deferred delivery, for the worker that finishes the one before it;
- `unoapi-passed:<delivery>` marks an attempt by that worker, so that the deferred message does not make it as well.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import DeliverWebhook, delivery_id
from unoapi.stores.deliveries import DONE_PREFIX, done_key
from unoapi.stores.owed import OwedCommands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.jobs import EventJob
    from unoapi.stores.redis import Command, RedisClient

QUEUE_TTL_MS = 3_600_000
COPY_TTL_MS = 120_000
PASSED_MS = 3_000
"""Until whoever takes a delivery marks it again for `TAKEN_MS`; Redis's answer to it may have been lost."""
TAKEN_MS = 75_000
"""Longer than any attempt may take: after it, whoever made it has died."""
DONE_TTL_S = 3 * 86_400
"""That of the done-keys, with the default of the maximum age."""
MAX_COPY_CHARS = 65_536
LONGEST_BLOCK_MS = 10_000
"""Longer than a file mostly takes to be fetched. After it the first delivery counts as lost."""

_JOIN = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'NX', time[1] * 1000000 + time[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_POSITION = """
local position = redis.call('ZRANK', KEYS[1], ARGV[1])
if not position then return 0 end
if position == 0 then
  redis.call('DEL', ARGV[5] .. ARGV[1])
  return redis.call('EXISTS', ARGV[8] .. ARGV[1])
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local block = redis.call('HMGET', KEYS[2], 'by', 'since')
if block[1] == first then
  local blocked_ms = now - tonumber(block[2])
  if blocked_ms > tonumber(ARGV[3]) then
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, position - 1)
    return 0
  end
  local done = ARGV[4] .. string.gsub(first, '-', '')
  if blocked_ms > 500 and redis.call('EXISTS', done, ARGV[4] .. first) > 0 then
    redis.call('ZREM', KEYS[1], first)
    position = position - 1
    if position == 0 then return 0 end
  end
else
  redis.call('HSET', KEYS[2], 'by', first, 'since', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
if ARGV[6] ~= '' then redis.call('SET', ARGV[5] .. ARGV[1], ARGV[6], 'PX', ARGV[7]) end
return position
"""
_LEAVE = """
if ARGV[6] ~= '0' then redis.call('SET', ARGV[5], 1, 'EX', ARGV[6]) end
redis.call('DEL', ARGV[3] .. ARGV[1])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return false end
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if not first then return false end
local copy = redis.call('GETDEL', ARGV[2] .. first)
if copy then redis.call('SET', ARGV[3] .. first, 1, 'PX', ARGV[4]) end
return copy
"""


class RedisOrdering:
    """Ordering in Redis; while it is away nobody waits."""

    def __init__(
        self, redis: RedisClient, *, done_ttl_s: int = DONE_TTL_S, longest_block_ms: int = LONGEST_BLOCK_MS
    ) -> None:
        self._redis = redis
        self._done_ttl_s = done_ttl_s
        self._longest_block_ms = longest_block_ms
        self._owed = OwedCommands(redis)

    def join(self, events: Sequence[EventJob]) -> None:
        """Queue the events, in this order, at each ordered webhook. One that is queued already keeps its position."""
        with suppress(StoreUnavailable):
            self._call(
                *(
                    (
                        "EVAL", _JOIN, 1, _queue_key(event.phone, webhook_id, event.contact),
                        delivery_id(event.id, webhook_id), QUEUE_TTL_MS,
                    )
                    for event in events
                    for webhook_id in event.ordered
                )
            )  # fmt: skip

    def position(self, job: DeliverWebhook) -> int:
        """How many deliveries go before this one; 0: it is its turn. One that has to wait is saved for `leave`."""
        queue, copy = _queue_key(job.phone, job.webhook_id, job.contact), job.model_dump_json()
        keys = (queue, f"{queue}:held")
        limits = (QUEUE_TTL_MS, self._longest_block_ms, DONE_PREFIX, _deferred_key(""))
        saved = copy if len(copy) <= MAX_COPY_CHARS else ""
        try:
            (position,) = self._call(
                ("EVAL", _POSITION, 2, *keys, job.id, *limits, saved, COPY_TTL_MS, _passed_key(""))
            )
        except StoreUnavailable:
            return 0
        return int(position)

    def leave(self, job: DeliverWebhook, *, take: bool, done: bool = False) -> DeliverWebhook | None:
        """Take a finished delivery out of its queue. With `take`, the caller gets the next one, if it is deferred.

        The done-key of one that is `done` is written in the same step: its own message may come back at any moment,
        and finds it in the queue or done.
        """
        queue = _queue_key(job.phone, job.webhook_id, job.contact)
        ttl_s = self._done_ttl_s if done else 0
        marked: tuple[Command, ...] = (("SET", done_key(job.id), "1", "EX", ttl_s),) if done else ()
        gone: tuple[Command, ...] = (*marked, ("ZREM", queue, job.id), ("DEL", _passed_key(job.id)))
        try:
            if not take:
                self._call(*gone)
                return None
            names = (_deferred_key(""), _passed_key(""), PASSED_MS, done_key(job.id))
            (copy,) = self._call(("EVAL", _LEAVE, 1, queue, job.id, *names, ttl_s))
            if not copy:
                return None
            taken = DeliverWebhook.model_validate_json(copy)
            self._call(("SET", _passed_key(taken.id), "1", "PX", TAKEN_MS))
        except StoreUnavailable:
            self._owed.post(*gone)  # one that stays in the queue blocks all others
            return None
        except ValidationError:
            return None  # of another version; its message comes by itself
        return taken

    def give_back(self, job: DeliverWebhook) -> None:
        """Leave a delivery that was taken, and of which no attempt was made, to its own message; it stays in front."""
        with suppress(StoreUnavailable):  # the mark ends by itself
            self._call(("DEL", _passed_key(job.id)))

    def skip(self, skipped: Sequence[tuple[EventJob, str]]) -> None:
        """Take events out of the queues of webhooks that do not get them; what is owed is settled either way."""
        gone: list[Command] = [
            ("ZREM", _queue_key(event.phone, webhook_id, event.contact), delivery_id(event.id, webhook_id))
            for event, webhook_id in skipped
        ]
        try:
            self._call(*gone)
        except StoreUnavailable:
            self._owed.post(*gone)

    def _call(self, *commands: Command) -> list[Any]:
        """Run the commands. What is owed from a time when Redis was away goes beside them. Raises StoreUnavailable."""
        self._owed.settle()
        return self._redis.call(*commands) if commands else []


def _queue_key(phone: str, webhook_id: str, contact: str) -> str:
    return f"unoapi-line:{phone}:{webhook_id}:{contact}"


def _deferred_key(delivery: str) -> str:
    return f"unoapi-parked:{delivery}"


def _passed_key(delivery: str) -> str:
    return f"unoapi-passed:{delivery}"
