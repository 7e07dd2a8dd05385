"""Files: voice notes, files of received messages, and the sweep of what is too old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import shared_task

from tasks.base import UnoTask
from unoapi.errors import ConversionFailed, MediaMissing, MediaTooLarge, StoreUnavailable, describe
from unoapi.media.tools import FileTools
from unoapi.models.jobs import ConvertAudio, Envelope, FanOut, PrepareMessage, SaveMedia
from unoapi.models.trace import TraceEntry
from unoapi.services import preparation, received_media
from unoapi.services.first_jobs import is_phone
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

log = get_logger(__name__)

MOST_PER_SWEEP = 10_000


@shared_task(name=PrepareMessage.task, base=UnoTask, bind=True)
def prepare_message(self: UnoTask, job: PrepareMessage) -> None:
    """Convert and measure a message's file, then let the message go on."""
    uno, settings = self.uno, self.uno.settings
    uno.send_order.wait(job)
    with uno.media_bulkhead.taken_for(job.phone):
        send, problem = preparation.prepare(
            job,
            for_phone=is_phone(job.phone, sessions=uno.sessions),
            files=uno.media_store,
            index=uno.media_index,
            downloader=uno.media_downloader,
            tools=FileTools(),
            timeout_ms=settings.unoapi_fetch_timeout_ms,
            quota=settings.unoapi_session_media_max,
            patience_s=settings.unoapi_send_max_age // 2,  # then there is time left to send it as it came
            voice=settings.convert_audio_message_to_ogg,
            always_voice=settings.send_audio_message_as_ptt,
            waveform=settings.send_audio_waveform,
        )
    uno.publisher.publish([Envelope(self.as_perhaps_repeated(send))])
    if problem:
        log.warning("file_not_prepared", error=problem, hint="the file is sent as it came")
    done = "converted to a voice note" if '"voice":true' in send.body else "prepared"
    uno.traces.add(TraceEntry.of(job, "queued", detail=f"sent as it came: {problem}" if problem else done))


@shared_task(name=SaveMedia.task, base=UnoTask, bind=True)
def save_media(self: UnoTask, job: SaveMedia) -> None:
    """Save the file of a received message, then let its event go on."""
    uno = self.uno
    with uno.media_bulkhead.taken_for(job.phone):
        event = received_media.save_media(
            job, remote=uno.remote_media, files=uno.media_store, index=uno.media_index, link=uno.signed_urls.make
        )
    going_on = received_media.converting(event) if uno.settings.download_audio_convert_to_mp3 else event
    uno.publisher.publish([Envelope(going_on)])
    uno.traces.add(TraceEntry.of(job, "queued", detail="its file is saved"))


@shared_task(name=ConvertAudio.task, base=UnoTask, bind=True)
def convert_audio(self: UnoTask, job: ConvertAudio) -> None:
    """Make an MP3 of a received sound, then let its event go on; with the sound as it came when that fails."""
    uno = self.uno
    problem = ""
    try:
        with uno.media_bulkhead.taken_for(job.phone):
            event = received_media.convert_audio(
                job, files=uno.media_store, index=uno.media_index, tools=FileTools(), link=uno.signed_urls.make
            )
    except (ConversionFailed, MediaMissing, MediaTooLarge, OSError) as error:
        event, problem = FanOut.model_validate(job.model_dump()), describe(error)
        log.warning("sound_not_converted", error=problem, hint="its event goes on with the sound as it came")
    uno.publisher.publish([Envelope(event)])
    uno.traces.add(TraceEntry.of(job, "queued", detail=f"the sound as it came: {problem}" if problem else "as MP3"))


def sweep(uno: Uno) -> int:
    """Remove files older than `DATA_TTL`, unless another process does it now. Returns how many. Never raises."""
    try:
        if not uno.media_index.claim_sweep():
            return 0
        removed = uno.media_store.expire(older_than_s=uno.settings.data_ttl, most=MOST_PER_SWEEP)
    except (StoreUnavailable, OSError) as error:
        log.warning("media_sweep_failed", error=describe(error), hint="it is tried again in an hour")
        return 0
    if removed:
        log.info("media_expired", files=removed)
    return removed
