"""The services' port on the HTTP client: what is posted to a webhook, and with which headers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.delivery.curl import CurlSender, WebhookRequest
from unoapi.delivery.signatures import build_headers

if TYPE_CHECKING:
    from unoapi.delivery.guard import AddressGuard
    from unoapi.models.attempts import Answer
    from unoapi.models.session import Webhook


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
