"""Posting to the one address that only the operator chooses."""

from __future__ import annotations

import contextlib
import threading
import time

import requests
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util.retry import Retry

from unoapi.http.ca_bundle import find_ca_bundle
from unoapi.http.failures import explain_requests
from unoapi.http.guarded_handle import MAX_RETRY_AFTER_S
from unoapi.http.signatures import FIXED_HEADERS
from unoapi.http.webhook_client import MAX_BODY_BYTES
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
        except (requests.RequestException, HTTPError, OSError, ValueError) as failed:
            error = explain_requests(failed, timeout_ms=self._timeout_ms)[:MAX_ERROR_CHARS]
        else:
            status = response.status_code
            after_s = read_retry_after(response.headers.get("Retry-After", ""))
            with response, contextlib.suppress(HTTPError, OSError, ValueError):
                response.raw.read1(MAX_BODY_BYTES, decode_content=False)
        total_ms = int((time.monotonic() - start) * 1000)
        return Answer(status, error, total_ms, {"total": total_ms}, after_s)


def read_retry_after(value: str) -> int | None:
    """Seconds to wait, from delta seconds or an HTTP date, at most two hours; None for anything else."""
    try:
        return min(int(Retry().parse_retry_after(value[:64])), MAX_RETRY_AFTER_S) or None
    except InvalidHeader:
        return None
