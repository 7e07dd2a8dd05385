"""Posting to the one address that only the operator chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.http.address_guard import AddressGuard
from unoapi.http.signatures import FIXED_HEADERS
from unoapi.http.webhook_client import CurlSender, WebhookRequest

if TYPE_CHECKING:
    from unoapi.models.attempts import Answer


class CallbackClient:
    """Posts JSON to the operator's own address, which is not judged. One object serves all threads."""

    def __init__(self, *, timeout_ms: int = 15_000) -> None:
        self._timeout_ms = timeout_ms
        self._sender = CurlSender(AddressGuard())

    def post(self, url: str, body: str) -> Answer:
        """Send once, within the deadline for the whole exchange. Never raises for what a network or a receiver does."""
        request = WebhookRequest(
            url, body.encode(), tuple(FIXED_HEADERS.items()), tenant="", timeout_ms=self._timeout_ms, trusted=True
        )
        return self._sender.post(request)
