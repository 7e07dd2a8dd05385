"""The breakers: which endpoints are down, known to all workers through Redis, else to each from its own memory.

Two keys per endpoint (session and webhook). `unoapi-failing:…` is the set of deliveries that failed since the last
success, still there while the endpoint is down; `unoapi-breaker:…` is `open <since> <next probe> <pause> <last prober>`
or `ramp <since> <closed at>`. One more for all:
`unoapi-breakers-open`, those that went down. Times are Unix milliseconds.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from unoapi.errors import StoreUnavailable
from unoapi.models.endpoints import EndpointChange, Permit
from unoapi.models.jobs import now_ms
from unoapi.services.retries import parked

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.stores.redis import RedisClient

LONGEST_PAUSE_MS = 60_000
RAMP_MS = 8_000
RAMP_FIRST = 10
"""Deliveries in the first second after an outage; then twice as many each second."""
KEPT_MS = 3 * 86_400_000
MAX_ENDPOINTS = 10_000
OPEN_KEY = "unoapi-breakers-open"
"""The endpoints that went down, by time. Some may have been closed otherwise: their own keys tell."""
MAX_COUNTED = 10_000

_FAIL = """
local state = redis.call('GET', KEYS[2])
if state and string.sub(state, 1, 4) == 'open' then
  local since, pause, prober = string.match(state, '^open (%d+) %d+ (%d+) (.*)$')
  if prober == ARGV[1] then
    state = 'open ' .. since .. ' ' .. string.format('%.0f', ARGV[3] + pause) .. ' ' .. pause .. ' ' .. prober
    redis.call('SET', KEYS[2], state, 'PX', ARGV[5])
  end
  return {0, state}
end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if redis.call('SCARD', KEYS[1]) < tonumber(ARGV[2]) then return {0, ''} end
state = 'open ' .. ARGV[3] .. ' ' .. string.format('%.0f', ARGV[3] + ARGV[4]) .. ' ' .. ARGV[4] .. ' ' .. ARGV[1]
redis.call('SET', KEYS[2], state, 'PX', ARGV[5])
redis.call('ZADD', KEYS[3], ARGV[3], KEYS[2])
return {1, state}
"""
_PROBE = """
local state = redis.call('GET', KEYS[1])
if not state or state ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_CLOSE = """
local state = redis.call('GET', KEYS[2])
redis.call('DEL', KEYS[1])
if not state or string.sub(state, 1, 4) ~= 'open' then return 0 end
local since = string.match(state, '^open (%d+)')
redis.call('ZREM', KEYS[3], KEYS[2])
redis.call('SET', KEYS[2], 'ramp ' .. since .. ' ' .. ARGV[1], 'PX', ARGV[2])
return tonumber(since)
"""


def breaker_key(phone: str, webhook_id: str) -> str:
    """Where the state of an endpoint stands."""
    return f"unoapi-breaker:{phone}:{webhook_id}"


def failing_key(phone: str, webhook_id: str) -> str:
    """Where the deliveries stand that failed since the last success."""
    return f"unoapi-failing:{phone}:{webhook_id}"


