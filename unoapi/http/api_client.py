"""One HTTP request to an address that a tenant may have chosen: guarded, one deadline, a bounded answer.

What matters to a caller that must not repeat itself: whether the request can have left.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pycurl

from unoapi.errors import NotSent, Unanswered
from unoapi.http.webhook_client import MAX_RETRY_AFTER_S, find_ca_bundle

if TYPE_CHECKING:
    from unoapi.http.address_guard import AddressGuard

MAX_ANSWER_BYTES = 256 * 1024


@dataclass(frozen=True)
class HttpAnswer:
    """The answer: its status, its body, and the pause that it asks for in seconds, if any."""

    status: int
    body: bytes = field(repr=False)
    retry_after_s: int | None = None


class ApiClient(threading.local):
    """Makes requests, each on a connection of its own: on a kept one nobody could tell whether a request left."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def request(
        self, method: str, url: str, *, headers: tuple[str, ...], body: bytes | None = None, timeout_ms: int
    ) -> HttpAnswer:
        """Make one request. Raises NotSent (certain that nothing left) or Unanswered (nobody knows)."""
        answer, knock = io.BytesIO(), self._guard.knock(url)

        def write(chunk: bytes) -> int:
            return answer.write(chunk) if answer.tell() + len(chunk) <= MAX_ANSWER_BYTES else -1

        curl = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.FORBID_REUSE, 1),
            (pycurl.CAINFO, find_ca_bundle()),
            (pycurl.TIMEOUT_MS, timeout_ms),
            (pycurl.CONNECTTIMEOUT_MS, min(timeout_ms, 10_000)),
            (pycurl.HTTPHEADER, ["Expect:", *headers]),
            (pycurl.OPENSOCKETFUNCTION, knock),
            (pycurl.WRITEFUNCTION, write),
            (pycurl.URL, url.encode()),
            (pycurl.CUSTOMREQUEST, method),
        ):
            curl.setopt(option, value)
        if body is not None:
            curl.setopt(pycurl.POSTFIELDS, body)
        try:
            curl.perform()
        except pycurl.error as trouble:
            if knock.refusal:
                raise NotSent(knock.refusal) from None
            if not curl.getinfo(pycurl.REQUEST_SIZE):
                raise NotSent(f"no connection (curl error {trouble.args[0]})") from None
            if curl.getinfo(pycurl.RESPONSE_CODE) < 200:  # noqa: PLR2004 (no final status line came)
                raise Unanswered(f"no answer (curl error {trouble.args[0]})") from None
        else:
            if curl.getinfo(pycurl.RESPONSE_CODE) < 200:  # noqa: PLR2004
                raise Unanswered("the connection broke off before the answer")
        finally:
            status = curl.getinfo(pycurl.RESPONSE_CODE)
            after_s = min(curl.getinfo(pycurl.RETRY_AFTER), MAX_RETRY_AFTER_S) or None
            curl.close()
        return HttpAnswer(status=status, body=answer.getvalue(), retry_after_s=after_s)
