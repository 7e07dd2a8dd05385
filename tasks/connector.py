"""Events from the connector."""

from __future__ import annotations

from functools import partial

from tasks.app import app
from tasks.base import UnoTask
from unoapi.bootstrap import unoapi
from unoapi.models.jobs import AwaitResult, Envelope, FanOut, ReceiveEvent
from unoapi.models.trace import TraceEntry
from unoapi.providers.whatsmeow import events
from unoapi.services import media
from unoapi.telemetry.logging import LISTENER, get_logger

log = get_logger(__name__)


@app.task(name=ReceiveEvent.task, base=UnoTask)
def receive(job: ReceiveEvent) -> None:
    """Turn one event of the connector into Cloud API events, and answer it where the session's options say so."""
    uno = unoapi()
    log.debug(LISTENER, type=str(job.event.get("type"))[:50])
    received, commands = events.receive(
        job,
        ids=uno.ids,
        sessions=uno.sessions,
        connections=uno.connections,
        save_picture=partial(media.save_picture, job.phone, files=uno.files, index=uno.media),
    )
    if received:
        uno.accept([Envelope(event) for event in received])
    if commands:
        uno.commands.put(commands)
    uno.traces.add(
        *(
            TraceEntry(step="received", phone=event.phone, message_id=event.message_id, kind=event.kind)
            for event in received
            if isinstance(event, FanOut)
        )
    )


@app.task(name=AwaitResult.task, base=UnoTask)
def await_result(job: AwaitResult) -> None:
    """Publish a failed status when the connector has not reported what became of a message."""
    uno = unoapi()
    event = events.overdue(job, sessions=uno.sessions, connections=uno.connections)
    if event is not None:
        uno.publisher.publish([Envelope(event)])
        uno.traces.add(TraceEntry(step="failed", phone=job.phone, message_id=job.message_id, detail="no connector"))
