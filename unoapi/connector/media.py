"""Files of a session: received ones are kept, those to be sent are fetched, guarded and bounded."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from unoapi.connector.engines.base import EngineRefused, EngineUnavailable
from unoapi.errors import FetchFailed, MediaMissing, StoreUnavailable
from unoapi.models.media import MAX_BYTES, UNKNOWN
from unoapi.services import media

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.models.connector.content import Media

UNREACHABLE = 131053


class SessionFiles:
    """The files of one session."""

    def __init__(self, uno: Uno, phone: str) -> None:
        self._uno = uno
        self._phone = phone

    def keep(self, data: bytes, mime_type: str, filename: str) -> dict[str, Any]:
        """Keep a received file; what its message tells of it. Raises StoreUnavailable."""
        kept = media.keep(
            self._phone,
            [data],
            mime_type=mime_type or UNKNOWN,
            filename=filename,
            files=self._uno.files,
            notes=self._uno.media,
            limit=MAX_BYTES,
        )
        return {"key": kept.id, "sha256": kept.sha256, "size": kept.file_size}

    def fetch(self, item: Media) -> tuple[Media, bytes]:
        """The bytes of a file to send. Raises EngineRefused for what will never come, EngineUnavailable."""
        if item.media is not None and item.media.key:
            return self._stored(item, item.media.key)
        with tempfile.TemporaryFile() as target:
            try:
                timeout_ms = self._uno.settings.unoapi_fetch_timeout_ms
                fetched = self._uno.fetcher.fetch(item.link, target, limit=MAX_BYTES, timeout_ms=timeout_ms)
            except FetchFailed as error:
                raise EngineUnavailable(f"{error}") from error
            target.seek(0)
            mime_type = item.mime_type if item.mime_type != UNKNOWN else fetched.mime_type
            return item.model_copy(update={"mime_type": mime_type}), target.read()

    def _stored(self, item: Media, media_id: str) -> tuple[Media, bytes]:
        try:
            note = self._uno.media.find(media.own_id(self._phone, media_id), phone=self._phone)
            data = b"".join(self._uno.files.read(note.key))
        except MediaMissing:
            raise EngineRefused("the uploaded file is gone: it has expired", code=UNREACHABLE) from None
        except StoreUnavailable as error:
            raise EngineUnavailable(f"{error}") from error
        known = {"mime_type": note.mime_type, "filename": item.filename or note.filename}
        return item.model_copy(update=known), data
