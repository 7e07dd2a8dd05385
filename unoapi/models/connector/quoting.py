"""What an answer repeats of the message that it answers to: WhatsApp has no server that knows it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from unoapi.models.connector.content import Base

MAX_CHARS = 1024
MAX_OPTIONS = 20


class Quoted(Base):
    """A message as far as an answer shows it. `options` are those of a poll, in order: votes name them by hashes.

    `server_id` is the number that a channel's message has there, by which a reaction names it; `sent_ms` is when the
    number sent it, for its own ones.
    """

    kind: str = Field(default="", max_length=50)
    text: str = Field(default="", max_length=MAX_CHARS)
    voice: bool = False
    options: tuple[str, ...] = Field(default=(), max_length=MAX_OPTIONS)
    sender: str = Field(default="", max_length=100)
    from_me: bool = False
    server_id: int = 0
    sent_ms: int = 0


def quoted_of(content: dict[str, Any], *, sender: str = "", from_me: bool = False, server_id: int = 0) -> Quoted | None:
    """What to keep of a content; none of what cannot be answered to."""
    kind = str(content.get("kind") or "")
    if kind == "edit":
        inner = content.get("content")
        marks: dict[str, Any] = {"sender": sender, "from_me": from_me, "server_id": server_id}
        return quoted_of(inner, **marks) if isinstance(inner, dict) else None
    if kind in ("", "pin", "protocol", "revoke", "reaction", "poll_vote", "unsupported"):
        return None
    options = content.get("options") if kind == "poll" else None
    return Quoted(
        kind=kind[:50],
        text=_text(kind, content)[:MAX_CHARS],
        voice=bool(content.get("voice")),
        options=tuple(str(option)[:MAX_CHARS] for option in options[:MAX_OPTIONS]) if isinstance(options, list) else (),
        sender=sender[:100],
        from_me=from_me,
        server_id=server_id,
    )


def _text(kind: str, content: dict[str, Any]) -> str:
    if kind == "contacts":
        cards = content.get("contacts")
        names = [str(card.get("name") or "") for card in cards if isinstance(card, dict)] if cards else []
        return ", ".join(name for name in names if name)
    fields = ("filename", "caption") if kind == "document" else ("body", "caption", "title", "text", "name", "address")
    return next((text for name in fields if isinstance(text := content.get(name), str) and text), "")
