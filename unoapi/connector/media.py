"""The media of a session: received files are saved; files to send are read from the store or downloaded."""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from unoapi.errors import (
    EngineUnavailable,
    FetchFailed,
    FileRefused,
    MediaMissing,
    QuestionRefused,
    SendRefused,
    StoreUnavailable,
)
from unoapi.models.jobs import computed_id
from unoapi.models.media import MAX_BYTES, UNKNOWN, media_id_of
from unoapi.services import media
from unoapi.services.fetching import ensure_is, name_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.connector.engines.base import ProfilePicture
    from unoapi.models.connector.content import Media
    from unoapi.models.media import MediaFile
    from unoapi.ports import FileDownloader, MediaIndex, MediaStore

    FetchFile = Callable[[Media], tuple[Media, bytes]]
    """The bytes of a file to send, with what its store or its server says of it."""

MEDIA_UPLOAD_FAILED = 131053
PLAYED = frozenset(
    {"audio/aac", "audio/x-aac", "audio/amr", "audio/mpeg", "audio/mp3", "audio/mp4", "audio/x-m4a", "audio/ogg",
     "audio/opus", "audio/m4a"}
)  # fmt: skip
UNSEEN = frozenset(
    {"image/heic", "image/heif", "image/avif", "image/svg+xml", "image/tiff", "image/vnd.adobe.photoshop",
     "image/vnd.microsoft.icon", "image/x-icon", "image/jxl", "image/jp2", "video/x-msvideo", "video/x-ms-asf",
     "video/x-ms-wmv", "video/x-matroska", "video/webm", "video/x-flv", "video/mpeg", "video/ogg", UNKNOWN}
)  # fmt: skip
"""Pictures and films of which phones show nothing; of what nobody knows the type, too."""
MAX_STICKER = 500 * 1024
JPEG = b"\xff\xd8\xff"
MAX_PICTURE = 5 * 1024 * 1024
WHATSAPP_HOSTS = (".whatsapp.net", ".whatsapp.com")


def ensure_shown(item: Media, size: int) -> None:
    """Raise SendRefused for sound that phones do not play, and for what they do not show."""
    plain = item.mime_type.partition(";")[0].strip().lower()
    if item.kind == "audio" and plain not in PLAYED:
        raise SendRefused(
            f"phones do not play {plain[:50] or 'this'}, and it was not converted", code=MEDIA_UPLOAD_FAILED
        )
    if item.kind in ("image", "video") and plain in UNSEEN:
        raise SendRefused(f"phones do not show {plain}, and it was not converted", code=MEDIA_UPLOAD_FAILED)
    if item.kind == "sticker" and (plain != "image/webp" or size > MAX_STICKER):
        raise SendRefused("a sticker is a WebP of 512 x 512 and at most 500 KB", code=MEDIA_UPLOAD_FAILED)


def picture_of(picture: Media | None, fetch_file: FetchFile) -> bytes | None:
    """The bytes of a picture that is to be shown. Raises QuestionRefused for what phones do not take."""
    if picture is None:
        return None
    _, data = fetch_file(picture)
    if not data.startswith(JPEG) or len(data) > MAX_PICTURE:
        raise QuestionRefused("a picture of a group or a profile is a JPEG of at most 5 MB", code=131053)
    return data


class SessionMedia:
    """The files of one session."""

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        phone: str,
        *,
        files: MediaStore,
        index: MediaIndex,
        downloader: FileDownloader,
        pictures: FileDownloader,
        link_to: Callable[[MediaFile], str],
        timeout_ms: int,
    ) -> None:
        """`pictures` fetches from WhatsApp's own servers: from where the session is connected."""
        self._phone = phone
        self._link_to = link_to
        self._files = files
        self._index = index
        self._downloader = downloader
        self._pictures = pictures
        self._timeout_ms = timeout_ms

    def save(self, data: bytes, mime_type: str, filename: str) -> dict[str, Any]:
        """Save a received file; the fields of it that its message carries. Raises StoreUnavailable."""
        saved = media.save(
            self._phone,
            [data],
            mime_type=mime_type or UNKNOWN,
            filename=filename,
            files=self._files,
            index=self._index,
            limit=MAX_BYTES,
        )
        return {"key": saved.id, "sha256": saved.sha256, "size": saved.file_size}

    def save_picture(self, picture: ProfilePicture) -> str:
        """A link to a contact's or a group's picture, fetched once. Raises FetchFailed, StoreUnavailable."""
        media_id = media_id_of(computed_id("picture", self._phone, picture.id))
        try:
            return self._link_to(self._index.find(media_id, phone=self._phone))
        except MediaMissing:
            pass
        with tempfile.TemporaryFile() as target:
            self._pictures.fetch(picture.url, target, limit=MAX_PICTURE, timeout_ms=self._timeout_ms)
            target.seek(0)
            saved = media.save(
                self._phone,
                media.pieces_of(target),
                mime_type="image/jpeg",
                files=self._files,
                index=self._index,
                limit=MAX_PICTURE,
                media_id=media_id,
            )
        return self._link_to(saved)

    def fetch_open(self, url: str) -> bytes:
        """The bytes of a file of a channel, which is not encrypted. Raises FetchFailed; FileRefused for other hosts."""
        host = (urlsplit(url).hostname or "").rstrip(".")
        if not host.endswith(WHATSAPP_HOSTS):
            raise FileRefused("a channel's file is on a server of WhatsApp's")
        with tempfile.TemporaryFile() as target:
            self._pictures.fetch(url, target, limit=MAX_BYTES, timeout_ms=self._timeout_ms)
            target.seek(0)
            return target.read()

    def fetch(self, item: Media) -> tuple[Media, bytes]:
        """The bytes of a file to send.

        Raises EngineUnavailable; SendRefused when the file is gone for good, or nothing that phones can show.
        """
        described, data = self._fetch(item)
        ensure_shown(described, len(data))
        return described, data

    def _fetch(self, item: Media) -> tuple[Media, bytes]:
        if item.media is not None and item.media.key:
            return self._read(item, item.media.key)
        with tempfile.TemporaryFile() as target:
            try:
                fetched = self._downloader.fetch(item.link, target, limit=MAX_BYTES, timeout_ms=self._timeout_ms)
                name = item.filename or name_in(item.link)
                mime_type = ensure_is(item.kind, target, served=fetched.mime_type, name=name)
            except FileRefused as error:
                raise SendRefused(f"{error}", code=MEDIA_UPLOAD_FAILED) from error
            except FetchFailed as error:
                raise EngineUnavailable(f"{error}") from error
            return item.model_copy(update={"mime_type": mime_type}), target.read()

    def _read(self, item: Media, media_id: str) -> tuple[Media, bytes]:
        try:
            stored = self._index.find(media.own_id(self._phone, media_id), phone=self._phone)
            data = b"".join(self._files.read(stored.key))
        except MediaMissing:
            raise SendRefused("the uploaded file is gone: it has expired", code=MEDIA_UPLOAD_FAILED) from None
        except StoreUnavailable as error:
            raise EngineUnavailable(f"{error}") from error
        mime_type = item.mime_type or stored.mime_type
        if item.kind != "document":  # which may be anything, also what a server would answer in its place
            try:
                told = ensure_is(item.kind, io.BytesIO(data), served=stored.mime_type, name=stored.filename)
            except FileRefused as error:
                raise SendRefused(f"{error}", code=MEDIA_UPLOAD_FAILED) from error
            mime_type = item.mime_type or told if told == UNKNOWN else told
        fields = {"mime_type": mime_type, "filename": item.filename or stored.filename}
        return item.model_copy(update=fields), data
