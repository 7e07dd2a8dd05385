"""Claims of sends: who may send a message, and the outcome."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from unoapi.errors import StoreUnavailable
from unoapi.models.claims import Claim
from unoapi.models.jobs import now_ms
from unoapi.models.receipts import Receipt
from unoapi.stores.send_order import BEFORE, line_key, predecessor, turn_arguments
from unoapi.stores.statuses import withdraw_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.claims import Turn
    from unoapi.models.jobs import SendMessage
    from unoapi.stores.redis import RedisClient

LEASE_MS = 60_000
"""Longer than any provider may take to send; after it the outcome of an unfinished send is unknown."""
CLAIM = f"""{BEFORE}
local names_end, held = 4 + ARGV[3], false
local claim = redis.call('GET', KEYS[1])
if claim and string.sub(claim, 1, 1) ~= '[' and string.find(claim, '{{"receipt"', 1, true) ~= 1 then
  for name = 4, names_end - 1 do held = held or string.find(claim, ARGV[name], 1, true) end
end
if KEYS[2] then
  local first = before(KEYS[2], names_end)
  if first then
    if held then redis.call('DEL', KEYS[1]) end
    return first
  end
end
if claim and not held then return claim end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""
"""Whose turn it is not learns who goes first, and holds nothing; else the claim is taken, or what is there is given."""
RELEASE = """
local claim = redis.call('GET', KEYS[1])
if claim and string.find(claim, ARGV[1], 1, true) then redis.call('DEL', KEYS[1]) end
"""
REOPEN = """
local claim = redis.call('GET', KEYS[1])
if not claim or string.sub(claim, 1, 1) == '[' or string.find(claim, '{"receipt"', 1, true) == 1 then return 1 end
for held = 2, #ARGV do
  if string.find(claim, ARGV[held], 1, true) then return 1 end
end
if ARGV[1] == '0' then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""


class RedisSendClaims:
    """Claims of sends. A claim is a lease: an unfinished one that ran out means an unknown outcome.

    Its name tells a job that comes again whether it is its own, which Redis did not say was given back.
    """

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    def claim(self, job: SendMessage, *, name: str = "", held: Sequence[str] = (), turn: Turn | None = None) -> Claim:
        """Ask for the right to send, with `turn` when it is this message's. Raises StoreUnavailable."""
        claim = json.dumps({"until_ms": now_ms() + LEASE_MS, "name": name})
        names = [_named(one) for one in held]
        keys = [_send_key(job)] if turn is None else [_send_key(job), line_key(job)]
        place = () if turn is None else turn_arguments(job, turn)
        (answer,) = self._redis.call(("EVAL", CLAIM, len(keys), *keys, claim, self._ttl_s, len(names), *names, *place))
        if isinstance(answer, list):
            return Claim(before=predecessor(answer))
        return Claim(free=True) if answer == 1 else _read(f"{answer}")

    def state(self, job: SendMessage, *, held: Sequence[str] = ()) -> Claim:
        """What a claim would answer now; `free` when nobody else has the right. Raises StoreUnavailable."""
        (stored,) = self._redis.call(("GET", _send_key(job)))
        return Claim(free=True) if stored is None or _name(stored) in held else _read(stored)

    def settle(self, job: SendMessage, receipt: Receipt) -> None:
        """Save the outcome, before whatever is asked from now on. Never raises, never waits."""
        with suppress(StoreUnavailable):  # a copy after a crash then ends as an unknown outcome: never sent twice
            self._redis.begin(("SET", _send_key(job), _packed(receipt), "EX", self._ttl_s))

    def release(self, job: SendMessage, *, name: str = "") -> None:
        """Give the right back. Raises StoreUnavailable."""
        self._redis.call(("EVAL", RELEASE, 1, _send_key(job), _named(name)))

    def reopen(self, job: SendMessage, *, force: bool, held: Sequence[str] = ()) -> bool:
        """Whether a person may have the job run again. Raises StoreUnavailable.

        A receipt stays: then only the statuses are published again. A claim without one may mean that the message left;
        it is given back with `force` alone, but for one that the job holds. That it failed counts no more.
        """
        names = (_named(name) for name in held)
        (may_run,) = self._redis.call(("EVAL", REOPEN, 1, _send_key(job), int(force), *names))
        if may_run:
            self._redis.call(withdraw_failure(job.phone, job.message_id))
        return bool(may_run)


def _named(name: str) -> str:
    """What stands in a claim of this name, as JSON has it."""
    return f'"name": "{name}"'


def _name(stored: str | None) -> str:
    """The name of a claim that is not settled; empty when it has none."""
    try:
        state = json.loads(stored or "{}")
    except ValueError:
        return ""
    return str(state.get("name") or "") if isinstance(state, dict) else ""


def _packed(receipt: Receipt) -> str:
    """A list: recipient, time, and each status, by its word alone when it has no more."""
    statuses = (update.model_dump(mode="json", exclude_defaults=True) for update in receipt.statuses)
    short = (update["status"] if len(update) == 1 else update for update in statuses)
    return json.dumps([receipt.recipient, receipt.at_ms, *short], separators=(",", ":"))


def _unpacked(stored: list[Any]) -> Receipt:
    recipient, at_ms, *statuses = stored
    updates = [{"status": update} if isinstance(update, str) else update for update in statuses]
    return Receipt.model_validate({"recipient": recipient, "at_ms": at_ms, "statuses": updates})


def _read(stored: str | None) -> Claim:
    """A lease, or a receipt: a list, or the object that the version before wrote, until the version after next."""
    try:
        state = json.loads(stored or "{}")
        if isinstance(state, list):
            return Claim(receipt=_unpacked(state))
        if "receipt" in state:
            return Claim(receipt=Receipt.model_validate(state["receipt"]))
        left_ms = int(state.get("until_ms", 0)) - now_ms()
    except (ValueError, TypeError, AttributeError):  # not in our form: the outcome is unknown
        left_ms = 0
    return Claim(busy_ms=left_ms) if left_ms > 0 else Claim(lost=True)


def _send_key(job: SendMessage) -> str:
    return f"unoapi-send:{job.phone}:{job.id}"
