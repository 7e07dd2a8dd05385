"""Posting to the one address that only the operator chooses."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import requests
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util.retry import Retry

from unoapi.http.signatures import FIXED_HEADERS
from unoapi.http.webhook_client import (
    BAD_ADDRESS,
    LOST,
    MAX_BODY_BYTES,
    MAX_RETRY_AFTER_S,
    NO_NAME,
    REFUSED,
    find_ca_bundle,
)
from unoapi.models.attempts import MAX_ERROR_CHARS, Answer


class CallbackClient(threading.local):
    """Posts JSON to the operator's own address. One object serves all threads: each has a session of its own."""

    def __init__(self, *, timeout_ms: int = 15_000) -> None:
        self._timeout_ms = timeout_ms
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = find_ca_bundle()
        self._session.headers.update(FIXED_HEADERS)

    def post(self, url: str, body: str) -> Answer:
        """Send once. Never raises for what a network or a receiver does.

        The timeout is for each wait, not for the exchange: requests has no deadline. One piece of the body is read.
        """
        status, error, after_s = None, "", None
        timeout_s, start = self._timeout_ms / 1000, time.monotonic()
        try:
            response = self._session.post(
                url, data=body.encode(), timeout=timeout_s, stream=True, allow_redirects=False
            )
        except (requests.RequestException, HTTPError, OSError, ValueError) as trouble:
            error = self._explain(trouble)[:MAX_ERROR_CHARS]
        else:
            status = response.status_code
            after_s = read_retry_after(response.headers.get("Retry-After", ""))
            with response, contextlib.suppress(HTTPError, OSError, ValueError):
                response.raw.read1(MAX_BODY_BYTES, decode_content=False)
        total_ms = int((time.monotonic() - start) * 1000)
        return Answer(status, error, total_ms, {"total": total_ms}, after_s)

    def _explain(self, trouble: BaseException) -> str:
        cause: BaseException | None = trouble
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"certificate not valid: {cause.verify_message}"
            if isinstance(cause, requests.Timeout):
                return f"did not answer within {self._timeout_ms} ms"
            if isinstance(cause, socket.gaierror | ConnectionRefusedError):
                return NO_NAME if isinstance(cause, socket.gaierror) else REFUSED
            cause = cause.__cause__ or cause.__context__
        return BAD_ADDRESS if isinstance(trouble, ValueError) else LOST


def read_retry_after(value: str) -> int | None:
    """Seconds to wait, from delta seconds or an HTTP date, at most two hours; None for anything else."""
    try:
        return min(int(Retry().parse_retry_after(value[:64])), MAX_RETRY_AFTER_S) or None
    except InvalidHeader:
        return None
