"""What the operator asks of an endpoint: does it answer, and where does it break."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from unoapi.errors import RequestError
from unoapi.models.attempts import NO_TLS, NOT_HTTP, REDIRECTS, SILENT
from unoapi.models.jobs import computed_id, now_ms

if TYPE_CHECKING:
    from unoapi.models.attempts import Answer
    from unoapi.models.session import Session, Webhook
    from unoapi.ports import WebhookSender

TEST_TIMEOUT_MS = 10_000
HINTS = {
    "fine": "It works.",
    "page": "It answered 2xx, but with a web page, as a login page or a proxy does: does the receiver show the event?",
    "address": "The address, or a header of the webhook, cannot be sent as it is written.",
    "guard": "The address guard refused the address; the error names the rule and the setting that allows it.",
    "name": "The host's name was not found: is it written right, and does this machine's name server know it?",
    "connection": "Nothing listens there, or a firewall is between: check host and port from where the workers run.",
    "tls": "The certificate or the TLS handshake is wrong: check its date, its names and its chain.",
    "no_tls": "The address begins with https, and the port does not speak TLS: write http, or the port for https.",
    "answer": "It was connected, but no complete answer came in time.",
    "closed": "It closed the connection without an answer: its log, or a proxy's, says why. So does a port for https.",
    "https": "The port speaks https: write https in the webhook's address.",
    "http": "No web server answers there, or one that wants https: check the port, and whether https is meant.",
    "redirect": "It answered with a redirect, and redirects are not followed: change the webhook's address to",
    "nowhere": "It redirects, and names no address that can be shown: open the webhook's address in a browser, and see "
    "where that leads.",
    "login": "It wants a login and sends to a page for it: give the webhook an address that takes its token instead. "
    "The page is",
    "token": "It refuses the token: check the webhook's header and token, and that a proxy hands them on.",
    "path": "It has nothing at this path: check the address, and that what it leads to is switched on there.",
    "method": "It takes no POST at this path: check the address, also its slash at the end.",
    "body": "It refuses the event itself: does it take events of WhatsApp's Cloud API? Its log says why.",
    "gone": "It says that it is gone: every delivery to it ends dead at once. Remove the webhook, or correct it.",
    "busy": "It asks for fewer requests: what is sent to it waits and is tried again.",
    "proxy": "A proxy answers in its place: the receiver behind it is down, or slower than the proxy waits.",
    "failed": "It failed by itself: its log says why.",
    "status": "It answered, but not with 2xx: check path, token and what the receiver's log says.",
}
STATUSES = {
    **dict.fromkeys((401, 403, 407), "token"),
    **dict.fromkeys((400, 413, 415, 422), "body"),
    **dict.fromkeys((502, 504, *range(520, 531)), "proxy"),
    404: "path",
    405: "method",
    410: "gone",
    429: "busy",
}
FAILED = range(500, 600)
WANTS_TLS = (
    b"HTTP request was sent to HTTPS port",
    b"HTTP request to an HTTPS server",
    b"plain HTTP to an SSL-enabled",
)
"""How nginx, programs in Go, and Apache answer http on a port for https."""
LOGINS = ("login", "signin", "sign_in", "sign-in", "oauth", "/sso", "/auth")
MAX_SAID_CHARS = 300
MOST_SHOWN_OF_SECRET = 8
"""Of its beginning, which may be a scheme: `Bearer `."""


@dataclass(frozen=True)
class Diagnosis:
    """What came of a test.

    `failed_at` is empty, or one of address, guard, name, connection, tls, answer and status; `cause` is the key of its
    hint. `said` is what the receiver wrote in its answer.
    """

    delivered: bool
    failed_at: str
    hint: str
    status: int | None
    error: str
    duration_ms: int
    timings_ms: dict[str, int]
    cause: str = ""
    said: str = ""


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
    metadata = {"display_phone_number": phone, "phone_number_id": phone}  # Typebot takes no event without
    value = {"messaging_product": "whatsapp", "metadata": metadata, "event": "UNOAPI_TEST", "phone_number": phone}
    change = {"field": "account_update", "value": value}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [{"id": phone, "changes": [change]}]})
    quick = webhook.model_copy(update={"timeout_ms": min(webhook.timeout_ms, TEST_TIMEOUT_MS)})
    delivery_id = computed_id("test", phone, webhook.id, str(now_ms()))
    answer = sender.post(quick, phone=phone, delivery_id=delivery_id, attempt=1, body=body)
    return diagnose(answer, secret=webhook.token.get_secret_value())


def diagnose(answer: Answer, *, secret: str = "") -> Diagnosis:
    """Say where an exchange broke, and what to check. Nothing that is shown holds the secret."""
    failed_at = "" if answer.delivered else "status" if answer.status is not None else answer.failed_at or "address"
    cause = _cause(answer, failed_at)
    return Diagnosis(
        delivered=answer.delivered,
        failed_at=failed_at,
        hint=f"{HINTS[cause]} {answer.redirect}." if answer.redirect else HINTS[cause],
        status=answer.status,
        error=answer.error or answer.redirected,
        duration_ms=answer.duration_ms,
        timings_ms=answer.timings_ms,
        cause=cause,
        said=_said(answer, secret),
    )


def _cause(answer: Answer, failed_at: str) -> str:
    if answer.delivered:
        return "page" if answer.is_page else "fine"
    return (
        _cause_by_error(answer.error, failed_at) if answer.status is None else _cause_by_status(answer, answer.status)
    )


def _cause_by_status(answer: Answer, status: int) -> str:
    if answer.redirect:
        path = urlsplit(answer.redirect).path.lower()
        return "login" if any(word in path for word in LOGINS) else "redirect"
    if status in REDIRECTS:
        return "nowhere"
    if any(words in answer.beginning for words in WANTS_TLS):
        return "https"
    return STATUSES.get(status) or ("failed" if status in FAILED else "status")


def _cause_by_error(error: str, failed_at: str) -> str:
    if failed_at == "tls" and error.startswith((NO_TLS, SILENT)):
        return "no_tls"
    if error == NOT_HTTP:
        return "http"
    return "closed" if failed_at == "answer" and not error.startswith(SILENT) else failed_at


def _said(answer: Answer, secret: str) -> str:
    """What the receiver says, in a line: no page, which says less than its status. In a 2xx it may be an error, too."""
    words = "" if answer.is_page else _decoded(answer.beginning)
    for part in filter(None, (secret, secret.rpartition(" ")[2])):
        for written in (part, part.replace("/", "\\/"), json.dumps(part)[1:-1]):
            words = _hidden(words, written)
    return " ".join("".join(char if char.isprintable() else " " for char in words[:MAX_SAID_CHARS]).split())


def _decoded(beginning: bytes) -> str:
    """A text in UTF-8, which may end within a letter, else in Windows-1252, as older programs write it."""
    words = beginning.decode(errors="replace")
    return beginning.decode("cp1252", "replace") if "\ufffd" in words[:-1] else words


def _hidden(words: str, secret: str) -> str:
    """Words without a secret; what was read of an answer may end within it."""
    words = words.replace(secret, "***")
    cut = next((size for size in range(len(secret), MOST_SHOWN_OF_SECRET, -1) if words.endswith(secret[:size])), 0)
    return f"{words[:-cut]}***" if cut else words
