"""The keys by which a stored session is found by its other ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.stores.connections import connection_key, status_key

if TYPE_CHECKING:
    from unoapi.models.session import Session
    from unoapi.stores.redis import Command

ALL = "unoapi-sessions"
"""The set of stored phones. A phone in it whose configuration is gone was lost, not removed."""
CHANGES = "unoapi-sessions-changed"
"""Counts the changes of stored sessions, so that who has read them all knows whether one is another now."""
ADD_STORED = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('DEL', KEYS[4]) end
redis.call('PERSIST', KEYS[1])
redis.call('PERSIST', KEYS[5])
return redis.call('SADD', KEYS[2], ARGV[1])
"""
"""Index a phone, and forget a status that no connector of ours recorded: the Node version is no more connected.

Its configuration and its templates stay: with `SESSION_TTL` the Node version lets them expire.
"""


def index_commands(session: Session) -> tuple[Command, ...]:
    """The commands that index a session."""
    nodes = {session.phone_number_id, session.waba_id} - {session.phone}
    return (("SADD", ALL, session.phone), *(("SADD", node_key(node), session.phone) for node in sorted(nodes)))


def reindex_commands(session: Session) -> tuple[Command, ...]:
    """The commands that index a session which was stored before, unless it was removed meanwhile."""
    _, *nodes = index_commands(session)
    phone = session.phone
    stored = (f"unoapi-config:{phone}", f"unoapi-template:{phone}")
    keys = (stored[0], ALL, connection_key(phone), status_key(phone), stored[1])
    return (("EVAL", ADD_STORED, len(keys), *keys, session.phone), *nodes)


def node_key(node: str) -> str:
    """The phones that a phone number id or a business account id may mean."""
    return f"unoapi-node:{node}"
