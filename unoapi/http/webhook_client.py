"""The HTTP client of the outgoing side: one POST, one deadline, one answer; trouble on the network is never raised.

pycurl serves the addresses that a tenant chooses, requests the one that only the operator chooses.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import pycurl

from unoapi.http.signatures import build_headers
from unoapi.models.attempts import MAX_ERROR_CHARS, Answer

if TYPE_CHECKING:
    from unoapi.http.address_guard import AddressGuard
    from unoapi.models.session import Webhook

MAX_BODY_BYTES = 16 * 1024
FINAL = 200
"""The lowest status of a final answer. The status line decides: what breaks off behind it was answered all the same."""
MAX_RETRY_AFTER_S = 2 * 60 * 60

_STOP = -1  # what a pycurl callback returns to drop the connection
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}: [\t\x20-\x7e\x80-\xff]*")
_ALWAYS = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.PROXY, ""),
    (pycurl.NOPROXY, "*"),
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    (pycurl.MAXCONNECTS, 1),
)
_TIMINGS = (
    ("name_lookup", pycurl.NAMELOOKUP_TIME_T),
    ("connect", pycurl.CONNECT_TIME_T),
    ("tls", pycurl.APPCONNECT_TIME_T),
    ("first_byte", pycurl.STARTTRANSFER_TIME_T),
    ("total", pycurl.TOTAL_TIME_T),
)
BAD_ADDRESS = "the address is not valid"
_E_WEIRD_SERVER_REPLY = 8  # pycurl has no name for it
_FAILED_AT = {
    pycurl.E_URL_MALFORMAT: "address",
    pycurl.E_UNSUPPORTED_PROTOCOL: "address",
    pycurl.E_COULDNT_RESOLVE_HOST: "name",
    pycurl.E_COULDNT_CONNECT: "connection",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls",
    pycurl.E_SSL_CONNECT_ERROR: "tls",
    pycurl.E_SSL_CACERT_BADFILE: "tls",
}
_NOT_HTTP = "did not answer in HTTP"
NO_NAME = "name not found"
REFUSED = "connection refused"
LOST = "connection lost before the answer was complete"


class WebhookClient:
    """Posts deliveries: signed, with a deadline for the whole exchange, no connection shared between sessions."""

    def __init__(self, guard: AddressGuard) -> None:
        self._sender = CurlSender(guard)

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
        request = WebhookRequest(
            url=webhook.address(phone), body=raw, headers=headers, tenant=phone, timeout_ms=webhook.deadline_ms
        )
        return self._sender.post(request)


@dataclass(frozen=True)
class WebhookRequest:
    """One POST. Connections are never shared between two tenants (session phones)."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    tenant: str
    timeout_ms: int


