"""Failure callbacks."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import ReportFailure
from unoapi.models.trace import TraceEntry
from unoapi.services import failure_callbacks


@shared_task(name=ReportFailure.task, base=UnoTask, bind=True)
def report(self: UnoTask, job: ReportFailure) -> None:
    """Post one failure callback to the operator's address, unless that was removed after the job was queued."""
    url = self.uno.settings.status_failed_webhook_url
    if url is not None:
        attempt = failure_callbacks.report(
            job, url=str(url), sender=self.uno.callback_client, bulkhead=self.uno.bulkhead
        )
        self.uno.traces.add(TraceEntry.of(job, "callback", attempt=attempt))
