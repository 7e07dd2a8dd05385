"""Timers that ran out."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.activity import SENT
from unoapi.models.jobs import FireTimer, MessageJob
from unoapi.models.message_log import LoggedMessage
from unoapi.models.trace import TraceEntry
from unoapi.services import timers


@shared_task(name=FireTimer.task, base=UnoTask, bind=True)
def fire(self: UnoTask, job: FireTimer) -> None:
    """Queue the timer's message, and its next timer."""
    envelopes = timers.fire(job, timers=self.uno.timers)
    if envelopes:
        self.uno.publisher.publish(envelopes)
        sent = envelopes[0].job
        self.uno.traces.add(TraceEntry.of(sent, "accepted", kind="timer"))
        if isinstance(sent, MessageJob):
            logged = LoggedMessage.of(sent.model_copy(update={"contact": job.to}), "timer")
            self.uno.message_log.add(logged, body=sent.body)
            self.uno.activity.count(job.phone, SENT)
