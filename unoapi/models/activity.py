"""How much happened, and how fast: counts in buckets of a minute or an hour."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import add
from struct import iter_unpack
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unoapi.models.trace import TraceEntry

Span = Literal["hour", "day", "week", "month"]

COUNTED = ("received", "sent", "send_failed", "delivered", "failed", "dead")
"""Messages that contacts wrote, that clients sent and that could not be sent; attempts at webhooks; given up."""
LATENCY_BOUNDS_MS = (10, 25, 50, 100, 250, 500, 1000, 2500, 10_000)
"""The buckets of the duration of a delivery that went well; one more is for what took longer."""
LONGEST_MS = 60_000
SLOTS = len(COUNTED) + len(LATENCY_BOUNDS_MS) + 1
RECEIVED, SENT, SEND_FAILED, DELIVERED, FAILED, DEAD = range(len(COUNTED))
SLOT_BYTES = 4
BUCKET_BYTES = SLOTS * SLOT_BYTES
IS_DOWN = "the endpoint is down"
"""What an attempt's error ends with when its endpoint was down by then."""
ALL = "all"
"""The series of everything together."""


def counted_in(entry: TraceEntry) -> tuple[int, ...]:
    """The slots that a step of a message counts in."""
    match entry.step:
        case "delivered":
            return (DELIVERED, latency_slot(entry.duration_ms or 0))
        case "attempt" if entry.webhook:
            return (FAILED,)
        case "dead":
            return (DEAD, FAILED) if entry.webhook and entry.duration_ms is not None else (DEAD,)
        case "failed":
            return (SEND_FAILED,)
        case "received" | "accepted" if entry.kind == "failed":
            return (SEND_FAILED,)
        case _:
            return ()


def error_of(entry: TraceEntry) -> str:
    """Why an attempt failed, without when it is made again, and without what its endpoint was then: it may be up."""
    error = entry.detail.rpartition("; ")[0] if entry.step == "attempt" and "; " in entry.detail else entry.detail
    return error.removesuffix(f"; {IS_DOWN}")


def latency_slot(duration_ms: int) -> int:
    """The slot of a duration."""
    return len(COUNTED) + bisect_left(LATENCY_BOUNDS_MS, duration_ms)


@dataclass(frozen=True)
class Point:
    """The counts of some time, from `at` on."""

    at: datetime
    counts: tuple[int, ...] = (0,) * SLOTS

    def quantile_ms(self, share: float) -> int | None:
        """The duration that so large a share of the deliveries stayed below, as its bucket says; none without any."""
        latencies = self.counts[len(COUNTED) :]
        rank = share * sum(latencies)
        if not rank:
            return None
        bounds, below, lower = (*LATENCY_BOUNDS_MS, LONGEST_MS), 0, 0
        for count, bound in zip(latencies, bounds, strict=True):
            if count and below + count >= rank:
                return round(lower + (bound - lower) * (rank - below) / count)
            below, lower = below + count, bound
        return LONGEST_MS

    def as_json(self) -> dict[str, Any]:
        """The counts by name, and the middle and the 95th percentile of the durations."""
        named = dict(zip(COUNTED, self.counts, strict=False))
        return {**named, "p50_ms": self.quantile_ms(0.5), "p95_ms": self.quantile_ms(0.95)}


@dataclass(frozen=True)
class Activity:
    """The counts of a span: points of `step_s` seconds, the oldest first, also those in which nothing happened."""

    span: Span
    step_s: int
    points: list[Point] = field(default_factory=list)

    @property
    def totals(self) -> Point:
        """All points together."""
        start = self.points[0].at if self.points else datetime.fromtimestamp(0, UTC)
        return Point(start, added(point.counts for point in self.points))

    @property
    def success_rate(self) -> float | None:
        """The share of the attempts at webhooks that went well; none without any."""
        totals = self.totals.counts
        attempts = totals[DELIVERED] + totals[FAILED]
        return totals[DELIVERED] / attempts if attempts else None

    def as_json(self) -> dict[str, Any]:
        """What the API answers."""
        return {
            "span": self.span,
            "step_s": self.step_s,
            "points": [{"at": point.at.isoformat(), **point.as_json()} for point in self.points],
            "totals": {**self.totals.as_json(), "success_rate": self.success_rate},
        }


@dataclass(frozen=True)
class LastError:
    """Why an attempt at a webhook failed last."""

    at: datetime
    status: int | None
    error: str
    duration_ms: int | None

    def as_json(self) -> dict[str, Any]:
        """What the API answers."""
        return {"at": self.at.isoformat(), "status": self.status, "error": self.error, "duration_ms": self.duration_ms}


def added(counts: Iterator[tuple[int, ...]]) -> tuple[int, ...]:
    """The sum of counts, slot by slot."""
    total = (0,) * SLOTS
    for one in counts:
        total = tuple(map(add, total, one))
    return total


def unpacked(raw: bytes, *, buckets: int) -> Sequence[tuple[int, ...]]:
    """The counts of so many buckets as Redis stores them; what is missing at the end is 0."""
    whole = raw[: buckets * BUCKET_BYTES].ljust(buckets * BUCKET_BYTES, b"\0")
    return list(iter_unpack(f">{SLOTS}I", whole))
