"""Where a message stands in WhatsApp."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MessageKey:
    """Where a message stands in WhatsApp: what an answer, a reaction, a mark or a deletion must name."""

    id: str
    chat: str
    participant: str = ""
    from_me: bool = False
