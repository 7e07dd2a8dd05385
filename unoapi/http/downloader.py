"""Fetching a file from an address that a client chose: guarded, bounded in size and time, to a file on disk."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin

import pycurl

from unoapi.errors import FetchFailed, NotSent
from unoapi.http.guarded_handle import REDIRECTS, STOP, GuardedHandle

if TYPE_CHECKING:
    from unoapi.http.address_guard import AddressGuard
    from unoapi.http.guarded_handle import Headers

MAX_HOPS = 3
OK = 200


@dataclass(frozen=True)
class Fetched:
    """The media type as the server names it, and the size in bytes."""

    mime_type: str
    size: int


class Downloader:
    """Fetches files. Each address on the way is checked; redirects are followed at most three times."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def fetch(self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int, headers: Headers = ()) -> Fetched:
        """Write the file to `target`. Raises FetchFailed, with a sentence for the operator.

        `headers` go to the first address only.
        """
        address = url
        for hop in range(MAX_HOPS + 1):
            target.seek(0)
            target.truncate()
            status, mime_type, size, location = self._once(
                address, target, limit=limit, timeout_ms=timeout_ms, headers=headers if hop == 0 else ()
            )
            if status == OK:
                return Fetched(mime_type=mime_type.partition(";")[0].strip().lower(), size=size)
            if status not in REDIRECTS or not location:
                raise FetchFailed(f"the file's server answered HTTP {status}")
            address = urljoin(address, location)
        raise FetchFailed(f"the file's server redirects more than {MAX_HOPS} times")

    def _once(
        self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int, headers: Headers
    ) -> tuple[int, str, int, str]:
        size = 0

        def on_body(chunk: bytes) -> int:
            nonlocal size
            size += len(chunk)
            return target.write(chunk) if size <= limit else STOP

        with closing(GuardedHandle(self._guard)) as handle:
            try:
                curl = handle.prepare(url, headers=headers, timeout_ms=timeout_ms, on_body=on_body)
            except NotSent as error:
                raise FetchFailed(f"the file could not be fetched: {error}") from None
            failure = handle.perform()
            if size > limit:
                raise FetchFailed(f"the file is larger than {limit} bytes")
            if failure is not None:
                raise FetchFailed(f"the file could not be fetched: {failure.error}")
            location = curl.getinfo(pycurl.REDIRECT_URL) or ""
            return (
                handle.status,
                curl.getinfo(pycurl.CONTENT_TYPE) or "",
                size,
                location if isinstance(location, str) else location.decode("latin-1"),
            )
