"""The keys by which a stored session is found by its other ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unoapi.models.session import Session
    from unoapi.stores.redis import Command

ALL = "unoapi-sessions"
"""The set of stored phones; to scan all keys of Redis takes too long for a request."""


def index_commands(session: Session) -> tuple[Command, ...]:
    """The commands that index a session."""
    nodes = {session.phone_number_id, session.waba_id} - {session.phone}
    return (("SADD", ALL, session.phone), *(("SADD", node_key(node), session.phone) for node in sorted(nodes)))


def node_key(node: str) -> str:
    """The phones that a phone number id or a business account id may mean."""
    return f"unoapi-node:{node}"
