"""The file of a received message: fetched and saved before its event goes on."""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from unoapi.errors import ConversionFailed, FetchFailed, StoreUnavailable
from unoapi.models.cloud_api.events import error_object, serialise
from unoapi.models.file_types import HEAD_BYTES, received_type
from unoapi.models.jobs import ConvertAudio, FanOut, SaveMedia, computed_id, now_ms
from unoapi.models.media import MAX_BYTES, MEDIA_TYPES, media_id_of
from unoapi.services.media import pieces_of, save
from unoapi.services.retries import too_old, wait_for_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.cloud_api.events import Event
    from unoapi.models.jobs import EventJob
    from unoapi.models.media import MediaFile
    from unoapi.ports import MediaIndex, MediaStore, MediaTools, RemoteMedia

LONGEST_WAIT_S = 300
"""A received message waits so long for its file while the store is away: the file is fetched anew at each try."""

DOWNLOAD_FAILED = 131052
MP3 = "audio/mpeg"


def media_in(event: Event) -> dict[str, Any] | None:
    """The file in a received message; none in an event without."""
    _, holder = _file_in(event.content.value) if event.kind == "message" else ("", None)
    return holder


def saving(job: FanOut) -> SaveMedia:
    """The job that saves the file of an event before it goes on."""
    return SaveMedia.model_validate(job.model_dump())


def save_media(
    job: SaveMedia,
    *,
    remote: RemoteMedia,
    files: MediaStore,
    index: MediaIndex,
    link: Callable[[MediaFile], str],
) -> FanOut:
    """Fetch the event's file and let the event go on with our id for it.

    Raises FetchFailed (retry). While the files' store is away it raises Postponed, for some minutes; then the event
    goes on without its file.
    """
    try:
        return _with_media(job, remote=remote, files=files, index=index, link=link)
    except StoreUnavailable as error:
        _wait_for_files(job, error)
        return without_media(job, details="The file could not be saved.")


def _wait_for_files(job: EventJob, error: StoreUnavailable) -> None:
    """Raise Postponed while what holds the files is away, unless the event has waited for it long enough."""
    if not too_old(job, max_age_s=LONGEST_WAIT_S):
        raise wait_for_store(error, age_ms=now_ms() - job.accepted_at_ms) from error


def _with_media(
    job: SaveMedia,
    *,
    remote: RemoteMedia,
    files: MediaStore,
    index: MediaIndex,
    link: Callable[[MediaFile], str],
) -> FanOut:
    document = json.loads(job.body)
    kind, holder = _file_in(document["entry"][0]["changes"][0]["value"])
    if holder is None:
        return _going_on(job, document)
    with tempfile.TemporaryFile(prefix="unoapi-media-") as file:
        fetched = remote.fetch(job.phone, str(holder["id"]), file, limit=MAX_BYTES)
        file.seek(0)
        name = str(holder.get("filename") or "")
        said, head = str(holder.get("mime_type") or ""), file.read(HEAD_BYTES)
        file.seek(0)
        holder["mime_type"] = received_type(said, head, served=fetched.mime_type, name=name, kind=kind)
        told = holder["mime_type"] if kind == "audio" else holder["mime_type"].partition(";")[0]
        media = save(
            job.phone,
            pieces_of(file),
            mime_type=told.strip(),  # Meta takes a sound in ogg with its codec only, when it is sent on
            filename=name,
            files=files,
            index=index,
            limit=MAX_BYTES,
        )
    if holder.get("sha256") and not _same_digest(str(holder["sha256"]), media.sha256):
        raise FetchFailed("the file is not the one that the event describes")
    holder |= {"id": media.id, "url": link(media), "sha256": media.sha256}
    return _going_on(job, document)


def converting(job: FanOut) -> ConvertAudio | FanOut:
    """The job that makes an MP3 of a received sound before its event goes on; any other event as it is."""
    if job.kind != "message" or '"type":"audio"' not in job.body or sound_in(json.loads(job.body)) is None:
        return job
    return ConvertAudio.model_validate(job.model_dump())


