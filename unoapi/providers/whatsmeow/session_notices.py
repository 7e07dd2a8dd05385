"""Notices about a session's connection: for its own number, or for its `sessionWebhook`."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.errors import StoreUnavailable
from unoapi.models.cloud_api.events import serialise
from unoapi.models.connector.events import STATUS_WORDS, PairingCode, QrCode, SessionState
from unoapi.models.jobs import PostSessionState, computed_id
from unoapi.models.media import media_id_of
from unoapi.models.phones import to_jid
from unoapi.services.contacts import post
from unoapi.services.qr_codes import data_url, png
from unoapi.services.retries import ensure_fresh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unoapi.models.attempts import Attempt, History
    from unoapi.models.session import Session
    from unoapi.ports import SessionStore, WebhookSender
    from unoapi.services.bulkhead import Bulkhead

    ConnectionChange = SessionState | QrCode | PairingCode
    SavePicture = Callable[[bytes, str], dict[str, Any]]

UNIMPORTANT = frozenset({"connecting", "connected"})
"""Sent only with `sendConnectionStatus`; everything else always."""
TEXTS = {
    "connecting": "Connecting to WhatsApp ...",
    "connected": "Connected to WhatsApp.",
    "standby": "Too many attempts to connect: waiting. Connect again later, or on the session's page.",
    "logged_out": "This device is not linked to the phone any more. Scan a new QR code to go on.",
    "replaced": "Another program uses this login now; this one has stopped. Connect again when the other is closed.",
    "banned": "WhatsApp has banned this number.",
    "outdated": "WhatsApp refuses this version: update the connector.",
    "not_scanned": "Nobody scanned the code in time. Connect again to get a new one.",
    "link_failed": "WhatsApp did not link this device.",
    "restricted": "WhatsApp lets this number write to nobody new for a while; chats that are there go on.",
    "conflict": "Another number than this session's scanned the QR code; it was logged out.",
}
ABSENCES = {
    "": "it was not connected yet: scan its QR code",
    "qr": "its QR code is not scanned yet",
    "pairing": "its pairing code is not typed in yet",
    "stopped": "it was disconnected: connect it",
    "disconnected": "the connection is lost, and is tried again",
    "crashed": "the connection is lost, and is tried again",
    "standby": "too many attempts to connect, the next one comes later",
    "logged_out": "the phone is not linked any more: scan a new QR code",
    "replaced": "another program uses its login: connect it when that is closed",
    "banned": "WhatsApp has banned the number",
    "outdated": "WhatsApp refuses this version: update the connector",
    "not_scanned": "nobody scanned its QR code: connect it again",
    "link_failed": "WhatsApp did not link it: connect it again",
    "conflict": "another number scanned its QR code: connect it again",
}


def message(
    change: ConnectionChange,
    *,
    session: Session,
    event_id: str,
    at_ms: int,
    save_picture: SavePicture | None = None,
) -> dict[str, Any] | None:
    """A text from the number to itself, or the picture of a QR code; none for what nobody needs to know.

    `save_picture` saves a picture under an id; without it, or when it cannot, a code becomes a text.
    """
    body = text_of(change, session=session)
    if body is None:
        return None
    head = {"from": session.phone, "id": f"UNO.NOT.{event_id.upper()}", "timestamp": str(at_ms // 1000)}
    if isinstance(change, QrCode) and save_picture is not None:
        with contextlib.suppress(StoreUnavailable):
            file = save_picture(png(change.code), _media_id(event_id))
            return head | {"type": "image", "image": {**file, "mime_type": "image/png", "caption": body}}
    return head | {"type": "text", "text": {"body": body}}


def job_for(change: ConnectionChange, *, session: Session, event_id: str, at_ms: int) -> PostSessionState | None:
    """The same for the session's `sessionWebhook`, in the form that the Node version posts."""
    body = text_of(change, session=session)
    if body is None or session.session_webhook is None:
        return None
    content: dict[str, Any] = {"conversation": body}
    if isinstance(change, QrCode):
        file = {"url": data_url(change.code), "mimetype": "image/png", "fileName": "qrcode.png", "caption": body}
        content = {"imageMessage": file}
    document = {
        "info": {"phone": session.phone},
        "status": STATUS_WORDS[change.state] if isinstance(change, SessionState) else "connecting",
        "key": {"fromMe": True, "remoteJid": to_jid(session.phone), "id": f"UNO.NOT.{event_id.upper()}"},
        "message": content,
        "messageTimestamp": at_ms // 1000,
    }
    job_id = computed_id("session", session.phone, event_id)
    return PostSessionState(id=job_id, phone=session.phone, body=serialise(document), notify_on_failure=False)


def post_state(  # noqa: PLR0913 (collaborators)
    job: PostSessionState,
    *,
    history: History,
    sessions: SessionStore,
    sender: WebhookSender,
    bulkhead: Bulkhead,
    max_age_s: int,
) -> Attempt | None:
    """Make one attempt. Raises DeliveryFailed (retry), Postponed (wait), DeliveryRefused, TooOld (give up)."""
    ensure_fresh(job, max_age_s=max_age_s)
    url = sessions.find(job.phone).session_webhook
    if url is None:
        return None
    return post(job, url=f"{url}", history=history, sender=sender, bulkhead=bulkhead)


def absence_of(details: Mapping[str, Any]) -> str:
    """Why a number is not connected, in words; `details` as `Connections.details` has them."""
    state = details.get("state") or {}
    reason = str(state.get("reason") or "")[:100]
    why = ABSENCES.get(str(state.get("state") or ""), "")
    return f"{why} ({reason})" if why and reason else why


def text_of(change: ConnectionChange, *, session: Session) -> str | None:
    """What a person reads; none for what nobody needs to know."""
    if isinstance(change, PairingCode):
        code = change.code
        return f"Pairing code: {code[:4]}-{code[4:]}" if code.isalnum() else f"Pairing code: {code}"
    if isinstance(change, QrCode):
        of = f" of {change.of}" if change.of else ""
        return f"QR code {change.n}{of} is ready: scan it, or open /session/{session.phone}."
    if change.still:  # that it is restricted was said
        change = SessionState(state="connected")
    if change.state in TEXTS and (session.send_connection_status or change.state not in UNIMPORTANT):
        until = datetime.fromtimestamp(change.until, UTC).strftime(" Until %Y-%m-%d %H:%M UTC.") if change.until else ""
        return TEXTS[change.state] + until + (f" ({change.reason[:200]})" if change.reason else "")
    return None


def _media_id(event_id: str) -> str:
    """The id of an event's picture, digits only; the same event has the same picture."""
    return media_id_of(computed_id("qr", event_id))


def at_ms(occurred_at: str) -> int:
    """The time of an event in milliseconds; now when it has none."""
    try:
        return int(datetime.fromisoformat(occurred_at).timestamp() * 1000)
    except ValueError:
        return time.time_ns() // 1_000_000
