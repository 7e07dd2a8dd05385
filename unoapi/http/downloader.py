"""Fetching a file from an address that a client chose: guarded, bounded in size and time, to a file on disk."""

from __future__ import annotations

import time
import zlib
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urljoin

import pycurl
from werkzeug.http import parse_options_header

from unoapi.errors import FetchFailed, FileRefused, NotSent
from unoapi.http.failures import BAD_ADDRESS
from unoapi.http.guarded_handle import STOP, GuardedHandle
from unoapi.models.attempts import REDIRECTS, SILENT
from unoapi.models.media import web_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from unoapi.http.address_guard import AddressGuard
    from unoapi.http.guarded_handle import Headers

MAX_HOPS = 5
"""A short link to a shared file takes four."""
MAX_DISPOSITION = 2048
GZIP = b"\x1f\x8b"
PACKED = frozenset({b"gzip", b"x-gzip"})
ARCHIVES = (".gz", ".tgz")
ARCHIVE_TYPES = frozenset({b"application/gzip", b"application/x-gzip", b"application/x-tgz"})
"""Servers say of these files, too, that they are encoded, and mean the file itself."""
OK = 200
REFUSALS = range(400, 500)
LATER = frozenset({408, 425, 429})
"""Of the refusals, those that another try may not get."""


@dataclass(frozen=True)
class Fetched:
    """The media type and the file's name as the server names them, and the size in bytes."""

    mime_type: str
    size: int
    filename: str = ""


@dataclass(frozen=True)
class _Answer:
    """One server's answer: its head, and the bytes of its body."""

    status: int
    mime_type: str
    size: int
    filename: str
    location: str
    retry_after_s: int | None


class _Body:
    """The body of an answer on its way to the disk, of which a server's gzip, for which nobody asked, is undone.

    `whole`: what is larger than the limit is refused. Else its first bytes are all that is wanted.
    """

    def __init__(self, target: BinaryIO, *, limit: int, whole: bool = True, is_archive: bool = False) -> None:
        self.size = 0
        self.disposition = b""
        self._target = target
        self._limit = limit
        self._whole = whole
        self._is_packed = False
        self._is_archive = is_archive
        self._unpacking: Any = None

    def note(self, line: bytes) -> None:
        """Take a line of the head."""
        name, _, value = line.partition(b":")
        match name.strip().lower():
            case b"content-encoding":
                self._is_packed = value.strip().lower() in PACKED
            case b"content-type":
                self._is_archive |= value.partition(b";")[0].strip().lower() in ARCHIVE_TYPES
            case b"content-disposition":
                self.disposition = value[:MAX_DISPOSITION]

    def take(self, chunk: bytes) -> int:
        """Write a piece of the body; stop at the limit."""
        is_packed = self._is_packed and not self._is_archive and GZIP.startswith(chunk[: len(GZIP)])
        if self._unpacking is None and not self.size and is_packed:
            self._unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
        piece = chunk
        if self._unpacking is not None:
            if self._unpacking.eof:  # browsers leave out what follows, too; the library would gather it
                return len(chunk)
            try:
                piece = self._unpacking.decompress(chunk, self._limit - self.size + 1)
            except zlib.error:
                return STOP
        self._target.write(piece[: self._limit - self.size])
        self.size += len(piece)
        return STOP if self.size > self._limit else len(chunk)

    @property
    def longest(self) -> int:
        """The size, as a server says it, of a file that is begun at all, in bytes; 0: any."""
        return self._limit if self._whole else 0

    @property
    def is_enough(self) -> bool:
        """Whether what came is all that is wanted, though more was on its way."""
        return not self._whole and self.size > self._limit

    @property
    def breaks_off(self) -> bool:
        """Whether what was packed did not come to its end."""
        return self._unpacking is not None and not self._unpacking.eof


