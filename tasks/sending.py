"""Messages and commands on their way to WhatsApp."""

from __future__ import annotations

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.cloud_api.events import read_document
from unoapi.models.jobs import RunCommand, SendMessage
from unoapi.models.trace import TraceEntry
from unoapi.services import sending


@shared_task(name=SendMessage.task, base=UnoTask, bind=True)
def send(self: UnoTask, job: SendMessage) -> None:
    """Send one message and queue its status events."""
    uno = self.uno
    receipt = sending.send(
        job,
        history=self.history.model_copy(update={"redelivered": self.redelivered}),
        sessions=uno.sessions,
        sends=uno.send_claims,
        providers=uno.providers,
        bulkhead=uno.bulkhead,
        max_age_s=uno.settings.unoapi_send_max_age,
    )
    # Whatever goes wrong from here on: it was sent, and is neither sent again nor reported as failed.
    self.carry(receipt=receipt.packed())
    envelopes = sending.event_envelopes(job, receipt, sessions=uno.sessions, hold_ms=uno.settings.unoapi_status_hold_ms)
    if envelopes:
        uno.publisher.publish(envelopes)
    uno.backlog.leave(job.phone, job.id)
    for key in sending.receiver(read_document(job.body), receipt).keys:
        uno.timers.wrote(job.phone, key, own=True)
    uno.traces.add(*sending.trace(job, receipt))


@shared_task(name=RunCommand.task, base=UnoTask, bind=True)
def command(self: UnoTask, job: RunCommand) -> None:
    """Carry out one command on a message."""
    uno = self.uno
    sending.command(
        job,
        sessions=uno.sessions,
        providers=uno.providers,
        bulkhead=uno.bulkhead,
        max_age_s=uno.settings.unoapi_send_max_age,
    )
    uno.traces.add(TraceEntry.of(job, "sent", kind="command"))
