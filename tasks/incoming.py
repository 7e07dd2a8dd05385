"""Messages towards WhatsApp, and events from the connector."""

from __future__ import annotations

from functools import partial

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.logs import LISTENER, get_logger
from unoapi.models.jobs import AwaitResult, FanOut, Parcel, ReceiveEvent, RunCommand, SendMessage
from unoapi.models.trace import TraceEntry
from unoapi.services import connector, incoming, media

log = get_logger(__name__)


@app.task(name=SendMessage.task, base=UnoTask, bind=True)
def send(self: UnoTask, job: SendMessage) -> None:
    """Send one message and queue the events that tell its status."""
    uno = unoapi()
    receipt = incoming.send(
        job,
        redelivered=self.redelivered,
        sessions=uno.sessions,
        sends=uno.sends,
        providers=uno.providers,
        max_age_s=uno.settings.unoapi_send_max_age,
    )
    parcels = incoming.status_parcels(job, receipt, sessions=uno.sessions, hold_ms=uno.settings.unoapi_status_hold_ms)
    parcels += incoming.new_message_parcels(job, receipt, sessions=uno.sessions)
    if parcels:
        uno.accept(parcels)
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
    incoming.command(job, sessions=uno.sessions, providers=uno.providers, max_age_s=uno.settings.unoapi_send_max_age)
    uno.traces.add(TraceEntry(step="sent", phone=job.phone, message_id=job.message_id, kind="command"))


@app.task(name=ReceiveEvent.task, base=UnoTask)
def receive(job: ReceiveEvent) -> None:
    """Turn one event of the connector into Cloud API events."""
    uno = unoapi()
    log.debug(LISTENER, type=str(job.event.get("type"))[:50])
    events = connector.receive(
        job,
        ids=uno.ids,
        sessions=uno.sessions,
        connections=uno.connections,
        keep=partial(media.keep_picture, job.phone, files=uno.files, notes=uno.media),
    )
    if events:
        uno.accept([Parcel(event) for event in events])
    answers = connector.answers(job, sessions=uno.sessions, connections=uno.connections)
    if answers:
        uno.commands.put(answers)
    uno.traces.add(
        *(
            TraceEntry(step="received", phone=each.phone, message_id=each.message_id, kind=each.kind)
            for each in events
            if isinstance(each, FanOut)
        )
    )


@app.task(name=AwaitResult.task, base=UnoTask)
def await_result(job: AwaitResult) -> None:
    """Tell the client when the connector has not told what became of a message."""
    uno = unoapi()
    event = connector.overdue(job, sessions=uno.sessions, connections=uno.connections)
    if event is not None:
        uno.publisher.publish([Parcel(event)])
        uno.traces.add(TraceEntry(step="failed", phone=job.phone, message_id=job.message_id, detail="no connector"))
