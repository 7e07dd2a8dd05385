"""The lines in front of ordered webhooks: `unoapi-line:<P>:<webhook>:<contact>`, deliveries by the time they came.

Redis's own clock orders them, so that all processes agree. Beside a line, `…:held` says who holds it up, since when.
A delivery that waits leaves a copy of itself, `unoapi-parked:<delivery>`, for whoever is done before it; while that one
makes the attempt, `unoapi-passed:<delivery>` keeps the waiting message from making it, too.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import DeliverWebhook, delivery_id
from unoapi.stores.deliveries import done_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.jobs import FanOut, SaveMedia
    from unoapi.stores.redis import Command, RedisClient

KEPT_MS = 3_600_000
PARKED_MS = 120_000
PASSED_MS = 3_000
"""For whoever takes a delivery to say so again; an answer of Redis may have been lost."""
TAKEN_MS = 75_000
"""Longer than any attempt may take: after it, whoever made it has died."""
MOST_OWED = 2000
LARGEST_COPY = 65_536
LONGEST_HOLD_MS = 10_000
"""Mostly longer than a file takes to be fetched. After that the first has got lost, and nobody waits any more."""

_JOIN = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'NX', time[1] * 1000000 + time[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_WAIT = """
local place = redis.call('ZRANK', KEYS[1], ARGV[1])
if not place then return 0 end
if place == 0 then
  redis.call('DEL', ARGV[5] .. ARGV[1])
  return redis.call('EXISTS', ARGV[8] .. ARGV[1])
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[2], 'by', 'since')
if held[1] == first then
  local held_ms = now - tonumber(held[2])
  if held_ms > tonumber(ARGV[3]) then
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, place - 1)
    return 0
  end
  if held_ms > 500 and redis.call('EXISTS', ARGV[4] .. first) == 1 then
    redis.call('ZREM', KEYS[1], first)
    place = place - 1
    if place == 0 then return 0 end
  end
else
  redis.call('HSET', KEYS[2], 'by', first, 'since', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
if ARGV[6] ~= '' then redis.call('SET', ARGV[5] .. ARGV[1], ARGV[6], 'PX', ARGV[7]) end
return place
"""
_LEAVE = """
redis.call('DEL', ARGV[3] .. ARGV[1])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return false end
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if not first then return false end
local copy = redis.call('GETDEL', ARGV[2] .. first)
if copy then redis.call('SET', ARGV[3] .. first, 1, 'PX', ARGV[4]) end
return copy
"""


class RedisOrdering:
    """Lines in Redis; while it is away nobody waits."""

    def __init__(self, store: RedisClient, *, longest_hold_ms: int = LONGEST_HOLD_MS) -> None:
        self._store = store
        self._longest_hold_ms = longest_hold_ms
        self._owed: deque[Command] = deque(maxlen=MOST_OWED)

    def join(self, events: Sequence[FanOut | SaveMedia]) -> None:
        """Stand in line, in this order, at each ordered webhook. Who stands there already keeps the place."""
        with suppress(StoreUnavailable):
            self._call(
                *(
                    ("EVAL", _JOIN, 1, _line(event.phone, each, event.contact), delivery_id(event.id, each), KEPT_MS)
                    for event in events
                    for each in event.ordered
                )
            )

    def place(self, job: DeliverWebhook) -> int:
        """How many are before this delivery, or at it; 0: it is its turn. Who waits is kept for `leave` to find."""
        line, copy = _line(job.phone, job.webhook_id, job.contact), job.model_dump_json()
        keys = (line, f"{line}:held")
        limits = (KEPT_MS, self._longest_hold_ms, done_key(""), _parked_key(""))
        kept = copy if len(copy) <= LARGEST_COPY else ""
        try:
            (place,) = self._call(("EVAL", _WAIT, 2, *keys, job.id, *limits, kept, PARKED_MS, _passed_key("")))
        except StoreUnavailable:
            return 0
        return int(place)

    def leave(self, job: DeliverWebhook, *, take: bool) -> DeliverWebhook | None:
        """Make room. With `take`, whoever is next now and waits is the caller's to deliver."""
        line = _line(job.phone, job.webhook_id, job.contact)
        gone: tuple[Command, ...] = (("ZREM", line, job.id), ("DEL", _passed_key(job.id)))
        try:
            if not take:
                self._call(*gone)
                return None
            (found,) = self._call(("EVAL", _LEAVE, 1, line, job.id, _parked_key(""), _passed_key(""), PASSED_MS))
            if not found:
                return None
            taken = DeliverWebhook.model_validate_json(found)
            self._call(("SET", _passed_key(taken.id), "1", "PX", TAKEN_MS))
        except StoreUnavailable:
            self._owed.extend(gone)  # whoever stays in line holds up all others
            return None
        except ValidationError:
            return None  # of another version; its message comes by itself
        return taken

    def skip(self, event: FanOut | SaveMedia, webhook_ids: Sequence[str]) -> None:
        """Make room at webhooks that do not get the event."""
        gone: list[Command] = [
            ("ZREM", _line(event.phone, each, event.contact), delivery_id(event.id, each)) for each in webhook_ids
        ]
        try:
            self._call(*gone)
        except StoreUnavailable:
            self._owed.extend(gone)

    def _call(self, *commands: Command) -> list[Any]:
        """Run the commands, after what is owed from a time when Redis was away. Raises StoreUnavailable."""
        if not commands:
            return []
        owed: list[Command] = []
        with suppress(IndexError):
            while True:
                owed.append(self._owed.popleft())
        try:
            return self._store.call(*owed, *commands)[len(owed) :]
        except StoreUnavailable:
            self._owed.extend(owed)
            raise


def _line(phone: str, webhook_id: str, contact: str) -> str:
    return f"unoapi-line:{phone}:{webhook_id}:{contact}"


def _parked_key(delivery: str) -> str:
    return f"unoapi-parked:{delivery}"


def _passed_key(delivery: str) -> str:
    return f"unoapi-passed:{delivery}"
