"""Files: voice notes, files of received messages, and the sweep of what is too old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import shared_task

from tasks.base import UnoTask
from unoapi.errors import StoreUnavailable, describe
from unoapi.media.ffmpeg import to_voice
from unoapi.models.jobs import Envelope, PrepareVoice, SaveMedia
from unoapi.models.trace import TraceEntry
from unoapi.services import received_media, voice_notes
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

log = get_logger(__name__)

MOST_PER_SWEEP = 10_000


@shared_task(name=PrepareVoice.task, base=UnoTask, bind=True)
def prepare_voice(self: UnoTask, job: PrepareVoice) -> None:
    """Make a voice note of a message's audio, then let the message go on."""
    uno = self.uno
    send, problem = voice_notes.prepare(
        job,
        files=uno.media_store,
        index=uno.media_index,
        downloader=uno.downloader,
        convert=to_voice,
        timeout_ms=uno.settings.unoapi_fetch_timeout_ms,
        quota=uno.settings.unoapi_session_media_max,
    )
    uno.publisher.publish([Envelope(send)])
    if problem:
        log.warning("voice_not_converted", error=problem, hint="the audio is sent as it came")
    detail = f"sent as it came: {problem}" if problem else "converted to a voice note"
    uno.traces.add(TraceEntry.of(job, "queued", kind="audio", detail=detail))


@shared_task(name=SaveMedia.task, base=UnoTask, bind=True)
def save_media(self: UnoTask, job: SaveMedia) -> None:
    """Save the file of a received message, then let its event go on."""
    uno = self.uno
    event = received_media.save_media(
        job, remote=uno.remote_media, files=uno.media_store, index=uno.media_index, link=uno.signed_urls.make
    )
    uno.publisher.publish([Envelope(event)])
    uno.traces.add(TraceEntry.of(job, "queued", detail="its file is saved"))


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
