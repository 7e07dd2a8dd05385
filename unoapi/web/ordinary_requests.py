"""The WSGI environment of a request whose head has the usual form, without gunicorn's parser.

Narrower than HTTP on purpose: each name once, ASCII alone, a body whose length is named and that is here, nothing about
the connection. Whatever is not surely of this form is gunicorn's to read, and to refuse.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unoapi.web.request_framing import Inbox

REQUEST_LINE = re.compile(r"(POST) (/[A-Za-z0-9./_-]{1,200}) HTTP/1\.1")
NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
VALUE = re.compile(r"[\x20-\x7e]{0,4096}")
MAX_HEAD_BYTES = 8 * 1024
MAX_FIELDS = 50
BEGINS = b"POST /"
SPECIAL = frozenset({
    "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_UPGRADE", "HTTP_TRAILER", "HTTP_TE", "HTTP_KEEP_ALIVE",
    "HTTP_PROXY_CONNECTION", "HTTP_HTTP2_SETTINGS", "HTTP_X_FORWARDED_SSL", "HTTP_X_FORWARDED_PROTOCOL",
})  # fmt: skip
"""What says how a request or its connection goes on, or contradicts `X-Forwarded-Proto`."""


def begins_ordinary(inbox: Inbox) -> bool:
    """Whether it is worth a look: the whole request has come, nothing behind it, and it is a POST."""
    return inbox.ends_here and inbox.data.startswith(BEGINS)


def environ_of(inbox: Inbox) -> dict[str, Any] | None:
    """What gunicorn would give an application, as far as one needs it; None for a request of another form."""
    head_bytes, _, body = bytes(inbox.data).partition(b"\r\n\r\n")
    if len(head_bytes) > MAX_HEAD_BYTES or not head_bytes.isascii():
        return None
    line, *fields = head_bytes.decode("ascii").split("\r\n")
    request = REQUEST_LINE.fullmatch(line)
    headers = _headers(fields)
    if request is None or headers is None or headers.pop("HTTP_CONTENT_LENGTH", "") != f"{len(body)}":
        return None
    return headers | {
        "REQUEST_METHOD": request[1],
        "PATH_INFO": request[2],
        "QUERY_STRING": "",
        "CONTENT_LENGTH": f"{len(body)}",
        "CONTENT_TYPE": headers.pop("HTTP_CONTENT_TYPE", ""),
        "wsgi.input": io.BytesIO(body),
    }


def _headers(fields: list[str]) -> dict[str, Any] | None:
    """The headers as an application gets them, without what says nothing; None if one is not of the usual form."""
    headers: dict[str, Any] = {}
    for text in fields:
        name, colon, value = text.partition(":")
        key = f"HTTP_{name.upper().replace('-', '_')}"
        if not (colon and NAME.fullmatch(name) and VALUE.fullmatch(value)) or key in headers:
            return None
        headers[key] = value.strip(" ")
    goes_on = headers.pop("HTTP_CONNECTION", "keep-alive").lower() == "keep-alive"
    return headers if goes_on and len(fields) <= MAX_FIELDS and SPECIAL.isdisjoint(headers) else None
