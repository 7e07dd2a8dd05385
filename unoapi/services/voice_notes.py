"""Which messages become voice notes, and how one is prepared before it is sent."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from unoapi.errors import ConversionFailed, FetchFailed, MediaMissing
from unoapi.models.cloud_api.events import serialise
from unoapi.models.jobs import PrepareVoice, SendMessage
from unoapi.services.media import keep, own_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.ports import FileDownloader, MediaIndex, MediaStore

READY = (".ogg", ".oga", ".opus")
LIMIT = 16 * 1024 * 1024
CHUNK = 256 * 1024


def wanted(message: dict[str, Any], *, always: bool) -> bool:
    """Whether an audio must be converted first. What looks like ogg already is left alone."""
    if message.get("type") != "audio":
        return False
    audio = message["audio"]
    if not (always or audio.get("voice")):
        return False
    return not urlsplit(str(audio.get("link") or "")).path.lower().endswith(READY)


def prepare(  # noqa: PLR0913 (collaborators)
    job: PrepareVoice,
    *,
    files: MediaStore,
    notes: MediaIndex,
    fetcher: FileDownloader,
    convert: Callable[[Path, Path], None],
    timeout_ms: int,
) -> tuple[SendMessage, str]:
    """The message with a voice note in the place of its audio, and what kept it from that, if anything.

    Whatever goes wrong, the message is sent: with the audio as it came.
    """
    message = json.loads(job.body)
    problem = ""
    with tempfile.TemporaryDirectory(prefix="unoapi-voice-") as folder:
        source, target = Path(folder, "source"), Path(folder, "voice.ogg")
        try:
            _bring(message["audio"], source, job.phone, files, notes, fetcher, timeout_ms)
            convert(source, target)
            media = keep(
                job.phone, _chunks(target), mime_type="audio/ogg", filename="voice.ogg", files=files, notes=notes
            )
            message["audio"] = {**message["audio"], "id": media.id, "voice": True}
            message["audio"].pop("link", None)
        except (ConversionFailed, FetchFailed, MediaMissing) as error:
            problem = f"{error}"
    sent = SendMessage(
        id=job.id,
        phone=job.phone,
        message_id=job.message_id,
        accepted_at_ms=job.accepted_at_ms,
        notify_on_failure=job.notify_on_failure,
        body=serialise(message),
    )
    return sent, problem


def _bring(  # noqa: PLR0913, PLR0917 (all in their order)
    audio: dict[str, Any],
    source: Path,
    phone: str,
    files: MediaStore,
    notes: MediaIndex,
    fetcher: FileDownloader,
    timeout_ms: int,
) -> None:
    with source.open("wb") as file:
        if audio.get("link"):
            fetcher.fetch(audio["link"], file, limit=LIMIT, timeout_ms=timeout_ms)
            return
        for chunk in files.read(notes.find(own_id(phone, str(audio["id"])), phone=phone).key):
            file.write(chunk)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
