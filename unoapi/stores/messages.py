"""What is remembered of messages: deliveries done, sends claimed, ids, notices, traces. All of it may be lost."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import now_ms
from unoapi.models.receipts import Receipt
from unoapi.models.trace import TraceEntry
from unoapi.ports import Claim, DeliveryState
from unoapi.stores.endpoints import breaker_key, failing_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.jobs import SendMessage
    from unoapi.stores.redis import Command, RedisStore

MAX_TRACE_ENTRIES = 200
MAX_REMEMBERED = 10_000
LEASE_MS = 60_000
"""Longer than any provider may take to send; after it the outcome of an unfinished send is unknown."""
NOTICE_WINDOW_S = 900


class RedisDeliveries:
    """Done-keys and pauses. With Redis away a process still knows what it did itself."""

    def __init__(self, store: RedisStore, traces: RedisTraces, *, done_ttl_s: int) -> None:
        self._store = store
        self._traces = traces
        self._done_ttl_s = done_ttl_s
        self._done_here: dict[str, None] = {}
        self._pauses_here: dict[str, float] = {}

    def state(self, delivery_id: str, *, phone: str, webhook_id: str) -> DeliveryState:
        """What is known before an attempt."""
        if delivery_id in self._done_here:
            return DeliveryState(done=True)
        try:
            place = (phone, webhook_id)
            ((done, paused_until_ms, dropped_until_ms, breaker),) = self._store.call(
                ("MGET", done_key(delivery_id), _pause_key(*place), _drop_key(*place), breaker_key(*place))
            )
        except StoreUnavailable:
            paused_s = self._pauses_here.get(f"{phone}:{webhook_id}", 0.0) - time.monotonic()
            return DeliveryState(paused_ms=max(0, int(paused_s * 1000)), breaker=None)
        paused_ms = max(0, int(paused_until_ms or 0) - now_ms())
        return DeliveryState(bool(done), paused_ms, int(dropped_until_ms or 0), str(breaker or ""))

    def finish(self, delivery_id: str, entry: TraceEntry) -> None:
        """Remember that the delivery is done.

        Written behind, within milliseconds: waiting for it before the acknowledgement would only lengthen the time in
        which a crash makes a copy.
        """
        if len(self._done_here) >= MAX_REMEMBERED:
            for oldest in list(self._done_here)[: MAX_REMEMBERED // 2]:
                self._done_here.pop(oldest, None)
        self._done_here[delivery_id] = None
        done: Command = ("SET", done_key(delivery_id), "1", "EX", self._done_ttl_s)
        self._store.post(done, *self._traces.commands(entry))

    def is_done(self, delivery_id: str) -> bool:
        """Whether the delivery was done. Raises StoreUnavailable."""
        (done,) = self._store.call(("EXISTS", done_key(delivery_id)))
        return bool(done)

    def pause(self, *, phone: str, webhook_id: str, pause_ms: int) -> None:
        """Hold the endpoint for so many milliseconds."""
        if len(self._pauses_here) >= MAX_REMEMBERED:
            self._pauses_here.clear()
        self._pauses_here[f"{phone}:{webhook_id}"] = time.monotonic() + pause_ms / 1000
        self._store.post(("SET", _pause_key(phone, webhook_id), now_ms() + pause_ms, "PX", pause_ms))

    def hold(self, *, phone: str, webhook_id: str, pause_ms: int) -> None:
        """Pause by hand. Raises StoreUnavailable: a person wants to know."""
        self._store.call(("SET", _pause_key(phone, webhook_id), now_ms() + pause_ms, "PX", pause_ms))

    def resume(self, *, phone: str, webhook_id: str) -> bool:
        """End a pause or close a breaker. Whether there was one. Raises StoreUnavailable."""
        place = (phone, webhook_id)
        ended, _ = self._store.call(("DEL", _pause_key(*place), breaker_key(*place)), ("DEL", failing_key(*place)))
        return bool(ended)

    def drop(self, *, phone: str, webhook_id: str) -> int:
        """Mark all that waits for a webhook now; returns the mark. Raises StoreUnavailable."""
        mark = now_ms()
        self._store.call(("SET", _drop_key(phone, webhook_id), mark, "EX", self._done_ttl_s))
        return mark

    def endpoints(self, places: Sequence[tuple[str, str]]) -> list[DeliveryState]:
        """The states of endpoints, given as phone and webhook id. Raises StoreUnavailable."""
        if not places:
            return []
        keys = [key(*place) for place in places for key in (_pause_key, _drop_key, breaker_key)]
        (values,) = self._store.call(("MGET", *keys))
        return [
            DeliveryState(False, max(0, int(until or 0) - now_ms()), int(mark or 0), str(breaker or ""))
            for until, mark, breaker in zip(values[::3], values[1::3], values[2::3], strict=True)
        ]


class RedisSends:
    """Claims of sends. A claim is a lease: an unfinished one that ran out means an unknown outcome."""

    def __init__(self, store: RedisStore, *, ttl_s: int) -> None:
        self._store = store
        self._ttl_s = ttl_s

    def claim(self, job: SendMessage) -> Claim:
        """Ask for the right to send. Raises StoreUnavailable."""
        claim = json.dumps({"until_ms": now_ms() + LEASE_MS})
        taken, held = self._store.call(("SET", _send_key(job), claim, "NX", "EX", self._ttl_s), ("GET", _send_key(job)))
        if taken:
            return Claim(free=True)
        try:
            state = json.loads(held or "{}")
            if "receipt" in state:
                return Claim(receipt=Receipt.model_validate(state["receipt"]))
            left_ms = int(state.get("until_ms", 0)) - now_ms()
        except (ValueError, TypeError, AttributeError):  # not what we write, so nobody knows
            left_ms = 0
        return Claim(busy_ms=left_ms) if left_ms > 0 else Claim(lost=True)

    def settle(self, job: SendMessage, receipt: Receipt) -> None:
        """Remember what came of it. Raises StoreUnavailable."""
        state = json.dumps({"receipt": receipt.model_dump(mode="json")})
        self._store.call(("SET", _send_key(job), state, "EX", self._ttl_s))

    def release(self, job: SendMessage) -> None:
        """Give the right back. Raises StoreUnavailable."""
        self._store.call(("DEL", _send_key(job)))


class RedisMessageIds:
    """Pairs of WhatsApp's message ids and ours."""

    def __init__(self, store: RedisStore, *, ttl_s: int) -> None:
        self._store = store
        self._ttl_s = ttl_s

    def remember(self, phone: str, *, theirs: str, ours: str) -> None:
        """Keep a pair, both ways."""
        self._store.post(
            ("SET", f"unoapi-id:{phone}:{theirs}", ours, "EX", self._ttl_s),
            ("SET", f"unoapi-id:{phone}:{ours}", theirs, "EX", self._ttl_s),
        )

    def ours(self, phone: str, theirs: str) -> str:
        """Our id, or theirs when no pair is known."""
        return self._other(phone, theirs)

    def theirs(self, phone: str, ours: str) -> str:
        """Their id, or ours when no pair is known."""
        return self._other(phone, ours)

    def _other(self, phone: str, message_id: str) -> str:
        try:
            (found,) = self._store.call(("GET", f"unoapi-id:{phone}:{message_id}"))
        except StoreUnavailable:
            return message_id
        return str(found) if found else message_id


