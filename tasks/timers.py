"""Timers that ran out."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import FireTimer
from unoapi.models.trace import TraceEntry
from unoapi.services import timers


@shared_task(name=FireTimer.task, base=UnoTask, bind=True)
def fire(self: UnoTask, job: FireTimer) -> None:
    """Queue the timer's message, and its next timer."""
    envelopes = timers.fire(job, timers=self.uno.timers)
    if envelopes:
        self.uno.publisher.publish(envelopes)
        self.uno.traces.add(TraceEntry.of(envelopes[0].job, "accepted", kind="timer"))
