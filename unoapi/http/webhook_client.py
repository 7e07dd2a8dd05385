"""Posting events to webhooks: one POST, one deadline, one answer; what goes wrong on the network is never raised."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pycurl

from unoapi.errors import NotSent
from unoapi.http.guarded_handle import FINAL, STOP, GuardedHandle
from unoapi.http.signatures import build_headers
from unoapi.models.attempts import MAX_ERROR_CHARS, REDIRECTS, Answer
from unoapi.models.endpoints import origin_of
from unoapi.models.provenance import NO_ADDRESSES
from unoapi.telemetry.tracing import is_tracing, span, traceparent

if TYPE_CHECKING:
    from unoapi.http.address_guard import AddressGuard
    from unoapi.http.failures import Failure
    from unoapi.http.guarded_handle import Headers
    from unoapi.models.provenance import OperatorAddresses
    from unoapi.models.session import Webhook

MAX_BODY_BYTES = 16 * 1024
MOST_SHOWN_BYTES = 1024
"""Of a body, for who asks at once what the receiver says."""
MOST_IDLE = 64
"""Connections that are kept for the next request, each of one endpoint. One over TLS takes a megabyte."""
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

    def __init__(
        self, guard: AddressGuard, operators: OperatorAddresses = NO_ADDRESSES, *, threads: int = MOST_IDLE
    ) -> None:
        self._sender = CurlSender(guard, most_idle=max(MOST_IDLE, threads))
        self._operators = operators

    def post(  # noqa: PLR0913 (the parts of one request)
        self, webhook: Webhook, *, phone: str, delivery_id: str, attempt: int, body: str, replay: bool = False
    ) -> Answer:
        """Sign and send; a replay says so. Never raises for what the network or the receiver does."""
        if not is_tracing():
            return self._post(webhook, phone=phone, delivery_id=delivery_id, attempt=attempt, body=body, replay=replay)
        origin = origin_of(webhook.address(phone))
        names = {"http.request.method": "POST", "server.address": origin[1] if origin else ""}
        names |= {"unoapi.phone": phone, "unoapi.webhook": webhook.id, "unoapi.delivery_id": delivery_id}
        with span("POST webhook", "client", **names, **{"unoapi.attempt": attempt}) as step:
            answer = self._post(
                webhook, phone=phone, delivery_id=delivery_id, attempt=attempt, body=body, replay=replay
            )
            step.set_attribute("unoapi.outcome", answer.outcome)
            if answer.status is not None:
                step.set_attribute("http.response.status_code", answer.status)
            return answer

    def _post(  # noqa: PLR0913 (the parts of one request)
        self, webhook: Webhook, *, phone: str, delivery_id: str, attempt: int, body: str, replay: bool
    ) -> Answer:
        return self._sender.post(
            self.request(webhook, phone=phone, delivery_id=delivery_id, attempt=attempt, body=body, replay=replay)
        )

    def request(  # noqa: PLR0913 (the parts of one request)
        self, webhook: Webhook, *, phone: str, delivery_id: str, attempt: int, body: str, replay: bool = False
    ) -> WebhookRequest:
        """What is sent, signed now."""
        raw = body.encode("ascii")
        now_s = time.time()
        headers = build_headers(
            delivery_id=delivery_id,
            attempt=attempt,
            timestamp_s=int(now_s),
            body=raw,
            token_header=webhook.header,
            token=webhook.token.get_secret_value(),
            secrets=webhook.secrets_at(now_s),
            replay=replay,
            traceparent=traceparent(),
        )
        url = webhook.address(phone)
        trusted = self._operators.include(url, phone=phone)
        return WebhookRequest(url, raw, headers, tenant=phone, timeout_ms=webhook.deadline_ms, trusted=trusted)


@dataclass(frozen=True)
class WebhookRequest:
    """One POST. Connections are never shared between two tenants (session phones)."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    tenant: str
    timeout_ms: int
    trusted: bool = field(default=False, repr=False)

    @property
    def owner(self) -> Owner:
        """Whose connection it may use."""
        return (self.tenant, self.trusted, origin_of(self.url))


Owner = tuple[str, bool, tuple[str, str, int] | None]
"""Of a connection: the tenant, whether it was opened without being checked, and where it leads."""


