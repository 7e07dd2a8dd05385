"""Metadata of saved files: in Redis, and beside the files for when Redis lost it.

`unoapi-media-bytes:<P>` has the bytes of the files that count against a number's quota, by day.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from unoapi.errors import MediaMissing, StoreUnavailable
from unoapi.models.media import MediaFile, former_keys, from_node_version

if TYPE_CHECKING:
    from unoapi.ports import MediaStore
    from unoapi.stores.redis import Command, RedisClient

MAX_METADATA_BYTES = 64 * 1024
DAY_S = 86_400
METADATA_TYPE = "application/json"
SWEEP_LEASE, SWEEP_LEASE_S = "unoapi-media-sweep", 3540
"""A little less than the hour between two sweeps."""


class RedisMediaIndex:
    """Metadata of files, by id. Redis is the fast way; what is beside the file in the media store is the truth."""

    def __init__(self, redis: RedisClient, files: MediaStore, *, ttl_s: int) -> None:
        self._redis = redis
        self._files = files
        self._ttl_s = ttl_s

    def write(self, media: MediaFile) -> None:
        """Save the metadata of a file. Raises StoreUnavailable of the bucket, OSError of the disk."""
        text = media.model_dump_json()
        self._files.save(_metadata_key(media.id), [text.encode()], mime_type=METADATA_TYPE, limit=MAX_METADATA_BYTES)
        self._put(*self._commands(media, text))
        self._redis.post(*self._counting(media, media.counted_bytes))

    def find(self, media_id: str, *, phone: str | None = None) -> MediaFile:
        """The metadata of a file. Raises MediaMissing."""
        try:
            owner = phone or self._owner(media_id)
            text = self._stored(owner, media_id) if owner else None
        except StoreUnavailable:
            text = None
        if text is not None:
            return self._parsed(text, owner or "", media_id)
        if not media_id.isdigit():
            raise MediaMissing(media_id)
        media = MediaFile.model_validate_json(b"".join(self._files.read(_metadata_key(media_id))))
        if phone is not None and media.phone != phone:
            raise MediaMissing(media_id)
        self._put(*self._commands(media, media.model_dump_json()))
        return media

    def _put(self, *commands: Command) -> None:
        """Write before anybody hears of the file: after a deletion, in any process, it would be there again."""
        try:
            self._redis.call(*commands)
        except StoreUnavailable:
            self._redis.post(*commands)

    def claim_sweep(self) -> bool:
        """Whether the caller may remove old files now: one process an hour. Raises StoreUnavailable."""
        (leased,) = self._redis.call(("SET", SWEEP_LEASE, "1", "NX", "EX", SWEEP_LEASE_S))
        return bool(leased)

    def remove(self, media: MediaFile) -> None:
        """Remove the metadata of a file, at once. With Redis away what is there expires by itself."""
        if media.id.isdigit():
            self._files.delete(_metadata_key(media.id))
        gone = ("DEL", _key(media.phone, media.id), _owner_key(media.id))
        with suppress(StoreUnavailable):
            self._redis.call(gone)
        self._redis.post(
            gone, *self._counting(media, -media.counted_bytes)
        )  # after a write that is still on its way there

    def counted_bytes(self, phone: str) -> int:
        """The bytes of the files that count, as far as Redis knows. Never raises; it fails open."""
        key, oldest = _bytes_key(phone), self._oldest_day()
        try:
            (days,) = self._redis.call(("HGETALL", key))
        except StoreUnavailable:
            return 0
        by_day = {int(day): int(count) for day, count in days.items()}
        if over := [day for day in by_day if day < oldest]:
            self._redis.post(("HDEL", key, *over))
        return sum(count for day, count in by_day.items() if day >= oldest)

    def _oldest_day(self) -> int:
        """The day of the oldest files that are there: all others have expired."""
        return (int(time.time()) - self._ttl_s) // DAY_S

    def _counting(self, media: MediaFile, count: int) -> tuple[Command, ...]:
        """Add to the day of a file, or subtract from it."""
        if not count or media.counted_on < self._oldest_day():
            return ()
        key = _bytes_key(media.phone)
        return ("HINCRBY", key, media.counted_on, count), ("EXPIRE", key, self._ttl_s + DAY_S)

    def _owner(self, media_id: str) -> str | None:
        (owner,) = self._redis.call(("GET", _owner_key(media_id)))
        return str(owner) if owner else None

    def _stored(self, phone: str, media_id: str) -> str | None:
        (text,) = self._redis.call(("GET", _key(phone, media_id)))
        return str(text) if text else None

    def _parsed(self, text: str, phone: str, media_id: str) -> MediaFile:
        try:
            stored: dict[str, Any] = json.loads(text)
            if "key" in stored:
                return MediaFile.model_validate(stored)
            media = from_node_version(phone, media_id, stored)
        except (ValueError, TypeError, AttributeError):
            raise MediaMissing(media_id) from None
        return media.model_copy(update={"key": self._place_of(media)})

    def _place_of(self, media: MediaFile) -> str:
        """Where a file of the Node version is, as far as its store says so now."""
        places = former_keys(media)
        with suppress(StoreUnavailable):  # whoever reads it hears of that
            for key in places if len(places) > 1 else ():
                with suppress(MediaMissing):
                    self._files.size(key)
                    return key
        return media.key

    def _commands(self, media: MediaFile, text: str) -> tuple[Command, ...]:
        return (
            ("SET", _key(media.phone, media.id), text, "EX", self._ttl_s),
            ("SET", _owner_key(media.id), media.phone, "EX", self._ttl_s),
        )


def _key(phone: str, media_id: str) -> str:
    return f"unoapi-media:{phone}:{media_id}"


def _owner_key(media_id: str) -> str:
    return f"unoapi-media-owner:{media_id}"


def _bytes_key(phone: str) -> str:
    return f"unoapi-media-bytes:{phone}"


def _metadata_key(media_id: str) -> str:
    return f"notes/{media_id}.json"
