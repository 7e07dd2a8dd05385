"""Posting events to webhooks: one POST, one deadline, one answer; what goes wrong on the network is never raised."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pycurl

from unoapi.errors import NotSent
from unoapi.http.guarded_handle import FINAL, REDIRECTS, STOP, GuardedHandle
from unoapi.http.signatures import build_headers
from unoapi.models.attempts import MAX_ERROR_CHARS, Answer
from unoapi.models.provenance import NO_ADDRESSES

if TYPE_CHECKING:
    from unoapi.http.address_guard import AddressGuard
    from unoapi.http.guarded_handle import Headers
    from unoapi.models.provenance import OperatorAddresses
    from unoapi.models.session import Webhook

MAX_BODY_BYTES = 16 * 1024
_TIMINGS = (
    ("name_lookup", pycurl.NAMELOOKUP_TIME_T),
    ("connect", pycurl.CONNECT_TIME_T),
    ("tls", pycurl.APPCONNECT_TIME_T),
    ("first_byte", pycurl.STARTTRANSFER_TIME_T),
    ("total", pycurl.TOTAL_TIME_T),
)


class WebhookClient:
    """Posts deliveries: signed, with a deadline for the whole exchange, no connection shared between sessions.

    `operators` are the addresses of the environment: the guard checks all but exactly these.
    """

    def __init__(self, guard: AddressGuard, operators: OperatorAddresses = NO_ADDRESSES) -> None:
        self._sender = CurlSender(guard)
        self._operators = operators

    def post(self, webhook: Webhook, *, phone: str, delivery_id: str, attempt: int, body: str) -> Answer:
        """Sign and send. Never raises for what the network or the receiver does."""
        raw = body.encode("ascii")
        headers = build_headers(
            delivery_id=delivery_id,
            attempt=attempt,
            timestamp_s=int(time.time()),
            body=raw,
            token_header=webhook.header,
            token=webhook.token.get_secret_value(),
            secret=webhook.secret.get_secret_value(),
        )
        url = webhook.address(phone)
        trusted = self._operators.include(url, phone=phone)
        request = WebhookRequest(url, raw, headers, tenant=phone, timeout_ms=webhook.deadline_ms, trusted=trusted)
        return self._sender.post(request)


@dataclass(frozen=True)
class WebhookRequest:
    """One POST. Connections are never shared between two tenants (session phones)."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    tenant: str
    timeout_ms: int
    trusted: bool = field(default=False, repr=False)


class CurlSender(threading.local):
    """Posts webhooks. One object serves all threads: each has a handle with at most one open connection in it."""

    def __init__(self, guard: AddressGuard) -> None:
        self._handle = GuardedHandle(guard)
        # The only tenant that an open connection can belong to, and whether it was opened without being checked.
        self._tenant: tuple[str, bool] | None = None
        self._body_bytes = 0

    def post(self, request: WebhookRequest) -> Answer:
        """Send once. Never raises for what a network, a receiver or a tenant's configuration does."""
        self._body_bytes = 0
        try:
            curl = self._handle.prepare(
                request.url,
                headers=request.headers,
                timeout_ms=request.timeout_ms,
                on_body=self._on_body,
                trusted=request.trusted,
            )
        except NotSent as error:
            return Answer(error=f"{error}")
        tenant = (request.tenant, request.trusted)
        is_new_tenant = tenant != self._tenant
        curl.setopt(pycurl.MAXCONNECTS, 1)
        curl.setopt(pycurl.FRESH_CONNECT, int(is_new_tenant))
        curl.setopt(pycurl.POSTFIELDS, request.body)
        failure = self._handle.perform()
        if is_new_tenant:
            # The old tenant's connection gives way only to a new one that stays open; until then nobody may reuse one.
            self._tenant = tenant if curl.getinfo(pycurl.ACTIVESOCKET) != pycurl.SOCKET_BAD else None
        timings_ms = {name: curl.getinfo(info) // 1000 for name, info in _TIMINGS}
        if not curl.getinfo(pycurl.HEADER_SIZE):
            timings_ms["first_byte"] = 0  # libcurl gives the end of the exchange here
        status = self._handle.status
        if failure is None or status >= FINAL:
            total_ms, redirect = timings_ms["total"], self._handle.redirect if status in REDIRECTS else ""
            return Answer(status, "", total_ms, timings_ms, self._handle.retry_after_s, redirect=redirect)
        return Answer(
            None,
            failure.error[:MAX_ERROR_CHARS],
            timings_ms["total"],
            timings_ms,
            blocked=failure.step == "guard",
            failed_at=failure.step,
        )

    def _on_body(self, chunk: bytes) -> int | None:
        self._body_bytes += len(chunk)
        return None if self._body_bytes <= MAX_BODY_BYTES else STOP
