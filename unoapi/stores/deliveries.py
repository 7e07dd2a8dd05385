"""Deliveries that are done, and endpoints that are paused. All of it may be lost."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.models.endpoints import DeliveryState
from unoapi.models.jobs import now_ms
from unoapi.stores.circuit_breakers import breaker_key, failing_key
from unoapi.stores.holdings import holding_key, read_holding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.endpoints import Endpoint, Holding
    from unoapi.models.trace import TraceEntry
    from unoapi.stores.redis import Command, RedisClient
    from unoapi.stores.traces import RedisTraces

MAX_REMEMBERED = 10_000
AT_ONCE = 2_000
DONE_PREFIX = "unoapi-done:"
_PAUSE = """
local until_ms = tonumber(redis.call('GET', KEYS[1]))
if not until_ms or until_ms < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
"""
"""Never shorter: what was on its way when a person paused the endpoint may be answered with a moment's pause."""
_RESUME = """
local paused = redis.call('DEL', KEYS[1])
local state = redis.call('GET', KEYS[2])
if not state or string.sub(state, 1, 4) ~= 'open' then
  redis.call('DEL', KEYS[2], KEYS[3])
  return paused
end
local due = string.gsub(state, '^(open %d+) %d+', '%1 0')
redis.call('SET', KEYS[2], due, 'KEEPTTL')
return 1
"""
NO_PAUSE = (0.0, float("-inf"))
ON_ITS_WAY_S = 1.0
"""What is posted to Redis is there after so long, or never."""


