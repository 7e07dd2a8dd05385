"""Timers that ran out."""

from __future__ import annotations

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.models.jobs import FireTimer
from unoapi.models.trace import TraceEntry
from unoapi.services import timers


@app.task(name=FireTimer.task, base=UnoTask)
def fire(job: FireTimer) -> None:
    """Queue the timer's message, and its next timer."""
    uno = unoapi()
    envelopes = timers.fire(job, timers=uno.timers)
    if envelopes:
        uno.publisher.publish(envelopes)
        message_id = envelopes[0].job.message_id
        uno.traces.add(TraceEntry(step="accepted", phone=job.phone, message_id=message_id, kind="timer"))
