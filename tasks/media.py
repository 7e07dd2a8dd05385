"""Files: voice notes, and the sweep of what is too old."""

from __future__ import annotations

from tasks.app import app
from tasks.base import UnoTask
from tasks.periodic import HOUR_S, hourly
from unoapi.bootstrap import unoapi
from unoapi.errors import StoreUnavailable, describe
from unoapi.media.ffmpeg import to_voice
from unoapi.models.jobs import Envelope, PrepareVoice, SaveMedia
from unoapi.models.trace import TraceEntry
from unoapi.services import received_media, voice_notes
from unoapi.telemetry.logging import get_logger

log = get_logger(__name__)

MOST_PER_SWEEP = 10_000
LEASE = "unoapi-media-sweep"


@app.task(name=PrepareVoice.task, base=UnoTask)
def prepare_voice(job: PrepareVoice) -> None:
    """Make a voice note of a message's audio, then let the message go on."""
    uno = unoapi()
    send, problem = voice_notes.prepare(
        job,
        files=uno.files,
        index=uno.media,
        downloader=uno.fetcher,
        convert=to_voice,
        timeout_ms=uno.settings.unoapi_fetch_timeout_ms,
    )
    uno.publisher.publish([Envelope(send)])
    if problem:
        log.warning("voice_not_converted", error=problem, hint="the audio is sent as it came")
    detail = f"sent as it came: {problem}" if problem else "converted to a voice note"
    uno.traces.add(
        TraceEntry(step="queued", phone=job.phone, message_id=job.message_id, kind="audio", detail=detail[:300])
    )


@app.task(name=SaveMedia.task, base=UnoTask)
def save_media(job: SaveMedia) -> None:
    """Keep the file of a received message, then let its event go on."""
    uno = unoapi()
    event = received_media.save_media(
        job, remote=uno.remote_media, files=uno.files, index=uno.media, link=uno.links.make
    )
    uno.publisher.publish([Envelope(event)])
    uno.traces.add(
        TraceEntry(step="queued", phone=job.phone, message_id=job.message_id, kind=job.kind, detail="its file is kept")
    )


def sweep() -> int:
    """Remove files older than `DATA_TTL`, unless another process does it now. Returns how many. Never raises."""
    uno = unoapi()
    try:
        (mine,) = uno.store.call(("SET", LEASE, "1", "NX", "EX", int(HOUR_S) - 60))
        removed = uno.files.expire(older_than_s=uno.settings.data_ttl, most=MOST_PER_SWEEP) if mine else 0
    except (StoreUnavailable, OSError) as error:
        log.warning("media_sweep_failed", error=describe(error), hint="it is tried again in an hour")
        return 0
    if removed:
        log.info("media_expired", files=removed)
    return removed


hourly("media", sweep)  # so that no 30-day message has to wait in RabbitMQ