class Downloader:
    """Fetches files. Each address on the way is checked; redirects are followed at most five times, in the same time.

    `share` is entered with each address before it is asked; it may raise Postponed. Through a `proxy` the guard checks
    the address of that, unless it is a `trusted_proxy`: the operator's.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        share: Callable[[str], AbstractContextManager[object]] = nullcontext,
        proxy: str = "",
        trusted_proxy: bool = False,
    ) -> None:
        self._guard = guard
        self._share = share
        self._proxy = proxy
        self._trusted_proxy = trusted_proxy

    def fetch(self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int, headers: Headers = ()) -> Fetched:
        """Write the file to `target`. Raises FetchFailed or FileRefused, for the operator, and what `share` raises.

        `headers` go to the first address only.
        """
        return self._follow(url, target, whole=True, limit=limit, timeout_ms=timeout_ms, headers=headers)

    def fetch_beginning(self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int) -> Fetched:
        """Write the first bytes of a file to `target`, `limit` at most, whatever its size. Raises as `fetch` does."""
        return self._follow(url, target, whole=False, limit=limit, timeout_ms=timeout_ms)

    def _follow(  # noqa: PLR0913 (what both take, and how much of a body is wanted)
        self,
        url: str,
        target: BinaryIO,
        *,
        whole: bool,
        limit: int,
        timeout_ms: int,
        headers: Headers = (),
    ) -> Fetched:
        address, deadline = _as_browsers_write(url), time.monotonic() + timeout_ms / 1000
        for hop in range(MAX_HOPS + 1):
            left_ms = round((deadline - time.monotonic()) * 1000) if hop else timeout_ms
            if left_ms <= 0:
                raise FetchFailed(f"the file could not be fetched: {SILENT} {timeout_ms} ms")
            target.seek(0)
            target.truncate()
            is_archive = address.partition("?")[0].lower().endswith(ARCHIVES)
            body = _Body(target, limit=limit, whole=whole, is_archive=is_archive)
            with self._share(address):
                answer = self._once(address, body, limit=limit, timeout_ms=left_ms, headers=() if hop else headers)
            if answer.status == OK:
                mime_type = answer.mime_type.partition(";")[0].strip().lower()
                return Fetched(mime_type=mime_type, size=answer.size, filename=answer.filename)
            if answer.status not in REDIRECTS or not answer.location:
                raise _refusal(answer)
            address = _as_browsers_write(urljoin(address, answer.location))
        raise FileRefused(f"the file's server redirects more than {MAX_HOPS} times")

    def _once(self, url: str, body: _Body, *, limit: int, timeout_ms: int, headers: Headers) -> _Answer:
        with closing(GuardedHandle(self._guard)) as handle:
            try:
                curl = handle.prepare(url, headers=headers, timeout_ms=timeout_ms, on_body=body.take)
                if self._proxy:
                    handle.go_through(self._proxy, trusted=self._trusted_proxy)
            except NotSent as error:
                raise FileRefused(f"the file could not be fetched: {error}") from None
            curl.setopt(pycurl.MAXFILESIZE_LARGE, body.longest)  # a larger one that says its size is not even begun
            curl.setopt(pycurl.HEADERFUNCTION, body.note)
            failure = handle.perform()
            if body.is_enough:
                failure = None
            elif body.size > limit or (failure is not None and failure.step == "size"):
                raise FileRefused(f"the file is larger than {limit} bytes")
            if failure is not None:
                kind = FileRefused if failure.step in ("guard", "address") else FetchFailed
                raise kind(f"the file could not be fetched: {failure.error}")
            if handle.status == OK and body.breaks_off and not body.is_enough:
                raise FetchFailed("the file could not be fetched: its encoding breaks off")
            location = curl.getinfo(pycurl.REDIRECT_URL) or ""
            return _Answer(
                handle.status,
                curl.getinfo(pycurl.CONTENT_TYPE) or "",
                body.size,
                _name_in(body.disposition),
                location if isinstance(location, str) else location.decode("latin-1"),
                handle.retry_after_s,
            )


def _as_browsers_write(url: str) -> str:
    """An address as a browser asks for it. Raises FileRefused for what is none."""
    if not (address := web_address(url)):
        raise FileRefused(f"the file could not be fetched: {BAD_ADDRESS}")
    return address


def _name_in(disposition: bytes) -> str:
    """The file's name in a `Content-Disposition` (RFC 6266); empty where it has none. Never raises."""
    try:
        text = disposition.decode()
    except UnicodeDecodeError:
        text = disposition.decode("latin-1")
    name = parse_options_header(text)[1].get("filename", "")
    behind = text.partition(f"filename={name}")[2] if name else ""  # its words, where no quotes are around them
    return f"{name}{behind.partition(';')[0]}".strip()


def _refusal(answer: _Answer) -> FetchFailed:
    said = f"the file's server answered HTTP {answer.status}"
    if answer.status in REFUSALS and answer.status not in LATER:
        return FileRefused(said)
    return FetchFailed(said, after_ms=answer.retry_after_s * 1000 if answer.retry_after_s else None)
