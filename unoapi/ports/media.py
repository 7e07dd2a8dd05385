"""What the services need for files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unoapi.models.media import MediaFile


@dataclass(frozen=True)
class Kept:
    """What a store says of a file that it took: SHA-256 in hexadecimal, size in bytes."""

    sha256: str
    size: int


class MediaStore(Protocol):
    """Keeps files by key, streamed both ways. Raises StoreUnavailable or OSError when its medium does not answer."""

    def save(self, key: str, chunks: Iterable[bytes], *, mime_type: str, limit: int) -> Kept:
        """Keep a file whole or not at all. Raises MediaTooLarge beyond `limit` bytes."""

    def read(self, key: str) -> Iterator[bytes]:
        """The file in pieces. Raises MediaMissing at the call."""

    def size(self, key: str) -> int:
        """Bytes of a file. Raises MediaMissing."""

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""

    def expire(self, *, older_than_s: int, most: int) -> int:
        """Remove up to `most` files that are older; returns how many."""


class MediaIndex(Protocol):
    """What is known of files, by media id."""

    def write(self, media: MediaFile) -> None:
        """Keep a note."""

    def find(self, media_id: str, *, phone: str | None = None) -> MediaFile:
        """The note of a file. Raises MediaMissing."""

    def remove(self, media: MediaFile) -> None:
        """Forget a file."""


class RemoteMedia(Protocol):
    """Files that WhatsApp's side keeps for a while."""

    def fetch(self, phone: str, media_id: str, target: BinaryIO, *, limit: int) -> FetchedFile:
        """Write a file to `target`. Raises FetchFailed."""


class FetchedFile(Protocol):
    """What is known of a file that was fetched."""

    @property
    def mime_type(self) -> str:
        """The media type that its server named."""


class FileFetcher(Protocol):
    """Fetches files from addresses that a client chose."""

    def fetch(self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int) -> object:
        """Write the file to `target`. Raises FetchFailed."""
