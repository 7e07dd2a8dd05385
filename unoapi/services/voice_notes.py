"""Which messages become voice notes, and how one is prepared before it is sent."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from unoapi.errors import (
    ConversionFailed,
    FetchFailed,
    MediaMissing,
    MediaQuotaReached,
    MediaTooLarge,
    MessageRejected,
    StoreUnavailable,
    describe,
)
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import AudioMessage
from unoapi.models.jobs import PrepareVoice, SendMessage
from unoapi.services.media import own_id, save
from unoapi.services.message_parsing import INVALID, message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.models.cloud_api.messages import MediaObject, OutboundMessage
    from unoapi.ports import FileDownloader, MediaIndex, MediaStore

READY = (".ogg", ".oga", ".opus")
LIMIT = 16 * 1024 * 1024
CHUNK = 256 * 1024


def wanted(message: OutboundMessage, *, always: bool) -> bool:
    """Whether an audio must be converted first. What looks like ogg already is left alone."""
    if not isinstance(message, AudioMessage) or not (always or message.audio.voice):
        return False
    return not urlsplit(message.audio.link or "").path.lower().endswith(READY)


def prepare(  # noqa: PLR0913 (collaborators)
    job: PrepareVoice,
    *,
    files: MediaStore,
    index: MediaIndex,
    downloader: FileDownloader,
    convert: Callable[[Path, Path], None],
    timeout_ms: int,
    quota: int,
) -> tuple[SendMessage, str]:
    """The message with a voice note in the place of its audio, and why it has none, if so.

    Whatever goes wrong with its audio, the message is sent: with the audio as it came. Raises MessageRejected for what
    is no audio message.
    """
    message = message_of(job)
    if not isinstance(message, AudioMessage):
        raise MessageRejected("Parameter value is not valid", code=INVALID, details="audio: is missing")
    document = message.to_wire()
    problem = ""
    with tempfile.TemporaryDirectory(prefix="unoapi-voice-") as folder:
        source, target = Path(folder, "source"), Path(folder, "voice.ogg")
        try:
            _fetch(message.audio, source, job.phone, files, index, downloader, timeout_ms)
            convert(source, target)
            media = save(
                job.phone,
                _chunks(target),
                mime_type="audio/ogg",
                filename="voice.ogg",
                files=files,
                index=index,
                quota=quota,
            )
            audio = {key: value for key, value in document["audio"].items() if key != "link"}
            document["audio"] = {**audio, "id": media.id, "voice": True}
        except (
            ConversionFailed,
            FetchFailed,
            MediaMissing,
            MediaQuotaReached,
            MediaTooLarge,
            StoreUnavailable,
        ) as error:
            problem = f"{error}"
        except OSError as error:  # the temporary folder is full
            problem = describe(error)
    sent = SendMessage(
        id=job.id,
        phone=job.phone,
        message_id=job.message_id,
        accepted_at_ms=job.accepted_at_ms,
        notify_on_failure=job.notify_on_failure,
        claimed_only=job.claimed_only,
        body=serialise(document),
    )
    return sent, problem


def _fetch(  # noqa: PLR0913, PLR0917 (all in their order)
    audio: MediaObject,
    source: Path,
    phone: str,
    files: MediaStore,
    index: MediaIndex,
    downloader: FileDownloader,
    timeout_ms: int,
) -> None:
    with source.open("wb") as file:
        if audio.link:
            downloader.fetch(audio.link, file, limit=LIMIT, timeout_ms=timeout_ms)
            return
        for chunk in files.read(index.find(own_id(phone, audio.id or ""), phone=phone).key):
            file.write(chunk)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
