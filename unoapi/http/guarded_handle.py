"""The only way to an address that a tenant may have chosen: what has to hold for every such request, once.

No proxy but one that is named, http and https only, no redirects, one deadline, checked header lines, and the address
guard at each connection.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pycurl

from unoapi.errors import NotSent
from unoapi.errors.validation import HEADER_VALUE
from unoapi.http.ca_bundle import find_ca_bundle
from unoapi.http.failures import BAD_ADDRESS, Failure, explain_curl

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.http.address_guard import AddressGuard

Headers = tuple[tuple[str, str], ...]

FINAL = 200
"""The lowest status of a final answer. The status line decides: what breaks off behind it was answered all the same."""
MAX_RETRY_AFTER_S = 2 * 60 * 60
MAX_REDIRECT_CHARS = 200
STOP = -1
"""What a callback that takes the body returns to drop the connection."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_ALWAYS = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.PROXY, ""),
    (pycurl.NOPROXY, "*"),
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
)


class GuardedHandle:
    """A pycurl handle, for one thread. `curl` takes the options of a single request, between `prepare` and `perform`.

    The guard checks each address when its connection is opened.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self.curl = pycurl.Curl()
        self._guard = guard
        self._ca_bundle = find_ca_bundle()
        self._url, self._timeout_ms, self._socket_opener = "", 1, guard.socket_opener("")

    def prepare(
        self,
        url: str,
        *,
        headers: Headers,
        timeout_ms: int,
        on_body: Callable[[bytes], int | None],
        trusted: bool = False,
    ) -> pycurl.Curl:
        """Begin a request; nothing of the one before is left but its connection.

        The deadline covers the whole exchange, also the connecting. Raises NotSent for an address or a header that
        must not be sent. `trusted` as `AddressGuard.socket_opener` has it.
        """
        lines = header_lines(headers)
        if not url.isprintable() or "://" not in url:  # libcurl would guess the scheme
            raise NotSent(BAD_ADDRESS)
        self._url, self._timeout_ms = url, max(1, timeout_ms)
        self._socket_opener = self._guard.socket_opener(url, trusted=trusted)
        self.curl.reset()
        set_option = self.curl.setopt
        for option, value in _ALWAYS:
            set_option(option, value)
        set_option(pycurl.CAINFO, self._ca_bundle)
        set_option(pycurl.OPENSOCKETFUNCTION, self._socket_opener)
        set_option(pycurl.TIMEOUT_MS, self._timeout_ms)
        set_option(pycurl.CONNECTTIMEOUT_MS, self._timeout_ms)
        set_option(pycurl.HTTPHEADER, [b"Expect:", *lines])
        set_option(pycurl.WRITEFUNCTION, on_body)
        set_option(pycurl.URL, url.encode())
        return self.curl

    def go_through(self, proxy: str, *, trusted: bool) -> None:
        """Make the request that was prepared through a proxy, which finds what the name in its address leads to.

        The connection is the one to the proxy: the guard checks that, unless it is `trusted`, the operator's. Raises
        NotSent for an address that is written out and may not be called.
        """
        if refusal := self._guard.refusal(self._url):
            raise NotSent(refusal)
        self._socket_opener = self._guard.socket_opener(proxy, trusted=trusted)
        self.curl.setopt(pycurl.OPENSOCKETFUNCTION, self._socket_opener)
        self.curl.setopt(pycurl.NOPROXY, "")
        self.curl.setopt(pycurl.PROXY, proxy.replace("socks5://", "socks5h://", 1))

    def perform(self) -> Failure | None:
        """Make the exchange. A failure may also come behind the status line: see `status`."""
        return self.ended(self._run())

    def ended(self, code: int) -> Failure | None:
        """What became of an exchange that libcurl ended with this code, for who lets a loop make it."""
        return None if code == pycurl.E_OK and self.status >= FINAL else self._explain(code)

    def connect(self) -> Failure | None:
        """Make the connection alone: nothing is sent over it."""
        self.curl.setopt(pycurl.CONNECT_ONLY, 1)
        code = self._run()
        return None if code == pycurl.E_OK else self._explain(code)

    def _run(self) -> int:
        try:
            self.curl.perform()
        except pycurl.error as error:
            return int(error.args[0])
        return pycurl.E_OK

    def _explain(self, code: int) -> Failure:
        if code != pycurl.E_OK and self._socket_opener.refusal:
            return Failure("guard", self._socket_opener.refusal)
        return explain_curl(self.curl, code, timeout_ms=self._timeout_ms, secure=self._url.startswith("https:"))

    @property
    def status(self) -> int:
        """The status of the answer; below `FINAL` when none came."""
        return int(self.curl.getinfo(pycurl.RESPONSE_CODE))

    @property
    def redirect(self) -> str:
        """Where a redirect leads, as far as an operator may read it: without login, query and fragment."""
        try:
            parts = urlsplit(self.curl.getinfo(pycurl.REDIRECT_URL) or "")
        except ValueError:
            return ""
        host = parts.netloc.rpartition("@")[2]
        address = urlunsplit((parts.scheme, host, parts.path, "", ""))
        return address[:MAX_REDIRECT_CHARS] if host and address.isascii() and address.isprintable() else ""

    @property
    def retry_after_s(self) -> int | None:
        """The pause that the answer asks for, at most two hours."""
        return min(int(self.curl.getinfo(pycurl.RETRY_AFTER)), MAX_RETRY_AFTER_S) or None

    def close(self) -> None:
        """Close the connection."""
        self.curl.close()


def header_lines(headers: Headers) -> list[bytes]:
    """The lines that libcurl is given. Raises NotSent for what is no header, without its value.

    A line break in a token would make further headers, or another request, of the rest of it.
    """
    lines = []
    for name, value in headers:
        is_name = _is_name(name)
        if not (is_name and _is_value(value)):
            # A name that is none may be a token in the wrong place, so it is not shown.
            raise NotSent(f"header {name if is_name else 'name'} cannot be sent")
        # libcurl reads a header without a value as a request to remove it, unless it ends in a semicolon.
        lines.append(f"{name}: {value}".encode("latin-1") if value.strip() else f"{name};".encode("latin-1"))
    return lines


@lru_cache(maxsize=256)  # a match of each line of each request would cost more than all the rest of it
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _is_value(value: str) -> bool:
    return (value.isascii() and value.isprintable()) or HEADER_VALUE.fullmatch(value) is not None