class CurlSender:
    """Posts webhooks, from any thread, over connections that it keeps: a TLS handshake costs as much as 20 requests.

    A handle has at most one open connection. A request takes an idle handle whose connection is its own; else one
    without a connection, a new one, or, when as many as may be are idle, the one that was idle for longest.
    One that found no address is its owner's: it may still ask for the name, and looks up no other one meanwhile.
    """

    def __init__(self, guard: AddressGuard, *, most_idle: int = MOST_IDLE) -> None:
        self._guard = guard
        self._most_idle = most_idle
        self._idle: list[_Handle] = []  # the longest idle first
        self._lock = threading.Lock()

    def post(self, request: WebhookRequest) -> Answer:
        """Send once. Never raises for what a network, a receiver or a tenant's configuration does."""
        handle = self._take(request.owner)
        try:
            return handle.post(request)
        finally:
            self._give_back(handle)

    def _take(self, owner: Owner) -> _Handle:
        with self._lock:
            for wanted in (owner, None):
                for position in reversed(range(len(self._idle))):
                    handle = self._idle[position]
                    if handle.owner == wanted and handle.nameless in (None, owner):
                        return self._idle.pop(position)
            if len(self._idle) >= self._most_idle:
                return self._idle.pop(0)
        return _Handle(self._guard)

    def _give_back(self, handle: _Handle) -> None:
        with self._lock:
            self._idle.append(handle)
            too_many = self._idle.pop(0) if len(self._idle) > self._most_idle else None
        if too_many is not None:
            too_many.close()


class _Handle:
    """A handle, in one thread at a time. `owner` is the only one that its open connection can belong to."""

    def __init__(self, guard: AddressGuard) -> None:
        self._exchange = WebhookExchange(guard)
        self.owner: Owner | None = None
        self.nameless: Owner | None = None
        """For whom it found no address just now."""

    def close(self) -> None:
        """Close the connection."""
        self._exchange.close()

    def post(self, request: WebhookRequest) -> Answer:
        """Send once, as `CurlSender.post` does."""
        owner = request.owner
        try:
            curl = self._exchange.prepare(request)
        except NotSent as error:
            return Answer(error=f"{error}")
        curl.setopt(pycurl.MAXCONNECTS, 1)
        curl.setopt(pycurl.FRESH_CONNECT, int(owner != self.owner))
        answer = self._exchange.perform()
        self.nameless = owner if answer.failed_at == "name" else None
        # The connection of the owner before gives way only to one that stays open; until then nobody may reuse one.
        self.owner = owner if curl.getinfo(pycurl.ACTIVESOCKET) != pycurl.SOCKET_BAD else None
        return answer


class WebhookExchange:
    """A handle that makes one exchange after the other: what is sent, and what the answer says."""

    def __init__(self, guard: AddressGuard) -> None:
        self._handle = GuardedHandle(guard)
        self._body_bytes, self._beginning = 0, b""

    def close(self) -> None:
        """Close the handle."""
        self._handle.close()

    def prepare(self, request: WebhookRequest) -> pycurl.Curl:
        """Set everything but what concerns connections. Raises NotSent."""
        self._body_bytes, self._beginning = 0, b""
        curl = self._handle.prepare(
            request.url,
            headers=request.headers,
            timeout_ms=request.timeout_ms,
            on_body=self._on_body,
            trusted=request.trusted,
        )
        curl.setopt(pycurl.POSTFIELDS, request.body)
        return curl

    def perform(self) -> Answer:
        """Make the exchange, and wait for it."""
        return self._answer(self._handle.perform())

    def ended(self, code: int) -> Answer:
        """The answer of an exchange that a loop has made, by libcurl's code for its end."""
        return self._answer(self._handle.ended(code))

    def _answer(self, failure: Failure | None) -> Answer:
        curl = self._handle.curl
        timings_ms = {name: curl.getinfo(info) // 1000 for name, info in _TIMINGS}
        if not curl.getinfo(pycurl.HEADER_SIZE):
            timings_ms["first_byte"] = 0  # libcurl gives the end of the exchange here
        status = self._handle.status
        if failure is None or status >= FINAL:
            total_ms, redirect = timings_ms["total"], self._handle.redirect if status in REDIRECTS else ""
            return Answer(
                status,
                "",
                total_ms,
                timings_ms,
                self._handle.retry_after_s,
                redirect=redirect,
                beginning=self._beginning,
            )
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
        if len(self._beginning) < MOST_SHOWN_BYTES:
            self._beginning = (self._beginning + chunk)[:MOST_SHOWN_BYTES]
        return None if self._body_bytes <= MAX_BODY_BYTES else STOP
