"""One request to a server of this machine, without a proxy: by libcurl, which our other processes have loaded already.

The library that everybody knows for this would take 5 MB of a process that only waits afterwards.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from unoapi.errors import NotSent, Unanswered
from unoapi.http.address_guard import AddressGuard
from unoapi.http.api_client import ApiClient

if TYPE_CHECKING:
    from unoapi.http.api_client import HttpAnswer
    from unoapi.http.guarded_handle import Headers

HOST = "127.0.0.1"
MOST_BYTES = 16 * 1024 * 1024
_client = ApiClient(AddressGuard((HOST,)))


def ask(  # noqa: PLR0913 (a request)
    method: str, port: int, path: str, *, headers: Headers = (), body: object = None, timeout_s: float
) -> HttpAnswer | None:
    """The answer to a request with this JSON; None when there was none, or when it broke off."""
    content = None
    if body is not None:
        headers, content = (*headers, ("Content-Type", "application/json")), json.dumps(body).encode()
    try:
        answer = _client.request(
            method,
            f"http://{HOST}:{port}{path}",
            headers=headers,
            body=content,
            timeout_ms=int(timeout_s * 1000),
            max_bytes=MOST_BYTES,
        )
    except (NotSent, Unanswered):
        return None
    return answer if answer.complete else None