class CurlSender(threading.local):
    """Posts webhooks. One object serves all threads: each has a curl handle with at most one open connection in it.

    The guard judges each address when its connection is opened.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._curl = pycurl.Curl()
        self._ca_bundle = find_ca_bundle()
        self._tenant: str | None = None  # the only tenant that an open connection can belong to

        self._body_bytes = 0

    def post(self, request: WebhookRequest) -> Answer:
        """Send once. Never raises for what a network, a receiver or a tenant's configuration does."""
        lines = [b"Expect:"]
        for name, value in request.headers:
            line = f"{name}: {value}"
            if not _HEADER.fullmatch(line):
                # A name that is none may be a token in the wrong place, so it is not shown.
                return Answer(error=f"header {name if _HEADER.fullmatch(f'{name}: ') else 'name'} cannot be sent")
            # libcurl reads a header without a value as the wish to remove it, unless it ends in a semicolon.
            lines.append(line.encode("latin-1") if value.strip() else f"{name};".encode("latin-1"))
        if not request.url.isprintable():
            return Answer(error=BAD_ADDRESS)
        return self._perform(request, lines)

    def _perform(self, request: WebhookRequest, lines: list[bytes]) -> Answer:
        self._body_bytes = 0
        curl, timeout_ms, fresh = self._curl, max(1, request.timeout_ms), request.tenant != self._tenant
        curl.reset()
        set_option, knock = curl.setopt, self._guard.knock(request.url)
        for option, value in _ALWAYS:
            set_option(option, value)
        set_option(pycurl.CAINFO, self._ca_bundle)
        set_option(pycurl.WRITEFUNCTION, self._on_body)
        set_option(pycurl.OPENSOCKETFUNCTION, knock)
        set_option(pycurl.TIMEOUT_MS, timeout_ms)
        set_option(pycurl.CONNECTTIMEOUT_MS, timeout_ms)
        set_option(pycurl.FRESH_CONNECT, int(fresh))
        set_option(pycurl.URL, request.url.encode())
        set_option(pycurl.HTTPHEADER, lines)
        set_option(pycurl.POSTFIELDS, request.body)
        trouble = 0
        try:
            curl.perform()
        except pycurl.error as failed:
            trouble = int(failed.args[0])
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        error, blocked, failed_at = "", bool(trouble and knock.refusal), ""
        if status < FINAL:
            failed_at = "guard" if blocked else self._failed_at(trouble, secure=request.url.startswith("https:"))
            error = (knock.refusal or self._explain(trouble, curl.errstr(), timeout_ms))[:MAX_ERROR_CHARS]
        if fresh:
            # The old tenant's connection gives way only to a new one that stays open; until then nobody may reuse one.
            self._tenant = request.tenant if curl.getinfo(pycurl.ACTIVESOCKET) != pycurl.SOCKET_BAD else None
        timings_ms = {name: curl.getinfo(info) // 1000 for name, info in _TIMINGS}
        if not curl.getinfo(pycurl.HEADER_SIZE):
            timings_ms["first_byte"] = 0  # libcurl tells the end of the exchange here
        after_s = None if error else min(curl.getinfo(pycurl.RETRY_AFTER), MAX_RETRY_AFTER_S) or None
        return Answer(None if error else status, error, timings_ms["total"], timings_ms, after_s, blocked, failed_at)

    def _on_body(self, chunk: bytes) -> int | None:
        self._body_bytes += len(chunk)
        return None if self._body_bytes <= MAX_BODY_BYTES else _STOP

    def _failed_at(self, code: int, *, secure: bool) -> str:
        """The step that went wrong; of what only took too long, the first that did not end."""
        if code in _FAILED_AT:
            return _FAILED_AT[code]
        steps = [("name", pycurl.NAMELOOKUP_TIME_T), ("connection", pycurl.CONNECT_TIME_T)]
        if secure:
            steps.append(("tls", pycurl.APPCONNECT_TIME_T))
        return next((step for step, info in steps if not self._curl.getinfo(info)), "answer")

    def _explain(self, code: int, text: str, timeout_ms: int) -> str:
        """Say it in one sentence. libcurl's own text is quoted for TLS only, where it names no more than the host."""
        if code == pycurl.E_COULDNT_CONNECT:
            number = self._curl.getinfo(pycurl.OS_ERRNO) or errno.ENOTCONN
            return REFUSED if number == errno.ECONNREFUSED else f"no connection: {os.strerror(number).lower()}"
        if code == pycurl.E_UNSUPPORTED_PROTOCOL and not self._curl.getinfo(pycurl.CONNECT_TIME_T):
            return "only http and https addresses are called"
        return {
            pycurl.E_OK: LOST,  # libcurl sees no trouble in an answer that breaks off after an interim one
            pycurl.E_URL_MALFORMAT: BAD_ADDRESS,
            pycurl.E_UNSUPPORTED_PROTOCOL: _NOT_HTTP,
            _E_WEIRD_SERVER_REPLY: _NOT_HTTP,
            pycurl.E_COULDNT_RESOLVE_HOST: NO_NAME,
            pycurl.E_OPERATION_TIMEDOUT: f"did not answer within {timeout_ms} ms",
            pycurl.E_PEER_FAILED_VERIFICATION: f"certificate not valid: {text}",
            pycurl.E_SSL_CONNECT_ERROR: f"TLS handshake failed: {text}",
            pycurl.E_SSL_CACERT_BADFILE: "our certificate bundle cannot be read",
            pycurl.E_GOT_NOTHING: "closed the connection without an answer",
            pycurl.E_SEND_ERROR: "connection lost while sending",
            pycurl.E_RECV_ERROR: LOST,
        }.get(code, f"the exchange failed (curl error {code})")


def find_ca_bundle() -> str:
    """Find the file with the certificates to trust: `SSL_CERT_FILE`, else the system's, else certifi's.

    The path that is built into the wheel of pycurl does not exist on Debian, so that every caller has to choose.
    """
    known = (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt")
    found = next((path for path in known if path and Path(path).is_file()), certifi.where())
    return os.environ.get("SSL_CERT_FILE") or found
