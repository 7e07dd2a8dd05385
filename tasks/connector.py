"""Events from the connector."""

from __future__ import annotations

from functools import partial

from celery import shared_task

from tasks.base import UnoTask
from unoapi.models.jobs import AwaitResult, Envelope, FanOut, ReceiveEvent
from unoapi.models.trace import TraceEntry
from unoapi.providers.whatsmeow import events
from unoapi.services import media, received_media
from unoapi.telemetry.logging import LISTENER, get_logger

log = get_logger(__name__)


@shared_task(name=ReceiveEvent.task, base=UnoTask, bind=True)
def receive(self: UnoTask, job: ReceiveEvent) -> None:
    """Turn one event of the connector into Cloud API events, and answer it where the session's options say so."""
    uno = self.uno
    log.debug(LISTENER, type=str(job.event.get("type"))[:50])
    received, commands = events.receive(
        job,
        ids=uno.message_ids,
        sessions=uno.sessions,
        connections=uno.connections,
        chats=uno.chats,
        save_picture=partial(media.save_picture, job.phone, files=uno.media_store, index=uno.media_index),
    )
    going_on = [
        received_media.converting(event)
        if uno.settings.download_audio_convert_to_mp3 and isinstance(event, FanOut)
        else event
        for event in received
    ]
    if going_on:
        uno.publisher.publish([Envelope(event) for event in going_on])
    if commands:
        uno.connector_commands.put(commands)
    uno.traces.add(*(TraceEntry.of(event, "received") for event in received if isinstance(event, FanOut)))


@shared_task(name=AwaitResult.task, base=UnoTask, bind=True)
def await_result(self: UnoTask, job: AwaitResult) -> None:
    """Publish a failed status when the connector has not reported what became of a message."""
    uno = self.uno
    event = events.overdue(job, ids=uno.message_ids, sessions=uno.sessions, connections=uno.connections)
    if event is not None:
        uno.publisher.publish([Envelope(event)])
        uno.traces.add(TraceEntry.of(job, "failed", detail="no connector"))
