"""Notices to the session's own number."""

from __future__ import annotations

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.models.jobs import Envelope, NotifyNumber
from unoapi.models.trace import TraceEntry
from unoapi.services import failure_callbacks


@app.task(name=NotifyNumber.task, base=UnoTask)
def notify(job: NotifyNumber) -> None:
    """Send a notice, at most one per endpoint and quarter of an hour."""
    uno = unoapi()
    if not uno.notices.claim(job.endpoint, notice_id=job.id):
        return
    uno.publisher.publish([Envelope(failure_callbacks.notice_message(job))])
    uno.traces.add(TraceEntry(step="notified", phone=job.phone, message_id=job.message_id, webhook=job.webhook_id))
