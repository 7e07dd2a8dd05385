"""Timers that ran out."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.activity import SENT
from unoapi.models.jobs import FireTimer, MessageJob
from unoapi.models.message_log import LoggedMessage
from unoapi.models.trace import TraceEntry
from unoapi.services import timers
from unoapi.services.first_jobs import is_phone


@shared_task(name=FireTimer.task, base=UnoTask, bind=True)
def fire(self: UnoTask, job: FireTimer) -> None:
    """Queue the timer's message, and its next timer."""
    uno, settings = self.uno, self.uno.settings
    envelopes = timers.fire(
        job,
        timers=uno.timers,
        began_ms=uno.sessions.find(job.phone).began_ms,
        for_phone=is_phone(job.phone, sessions=uno.sessions),
        voice=settings.convert_audio_message_to_ogg,
        always_voice=settings.send_audio_message_as_ptt,
    )
    if envelopes:
        uno.publisher.publish(envelopes)
        sent = envelopes[0].job
        uno.traces.add(TraceEntry.of(sent, "accepted", kind="timer"))
        if isinstance(sent, MessageJob):
            uno.message_log.add(LoggedMessage.of(sent, "timer"), body=sent.body)
            uno.activity.count(job.phone, SENT)