class RedisDeliveries:
    """Done-keys and pauses. With Redis away a process still knows what it did itself."""

    def __init__(self, redis: RedisClient, traces: RedisTraces, *, done_ttl_s: int) -> None:
        self._redis = redis
        self._traces = traces
        self._done_ttl_s = done_ttl_s
        self._done_here: dict[str, None] = {}
        self._pauses_here: dict[str, tuple[float, float]] = {}  # until when, and since when

    def state(self, delivery_id: str, endpoint: Endpoint) -> DeliveryState:
        """What is known before an attempt."""
        try:
            (values,) = self._redis.call(("MGET", *state_keys(delivery_id, endpoint)))
        except StoreUnavailable:
            is_done = delivery_id in self._done_here
            return DeliveryState(is_done, paused_ms=self._pause_here_ms(endpoint), breaker=None)
        return self.state_in(values, delivery_id, endpoint)

    def state_in(self, values: Sequence[str | None], delivery_id: str, endpoint: Endpoint) -> DeliveryState:
        """The state before an attempt, from the values of `state_keys` and what this process knows.

        All of it, also of one that is done: a replay may make it again, and minds pauses and outages.
        """
        done, done_earlier, paused_until_ms, dropped_until_ms, breaker, holding = values
        paused_ms = max(0, int(paused_until_ms or 0) - now_ms(), self._pause_on_its_way_ms(endpoint))
        return DeliveryState(
            bool(done or done_earlier or delivery_id in self._done_here),
            paused_ms,
            int(dropped_until_ms or 0),
            str(breaker or ""),
            read_holding(holding),
        )

    def _pause_here_ms(self, endpoint: Endpoint) -> int:
        until, _ = self._pauses_here.get(endpoint.key, NO_PAUSE)
        return max(0, int((until - time.monotonic()) * 1000))

    def _pause_on_its_way_ms(self, endpoint: Endpoint) -> int:
        """A pause that Redis may not have yet. Later only Redis counts, where a person may have ended it."""
        if not self._pauses_here:
            return 0
        _, posted_at = self._pauses_here.get(endpoint.key, NO_PAUSE)
        return self._pause_here_ms(endpoint) if time.monotonic() < posted_at + ON_ITS_WAY_S else 0

    def finish(self, delivery_id: str, entry: TraceEntry) -> None:
        """Remember that the delivery is done, and the step with which it was.

        Written within milliseconds, without waiting: to wait before the acknowledgement would only lengthen the time in
        which a crash makes a copy.
        """
        if len(self._done_here) >= MAX_REMEMBERED:
            for oldest in list(self._done_here)[: MAX_REMEMBERED // 2]:
                self._done_here.pop(oldest, None)
        self._done_here[delivery_id] = None
        self._redis.post(self._done(delivery_id), *self._traces.commands(entry))

    def note_done(self, delivery_id: str) -> None:
        """Remember at once that the delivery is done, for another process that waits for it. Never raises."""
        with suppress(StoreUnavailable):
            self._redis.call(self._done(delivery_id))

    def _done(self, delivery_id: str) -> Command:
        return ("SET", done_key(delivery_id), "1", "EX", self._done_ttl_s)

    def is_done(self, delivery_id: str) -> bool:
        """Whether the delivery was done. Raises StoreUnavailable."""
        (done,) = self._redis.call(("EXISTS", done_key(delivery_id), earlier_done_key(delivery_id)))
        return bool(done)

    def pause(self, endpoint: Endpoint, *, pause_ms: int) -> None:
        """Pause the endpoint for `pause_ms` milliseconds at least. Never raises, never waits."""
        if len(self._pauses_here) >= MAX_REMEMBERED:
            self._pauses_here.clear()
        now = time.monotonic()
        self._pauses_here[endpoint.key] = (now + pause_ms / 1000, now)
        self._redis.post(("EVAL", _PAUSE, 1, _pause_key(endpoint), now_ms() + pause_ms, pause_ms))

    def suspend(self, endpoint: Endpoint, *, pause_ms: int) -> None:
        """Pause the endpoint at a person's request. Raises StoreUnavailable."""
        self._redis.call(("SET", _pause_key(endpoint), now_ms() + pause_ms, "PX", pause_ms))

    def resume(self, endpoint: Endpoint) -> bool:
        """End a pause, and let an endpoint that is down be probed now. Whether it was one of both.

        It stays down until it answers: that it came back is then recorded and reported. Raises StoreUnavailable.
        """
        keys = (_pause_key(endpoint), breaker_key(endpoint), failing_key(endpoint))
        (ended,) = self._redis.call(("EVAL", _RESUME, 3, *keys))
        self._pauses_here.pop(endpoint.key, None)
        return bool(ended)

    def drop(self, endpoint: Endpoint) -> int:
        """Drop all that waits for a webhook now: what was accepted until the time that is returned, in Unix ms.

        Raises StoreUnavailable.
        """
        dropped_until_ms = now_ms()
        self._redis.call(("SET", _drop_key(endpoint), dropped_until_ms, "EX", self._done_ttl_s))
        return dropped_until_ms

    def endpoints(self, endpoints: Sequence[Endpoint]) -> list[DeliveryState]:
        """The states of endpoints. Raises StoreUnavailable."""
        if not endpoints:
            return []
        keys = [key(endpoint) for endpoint in endpoints for key in (_pause_key, _drop_key, breaker_key)]
        (values,) = self._redis.call(("MGET", *keys))
        return [
            DeliveryState(False, max(0, int(paused or 0) - now_ms()), int(dropped or 0), str(breaker or ""))
            for paused, dropped, breaker in zip(values[::3], values[1::3], values[2::3], strict=True)
        ]

    def paused(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those of the endpoints that are paused. Raises StoreUnavailable."""
        paused: list[Endpoint] = []
        for start in range(0, len(endpoints), AT_ONCE):
            part = endpoints[start : start + AT_ONCE]
            (values,) = self._redis.call(("MGET", *map(_pause_key, part)))
            paused += [endpoint for endpoint, value in zip(part, values, strict=True) if value]
        return paused

    def holding(self, endpoint: Endpoint) -> Holding | None:
        """The holding queue of an endpoint. Raises StoreUnavailable."""
        (text,) = self._redis.call(("GET", holding_key(endpoint)))
        return read_holding(text)


def state_keys(delivery_id: str, endpoint: Endpoint) -> tuple[str, ...]:
    """The keys that hold what is known before an attempt."""
    return (done_key(delivery_id), earlier_done_key(delivery_id), *_endpoint_keys(endpoint))


@lru_cache(maxsize=8192)
def _endpoint_keys(endpoint: Endpoint) -> tuple[str, ...]:
    return (_pause_key(endpoint), _drop_key(endpoint), breaker_key(endpoint), holding_key(endpoint))


def done_key(delivery_id: str) -> str:
    """The key that marks a delivery as done: without the dashes of its id, which cost 16 bytes of memory."""
    return f"{DONE_PREFIX}{delivery_id.replace('-', '')}"


def earlier_done_key(delivery_id: str) -> str:
    """The same as the version before wrote it; read until the version after next."""
    return f"{DONE_PREFIX}{delivery_id}"


def _drop_key(endpoint: Endpoint) -> str:
    return f"unoapi-drop:{endpoint.key}"


def kept_keys(endpoint: Endpoint) -> tuple[str, ...]:
    """The keys of what an endpoint has been through: who registers its number next begins anew."""
    return (_pause_key(endpoint), breaker_key(endpoint), failing_key(endpoint))


def _pause_key(endpoint: Endpoint) -> str:
    return f"unoapi-pause:{endpoint.key}"
