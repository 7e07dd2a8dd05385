"""Pages of dead letters. Their queue can be read from its head alone: what was read once serves the pages behind it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import current_app

from unoapi.models.dead_letters import Bounds, DeadLetterQuery, explained_reason
from unoapi.web.parts import parts

if TYPE_CHECKING:
    from unoapi.models.dead_letters import DeadLetter

FRESH_S = 60.0
"""So long the pages behind the first one are those of one reading; the first one is always read."""
LEAST_AHEAD, AHEAD = 200, 2
"""So many are read for the second page, and then so many times what was asked for."""
MAX_READINGS = 4
EXTENSION = "console_letters"


@dataclass(frozen=True)
class Reading:
    """Lines from the head of the queue. `complete`: there are no more; `total`: all in the queue, whatever is asked."""

    lines: list[dict[str, Any]]
    complete: bool
    total: int | None
    read_at: float


@dataclass
class _Readings:
    lock: threading.Lock = field(default_factory=threading.Lock)
    by_query: dict[DeadLetterQuery, Reading] = field(default_factory=dict)


def read_lines(query: DeadLetterQuery, *, start: int, count: int, within_s: float) -> Reading:
    """The selected dead letters up to `start` + `count` at least, as far as they are found in time.

    Raises DeadLettersBusy, BrokerUnavailable.
    """
    readings, wanted = _readings(), start + count
    with readings.lock:
        known = readings.by_query.get(query)
    is_fresh = known is not None and time.monotonic() - known.read_at < FRESH_S
    if start and known is not None and is_fresh and (known.complete or len(known.lines) >= wanted):
        return known
    reading = _read(query, max(LEAST_AHEAD, AHEAD * wanted) if start else wanted, within_s)
    with readings.lock:
        readings.by_query.pop(query, None)
        if len(readings.by_query) >= MAX_READINGS:
            readings.by_query.pop(next(iter(readings.by_query)))
        readings.by_query[query] = reading
    return reading


def forget_lines() -> None:
    """Read everything anew: some were put back or thrown away."""
    readings = _readings()
    with readings.lock:
        readings.by_query.clear()


def line_of(letter: DeadLetter) -> dict[str, Any]:
    """What a list shows of a dead letter."""
    return {
        "id": letter.id,
        "at": letter.died_at,
        "phone": letter.phone,
        "webhook": letter.webhook,
        "queue": letter.queue,
        "message_id": letter.message_id,
        "reason": letter.reason,
        "group": explained_reason(letter.reason),
        "error": letter.error,
        "tries": len(letter.history.attempts),
    }


def _read(query: DeadLetterQuery, most: int, within_s: float) -> Reading:
    walk = parts().dead_letters.list(query, by="/console/dead-letters", bounds=Bounds(most, within_s))
    lines = [line_of(result.dead_letter) for result in walk]
    return Reading(lines, walk.complete, walk.total, time.monotonic())


def _readings() -> _Readings:
    readings: _Readings = current_app.extensions.setdefault(EXTENSION, _Readings())
    return readings
