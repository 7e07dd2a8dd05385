"""Failure callbacks."""

from __future__ import annotations

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.models.jobs import ReportFailure
from unoapi.models.trace import TraceEntry
from unoapi.services import failure_callbacks


@app.task(name=ReportFailure.task, base=UnoTask)
def report(job: ReportFailure) -> None:
    """Post one failure callback to the operator's address."""
    uno = unoapi()
    url = uno.settings.status_failed_webhook_url
    if url is None:
        return  # switched off after the job was queued
    attempt = failure_callbacks.report(job, url=str(url), sender=uno.callbacks)
    uno.traces.add(
        TraceEntry(
            step="callback",
            phone=job.phone,
            message_id=job.message_id,
            status=attempt.status,
            duration_ms=attempt.duration_ms,
        )
    )
