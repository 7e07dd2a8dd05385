"""One HTTP request to an address that a tenant may have chosen: guarded, one deadline, a bounded answer.

What matters to a caller that must not repeat itself: whether the request can have left.
"""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pycurl

from unoapi.errors import NotSent, Unanswered
from unoapi.http.guarded_handle import FINAL, STOP, GuardedHandle
from unoapi.models.attempts import REDIRECTS

if TYPE_CHECKING:
    from unoapi.http.address_guard import AddressGuard
    from unoapi.http.guarded_handle import Headers

MAX_ANSWER_BYTES = 256 * 1024


@dataclass(frozen=True)
class HttpAnswer:
    """The answer: its status, its body, and the pause that it asks for in seconds, if any.

    `redirect` is where a redirect leads, without its query.
    """

    status: int
    body: bytes = field(repr=False)
    retry_after_s: int | None = None
    complete: bool = True
    """Whether all of it came: it may have broken off behind its status, or be larger than was wanted."""
    redirect: str = ""


class ApiClient:
    """Makes requests, each on a connection of its own: on a reused one nobody could say whether a request left."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def request(  # noqa: PLR0913 (a request)
        self,
        method: str,
        url: str,
        *,
        headers: Headers,
        body: bytes | None = None,
        timeout_ms: int,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> HttpAnswer:
        """Make one request. Raises NotSent (certain that nothing left) or Unanswered (nobody knows)."""
        answer = io.BytesIO()

        def on_body(chunk: bytes) -> int:
            return answer.write(chunk) if answer.tell() + len(chunk) <= max_bytes else STOP

        with closing(GuardedHandle(self._guard)) as handle:
            curl = handle.prepare(url, headers=headers, timeout_ms=timeout_ms, on_body=on_body)
            curl.setopt(pycurl.FORBID_REUSE, 1)
            if body is not None:
                curl.setopt(pycurl.POSTFIELDS, body)
            curl.setopt(pycurl.CUSTOMREQUEST, method)
            failure = handle.perform()
            if failure is not None and not curl.getinfo(pycurl.REQUEST_SIZE):
                raise NotSent(failure.error)
            if failure is not None and handle.status < FINAL:
                raise Unanswered(failure.error)
            return HttpAnswer(
                status=handle.status,
                body=answer.getvalue(),
                retry_after_s=handle.retry_after_s,
                complete=failure is None,
                redirect=handle.redirect if handle.status in REDIRECTS else "",
            )
