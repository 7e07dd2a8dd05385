"""Notices to the session's own number."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import Envelope, NotifyNumber
from unoapi.models.trace import TraceEntry
from unoapi.services import failure_callbacks


@shared_task(name=NotifyNumber.task, base=UnoTask, bind=True)
def notify(self: UnoTask, job: NotifyNumber) -> None:
    """Send a notice, at most one per endpoint and quarter of an hour."""
    uno = self.uno
    if uno.notices.claim(job.endpoint, notice_id=job.id):
        uno.publisher.publish([Envelope(failure_callbacks.notice_message(job))])
        uno.traces.add(TraceEntry.of(job, "notified", webhook=job.webhook_id))
