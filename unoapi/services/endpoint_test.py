"""What the operator asks of an endpoint: does it answer, and where does it break."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unoapi.errors import RequestError
from unoapi.models.jobs import computed_id, now_ms

if TYPE_CHECKING:
    from unoapi.models.attempts import Answer
    from unoapi.models.session import Session, Webhook
    from unoapi.ports import WebhookSender

TEST_TIMEOUT_MS = 10_000
HINTS = {
    "": "It works.",
    "address": "The address, or a header of the webhook, cannot be sent as it is written.",
    "guard": "The address guard refused the address; the error names the rule and the setting that allows it.",
    "name": "The host's name was not found: is it written right, and does this machine's name server know it?",
    "connection": "Nothing listens there, or a firewall is between: check host and port from where the workers run.",
    "tls": "The certificate or the TLS handshake is wrong: check its date, its names and its chain.",
    "answer": "It was connected, but no complete answer came in time.",
    "redirect": "It answered with a redirect, and redirects are not followed: change the webhook's address to",
    "status": "It answered, but not with 2xx: check path, token and what the receiver's log says.",
}


@dataclass(frozen=True)
class Diagnosis:
    """What came of a test.

    `failed_at` is empty, or one of address, guard, name, connection, tls, answer and status.
    """

    delivered: bool
    failed_at: str
    hint: str
    status: int | None
    error: str
    duration_ms: int
    timings_ms: dict[str, int]


def ensure_stored(session: Session) -> None:
    """Raise RequestError (404) for a number that was never registered, or is no longer."""
    if not session.stored:
        details = f"The number {session.phone} is not registered. These are: GET /sessions, or `unoapi session list`."
        raise RequestError("Unknown number", code=100, status=404, details=details)


def find_webhook(session: Session, webhook_id: str) -> Webhook:
    """The webhook of a session. Raises RequestError (404)."""
    wanted = session.webhook(webhook_id)
    if wanted is None:
        ensure_stored(session)
        names = ", ".join(repr(webhook.id) for webhook in session.webhooks) or "none"
        details = f"The number {session.phone} has no webhook {webhook_id[:100]!r}. It has: {names}."
        raise RequestError("Unknown webhook", code=100, status=404, details=details)
    return wanted


def try_endpoint(webhook: Webhook, *, phone: str, sender: WebhookSender) -> Diagnosis:
    """Post one event that concerns no message, with the webhook's own token and signature, and explain the answer.

    It goes past queues, pauses and retries, and takes at most 10 seconds.
    """
    value = {"event": "UNOAPI_TEST", "phone_number": phone}
    change = {"field": "account_update", "value": value}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [{"id": phone, "changes": [change]}]})
    quick = webhook.model_copy(update={"timeout_ms": min(webhook.timeout_ms, TEST_TIMEOUT_MS)})
    delivery_id = computed_id("test", phone, webhook.id, str(now_ms()))
    answer = sender.post(quick, phone=phone, delivery_id=delivery_id, attempt=1, body=body)
    return diagnose(answer)


def diagnose(answer: Answer) -> Diagnosis:
    """Say where an exchange broke, and what to check."""
    failed_at = "" if answer.delivered else "status" if answer.status is not None else answer.failed_at or "address"
    return Diagnosis(
        delivered=answer.delivered,
        failed_at=failed_at,
        hint=f"{HINTS['redirect']} {answer.redirect}." if answer.redirect else HINTS[failed_at],
        status=answer.status,
        error=answer.error,
        duration_ms=answer.duration_ms,
        timings_ms=answer.timings_ms,
    )
