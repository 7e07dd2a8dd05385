"""The keys by which a stored session is found by its other ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unoapi.models.session import Session
    from unoapi.stores.redis import Command

ALL = "unoapi-sessions"
"""The set of stored phones. A phone in it whose configuration is gone was lost, not removed."""
CHANGES = "unoapi-sessions-changed"
"""Counts the changes of stored sessions, so that who has read them all knows whether one is another now."""
ADD_STORED = "return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('SADD', KEYS[2], ARGV[1])"


def index_commands(session: Session) -> tuple[Command, ...]:
    """The commands that index a session."""
    nodes = {session.phone_number_id, session.waba_id} - {session.phone}
    return (("SADD", ALL, session.phone), *(("SADD", node_key(node), session.phone) for node in sorted(nodes)))


def reindex_commands(session: Session) -> tuple[Command, ...]:
    """The commands that index a session which was stored before, unless it was removed meanwhile."""
    _, *nodes = index_commands(session)
    return (("EVAL", ADD_STORED, 2, f"unoapi-config:{session.phone}", ALL, session.phone), *nodes)


def node_key(node: str) -> str:
    """The phones that a phone number id or a business account id may mean."""
    return f"unoapi-node:{node}"
