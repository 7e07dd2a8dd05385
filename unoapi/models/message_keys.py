"""Where a message stands in WhatsApp."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

MIN_ID_BYTES = 16
_BEFORE_TOKEN = re.compile(r"\x15[\x00-\x7f]{1,3}?[\x11\x12]\x18([\x08-\x7f])")
_TOKEN = re.compile(r"[0-9A-Za-z]{8,127}")

OWN_IDS = ("wamid.", "UNO.")
"""How the ids begin that this gateway makes."""
UNREADABLE = "UNO.UND."
"""How the ids begin of what is told in the place of a contact's message that cannot be read."""
NOTICES = ("UNO.NOT.", "UNO.CALL.", "UNO.QR.")
"""How the ids begin of what is told and stands in no chat: news of a connection, calls, codes to scan."""
SENT_HERE = re.compile(r"wamid\.[0-9A-F]{32}")
"""Ids of what clients of this gateway sent, as a whole."""
MADE_HERE = re.compile(
    r"wamid\.[0-9A-F]{32}|UNO\.[\x21-\x7e]*|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)
"""Ids of this gateway, of the Node version and of its fork, as a whole: Meta makes none of these forms."""


@dataclass(frozen=True)
class MessageKey:
    """Where a message stands in WhatsApp: what an answer, a reaction, a mark or a deletion must name."""

    id: str
    chat: str
    participant: str = ""
    from_me: bool = False


def message_token(message_id: str) -> str:
    """What identifies a message in an id of Meta's (`wamid.…`); empty in any other id.

    The other side of the conversation is part of such an id, as a phone or as a user id, so that the same message has
    several: base64 of 0x1C, 0x18 and a text that names somebody, then 0x18 and the token, each with its length.
    """
    try:
        raw = base64.b64decode(message_id.removeprefix("wamid."), validate=True).decode("latin-1")
    except ValueError:
        return ""
    if not message_id.startswith("wamid.") or raw[:2] != "\x1c\x18" or len(raw) < MIN_ID_BYTES:
        return ""
    rest = _BEFORE_TOKEN.match(raw, 3 + ord(raw[2]))
    token = raw[rest.end() : rest.end() + ord(rest[1])] if rest else ""
    return token if rest and len(token) == ord(rest[1]) and _TOKEN.fullmatch(token) else ""
