"""Files on disk. A file that is not complete is never visible: it gets its name when all of it is written."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from unoapi.errors import MediaMissing, MediaTooLarge, StoreRefusesWrites
from unoapi.models.media import SavedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK_BYTES = 256 * 1024
UNFINISHED = ".unfinished"
UNFINISHED_S = 86_400


class FolderMediaStore:
    """MediaStore in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def save(self, key: str, chunks: Iterable[bytes], *, mime_type: str, limit: int) -> SavedFile:  # noqa: ARG002 (the port's)
        """Save a file. Raises MediaTooLarge, and StoreRefusesWrites for a full disk; nothing is left of it then."""
        target = self._path(key)
        unfinished = self._folder / UNFINISHED / uuid.uuid4().hex
        with _writing():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # who wants to share it may open it
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            file = unfinished.open("wb")
        digest, size = hashlib.sha256(), 0
        try:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise MediaTooLarge(limit)
                digest.update(chunk)
                with _writing():
                    file.write(chunk)
            with _writing():
                file.flush()
                os.fsync(file.fileno())
                unfinished.replace(target)
        finally:
            with suppress(OSError):  # it tries once more to write what a full disk did not take
                file.close()
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
        return SavedFile(sha256=digest.hexdigest(), size=size)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The file in pieces, or `length` bytes of it from `start` on. Raises MediaMissing at the call, not later."""
        try:
            file = self._path(key).open("rb")
        except OSError:
            raise MediaMissing(key) from None

        def pieces() -> Iterator[bytes]:
            rest = sys.maxsize if length is None else length
            with file:
                file.seek(start)
                while chunk := file.read(min(CHUNK_BYTES, rest)):
                    rest -= len(chunk)
                    yield chunk

        return pieces()

    def size(self, key: str) -> int:
        """Bytes of a file. Raises MediaMissing."""
        try:
            return self._path(key).stat().st_size
        except OSError:
            raise MediaMissing(key) from None

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        self._path(key).unlink(missing_ok=True)

    def expire(self, *, older_than_s: int, most: int) -> int:
        """Remove up to `most` files that are older, and uploads that never ended. Returns how many."""
        removed = 0
        for parent, _, names in os.walk(self._folder):
            age_s = UNFINISHED_S if Path(parent).name == UNFINISHED else older_than_s
            for name in names:
                path = Path(parent, name)
                try:
                    if path.stat().st_mtime < time.time() - age_s:
                        path.unlink()
                        removed += 1
                except OSError:
                    continue  # another sweep was faster
                if removed >= most:
                    return removed
        return removed

    def _path(self, key: str) -> Path:
        path = (self._folder / key).resolve()
        if not path.is_relative_to(self._folder) or path == self._folder:
            raise MediaMissing(key)
        return path


@contextmanager
def _writing() -> Iterator[None]:
    """Make StoreRefusesWrites of the disk's own errors: one of where the file comes from is another thing."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise StoreRefusesWrites(f"the folder of files takes no file: {why}") from error