def sound_in(document: dict[str, Any]) -> dict[str, Any] | None:
    """A sound of ours in an event that is no MP3 yet."""
    value = document["entry"][0]["changes"][0]["value"]
    message = (value.get("messages") or value.get("message_echoes") or [{}])[0]
    sound = message.get("audio") if message.get("type") == "audio" else None
    if not isinstance(sound, dict) or not sound.get("id") or sound.get("mime_type") == MP3:
        return None
    return sound


def convert_audio(
    job: ConvertAudio, *, files: MediaStore, index: MediaIndex, tools: MediaTools, link: Callable[[MediaFile], str]
) -> FanOut:
    """The event with an MP3 for its sound. Raises ConversionFailed, MediaMissing, OSError.

    While the files' store is away it raises Postponed, for some minutes; then ConversionFailed.
    """
    try:
        return _with_mp3(job, files=files, index=index, tools=tools, link=link)
    except StoreUnavailable as error:
        _wait_for_files(job, error)
        raise ConversionFailed(f"{error}") from error


def _with_mp3(
    job: ConvertAudio, *, files: MediaStore, index: MediaIndex, tools: MediaTools, link: Callable[[MediaFile], str]
) -> FanOut:
    document = json.loads(job.body)
    sound = sound_in(document)
    if sound is None:
        return FanOut.model_validate(job.model_dump())
    stored = index.find(str(sound["id"]), phone=job.phone)
    with tempfile.TemporaryDirectory(prefix="unoapi-mp3-") as folder:
        source, target = Path(folder) / "source", Path(folder) / "sound.mp3"
        with source.open("wb") as file:
            for piece in files.read(stored.key):
                file.write(piece)
        tools.mp3(source, target)
        with target.open("rb") as file:
            name = f"{PurePath(str(sound.get('filename') or stored.id)).stem}.mp3"
            media = save(
                job.phone,
                pieces_of(file),
                mime_type=MP3,
                filename=name,
                files=files,
                index=index,
                limit=MAX_BYTES,
                media_id=media_id_of(computed_id("mp3", job.phone, stored.id)),
            )
    told = {"id": media.id, "mime_type": MP3, "filename": name, "sha256": media.sha256}
    sound |= told | ({"url": link(media)} if sound.get("url") else {})
    return FanOut.model_validate(job.model_dump() | {"body": serialise(document)})


def without_media(job: SaveMedia, *, details: str = "The file could not be fetched from Meta.") -> FanOut:
    """The event without its file, which could not be had: the message goes on all the same."""
    try:
        document = json.loads(job.body)
        value = document["entry"][0]["changes"][0]["value"]
        message = (value.get("messages") or value["message_echoes"])[0]
    except (ValueError, LookupError, TypeError, AttributeError):
        return FanOut.model_validate(job.model_dump())  # whoever reads it next says what is wrong with it
    message["errors"] = [error_object(DOWNLOAD_FAILED, "Media download error", details)]
    return _going_on(job, document)


def _going_on(job: SaveMedia, document: dict[str, Any]) -> FanOut:
    return FanOut.model_validate(job.model_dump() | {"body": serialise(document)})


def _file_in(value: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The kind of an event's message, and its file, if it has one."""
    message = (value.get("messages") or value.get("message_echoes") or [{}])[0]
    edit = message.get("edit") if message.get("type") == "edit" else None
    if isinstance(edit, dict) and isinstance(edit.get("message"), dict):
        message = edit["message"]  # what it says now, whose file has an id of its own
    kind = str(message.get("type"))
    holder = message.get(kind) if kind in MEDIA_TYPES else None
    return kind, holder if isinstance(holder, dict) and holder.get("id") else None


def _same_digest(theirs: str, ours: str) -> bool:
    """Meta writes digests in base64, others in hexadecimal; what is neither says nothing."""
    try:
        return base64.b64decode(theirs, validate=True).hex() == ours if len(theirs) == 44 else True  # noqa: PLR2004
    except binascii.Error:
        return True
