"""Which of WhatsApp's message ids is which of ours: `unoapi-id:<P>:<id>`. The pairs may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.stores.owed import OwedCommands

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient


class RedisMessageIds:
    """Pairs of WhatsApp's message ids and ours.

    What Redis did not take is written when it is next asked: the statuses of a message that was sent during a hiccup
    come later, and have no other way to its client's id.
    """

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._owed = OwedCommands(redis)

    def remember(self, phone: str, *, theirs: str, ours: str) -> None:
        """Save a pair, both ways. Never raises, never waits."""
        self._owed.post(
            ("SET", f"unoapi-id:{phone}:{theirs}", ours, "EX", self._ttl_s),
            ("SET", f"unoapi-id:{phone}:{ours}", theirs, "EX", self._ttl_s),
        )

    def remember_ours(self, phone: str, *, theirs: str, ours: str) -> None:
        """Save which of ours one of theirs is, for a provider that needs no more. Never raises, never waits."""
        self._owed.post(("SET", f"unoapi-id:{phone}:{theirs}", ours, "EX", self._ttl_s))

    def ours(self, phone: str, theirs: str) -> str:
        """Our id, or theirs when no pair is known. Never raises."""
        try:
            return self._other(phone, theirs)
        except StoreUnavailable:
            return theirs

    def theirs(self, phone: str, ours: str) -> str:
        """Their id, or ours when no pair is known. Raises StoreUnavailable."""
        return self._other(phone, ours)

    def _other(self, phone: str, message_id: str) -> str:
        (other,) = self._redis.call(("GET", f"unoapi-id:{phone}:{message_id}"))
        self._owed.settle()
        return str(other) if other else message_id
