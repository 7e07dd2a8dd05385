"""Why an exchange failed, in words for a person.

No sentence can hold a token, a body or the address: libcurl's own text is quoted for TLS only, where it names no more
than the host.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

import pycurl

from unoapi.models.attempts import NO_TLS, NOT_HTTP, SILENT

BAD_ADDRESS = "the address is not valid"
NO_NAME = "name not found"
REFUSED = "connection refused"
LOST = "connection lost before the answer was complete"
_NO_TLS, _CERTIFICATE_WANTED = "wrong version number", "alert certificate required"
"""OpenSSL's words."""
_E_WEIRD_SERVER_REPLY = 8  # pycurl has no name for it

# Of each libcurl error the step at which it happens (none: whichever had not ended) and the sentence.
CURL_ERRORS = {
    pycurl.E_OK: ("", LOST),  # libcurl sees no error in an answer that breaks off after an interim one
    pycurl.E_URL_MALFORMAT: ("address", BAD_ADDRESS),
    pycurl.E_UNSUPPORTED_PROTOCOL: ("answer", NOT_HTTP),
    _E_WEIRD_SERVER_REPLY: ("", NOT_HTTP),
    pycurl.E_COULDNT_RESOLVE_HOST: ("name", NO_NAME),
    pycurl.E_COULDNT_CONNECT: ("connection", "no connection: {system}"),
    pycurl.E_OPERATION_TIMEDOUT: ("", f"{SILENT} {{timeout_ms}} ms"),
    pycurl.E_PEER_FAILED_VERIFICATION: ("tls", "certificate not valid: {text}"),
    pycurl.E_SSL_CONNECT_ERROR: ("tls", "TLS handshake failed: {text}"),
    pycurl.E_SSL_CACERT_BADFILE: ("tls", "our certificate bundle cannot be read"),
    pycurl.E_GOT_NOTHING: ("", "closed the connection without an answer"),
    pycurl.E_SEND_ERROR: ("", "connection lost while sending"),
    pycurl.E_RECV_ERROR: ("", LOST),
    pycurl.E_FILESIZE_EXCEEDED: ("size", "the answer is larger than allowed"),
}
UNFINISHED = {
    "name": ": no address for its name",
    "connection": ": no connection",
    "tls": ": no TLS handshake",
    "answer": "",
}
"""What was waited for until the time was over; an answer, if nothing is said."""


@dataclass(frozen=True)
class Failure:
    """`step` is where it happened: address, guard, name, connection, tls, size or answer."""

    step: str
    error: str


def explain_curl(curl: pycurl.Curl, code: int, *, timeout_ms: int, secure: bool) -> Failure:
    """The failure behind a libcurl error code. `curl` is the handle that just ended, `secure` whether it spoke TLS."""
    step, sentence = CURL_ERRORS.get(code, ("", "the exchange failed (curl error {code})"))
    system = curl.getinfo(pycurl.OS_ERRNO) or errno.ENOTCONN
    if code == pycurl.E_COULDNT_CONNECT and system == errno.ECONNREFUSED:
        sentence = REFUSED
    if code == pycurl.E_UNSUPPORTED_PROTOCOL and not curl.getinfo(pycurl.CONNECT_TIME_T):
        step, sentence = "address", "only http and https addresses are called"
    if code == pycurl.E_SSL_CONNECT_ERROR and _NO_TLS in curl.errstr():
        sentence = f"{NO_TLS} ({{text}})"
    if code == pycurl.E_RECV_ERROR and _CERTIFICATE_WANTED in curl.errstr():  # told behind the handshake of TLS 1.3
        step, sentence = "tls", "the receiver wants a certificate from its clients, and this has none"
    step = step or _unfinished_step(curl, secure=secure)
    if code == pycurl.E_OPERATION_TIMEDOUT:
        sentence += UNFINISHED[step]
    values = {"code": code, "text": curl.errstr(), "timeout_ms": timeout_ms, "system": os.strerror(system).lower()}
    return Failure(step, sentence.format(**values))


def _unfinished_step(curl: pycurl.Curl, *, secure: bool) -> str:
    if curl.getinfo(pycurl.REQUEST_SIZE):  # it left, perhaps over a connection that was there, whose steps took no time
        return "answer"
    steps = [("name", pycurl.NAMELOOKUP_TIME_T), ("connection", pycurl.CONNECT_TIME_T)]
    if secure:
        steps.append(("tls", pycurl.APPCONNECT_TIME_T))
    return next((step for step, info in steps if not curl.getinfo(info)), "answer")
