"""What is known of kept files: in Redis, and beside the files for when Redis forgot."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from unoapi.errors import MediaMissing, StoreUnavailable
from unoapi.models.media import MediaFile, former

if TYPE_CHECKING:
    from unoapi.ports import MediaStore
    from unoapi.stores.redis import RedisClient

MAX_NOTE_BYTES = 64 * 1024
NOTE_TYPE = "application/json"


class RedisMediaIndex:
    """Notes about files, by id. Redis is the fast way; the note in the store is the truth."""

    def __init__(self, store: RedisClient, files: MediaStore, *, ttl_s: int) -> None:
        self._store = store
        self._files = files
        self._ttl_s = ttl_s

    def write(self, media: MediaFile) -> None:
        """Keep a note. Raises StoreUnavailable of the bucket, OSError of the disk."""
        text = media.model_dump_json()
        self._files.save(_note_key(media.id), [text.encode()], mime_type=NOTE_TYPE, limit=MAX_NOTE_BYTES)
        self._store.post(*self._commands(media, text))

    def find(self, media_id: str, *, phone: str | None = None) -> MediaFile:
        """The note of a file. Raises MediaMissing."""
        try:
            owner = phone or self._owner(media_id)
            text = self._stored(owner, media_id) if owner else None
        except StoreUnavailable:
            text = None
        if text is not None:
            return self._parsed(text, owner or "", media_id)
        if not media_id.isdigit():
            raise MediaMissing(media_id)
        media = MediaFile.model_validate_json(b"".join(self._files.read(_note_key(media_id))))
        if phone is not None and media.phone != phone:
            raise MediaMissing(media_id)
        self._store.post(*self._commands(media, media.model_dump_json()))
        return media

    def remove(self, media: MediaFile) -> None:
        """Forget a file, at once. Without Redis its note there runs out by itself, and describes what is gone."""
        if media.id.isdigit():
            self._files.delete(_note_key(media.id))
        gone = ("DEL", _key(media.phone, media.id), _owner_key(media.id))
        with suppress(StoreUnavailable):
            self._store.call(gone)
        self._store.post(gone)  # behind a note that is still on its way there

    def _owner(self, media_id: str) -> str | None:
        (owner,) = self._store.call(("GET", _owner_key(media_id)))
        return str(owner) if owner else None

    def _stored(self, phone: str, media_id: str) -> str | None:
        (text,) = self._store.call(("GET", _key(phone, media_id)))
        return str(text) if text else None

    def _parsed(self, text: str, phone: str, media_id: str) -> MediaFile:
        try:
            stored: dict[str, Any] = json.loads(text)
            return MediaFile.model_validate(stored) if "key" in stored else former(phone, media_id, stored)
        except (ValueError, TypeError, AttributeError):
            raise MediaMissing(media_id) from None

    def _commands(self, media: MediaFile, text: str) -> tuple[tuple[Any, ...], ...]:
        return (
            ("SET", _key(media.phone, media.id), text, "EX", self._ttl_s),
            ("SET", _owner_key(media.id), media.phone, "EX", self._ttl_s),
        )


def _key(phone: str, media_id: str) -> str:
    return f"unoapi-media:{phone}:{media_id}"


def _owner_key(media_id: str) -> str:
    return f"unoapi-media-owner:{media_id}"


def _note_key(media_id: str) -> str:
    return f"notes/{media_id}.json"
