"""What a session's own number is told about its connection."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from unoapi.models.connector import PairingCode, QrCode, SessionState

if TYPE_CHECKING:
    from unoapi.models.session import Session

UNDECRYPTABLE = "A message is here that cannot be shown yet. Open WhatsApp on the phone to read it."
STATUSES = {
    "starting": "connecting",
    "connecting": "connecting",
    "qr": "connecting",
    "pairing": "connecting",
    "connected": "online",
    "disconnected": "offline",
    "crashed": "offline",
    "stopped": "offline",
    "banned": "offline",
    "outdated": "offline",
    "replaced": "offline",
    "standby": "standby",
    "logged_out": "disconnected",
    "conflict": "disconnected",
}
"""The words that stand in `unoapi-status:<P>`, as in the former program."""
UNIMPORTANT = frozenset({"connecting", "connected"})
"""Told only with `sendConnectionStatus`; everything else always."""
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
    news: SessionState | QrCode | PairingCode, *, session: Session, event_id: str, at_ms: int
) -> dict[str, Any] | None:
    """A text from the number to itself; none for what nobody needs to know."""
    if isinstance(news, PairingCode):
        body = f"Pairing code: {news.code[:4]}-{news.code[4:]}" if news.code.isalnum() else f"Pairing code: {news.code}"
    elif isinstance(news, QrCode):
        of = f" of {news.of}" if news.of else ""
        body = f"QR code {news.n}{of} is ready: open /session/{session.phone} to scan it."
    elif news.state in TEXTS and (session.send_connection_status or news.state not in UNIMPORTANT):
        body = TEXTS[news.state] + (f" ({news.reason[:200]})" if news.reason else "")
    else:
        return None
    return {
        "from": session.phone,
        "id": f"UNO.NOT.{event_id.upper()}",
        "timestamp": str(at_ms // 1000),
        "type": "text",
        "text": {"body": body},
    }


def at_ms(occurred_at: str) -> int:
    """The time of an event in milliseconds; now when it tells none."""
    try:
        return int(datetime.fromisoformat(occurred_at).timestamp() * 1000)
    except ValueError:
        return time.time_ns() // 1_000_000
