"""Dead letters as messages: how one is made, read, and published again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.broker.messages import Message, from_body, history_of, to_message, to_quarantine
from unoapi.errors import Poison
from unoapi.models.dead_letters import DeadLetter
from unoapi.models.jobs import JOBS, Envelope, Job

if TYPE_CHECKING:
    from unoapi.broker.topology import Topology

REASON_HEADER = "unoapi-reason"
ERROR_HEADER = "unoapi-error"
TRACEBACK_HEADER = "unoapi-traceback"
DIED_HEADER = "unoapi-dead-at"
QUEUE_HEADER = "unoapi-queue"
BROKER_HEADERS = ("x-death", "x-first-death", "x-last-death", "x-delivery-count", "x-acquired-count", "x-delivery")
NOT_SAVED = ("application_headers", "expiration")
"""Properties that a dead letter has no more: headers are read beside them, and no dead letter goes by itself."""
OWN_HEADERS = (REASON_HEADER, ERROR_HEADER, TRACEBACK_HEADER, DIED_HEADER, QUEUE_HEADER)


def to_dead_letter(envelope: Envelope, topology: Topology, *, reason: str, error: str, traceback: str = "") -> Message:
    """The dead letter of a job: everything needed to run it again, plus why it is here."""
    message = to_message(envelope, topology)
    message.headers.update(
        {
            REASON_HEADER: reason,
            ERROR_HEADER: error,
            DIED_HEADER: datetime.now(UTC).isoformat(timespec="milliseconds"),
            QUEUE_HEADER: message.routing_key,
        }
    )
    if traceback:
        message.headers[TRACEBACK_HEADER] = traceback
    return replace(message, exchange=topology.dead, into=topology.dead)


def read_dead_letter(
    body: bytes | str, headers: dict[str, Any] | None, properties: dict[str, Any], routing_key: str
) -> DeadLetter:
    """Read a message of the dead queue, whether a worker published it or the broker dead-lettered it."""
    headers = headers or {}
    raw = body.encode() if isinstance(body, str) else bytes(body)
    task = str(headers.get("task") or "")
    job: Job | None = None
    if task in JOBS:
        try:
            job = from_body(task, raw)
        except (ValueError, TypeError, LookupError):
            job = None
    death = _last_death(headers)
    reason = str(headers.get(REASON_HEADER) or "") or _broker_reason(death, task, job)
    dead_letter_id = str(headers.get("id") or properties.get("message_id") or hashlib.sha256(raw).hexdigest()[:32])
    return DeadLetter(
        id=dead_letter_id,
        queue=str(headers.get(QUEUE_HEADER) or death.get("queue") or routing_key),
        reason=reason,
        error=str(headers.get(ERROR_HEADER) or ""),
        traceback=str(headers.get(TRACEBACK_HEADER) or ""),
        died_at=_died_at(headers, death),
        task=task,
        history=history_of(headers),
        job=job,
        body=raw,
        headers=headers,
        properties={name: value for name, value in properties.items() if name not in NOT_SAVED},
    )


def replayed(dead_letter: DeadLetter, topology: Topology, *, accepted_at_ms: int) -> Message:
    """The message that runs a dead letter again: same id, replay count raised, none of the broker's headers.

    It has a new budget of attempts, and of time from `accepted_at_ms` on. A dead letter without a task of ours is
    published again as it came, with its routing key.
    """
    if dead_letter.job is not None:
        job = dead_letter.job.model_copy(update={"accepted_at_ms": accepted_at_ms})
        envelope = Envelope(job, history=dead_letter.history.next_replay())
        # What ended workers before must not meet those of everybody again.
        return (to_quarantine if dead_letter.reason == Poison.reason else to_message)(envelope, topology)
    return Message(
        topology.broker,
        dead_letter.queue,
        dead_letter.body,
        _without(dead_letter.headers, OWN_HEADERS),
        dead_letter.properties,
    )


def moved_to_the_end(dead_letter: DeadLetter, topology: Topology) -> Message:
    """The same dead letter for the end of its queue; what the broker's headers said is saved in ours."""
    headers = _without(dead_letter.headers, ()) | {REASON_HEADER: dead_letter.reason, QUEUE_HEADER: dead_letter.queue}
    if dead_letter.died_at is not None:
        headers[DIED_HEADER] = _as_it_was(dead_letter.died_at)
    return Message(
        topology.dead, dead_letter.queue, dead_letter.body, headers, dead_letter.properties, into=topology.dead
    )


def _as_it_was(died_at: datetime) -> str:
    """A time as it stands in the header: letters of earlier versions have whole seconds."""
    return died_at.isoformat(timespec="milliseconds" if died_at.microsecond else "seconds")


def _without(headers: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in headers.items() if key not in names and not key.startswith(BROKER_HEADERS)}


def _last_death(headers: dict[str, Any]) -> dict[str, Any]:
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else {}
    return first if isinstance(first, dict) else {}


def _broker_reason(death: dict[str, Any], task: str, job: Job | None) -> str:
    reason = str(death.get("reason") or "")
    if reason == "rejected":
        return "unknown_task" if task not in JOBS else "invalid_task" if job is None else "rejected"
    return reason or "unroutable"


def _died_at(headers: dict[str, Any], death: dict[str, Any]) -> datetime | None:
    text = headers.get(DIED_HEADER)
    if isinstance(text, str):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None
    time = death.get("time")
    if isinstance(time, datetime):
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    return None