class RedisNotices:
    """At most one notice per endpoint and quarter of an hour, also with Redis away (then per process)."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._here: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def claim(self, *, phone: str, webhook_id: str, notice_id: str) -> bool:
        """Whether this notice may go out now."""
        key = f"unoapi-notice:{phone}:{webhook_id}"
        try:
            _, holder = self._store.call(("SET", key, notice_id, "NX", "EX", NOTICE_WINDOW_S), ("GET", key))
        except StoreUnavailable:
            return self._claim_here(key, notice_id)
        return bool(holder == notice_id)

    def _claim_here(self, key: str, notice_id: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if len(self._here) >= MAX_REMEMBERED:
                self._here.clear()
            at, holder = self._here.get(key, (now - NOTICE_WINDOW_S, ""))
            if now - at >= NOTICE_WINDOW_S:
                self._here[key] = (now, notice_id)
                return True
            return holder == notice_id


class RedisTraces:
    """The life of messages: a stream per message id, bounded in length and time."""

    def __init__(self, store: RedisStore, *, ttl_s: int) -> None:
        self._store = store
        self._ttl_s = ttl_s

    def add(self, *entries: TraceEntry) -> None:
        """Append steps. Never raises, never waits."""
        self._store.post(*(command for entry in entries for command in self.commands(entry)))

    def commands(self, entry: TraceEntry) -> tuple[Command, ...]:
        """The commands that append one step."""
        if not entry.message_id:
            return ()
        key = _trace_key(entry.message_id)
        text = entry.model_dump_json(exclude_defaults=True, exclude={"message_id"})
        return (("XADD", key, "MAXLEN", MAX_TRACE_ENTRIES, "*", "step", text), ("EXPIRE", key, self._ttl_s))

    def read(self, message_id: str) -> list[TraceEntry]:
        """All steps of a message, oldest first. Raises StoreUnavailable."""
        (found,) = self._store.call(("XRANGE", _trace_key(message_id), "-", "+"))
        entries = []
        for _, fields in found:
            try:
                entries.append(TraceEntry.model_validate({**json.loads(fields["step"]), "message_id": message_id}))
            except (ValueError, TypeError, LookupError):
                continue  # an entry of another version is no reason to hide the others
        return sorted(entries, key=lambda entry: entry.at)


def done_key(delivery_id: str) -> str:
    """Where it stands that a delivery is done."""
    return f"unoapi-done:{delivery_id}"


def _drop_key(phone: str, webhook_id: str) -> str:
    return f"unoapi-drop:{phone}:{webhook_id}"


def _pause_key(phone: str, webhook_id: str) -> str:
    return f"unoapi-pause:{phone}:{webhook_id}"


def _send_key(job: SendMessage) -> str:
    return f"unoapi-send:{job.phone}:{job.id}"


def _trace_key(message_id: str) -> str:
    return f"unoapi-trace:{message_id}"
