"""Sessions found by what is not their phone: a phone number id, a business account id, a token."""

from __future__ import annotations

import hmac
import threading
import time
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.stores.session_index import ALL, index_commands, node_key
from unoapi.stores.sessions import AT_ONCE, MAX_CACHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.session import Session
    from unoapi.stores.redis import RedisClient
    from unoapi.stores.sessions import RedisSessions

FRESH_S = 0.5
"""What was found stays so for this time; a session that changed is seen within a second."""


class RedisSessionDirectory:
    """An index over the stored sessions. Sessions that were stored without it are taken in once per process."""

    def __init__(self, store: RedisClient, sessions: RedisSessions) -> None:
        self._store = store
        self._sessions = sessions
        self._nodes: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._snapshot: tuple[float, list[Session]] = (float("-inf"), [])
        self._complete = False
        self._lock = threading.Lock()

    def phones_of(self, node: str) -> tuple[str, ...]:
        """The phones that an id means, at least one: the phone itself, a phone number id, a business account id.

        An id that nothing is known of means itself: it may be a phone that the environment serves. Never raises.
        """
        if self._sessions.is_known(node):
            return (node,)
        seen = self._nodes.get(node)
        if seen is not None and time.monotonic() - seen[0] < FRESH_S:
            return seen[1]
        try:
            phones = self._look_up(node)
        except StoreUnavailable:
            return seen[1] if seen is not None else (node,)
        if len(self._nodes) >= MAX_CACHED:
            self._nodes.clear()
        self._nodes[node] = (time.monotonic(), phones)
        return phones

    def all(self) -> list[Session]:
        """All stored sessions, by phone. Raises StoreUnavailable."""
        at, sessions = self._snapshot
        if time.monotonic() - at < FRESH_S:
            return sessions
        self._take_in()
        (phones,) = self._store.call(("SMEMBERS", ALL))
        sessions = self._sessions.many(sorted(phones))
        self._snapshot = (time.monotonic(), sessions)
        return sessions

    def opened_by(self, token: str) -> list[Session]:
        """The sessions that a token opens. Raises StoreUnavailable."""
        given = _bytes(token)
        return [
            session
            for session in self.all()
            if (own := session.auth_token.get_secret_value()) and hmac.compare_digest(_bytes(own), given)
        ]

    def statuses(self, phones: Sequence[str]) -> dict[str, str]:
        """What the connectors say of their numbers; those that nothing is known of are left out. Never raises."""
        if not phones:
            return {}
        try:
            (found,) = self._store.call(("MGET", *(f"unoapi-status:{phone}" for phone in phones)))
        except StoreUnavailable:
            return {}
        return {phone: str(status) for phone, status in zip(phones, found, strict=True) if status}

    def _look_up(self, node: str) -> tuple[str, ...]:
        stored, members = self._store.call(("SISMEMBER", ALL, node), ("SMEMBERS", node_key(node)))
        if not stored and not members and self._take_in():
            stored, members = self._store.call(("SISMEMBER", ALL, node), ("SMEMBERS", node_key(node)))
        if stored:
            return (node,)
        meant = [session.phone for session in self._sessions.many(sorted(members)) if session.answers_to(node)]
        return tuple(meant) or (node,)

    def _take_in(self) -> bool:
        """Index what is stored already, once: it may be the former program's. Whether it had to."""
        with self._lock:
            if self._complete:
                return False
            commands = [
                command
                for session in self._sessions.many(self._sessions.phones())
                for command in index_commands(session)
            ]
            for start in range(0, len(commands), AT_ONCE):
                self._store.call(*commands[start : start + AT_ONCE])
            self._complete = True
            return True


def _bytes(token: str) -> bytes:
    """Also of what is no valid text: one session's token must not break the look at all others."""
    return token.encode("utf-8", "surrogatepass")
