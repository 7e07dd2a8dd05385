"""Parts of Meta's callbacks that could not be placed at the door."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import Envelope, ReceiveCallback
from unoapi.models.trace import TraceEntry
from unoapi.providers.cloud_api import callbacks
from unoapi.services.retries import ensure_fresh


@shared_task(name=ReceiveCallback.task, base=UnoTask, bind=True)
def receive(self: UnoTask, job: ReceiveCallback) -> None:
    """Look again for the number or the message that a part of a callback is about."""
    uno = self.uno
    ensure_fresh(job, max_age_s=uno.settings.unoapi_message_max_age)
    events = callbacks.receive(job, directory=uno.directory, sessions=uno.sessions, ids=uno.message_ids)
    uno.publisher.publish([Envelope(event) for event in events])
    uno.traces.add(*(TraceEntry.of(event, "received") for event in events))
