"""Messages and commands on their way to WhatsApp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import shared_task

from tasks.base import UnoTask
from unoapi.errors import FetchFailed, MessageRejected
from unoapi.models.cloud_api.events import read_document
from unoapi.models.jobs import Envelope, FetchFiles, RunCommand, SendMessage
from unoapi.models.trace import TraceEntry
from unoapi.services import bulk, fetching, own_chat, sending
from unoapi.services.message_parsing import message_of

if TYPE_CHECKING:
    from unoapi.models.jobs import MessageJob


@shared_task(name=SendMessage.task, base=UnoTask, bind=True)
def send(self: UnoTask, job: SendMessage) -> None:
    """Send one message and queue its status events."""
    send_message(self, job)


def send_message(self: UnoTask, job: SendMessage) -> None:
    """The same, of any kind of message."""
    uno = self.uno
    with uno.send_turns.turn(job) as turn:
        receipt = sending.send(
            job,
            history=self.history.model_copy(update={"redelivered": self.redelivered}),
            sessions=uno.sessions,
            sends=uno.send_claims,
            turn=turn,
            providers=uno.providers,
            bulkhead=uno.bulkhead,
            max_age_s=uno.settings.unoapi_send_max_age,
        )
    # Whatever goes wrong from here on: it was sent, and is neither sent again nor reported as failed.
    self.carry(receipt=receipt.packed())
    envelopes = [
        *sending.event_envelopes(
            job,
            receipt,
            sessions=uno.sessions,
            hold_ms=uno.settings.unoapi_status_hold_ms,
            index=uno.media_index,
        ),
        *own_chat.sent(job, receipt, sessions=uno.sessions),
    ]
    if envelopes:
        uno.publisher.publish(envelopes)
    uno.backlog.leave(job.phone, job.id)
    uno.timers.wrote({(job.phone, key): True for key in sending.receiver(read_document(job.body), receipt).keys})
    uno.traces.add(*sending.trace(job, receipt))


@shared_task(name=FetchFiles.task, base=UnoTask, bind=True)
def fetch(self: UnoTask, job: FetchFiles) -> None:
    """Fetch the files of a message, then let it go on; one that cannot be had ends it."""
    uno, settings = self.uno, self.uno.settings
    uno.send_order.wait(job)
    try:
        following = fetching.fetch(
            job,
            files=uno.media_store,
            index=uno.media_index,
            downloader=uno.downloader,
            bulkhead=uno.bulkhead,
            timeout_ms=settings.unoapi_fetch_timeout_ms,
            quota=settings.unoapi_session_media_max,
            max_age_s=settings.unoapi_send_max_age,
            voice=settings.convert_audio_message_to_ogg,
            always_voice=settings.send_audio_message_as_ptt,
            key_in=uno.signed_urls.key_in,
        )
    except MessageRejected as error:
        end_rejected(self, job, error)
        return
    except FetchFailed:
        uno.send_order.leave(job)  # it is tried again later: the others need not wait so long
        raise
    uno.publisher.publish([Envelope(self.as_perhaps_repeated(following))])
    bulk.remember_files(job, following, campaigns=uno.campaigns)
    uno.traces.add(TraceEntry.of(job, "queued", detail="its files are fetched"))


def end_rejected(self: UnoTask, job: MessageJob, error: MessageRejected) -> None:
    """End a message that was refused for good before it could be sent: its client gets `failed`, the next one goes."""
    uno = self.uno
    receipt = sending.rejection(message_of(job).addressee, error)
    uno.publisher.publish(sending.status_envelopes(job, receipt, sessions=uno.sessions))
    uno.send_order.leave(job)
    uno.backlog.leave(job.phone, job.id)
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
