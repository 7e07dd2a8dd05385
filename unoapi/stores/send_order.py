"""The messages to each contact that were accepted and have not left, by the time they were accepted, in microseconds.

`unoapi-sends:<P>:<contact>` holds their ids. `unoapi-send-state:<id>` says of one that it is still being prepared or
waits for its phone (1), or that it left just now (0): different processes write that it came and that it left, without
waiting, and the first may reach Redis after the second. What is first in a line for long, and does not wait, is lost.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.models.claims import Predecessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.claims import Turn
    from unoapi.models.jobs import MessageJob
    from unoapi.stores.redis import Command, RedisClient

LINE_TTL_S = 3600
WAITS_TTL_S = 600
"""As long as a message may wait until it is sent, by default: many voice notes at once take minutes."""
LEFT_TTL_S = 70
"""Longer than what is first is believed to be on its way: that it came may be written after that it was refused."""
LOST_AFTER_US = 60_000_000
"""Longer than a message is on its way from the API to a worker: what is first for so long, and waits not, is lost."""

WAITS, LEFT = "1", "0"

BEFORE = """
local function before(line, from)
  redis.call('ZADD', line, 'NX', ARGV[from + 1], ARGV[from])
  redis.call('EXPIRE', line, ARGV[from + 2])
  for number = from + 5, #ARGV do redis.call('ZREM', line, ARGV[number]) end
  while true do
    local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    if first[1] == ARGV[from] then return nil end
    local state = redis.call('GET', ARGV[from + 4] .. first[1])
    if state == '1' or (not state and tonumber(first[2]) > tonumber(ARGV[from + 3])) then
      return {first[1], state or '0'}
    end
    redis.call('ZREM', line, first[1])
  end
end
"""
"""A function for a script: the message of a line that goes before another one, and its state. Its arguments from there
on are those of `turn_arguments`."""

_STATE = "unoapi-send-state:"


def _nothing() -> None:
    """There is nothing to wait for, or to do."""


class RedisSendOrder:
    """SendOrder in Redis."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def join(self, job: MessageJob, *, accepted_at_us: int, prepared: bool) -> Callable[[], None]:
        """Put a message at the end of its line. With `prepared` it may take a while until it can be sent.

        Calling the result waits until the message is there, so that no later one can be accepted before.
        """
        line = line_key(job)
        waits = (("SET", _state(job), WAITS, "EX", WAITS_TTL_S),) if prepared else ()
        try:
            wait = self._redis.begin(("ZADD", line, "NX", accepted_at_us, job.id), ("EXPIRE", line, LINE_TTL_S), *waits)
        except StoreUnavailable:
            return _nothing

        def joined() -> None:
            with suppress(StoreUnavailable):
                wait()

        return joined

    def ahead(self, job: MessageJob) -> int:
        """How many messages go before this one; 0 when nobody knows."""
        try:
            (rank,) = self._redis.call(("ZRANK", line_key(job), job.id))
        except StoreUnavailable:
            return 0
        return int(rank or 0)

    def wait(self, job: MessageJob) -> None:
        """Keep the place of a message that waits."""
        self._redis.post(("SET", _state(job), WAITS, "EX", WAITS_TTL_S))

    def leave(self, job: MessageJob, *, on_written: Callable[[], None] = _nothing) -> None:
        """Let the next one go: the message has left, or will not, or tries again later.

        `on_written` is called when every process sees it; perhaps in another thread, perhaps never.
        """
        commands = ("ZREM", line_key(job), job.id), ("SET", _state(job), LEFT, "EX", LEFT_TTL_S)
        self._redis.post(*commands, on_results=lambda _: on_written())


def turn_arguments(job: MessageJob, turn: Turn) -> Command:
    """What `BEFORE` needs to know of a message, which stands in its line though a copy of it has just left."""
    gone = (name for name in turn.gone if name != job.id)
    return (job.id, job.accepted_at_ms * 1000, LINE_TTL_S, turn.now_us - LOST_AFTER_US, _STATE, *gone)


def predecessor(answer: list[str]) -> Predecessor:
    """What `BEFORE` gave."""
    message_id, state = answer
    return Predecessor(f"{message_id}", waits=state == WAITS)


def line_key(job: MessageJob) -> str:
    """The key of the line in which a message stands."""
    return f"unoapi-sends:{job.phone}:{job.contact}"


def _state(job: MessageJob) -> str:
    return f"{_STATE}{job.id}"
