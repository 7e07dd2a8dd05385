"""The headers of a webhook request, and what signs it."""

from __future__ import annotations

import base64
import contextlib
import hmac
from typing import TYPE_CHECKING

from unoapi import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

FIXED_HEADERS = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"unoapi/{__version__}"}
_OURS = {"content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-attempt", "webhook-signature"}
_OURS |= {
    "webhook-replay",
    "x-hub-signature-256",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "expect",
    "te",
    "upgrade",
}


def sign_standard(secret: str, *, message_id: str, timestamp_s: int, body: bytes) -> str:
    """`webhook-signature` of Standard Webhooks. A secret `whsec_…` is base64; any other is taken as it stands."""
    key = b""
    if secret.startswith("whsec_"):
        with contextlib.suppress(ValueError):
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.digest(key or secret.encode(), signed, "sha256")).decode()


def sign_hub(secret: str, body: bytes) -> str:
    """`X-Hub-Signature-256` as Meta sends it: HMAC-SHA256 of the exact body bytes."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def build_headers(  # noqa: PLR0913 - the parts of one request, all by keyword
    *,
    delivery_id: str,
    attempt: int,
    timestamp_s: int,
    body: bytes,
    token_header: str,
    token: str,
    secrets: Sequence[str],
    replay: bool = False,
    traceparent: str = "",
) -> tuple[tuple[str, str], ...]:
    """Give all headers of one attempt. The webhook's own header is left out when it would stand in for one of ours.

    Each of `secrets` signs for Standard Webhooks, whose receivers take any; Meta's header has room for the first alone.
    """
    headers = [*FIXED_HEADERS.items(), ("webhook-id", delivery_id), ("webhook-timestamp", str(timestamp_s))]
    headers.append(("webhook-attempt", str(attempt)))
    if replay:
        headers.append(("webhook-replay", "true"))
    if secrets:
        signatures = [
            sign_standard(secret, message_id=delivery_id, timestamp_s=timestamp_s, body=body) for secret in secrets
        ]
        headers += [("webhook-signature", " ".join(signatures)), ("X-Hub-Signature-256", sign_hub(secrets[0], body))]
    if traceparent and token_header.strip().lower() != "traceparent":
        headers.append(("traceparent", traceparent))
    if token_header and token and token_header.strip().lower() not in _OURS:
        headers.append((token_header, token))
    return tuple(headers)
