"""The circuit breakers: which endpoints are down. All workers share them in Redis; without it each has its own memory.

Two keys per endpoint (session and webhook): `unoapi-failing:…` has the deliveries that failed since the last success,
by the time of their first failure, also while the endpoint is down; `unoapi-breaker:…` is
`open <since> <next probe> <pause> <last prober>` or `ramp <since> <closed at>`. `unoapi-breakers-open` lists all
endpoints that went down. Times are Unix milliseconds.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from unoapi.errors import StoreRefusesWrites, StoreUnavailable
from unoapi.models.endpoints import EndpointChange, Permit
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.endpoints import Endpoint
    from unoapi.stores.redis import RedisClient

FAILING_MS = 1000
"""An endpoint is down when its failures have gone on for at least so long."""
SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS = 1_000, 60_000
PAUSE_PER_PROBE = 20
"""From the begin of a probe to the next one, so many times what it cost: at most a twentieth of a thread."""
WAIT_PER_AGE = 8
"""What waits comes back after the eighth part of the outage's age: sooner costs more than it gives."""
SOON_MS, LONGEST_WAIT_MS = 8_000, 300_000
"""Not as late as the next probe, at first: a queue may be there for it, or Redis again, much sooner."""
RAMP_MS = 8_000
RAMP_FIRST = 100
"""Of the deliveries that waited, so many in the first second after an outage; then twice as many each second."""
RAMP_WAIT_MS = 1_000
TTL_MS = 3 * 86_400_000
MAX_ENDPOINTS = 10_000
OPEN_KEY = "unoapi-breakers-open"
"""The endpoints that went down, by time. Some may have been closed by another way: their own keys decide."""
MAX_COUNTED = 10_000

_FAIL = """
local state = redis.call('GET', KEYS[2])
if state and string.sub(state, 1, 4) == 'open' then
  local since, prober = string.match(state, '^open (%d+) %d+ %d+ (.*)$')
  if prober == ARGV[1] then
    state = 'open ' .. since .. ' ' .. string.format('%.0f', ARGV[3] + ARGV[4]) .. ' ' .. ARGV[4] .. ' ' .. prober
    redis.call('SET', KEYS[2], state, 'PX', ARGV[5])
  end
  return {0, state}
end
if redis.call('TYPE', KEYS[1]).ok == 'set' then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[1], 'NX', ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2]) then return {0, ''} end
if ARGV[3] - redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] < tonumber(ARGV[6]) then return {0, 'failing'} end
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


def breaker_key(endpoint: Endpoint) -> str:
    """The key of an endpoint's state."""
    return f"unoapi-breaker:{endpoint.key}"


def failing_key(endpoint: Endpoint) -> str:
    """The key of the deliveries that failed since the last success."""
    return f"unoapi-failing:{endpoint.key}"


def was_down_after(state: str | None, at_ms: int) -> bool:
    """Whether an endpoint of this state is down, or came back at this time (Unix milliseconds) or later."""
    kind, *words = (state or "").split(" ")
    return kind == "open" or (kind == "ramp" and int(words[1]) >= at_ms)