class RedisBreakers:
    """Breakers. `failures` different deliveries open one (0: never); `pause_ms` is the wait before the first probe."""

    def __init__(self, store: RedisClient, *, failures: int, pause_ms: int) -> None:
        self._store = store
        self._failures = failures
        self._pause_ms = min(pause_ms, LONGEST_PAUSE_MS)
        self._lock = threading.Lock()
        self._failing_here: dict[str, set[str]] = {}
        self._states_here: dict[str, str] = {}

    def turn(self, delivery_id: str, *, phone: str, webhook_id: str, state: str | None, deadline_ms: int) -> Permit:
        """Whether this delivery may be posted now. `state` is what the deliveries' memory read, None: Redis is away."""
        place = breaker_key(phone, webhook_id)
        known = self._states_here.get(place, "") if state is None else state
        if not known or not self._failures:
            return Permit()
        kind, *words = known.split(" ")
        if kind == "ramp":
            return self._ramp(place, int(words[1]), away=state is None)
        next_ms, pause_ms, prober = int(words[1]), int(words[2]), words[3]
        left_ms = next_ms - now_ms()
        # Whoever probed last lets others try first; it probes again only when nobody came.
        if left_ms > 0 or (prober == delivery_id and left_ms > -pause_ms):
            return Permit(wait_ms=_parked(left_ms))
        longer_ms = min(pause_ms * 2, LONGEST_PAUSE_MS)
        until_next_ms = max(longer_ms, deadline_ms)
        after = f"open {words[0]} {now_ms() + until_next_ms} {longer_ms} {delivery_id}"
        if self._swap(place, known, after, here=state is None):
            return Permit(probe=True)
        return Permit(wait_ms=_parked(until_next_ms))

    def failed(self, delivery_id: str, *, phone: str, webhook_id: str) -> tuple[bool, EndpointChange | None]:
        """Count a failure. Whether the endpoint is down now, and the news if this made it so."""
        if not self._failures:
            return False, None
        place, now = breaker_key(phone, webhook_id), now_ms()
        keys = (failing_key(phone, webhook_id), place)
        try:
            ((opened, state),) = self._store.call(
                ("EVAL", _FAIL, 3, *keys, OPEN_KEY, delivery_id, self._failures, now, self._pause_ms, KEPT_MS)
            )
        except StoreUnavailable:
            opened, state = self._fail_here(place, delivery_id, now)
        else:
            self._remember(place, state)
        return bool(state), EndpointChange(down=True, since_ms=now) if opened else None

    def succeeded(self, *, phone: str, webhook_id: str, tell: Callable[[EndpointChange], None]) -> None:
        """Forget the failures. `tell` gets the news if the endpoint was down, perhaps in another thread."""
        place = breaker_key(phone, webhook_id)
        failing = failing_key(phone, webhook_id)
        with self._lock:
            self._failing_here.pop(place, None)
            known = self._states_here.get(place, "")
            if known.startswith("open"):
                self._states_here[place] = f"ramp {known.split(' ')[1]} {now_ms()}"
        if known.startswith("open"):
            self._close(place, failing, tell, since=known.split(" ")[1])
            return

        def look(results: list[Any]) -> None:
            if results[0]:  # failures, and perhaps the one that opened it while this was on its way
                self._close(place, failing, tell)

        # Nobody waits for this: the delivery's own end is written the same way.
        self._store.post(("DEL", failing), then=look)

    def _close(self, place: str, failing: str, tell: Callable[[EndpointChange], None], *, since: str = "") -> None:
        try:
            (was_down_since,) = self._store.call(("EVAL", _CLOSE, 3, failing, place, OPEN_KEY, now_ms(), RAMP_MS))
        except StoreUnavailable:
            was_down_since = since
        if was_down_since:
            tell(EndpointChange(down=False, since_ms=int(was_down_since)))

    def seen(self, *, phone: str, webhook_id: str, state: str) -> None:
        """Remember what Redis said, for the end of the attempt and for the time when it is away."""
        place = breaker_key(phone, webhook_id)
        if state or place in self._states_here:
            self._remember(place, state)

    def count_open(self) -> int:
        """How many endpoints are down now; above ten thousand not exactly. Raises StoreUnavailable."""
        (places,) = self._store.call(("ZREVRANGE", OPEN_KEY, 0, MAX_COUNTED - 1))
        if not places:
            return 0
        (states,) = self._store.call(("MGET", *places))
        closed = [place for place, state in zip(places, states, strict=True) if not (state or "").startswith("open")]
        if closed:
            self._store.post(("ZREM", OPEN_KEY, *closed))
        return len(places) - len(closed)

    def _remember(self, place: str, state: str) -> None:
        with self._lock:
            if len(self._states_here) >= MAX_ENDPOINTS:
                self._states_here.clear()
            if state:
                self._states_here[place] = state
            else:
                self._states_here.pop(place, None)

    def _swap(self, place: str, before: str, after: str, *, here: bool) -> bool:
        if not here:
            try:
                (won,) = self._store.call(("EVAL", _PROBE, 1, place, before, after, KEPT_MS))
            except StoreUnavailable:
                return False
            if won:
                self._remember(place, after)
            return bool(won)
        with self._lock:
            if self._states_here.get(place) != before:
                return False
            self._states_here[place] = after
            return True

    def _fail_here(self, place: str, delivery_id: str, now: int) -> tuple[bool, str]:
        with self._lock:
            known = self._states_here.get(place, "")
            if known.startswith("open"):
                _, since, _, pause, prober = known.split(" ")
                if prober == delivery_id:
                    known = self._states_here[place] = f"open {since} {now + int(pause)} {pause} {prober}"
                return False, known
            if len(self._failing_here) >= MAX_ENDPOINTS:
                self._failing_here.clear()
            failing = self._failing_here.setdefault(place, set())
            failing.add(delivery_id)
            if len(failing) < self._failures:
                return False, ""
            del self._failing_here[place]
            self._states_here[place] = f"open {now} {now + self._pause_ms} {self._pause_ms} {delivery_id}"
            return True, self._states_here[place]

    def _ramp(self, place: str, closed_ms: int, *, away: bool) -> Permit:
        second = max(0, now_ms() - closed_ms) // 1000
        if second * 1000 >= RAMP_MS or away:
            return Permit()
        key = f"{place}:{second}"
        try:
            count, _ = self._store.call(("INCR", key), ("EXPIRE", key, RAMP_MS // 1000))
        except StoreUnavailable:
            return Permit()
        return Permit() if count <= RAMP_FIRST << second else Permit(wait_ms=_parked(2000))


def _parked(at_least_ms: int) -> int:
    return parked(at_least_ms, draw=random.random())  # noqa: S311 (spreads load, hides nothing)
