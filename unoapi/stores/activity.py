"""The counts of what happens, in buckets of fixed size. All of it may be lost.

`unoapi-activity:<series>:<m|h>:<day>` is a string of counters, 64 bytes for each minute or hour of a day (UTC): a
series takes at most 92 KB a day by the minute, for two days, and 1.5 KB a day by the hour. The series are `all`, which
alone counts by the minute, `<P>`, and `<P>:<webhook>`. `unoapi-last-error:<P>:<webhook>` is the last failed attempt.

Each process adds up by itself, and writes once a second in the pipeline of all posts: a message costs Redis nothing. Of
thousands of numbers a bounded part is written each second, so that what they cost does not grow with them either.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from unoapi.models.activity import (
    ALL,
    BUCKET_BYTES,
    FAILED,
    SLOTS,
    Activity,
    LastError,
    Point,
    added,
    counted_in,
    error_of,
    unpacked,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.activity import Span
    from unoapi.models.endpoints import Endpoint
    from unoapi.models.trace import TraceEntry
    from unoapi.stores.redis import Command, RedisClient

FLUSH_S = 1.0
DAY_S = 86_400
MINUTE, HOUR = ("m", 60), ("h", 3600)
MINUTES_TTL_S = 2 * DAY_S
ALL_HOURS_TTL_S, HOURS_TTL_S = 32 * DAY_S, 8 * DAY_S
"""Of the series of everything, and of any other."""
SPANS: dict[Span, tuple[tuple[str, int], int, int]] = {
    "hour": (MINUTE, 60, 60),
    "day": (MINUTE, 300, 288),
    "week": (HOUR, 3600, 168),
    "month": (HOUR, 3600, 720),
}
"""From which buckets a span is read, the seconds of a point, and how many points."""
ALL_SPANS, SERIES_SPANS = frozenset(SPANS), frozenset({"week"})
MAX_SERIES = 20_000
"""That one process has not written yet."""
WRITTEN_TOGETHER = 125
"""Of more numbers and endpoints that wait, a tenth is written each second, at least so many; those first that have
waited longest."""
AT_ONCE = 500


class RedisActivity:
    """Counts of this process, written once a second, and read from all processes. `now_s` is the clock."""

    def __init__(self, redis: RedisClient, *, now_s: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._now_s = now_s
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Begin anew: a parent's counts are the parent's to write, and nobody here gives its lock back."""
        self._lock = threading.Lock()
        self._all = [0] * SLOTS
        self._counts: dict[str, list[int]] = {}  # of numbers, and of endpoints
        self._errors: dict[str, str] = {}
        self._is_timed = False

    def note(self, entry: TraceEntry) -> None:
        """Count a step of a message. Never raises, never waits."""
        if slots := counted_in(entry):
            whose = f"{entry.phone}:{entry.webhook}" if entry.webhook else entry.phone
            self._count(whose, slots)
            if entry.webhook and FAILED in slots:
                self._errors[whose] = _packed(entry)

    def count(self, phone: str, slot: int, times: int = 1) -> None:
        """Count things that are no steps. Never raises, never waits."""
        self._count(phone, (slot,), times)

    def _count(self, whose: str, slots: Sequence[int], times: int = 1) -> None:
        """Count at a number, or at an endpoint: at its number, too, when it is written."""
        with self._lock:
            if not self._is_timed:
                self._start_timer()
            counts = self._counts.get(whose)
            if counts is None and len(self._counts) < MAX_SERIES:
                counts = self._counts[whose] = [0] * SLOTS
            elif counts is None:
                counts = self._counts.get(whose.partition(":")[0])
            for slot in slots:
                self._all[slot] += times
                if counts is not None:
                    counts[slot] += times

    def _start_timer(self) -> None:
        timer = threading.Timer(FLUSH_S, self._flush_some)
        timer.daemon = True
        with suppress(
            RuntimeError
        ):  # no thread is left, or the process ends: the next count tries again, or `close` writes
            timer.start()
            self._is_timed = True

    def _flush_some(self) -> None:
        """Write the series of everything, and of the others as many as one second writes."""
        with self._lock:
            taken = self._taken(max(WRITTEN_TOGETHER, len(self._counts) // 10))
            self._is_timed = False
            if self._counts:
                self._start_timer()
        self._write(*taken)

    def flush(self) -> None:
        """Write what was counted. Never raises."""
        with self._lock:
            taken = self._taken(len(self._counts))
        self._write(*taken)

    def _taken(self, most: int) -> tuple[list[int], dict[str, list[int]], dict[str, str]]:
        """What was counted in all, and at so many numbers and endpoints, and the errors, taken out. Needs the lock."""
        counts = {name: self._counts.pop(name) for name in list(islice(self._counts, most))}
        all_counts, self._all = self._all, [0] * SLOTS
        errors, self._errors = self._errors, {}
        return all_counts, counts, errors

    def _write(self, all_counts: list[int], counts: dict[str, list[int]], errors: dict[str, str]) -> None:
        now_s = int(self._now_s())
        commands: list[Command] = []
        if any(all_counts):
            commands += _increments(ALL, all_counts, HOUR, now_s, ALL_HOURS_TTL_S)
            commands += _increments(ALL, all_counts, MINUTE, now_s, MINUTES_TTL_S)
        for series, counted in _with_numbers(counts).items():
            commands += _increments(series, counted, HOUR, now_s, HOURS_TTL_S)
        commands += [("SET", last_error_key(key), text, "EX", 8 * DAY_S) for key, text in errors.items()]
        for start in range(0, len(commands), AT_ONCE):
            self._redis.post(*commands[start : start + AT_ONCE])

    def read(self, series: str, span: Span) -> Activity:
        """The counts of a series. Raises StoreUnavailable, and ValueError for a span that it does not have."""
        if span not in (ALL_SPANS if series == ALL else SERIES_SPANS):
            raise ValueError(f"{span} is kept of all numbers together alone")
        (name, bucket_s), step_s, count = SPANS[span]
        last = int(self._now_s()) // step_s * step_s
        first, end = last - (count - 1) * step_s, last + step_s - 1
        ranges = [
            (day, max(first - day * DAY_S, 0) // bucket_s, min(end - day * DAY_S, DAY_S - 1) // bucket_s)
            for day in range(first // DAY_S, end // DAY_S + 1)
        ]
        raw = self._redis.call(
            *(
                ("GETRANGE", _key(series, name, day), start * BUCKET_BYTES, (stop + 1) * BUCKET_BYTES - 1)
                for day, start, stop in ranges
            )
        )
        buckets = [
            bucket
            for text, (_, start, stop) in zip(raw, ranges, strict=True)
            for bucket in unpacked(text, buckets=stop - start + 1)
        ]
        each = step_s // bucket_s
        began = datetime.fromtimestamp(first, UTC)
        points = [
            Point(began + timedelta(seconds=number * step_s), added(iter(buckets[number * each : (number + 1) * each])))
            for number in range(count)
        ]
        return Activity(span, step_s, points)

    def last_errors(self, endpoints: Sequence[Endpoint]) -> list[LastError | None]:
        """Why an attempt at each of the endpoints failed last. Raises StoreUnavailable."""
        if not endpoints:
            return []
        (texts,) = self._redis.call(("MGET", *(last_error_key(endpoint.key) for endpoint in endpoints)))
        return [_unpacked(text) if text else None for text in texts]


def _with_numbers(counts: dict[str, list[int]]) -> dict[str, list[int]]:
    """The counts by series: those of an endpoint are its number's, too."""
    series = dict[str, list[int]]()
    for whose, counted in counts.items():
        for name in dict.fromkeys((whose.partition(":")[0], whose)):
            before = series.get(name)
            series[name] = counted if before is None else [a + b for a, b in zip(before, counted, strict=True)]
    return series


def _increments(series: str, counted: list[int], kind: tuple[str, int], now_s: int, ttl_s: int) -> list[Command]:
    name, bucket_s = kind
    key, first = _key(series, name, now_s // DAY_S), now_s % DAY_S // bucket_s * SLOTS
    words: list[str | int] = []
    for slot, count in enumerate(counted):
        if count:
            words += ["INCRBY", "u32", f"#{first + slot}", count]
    return [("BITFIELD", key, "OVERFLOW", "SAT", *words), ("EXPIRE", key, ttl_s)]


def last_error_key(key: str) -> str:
    """The key of an endpoint's last failed attempt, by the endpoint's own."""
    return f"unoapi-last-error:{key}"


def _key(series: str, name: str, day: int) -> str:
    return f"unoapi-activity:{series}:{name}:{day}"


def _packed(entry: TraceEntry) -> str:
    return json.dumps([entry.at.timestamp(), entry.status, error_of(entry), entry.duration_ms])


def _unpacked(text: str) -> LastError | None:
    """The error, or none: one of another version is no reason to fail."""
    try:
        at_s, status, error, duration_ms = json.loads(text)
        return LastError(datetime.fromtimestamp(at_s, UTC), status, str(error), duration_ms)
    except (ValueError, TypeError, OverflowError):
        return None
