"""The life of a message, one entry per step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, TypeAdapter

from unoapi.models.jobs import DeliverWebhook, EventJob

if TYPE_CHECKING:
    from unoapi.models.attempts import Answer, Attempt
    from unoapi.models.jobs import Job

MAX_DETAIL_CHARS = 300

Step = Literal[
    "accepted", "queued", "sent", "status", "received", "event", "filtered", "attempt", "postponed", "delivered",
    "duplicate", "superseded", "suspected", "endpoint", "dead", "replayed", "notified", "callback", "failed",
]  # fmt: skip


class StuckMessage(NamedTuple):
    """A message of a phone, and when its last step was that may have left it in a state (Unix milliseconds)."""

    at_ms: int
    phone: str
    id: str


@dataclass(slots=True, kw_only=True)
class TraceEntry:
    """One step. `status` and `duration_ms` belong to attempts; `detail` is a safe sentence.

    Nobody changes one. Frozen, or checked, it would take three times as long to make, several times for each message.
    """

    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    step: Step
    phone: str
    message_id: str
    kind: str = ""
    webhook: str = ""
    delivery_id: str = ""
    attempt: int | None = None
    status: int | None = None
    duration_ms: int | None = None
    detail: Annotated[str, Field(max_length=MAX_DETAIL_CHARS)] = ""

    @classmethod
    def of(  # noqa: PLR0913 (the fields of an entry)
        cls,
        job: Job,
        step: Step,
        *,
        kind: str | None = None,
        webhook: str | None = None,
        tries: int | None = None,
        attempt: Attempt | Answer | None = None,
        detail: str = "",
    ) -> TraceEntry:
        """A step of a job, which says itself what it is about. `tries` counts the attempts so far; `detail` is cut."""
        delivery = job if isinstance(job, DeliverWebhook) else None
        event = job if isinstance(job, (DeliverWebhook, EventJob)) else None
        return cls(
            step=step,
            phone=job.phone,
            message_id=job.message_id,
            kind=kind if kind is not None else event.kind if event else "",
            webhook=webhook if webhook is not None else delivery.webhook_id if delivery else "",
            delivery_id=delivery.id if delivery else "",
            attempt=tries,
            status=attempt.status if attempt else None,
            duration_ms=attempt.duration_ms if attempt else None,
            detail=detail[:MAX_DETAIL_CHARS],
        )


_ENTRY = TypeAdapter(TraceEntry)


def read_entry(fields: dict[str, Any]) -> TraceEntry:
    """A step that was written. Raises ValueError for what is none."""
    return _ENTRY.validate_python(fields)


def shown_entry(entry: TraceEntry) -> dict[str, Any]:
    """A step as JSON has it, without what says nothing."""
    fields: dict[str, Any] = _ENTRY.dump_python(entry, mode="json", exclude_defaults=True)
    return fields


def completed(entries: list[TraceEntry]) -> list[TraceEntry]:
    """The steps, oldest first, with what is not stored: traces are most of what Redis keeps of a message.

    A delivery that succeeded at its first attempt was queued when that began, where nothing else says so: it was made
    within its event. Each `queued` step has the id of its delivery as soon as a later step names it.
    """
    complete, ids = list[TraceEntry](), dict[tuple[str, str], str]()
    for entry in reversed(_with_queued(entries)):
        about = (entry.webhook, entry.kind)
        if entry.delivery_id:
            ids[about] = entry.delivery_id
        delivery_id = ids.get(about, "") if entry.step == "queued" and entry.webhook else ""
        complete.append(replace(entry, delivery_id=delivery_id) if delivery_id else entry)
    return complete[::-1]


def _with_queued(entries: list[TraceEntry]) -> list[TraceEntry]:
    complete, begun = list[TraceEntry](), set[tuple[str, str]]()
    for entry in entries:
        about = (entry.webhook, entry.kind)
        if entry.webhook and entry.step == "delivered" and entry.attempt == 1 and about not in begun:
            at = entry.at - timedelta(milliseconds=entry.duration_ms or 0)
            at = max(at, complete[-1].at) if complete else at
            complete.append(
                TraceEntry(
                    at=at,
                    step="queued",
                    phone=entry.phone,
                    message_id=entry.message_id,
                    kind=entry.kind,
                    webhook=entry.webhook,
                )
            )
        complete.append(entry)
        begun.add(about)
    return complete
