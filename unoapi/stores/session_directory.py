"""Finding sessions by something else than their phone: a phone number id, a business account id, a token."""

from __future__ import annotations

import hmac
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.stores.connections import RUNNING, connection_key, is_left, lease_key, status_key
from unoapi.stores.session_index import ALL, node_key, reindex_commands
from unoapi.stores.sessions import AT_ONCE, MAX_CACHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.session import Session
    from unoapi.stores.redis import RedisClient
    from unoapi.stores.sessions import RedisSessions, Seen

FRESH_S = 0.5
"""Results are cached for this time; a session that changed is seen within a second."""
RELOAD_S = 10.0
"""All are read again after so long, also when none was changed by us: somebody may write into Redis by hand."""
COUNTED_S = 30.0
"""A count for Prometheus may be so old."""
MAX_NODE_CHARS = 64
"""No id is longer. Callers name ids in bodies of callbacks, too: what is cached of them must not fill the memory."""
MISSED_S, LONGEST_PAUSE_S = 0.05, 1.0
PAUSE_RATIO = 20
"""A token that was not found may have been registered just now, so all sessions are read again; but anybody may send
such tokens, so between two readings is a pause of so many times what one takes, within these bounds."""


class RedisSessionDirectory:
    """An index over the stored sessions. Those that were stored without it are indexed once per process."""

    def __init__(self, redis: RedisClient, sessions: RedisSessions) -> None:
        self._redis = redis
        self._sessions = sessions
        self._nodes: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._snapshot: list[Session] = []
        self._read_at = self._checked_at = float("-inf")
        self._changes: str | None = None
        self._seen: dict[str, Seen] = {}
        self._loading_took_s = 0.0
        self._complete = False
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def phones_of(self, node: str) -> tuple[str, ...]:
        """The phones of an id, at least one. The id is a phone, a phone number id or a business account id.

        An unknown id stands for itself: it may be a phone that the environment serves. Never raises.
        """
        if self._sessions.is_known(node) or len(node) > MAX_NODE_CHARS:
            return (node,)
        cached = self._nodes.get(node)
        if cached is not None and time.monotonic() - cached[0] < FRESH_S:
            return cached[1]
        try:
            phones = self._look_up(node)
        except StoreUnavailable:
            return cached[1] if cached is not None else (node,)
        if len(self._nodes) >= MAX_CACHED:
            self._nodes.clear()
        self._nodes[node] = (time.monotonic(), phones)
        return phones

    def sessions_of(self, node: str) -> list[Session]:
        """The stored sessions that answer to an id, as they are now. Raises StoreUnavailable."""
        self._index_stored()
        (members,) = self._redis.call(("SMEMBERS", node_key(node)))
        return [session for session in self._sessions.many(sorted({node, *members})) if session.answers_to(node)]

    def all(self) -> list[Session]:
        """All stored sessions, by phone. Raises StoreUnavailable."""
        return self._loaded(within_s=FRESH_S)

    def _loaded(self, *, within_s: float) -> list[Session]:
        """All stored sessions as they were at most so long ago, as far as we changed them."""
        with self._loading:
            if (now := time.monotonic()) - self._checked_at < within_s:
                return self._snapshot
            changes = self._sessions.changes()  # before the sessions: a change that comes meanwhile is seen next time
            if changes == self._changes and now - self._read_at < RELOAD_S:
                self._checked_at = now
                return self._snapshot
            return self._read(changes)

    def _loaded_anew(self, *, within_s: float) -> list[Session]:
        """All stored sessions as they were at most so long ago, whoever changed them."""
        with self._loading:
            if time.monotonic() - self._read_at < within_s:
                return self._snapshot
            return self._read(self._sessions.changes())

    def _read(self, changes: str) -> list[Session]:
        """Read all: one caller does, the others take what it got."""
        began = time.monotonic()
        self._index_stored()
        (phones,) = self._redis.call(("SMEMBERS", ALL))
        self._seen = self._sessions.read_again(sorted(phones), self._seen)
        self._snapshot = [seen.session for seen in self._seen.values() if seen.session is not None]
        self._changes = changes
        self._read_at = self._checked_at = now = time.monotonic()
        self._loading_took_s = now - began
        return self._snapshot

    def opened_by(self, token: str) -> list[Session]:
        """The sessions that a token opens. Raises StoreUnavailable."""
        if _opened(self._snapshot, token):
            return _opened(self._loaded(within_s=FRESH_S), token)
        return _opened(self._loaded_anew(within_s=self._pause_s), token)

    @property
    def _pause_s(self) -> float:
        return min(max(MISSED_S, PAUSE_RATIO * self._loading_took_s), LONGEST_PAUSE_S)

    def opened_lately(self, token: str) -> list[Session]:
        """The same among the sessions that were loaded last: costs Redis nothing. Raises StoreUnavailable."""
        return _opened(self._snapshot, token) if self._read_at > 0 else self.opened_by(token)

    def statuses(self, phones: Sequence[str]) -> dict[str, str]:
        """The statuses that the connectors recorded; phones without one are left out. Never raises.

        A phone that was online or connecting, and that no connector runs any more, is offline: nobody could record
        its end.
        """
        if not phones:
            return {}
        try:
            recorded, leases = self._redis.call(("MGET", *map(status_key, phones)), ("MGET", *map(lease_key, phones)))
            statuses = {phone: str(status) for phone, status in zip(phones, recorded, strict=True) if status}
            leased = {phone for phone, owner in zip(phones, leases, strict=True) if owner}
            orphans = [phone for phone, status in statuses.items() if status in RUNNING and phone not in leased]
            times = self._redis.call(*(("HGET", connection_key(phone), "at") for phone in orphans)) if orphans else ()
        except StoreUnavailable:
            return {}
        left = {
            phone
            for phone, at_ms in zip(orphans, times, strict=True)
            if is_left(statuses[phone], leased=False, at_ms=int(at_ms or 0))
        }
        return {phone: "offline" if phone in left else status for phone, status in statuses.items()}

    def count_phones(self) -> dict[str, int]:
        """The stored sessions that a connector should keep connected, by their status. Raises StoreUnavailable."""
        wanted = [
            session.phone
            for session in self._loaded(within_s=COUNTED_S)
            if session.provider == "whatsmeow" and session.auto_connect
        ]
        statuses = self.statuses(wanted)
        return Counter(statuses.get(phone, "disconnected") for phone in wanted)

    def _look_up(self, node: str) -> tuple[str, ...]:
        stored, members = self._redis.call(("SISMEMBER", ALL, node), ("SMEMBERS", node_key(node)))
        if not stored and not members and self._index_stored():
            stored, members = self._redis.call(("SISMEMBER", ALL, node), ("SMEMBERS", node_key(node)))
        if stored:
            return (node,)
        phones = [session.phone for session in self._sessions.many(sorted(members)) if session.answers_to(node)]
        return tuple(phones) or (node,)

    def _index_stored(self) -> bool:
        """Index the sessions that are stored already, once (they may be the Node version's). Whether this call did."""
        with self._lock:
            if self._complete:
                return False
            commands = [
                command
                for session in self._sessions.many(self._sessions.phones())
                for command in reindex_commands(session)
            ]
            for start in range(0, len(commands), AT_ONCE):
                self._redis.call(*commands[start : start + AT_ONCE])
            self._complete = True
            return True


def _opened(sessions: Sequence[Session], token: str) -> list[Session]:
    given, now_s = _bytes(token), time.time()
    return [
        session
        for session in sessions
        if any(hmac.compare_digest(_bytes(own), given) for own in session.tokens_at(now_s))
    ]


def _bytes(token: str) -> bytes:
    """Also of a token that is no valid text: it must not break the comparison with all others."""
    return token.encode("utf-8", "surrogatepass")
