"""Messages and commands on their way to WhatsApp."""

from __future__ import annotations

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.models.jobs import RunCommand, SendMessage
from unoapi.models.trace import TraceEntry
from unoapi.services import sending


@app.task(name=SendMessage.task, base=UnoTask, bind=True)
def send(self: UnoTask, job: SendMessage) -> None:
    """Send one message and queue the events that tell its status."""
    uno = unoapi()
    receipt = sending.send(
        job,
        redelivered=self.redelivered,
        sessions=uno.sessions,
        sends=uno.sends,
        providers=uno.providers,
        max_age_s=uno.settings.unoapi_send_max_age,
    )
    envelopes = sending.status_envelopes(
        job, receipt, sessions=uno.sessions, hold_ms=uno.settings.unoapi_status_hold_ms
    )
    envelopes += sending.new_message_envelopes(job, receipt, sessions=uno.sessions)
    if envelopes:
        uno.accept(envelopes)
    uno.backlog.leave(job.phone, job.id)
    uno.timers.wrote(job.phone, receipt.recipient, own=True)
    uno.traces.add(
        *(
            TraceEntry(step="failed" if update.error else "sent", phone=job.phone, message_id=job.id)
            for update in receipt.statuses[:1]
        )
    )


@app.task(name=RunCommand.task, base=UnoTask)
def command(job: RunCommand) -> None:
    """Carry out one command on a message."""
    uno = unoapi()
    sending.command(job, sessions=uno.sessions, providers=uno.providers, max_age_s=uno.settings.unoapi_send_max_age)
    uno.traces.add(TraceEntry(step="sent", phone=job.phone, message_id=job.message_id, kind="command"))
