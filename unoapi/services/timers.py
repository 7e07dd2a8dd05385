"""Timers: start, and decide what happens when one runs out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from unoapi.errors import RequestError
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import OutboundMessage
from unoapi.models.jobs import Envelope, FireTimer, computed_id
from unoapi.models.timers import MAX_TIMER_BYTES, MAX_TIMERS, TimerStep
from unoapi.services.first_jobs import first_job
from unoapi.services.message_parsing import ACCEPTED, parse_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.timers import TimerRequest
    from unoapi.ports import Timers, TimerStore

TIMERS_WAIT_S = 60
WAS_ACCEPTED = replace(ACCEPTED, any_type=True)
"""Of which type a message may be was decided when its timer was started."""


def start(phone: str, to: str, request: TimerRequest, *, at_ms: int, timers: TimerStore) -> Envelope:
    """Count a timer and make the job that waits. `at_ms`: its start, in milliseconds since the epoch.

    Raises RequestError for one that is too large, and when too many of the number wait; StoreUnavailable.
    """
    started = envelope(phone, to, request, request.nexts, at_ms=at_ms)
    if len(started.job.model_dump_json().encode()) > MAX_TIMER_BYTES:
        details = f"A timer and those that follow it have at most {MAX_TIMER_BYTES} bytes of JSON."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    if timers.waiting(phone) >= MAX_TIMERS:
        details = f"{MAX_TIMERS} timers of {phone} wait already, stopped ones included; each counts until its timeout."
        raise RequestError("Rate limit hit", code=130429, status=429, details=details, retry_after_s=TIMERS_WAIT_S)
    timers.touch(phone, to, at_ms=at_ms)
    timers.waits(phone, started.job.id, until_ms=at_ms + request.timeout)
    return started


def envelope(phone: str, to: str, step: TimerStep, nexts: Sequence[TimerStep], *, at_ms: int) -> Envelope:
    """A timer that waits in RabbitMQ. `at_ms`: its start, in milliseconds since the epoch."""
    job = FireTimer(
        id=computed_id("timer", phone, to, str(at_ms)),
        phone=phone,
        accepted_at_ms=at_ms,
        to=to,
        step=step.model_dump(mode="json"),
        nexts=tuple(following.model_dump(mode="json") for following in nexts),
    )
    return Envelope(job, delay_ms=step.timeout)


def fire(  # noqa: PLR0913 (collaborators and switches)
    job: FireTimer, *, timers: Timers, began_ms: int, for_phone: bool, voice: bool, always_voice: bool
) -> list[Envelope]:
    """The message to send and the next timer; nothing when the timer was stopped or started again, or was answered.

    Nor when it is of before `began_ms`: the number was removed then, and may be somebody else's.
    The message is prepared like one that a client sends now: see `first_job`.
    Raises StoreUnavailable: the timer waits until Redis can say whether it still counts.
    A repeated job makes the same message.
    """
    if job.accepted_at_ms <= began_ms:
        return []
    state = timers.state(job.phone, job.to)
    if state.last_ms is None or state.last_ms > job.accepted_at_ms or state.direction != "incoming":
        return []
    step = TimerStep.model_validate(job.step)
    message_id = f"wamid.{computed_id('timer message', job.id).replace('-', '').upper()}"
    message = parse_message(step.send_body(job.to), sender=WAS_ACCEPTED)
    sent = first_job(message, for_phone=for_phone, voice=voice, always_voice=always_voice)(
        id=message_id,
        phone=job.phone,
        message_id=message_id,
        body=serialise(message.to_wire()),
        contact=job.to[:256],
        any_type=type(message) is OutboundMessage,
    )
    envelopes = [Envelope(sent)]
    if job.nexts:
        following, *nexts = (TimerStep.model_validate(following) for following in job.nexts)
        # Its start is computed, not read from the clock: a repeated job makes the same timer.
        started_ms = job.accepted_at_ms + step.timeout
        envelopes.append(envelope(job.phone, job.to, following, nexts, at_ms=started_ms))
        timers.waits(job.phone, envelopes[-1].job.id, until_ms=started_ms + following.timeout)
    return envelopes