class RedisBreakers:
    """Breakers. `failures` different deliveries within at least `failing_ms` open one (0: never).

    `shortest_pause_ms` is the least time between two probes. `spread` makes the wait of one delivery, always above 0,
    of the least wait that serves, so that not all come back at once.
    """

    def __init__(
        self,
        redis: RedisClient,
        *,
        failures: int,
        spread: Callable[[int], int],
        failing_ms: int = FAILING_MS,
        shortest_pause_ms: int = SHORTEST_PAUSE_MS,
    ) -> None:
        self._redis = redis
        self._failures = failures
        self._failing_ms = failing_ms
        self._shortest_pause_ms = shortest_pause_ms
        self._spread = spread
        self._lock = threading.Lock()
        self._failing_here: dict[str, dict[str, int]] = {}
        self._states_here: dict[str, str] = {}
        self._unwritten: set[str] = set()
        """Keys whose state here is newer than Redis's, which answers and takes no writes."""

    def permit(  # noqa: PLR0913 (what is known of the delivery)
        self,
        delivery_id: str,
        endpoint: Endpoint,
        *,
        state: str | None,
        deadline_ms: int,
        accepted_at_ms: int,
        may_probe: bool,
        releasing: bool = False,
    ) -> Permit:
        """Whether this delivery may be posted now. `state` is that of `DeliveryState.breaker`; None: Redis is away.

        `may_probe`: whether this process has a thread for one more probe. `releasing`: whether it comes out of the
        holding queue, whose release has its own pace, and alone probes.
        """
        key = breaker_key(endpoint)
        if key in self._unwritten:
            state = None
        current = self._states_here.get(key, "") if state is None else state
        if not current or not self._failures:
            return Permit()
        kind, *words = current.split(" ")
        if kind == "ramp":
            is_new = accepted_at_ms > int(words[1])
            return Permit() if is_new or releasing or state is None else self._ramp(key, int(words[1]))
        since_ms, next_ms, pause_ms, prober = int(words[0]), int(words[1]), int(words[2]), words[3]
        now = now_ms()
        left_ms = next_ms - now
        # Whoever probed last lets others try first; it probes again only when nobody came.
        again = prober == delivery_id and left_ms > -pause_ms and not releasing
        if left_ms > 0 or not may_probe or again:
            # More is left only while a probe is under way: until its deadline, but it may succeed at any moment.
            return self._wait(min(left_ms, pause_ms), since_ms, now)
        # Reserved until its deadline; when it fails sooner, the next one follows after the pause.
        reserved_ms = max(pause_ms, deadline_ms)
        changed = f"open {since_ms} {now + reserved_ms} {pause_ms} {delivery_id}"
        if self._swap(key, current, changed, here=state is None):
            return Permit(probe=True)
        return self._wait(pause_ms, since_ms, now)

    def _wait(self, at_least_ms: int, since_ms: int, now: int) -> Permit:
        age_ms = max(0, now - since_ms)
        wait_ms = max(min(at_least_ms, SOON_MS), min(age_ms // WAIT_PER_AGE, LONGEST_WAIT_MS))
        return Permit(wait_ms=self._spread(wait_ms))

    def failed(self, delivery_id: str, endpoint: Endpoint, *, took_ms: int) -> tuple[bool, EndpointChange | None]:
        """Count a failure, and what it cost. Whether the endpoint is down now, and the change if this made it so.

        It counts as down already when only the time is missing: what fails now will find it down, or up again.
        """
        if not self._failures:
            return False, None
        key, now = breaker_key(endpoint), now_ms()
        keys = (failing_key(endpoint), key)
        since_its_begin_ms = min(PAUSE_PER_PROBE * took_ms, LONGEST_PAUSE_MS)
        pause_ms = max(since_its_begin_ms - took_ms, self._shortest_pause_ms)
        bounds = (self._failures, now, pause_ms, TTL_MS, self._failing_ms)
        try:
            ((opened, state),) = self._redis.call(("EVAL", _FAIL, 3, *keys, OPEN_KEY, delivery_id, *bounds))
        except StoreUnavailable as error:
            opened, state = self._fail_here(key, delivery_id, now, pause_ms)
            if state.startswith("open"):
                self._note_refusal(key, error)
        else:
            self._unwritten.discard(key)
            self._remember(key, state if state != "failing" else "")
        return bool(state), EndpointChange(down=True, since_ms=now) if opened else None

    def succeeded(self, endpoints: Sequence[Endpoint], *, notify: Callable[[Endpoint, EndpointChange], None]) -> None:
        """Forget the failures. `notify` gets the change of one that was down, perhaps in another thread."""
        ordinary = endpoints
        if self._knows_some:
            ordinary = [endpoint for endpoint in endpoints if not self._close_here(endpoint, notify)]
        if not ordinary:
            return

        def close_what_failed(results: list[Any]) -> None:
            if results[0]:  # failures, and perhaps the one that opened it while this was on its way
                self._close_open(ordinary, notify)

        # Nobody waits for this: the delivery's own end is written the same way.
        self._redis.post(("DEL", *map(failing_key, ordinary)), on_results=close_what_failed)

    @property
    def _knows_some(self) -> bool:
        """Whether anything is known here of any endpoint: else there is nothing to look for, many times a second."""
        return bool(self._failing_here or self._states_here or self._unwritten)

    def _close_here(self, endpoint: Endpoint, notify: Callable[[Endpoint, EndpointChange], None]) -> bool:
        """Forget the failures here. Whether more was to be done, as the endpoint is down for all that is known here."""
        key = breaker_key(endpoint)
        with self._lock:
            self._failing_here.pop(key, None)
            state = self._states_here.get(key, "")
            if state.startswith("open"):
                self._states_here[key] = f"ramp {state.split(' ')[1]} {now_ms()}"
        if state.startswith("open"):
            self._close(endpoint, notify, since=state.split(" ")[1])
        elif key in self._unwritten:
            self._close(endpoint, lambda *_: None)  # who closed it here has said so
        else:
            return False
        return True

    def _close_open(self, endpoints: Sequence[Endpoint], notify: Callable[[Endpoint, EndpointChange], None]) -> None:
        """Close those of the endpoints that are open in Redis, whatever this process knew."""
        with suppress(StoreUnavailable):
            (states,) = self._redis.call(("MGET", *map(breaker_key, endpoints)))
            for endpoint, state in zip(endpoints, states, strict=True):
                if (state or "").startswith("open"):
                    self._close(endpoint, notify)

    def _close(
        self, endpoint: Endpoint, notify: Callable[[Endpoint, EndpointChange], None], *, since: str = ""
    ) -> None:
        key = breaker_key(endpoint)
        keys = (failing_key(endpoint), key, OPEN_KEY)
        try:
            (was_down_since,) = self._redis.call(("EVAL", _CLOSE, 3, *keys, now_ms(), RAMP_MS))
        except StoreUnavailable as error:
            was_down_since = since
            self._note_refusal(key, error)
        else:
            self._unwritten.discard(key)
        if was_down_since:
            notify(endpoint, EndpointChange(down=False, since_ms=int(was_down_since)))

    def next_probe_ms(self, state: str | None) -> int | None:
        """In how many milliseconds an endpoint of this state may be probed; none when it is not down."""
        kind, *words = (state or "").split(" ")
        return max(0, int(words[1]) - now_ms()) if kind == "open" else None

    def seen(self, endpoint: Endpoint, *, state: str) -> None:
        """Remember what Redis said, for the end of the attempt and for the time when it is away."""
        if not state and not self._states_here:
            return
        key = breaker_key(endpoint)
        if (state or key in self._states_here) and key not in self._unwritten:
            self._remember(key, state)

    def count_open(self) -> int:
        """How many endpoints are down now; above ten thousand not exactly. Raises StoreUnavailable."""
        (keys,) = self._redis.call(("ZREVRANGE", OPEN_KEY, 0, MAX_COUNTED - 1))
        if not keys:
            return 0
        (states,) = self._redis.call(("MGET", *keys))
        closed = [key for key, state in zip(keys, states, strict=True) if not (state or "").startswith("open")]
        if closed:
            self._redis.post(("ZREM", OPEN_KEY, *closed))
        return len(keys) - len(closed)

    def went_down(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those of the endpoints that went down, and perhaps came back; all when too many did to be listed.

        Raises StoreUnavailable.
        """
        (listed,) = self._redis.call(("ZREVRANGE", OPEN_KEY, 0, MAX_COUNTED - 1))
        keys = set(listed)
        if len(keys) >= MAX_COUNTED:
            return list(endpoints)
        return [endpoint for endpoint in endpoints if breaker_key(endpoint) in keys]

    def _remember(self, key: str, state: str) -> None:
        with self._lock:
            if len(self._states_here) >= MAX_ENDPOINTS:
                self._states_here.clear()
                self._unwritten.clear()
            if state:
                self._states_here[key] = state
            else:
                self._states_here.pop(key, None)

    def _note_refusal(self, key: str, error: StoreUnavailable) -> None:
        """Go by the state here as long as Redis answers, and takes no writes."""
        if isinstance(error, StoreRefusesWrites):
            self._unwritten.add(key)

    def _swap(self, key: str, before: str, after: str, *, here: bool) -> bool:
        if not here:
            try:
                (won,) = self._redis.call(("EVAL", _PROBE, 1, key, before, after, TTL_MS))
            except StoreRefusesWrites as error:
                self._remember(key, before)
                self._note_refusal(key, error)
            except StoreUnavailable:
                return False
            else:
                if won:
                    self._remember(key, after)
                return bool(won)
        with self._lock:
            if self._states_here.get(key) != before:
                return False
            self._states_here[key] = after
            return True

    def _fail_here(self, key: str, delivery_id: str, now: int, pause_ms: int) -> tuple[bool, str]:
        with self._lock:
            state = self._states_here.get(key, "")
            if state.startswith("open"):
                _, since, _, _, prober = state.split(" ")
                if prober == delivery_id:
                    state = self._states_here[key] = f"open {since} {now + pause_ms} {pause_ms} {prober}"
                return False, state
            if len(self._failing_here) >= MAX_ENDPOINTS:
                self._failing_here.clear()
            failing = self._failing_here.setdefault(key, {})
            failing.setdefault(delivery_id, now)
            if len(failing) < self._failures:
                return False, ""
            if now - min(failing.values()) < self._failing_ms:
                return False, "failing"
            del self._failing_here[key]
            self._states_here[key] = f"open {now} {now + pause_ms} {pause_ms} {delivery_id}"
            return True, self._states_here[key]

    def _ramp(self, key: str, closed_ms: int) -> Permit:
        """One that waited: of these, so many a second."""
        second = max(0, now_ms() - closed_ms) // 1000
        if second * 1000 >= RAMP_MS:
            return Permit()
        counter = f"{key}:{second}"
        try:
            count, _ = self._redis.call(("INCR", counter), ("EXPIRE", counter, RAMP_MS // 1000))
        except StoreUnavailable:
            return Permit()
        return Permit() if count <= RAMP_FIRST << second else Permit(wait_ms=self._spread(RAMP_WAIT_MS))
