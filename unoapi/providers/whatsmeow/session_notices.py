"""What a session's own number is told about its connection."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from unoapi.errors import StoreUnavailable
from unoapi.models.cloud_api.events import serialise
from unoapi.models.connector.events import STATUS_WORDS, PairingCode, QrCode, SessionState
from unoapi.models.jobs import PostSessionState, computed_id
from unoapi.models.media import ID_PREFIX
from unoapi.models.phones import to_jid
from unoapi.services.contacts import post
from unoapi.services.qr_codes import data_url, png
from unoapi.services.retries import ensure_fresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.attempts import Attempt, History
    from unoapi.models.session import Session
    from unoapi.ports import SessionStore, WebhookSender

    News = SessionState | QrCode | PairingCode
    Keep = Callable[[bytes, str], dict[str, Any]]

UNDECRYPTABLE = "A message is here that cannot be shown yet. Open WhatsApp on the phone to read it."
UNIMPORTANT = frozenset({"connecting", "connected"})
"""Sent only with `sendConnectionStatus`; everything else always."""
TEXTS = {
    "connecting": "Connecting to WhatsApp ...",
    "connected": "Connected to WhatsApp.",
    "standby": "Too many attempts to connect: waiting. Connect again later, or on the session's page.",
    "logged_out": "The phone has removed this device. Scan a new QR code to go on.",
    "replaced": "Another program uses this login now; this one has stopped. Connect again when the other is closed.",
    "banned": "WhatsApp has banned this number for a while.",
    "outdated": "WhatsApp refuses this version: update the connector.",
    "conflict": "Another number than this session's scanned the QR code; it was logged out.",
}


def message(
    news: News, *, session: Session, event_id: str, at_ms: int, keep: Keep | None = None
) -> dict[str, Any] | None:
    """A text from the number to itself, or the picture of a QR code; none for what nobody needs to know.

    `keep` keeps a picture under an id; without it, or when it cannot, a code is told as a text.
    """
    body = text_of(news, session=session)
    if body is None:
        return None
    head = {"from": session.phone, "id": f"UNO.NOT.{event_id.upper()}", "timestamp": str(at_ms // 1000)}
    if isinstance(news, QrCode) and keep is not None:
        with contextlib.suppress(StoreUnavailable):
            file = keep(png(news.code), _media_id(event_id))
            return head | {"type": "image", "image": {**file, "mime_type": "image/png", "caption": body}}
    return head | {"type": "text", "text": {"body": body}}


def posted(news: News, *, session: Session, event_id: str, at_ms: int) -> PostSessionState | None:
    """The same for the session's `sessionWebhook`, in the form that the former program posts."""
    body = text_of(news, session=session)
    if body is None or session.session_webhook is None:
        return None
    told: dict[str, Any] = {"conversation": body}
    if isinstance(news, QrCode):
        file = {"url": data_url(news.code), "mimetype": "image/png", "fileName": "qrcode.png", "caption": body}
        told = {"imageMessage": file}
    document = {
        "info": {"phone": session.phone},
        "status": STATUS_WORDS[news.state] if isinstance(news, SessionState) else "connecting",
        "key": {"fromMe": True, "remoteJid": to_jid(session.phone), "id": f"UNO.NOT.{event_id.upper()}"},
        "message": told,
        "messageTimestamp": at_ms // 1000,
    }
    job_id = computed_id("session", session.phone, event_id)
    return PostSessionState(id=job_id, phone=session.phone, body=serialise(document), notify_on_failure=False)


def tell(
    job: PostSessionState, *, history: History, sessions: SessionStore, sender: WebhookSender, max_age_s: int
) -> Attempt | None:
    """Make one attempt. Raises DeliveryFailed (retry), DeliveryRefused, TooOld (give up)."""
    ensure_fresh(job, max_age_s=max_age_s)
    url = sessions.find(job.phone).session_webhook
    return post(job, url=f"{url}", history=history, sender=sender) if url is not None else None


def text_of(news: News, *, session: Session) -> str | None:
    """What a person is told; none for what nobody needs to know."""
    if isinstance(news, PairingCode):
        return f"Pairing code: {news.code[:4]}-{news.code[4:]}" if news.code.isalnum() else f"Pairing code: {news.code}"
    if isinstance(news, QrCode):
        of = f" of {news.of}" if news.of else ""
        return f"QR code {news.n}{of} is ready: scan it, or open /session/{session.phone}."
    if news.state in TEXTS and (session.send_connection_status or news.state not in UNIMPORTANT):
        return TEXTS[news.state] + (f" ({news.reason[:200]})" if news.reason else "")
    return None


def _media_id(event_id: str) -> str:
    """The same event has the same picture: digits only, as of all files."""
    return f"{ID_PREFIX}{UUID(computed_id('qr', event_id)).int % 10**20:020}"


def at_ms(occurred_at: str) -> int:
    """The time of an event in milliseconds; now when it tells none."""
    try:
        return int(datetime.fromisoformat(occurred_at).timestamp() * 1000)
    except ValueError:
        return time.time_ns() // 1_000_000
