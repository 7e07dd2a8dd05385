"""Fetching a file from an address that a client chose: guarded, bounded in size and time, to a file on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin

import pycurl

from unoapi.errors import FetchFailed
from unoapi.http.webhook_client import find_ca_bundle

if TYPE_CHECKING:
    from unoapi.http.address_guard import AddressGuard

MAX_HOPS = 3
OK = 200
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Fetched:
    """What came: the media type as the server names it, and the size in bytes."""

    mime_type: str
    size: int


class Downloader:
    """Fetches files. Each address on the way is checked; redirects are followed at most three times."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def fetch(
        self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int, headers: tuple[str, ...] = ()
    ) -> Fetched:
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
        self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int, headers: tuple[str, ...]
    ) -> tuple[int, str, int, str]:
        size, knock = 0, self._guard.knock(url)

        def write(chunk: bytes) -> int:
            nonlocal size
            size += len(chunk)
            return target.write(chunk) if size <= limit else -1

        curl = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.CAINFO, find_ca_bundle()),
            (pycurl.TIMEOUT_MS, timeout_ms),
            (pycurl.CONNECTTIMEOUT_MS, min(timeout_ms, 5000)),
            (pycurl.HTTPHEADER, list(headers)),
            (pycurl.OPENSOCKETFUNCTION, knock),
            (pycurl.WRITEFUNCTION, write),
            (pycurl.URL, url.encode()),
        ):
            curl.setopt(option, value)
        try:
            curl.perform()
            location = curl.getinfo(pycurl.REDIRECT_URL) or ""
            return (
                curl.getinfo(pycurl.RESPONSE_CODE),
                curl.getinfo(pycurl.CONTENT_TYPE) or "",
                size,
                location if isinstance(location, str) else location.decode("latin-1"),
            )
        except pycurl.error as trouble:
            if knock.refusal:
                raise FetchFailed(knock.refusal) from None
            if size > limit:
                raise FetchFailed(f"the file is larger than {limit} bytes") from None
            raise FetchFailed(f"the file could not be fetched (curl error {trouble.args[0]})") from None
        finally:
            curl.close()
