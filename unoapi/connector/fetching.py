"""Fetching a file that a client wants to send: bounded in size and time."""

from __future__ import annotations

import io

import pycurl

from unoapi.connector.engine import EngineRefused, EngineUnavailable

MAX_BYTES = 100 * 1024 * 1024
TIMEOUT_S = 60
MAX_HOPS = 3
SERVER_ERROR, CLIENT_ERROR = 500, 400
UNREACHABLE = 131053


def fetch(link: str) -> bytes:
    """The bytes behind a link. Raises EngineRefused for what will never come, EngineUnavailable for what may."""
    buffer = io.BytesIO()

    def write(chunk: bytes) -> int:
        return buffer.write(chunk) if buffer.tell() + len(chunk) <= MAX_BYTES else -1

    curl = pycurl.Curl()
    try:
        curl.setopt(pycurl.URL, link.encode())
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, True)
        curl.setopt(pycurl.MAXREDIRS, MAX_HOPS)
        curl.setopt(pycurl.NOSIGNAL, True)
        curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.TIMEOUT, TIMEOUT_S)
        curl.setopt(pycurl.CONNECTTIMEOUT, 10)
        curl.setopt(pycurl.MAXFILESIZE_LARGE, MAX_BYTES)
        curl.setopt(pycurl.WRITEFUNCTION, write)
        curl.perform()
        status = int(curl.getinfo(pycurl.RESPONSE_CODE))
    except pycurl.error as error:
        if error.args[0] in (pycurl.E_WRITE_ERROR, pycurl.E_FILESIZE_EXCEEDED):
            raise EngineRefused("the file behind the link is larger than 100 MB", code=UNREACHABLE) from None
        if error.args[0] in (pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_URL_MALFORMAT):
            raise EngineRefused("the link is no address that can be fetched", code=UNREACHABLE) from None
        raise EngineUnavailable("the link could not be fetched") from None
    finally:
        curl.close()
    if status >= SERVER_ERROR:
        raise EngineUnavailable(f"the link answered HTTP {status}")
    if status >= CLIENT_ERROR:
        raise EngineRefused(f"the link answered HTTP {status}", code=UNREACHABLE)
    return buffer.getvalue()
