"""Webhooks whose address is the request bin: what they would get is kept instead of sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.http.signatures import build_headers
from unoapi.models.attempts import Answer
from unoapi.models.request_bin import BIN_URL, HIDDEN, BinnedRequest

if TYPE_CHECKING:
    from unoapi.models.session import Webhook
    from unoapi.ports import RequestBin, WebhookSender


class WithRequestBin:
    """Sends webhooks by another sender, but those to the bin, which always answers 200."""

    def __init__(self, sender: WebhookSender, request_bin: RequestBin) -> None:
        self._sender = sender
        self._bin = request_bin

    def post(  # noqa: PLR0913 (the port's)
        self, webhook: Webhook, *, phone: str, delivery_id: str, attempt: int, body: str, replay: bool = False
    ) -> Answer:
        """Sign and send; a replay says so. Never raises for what the network or the receiver does."""
        if webhook.url_absolute != BIN_URL:
            return self._sender.post(
                webhook, phone=phone, delivery_id=delivery_id, attempt=attempt, body=body, replay=replay
            )
        now_s = time.time()
        token = webhook.token.get_secret_value()
        headers = build_headers(
            delivery_id=delivery_id,
            attempt=attempt,
            timestamp_s=int(now_s),
            body=body.encode("ascii"),
            token_header=webhook.header,
            token=HIDDEN if token else "",
            secrets=webhook.secrets_at(now_s),
            replay=replay,
        )
        request = BinnedRequest(seq=int(now_s * 1_000_000), webhook=webhook.id, headers=dict(headers), body=body)
        try:
            self._bin.add(phone, request)
        except StoreUnavailable as error:
            return Answer(error=f"the request bin is in Redis: {error}")
        return Answer(200, duration_ms=round((time.time() - now_s) * 1000))
