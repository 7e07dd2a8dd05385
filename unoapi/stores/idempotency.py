"""Idempotency keys of the last 24 hours."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from unoapi.models.claims import KeyState
from unoapi.stores.redis import DELETE_IF_OWN

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

TTL_S = 86_400
ACCEPTED = ":accepted"


class RedisIdempotency:
    """A key in Redis has the digest of its body, and later also that the request was accepted."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def claim(self, phone: str, key: str, *, digest: str) -> KeyState:
        """Take a key for a body, or get the state of one that is taken. Raises StoreUnavailable."""
        name = _name(phone, key)
        free, stored = self._redis.call(("SET", name, digest, "NX", "EX", TTL_S), ("GET", name))
        state = str(stored or digest)
        return KeyState(taken=not free, accepted=state == digest + ACCEPTED, other_body=not state.startswith(digest))

    def settle(self, phone: str, key: str, *, digest: str) -> None:
        """Remember that the request was accepted. Never raises, never waits."""
        self._redis.post(("SET", _name(phone, key), digest + ACCEPTED, "EX", TTL_S))

    def give_back(self, phone: str, key: str, *, digest: str) -> None:
        """Free the key of a request that was refused, unless another one was accepted under it. Never raises."""
        self._redis.post(("EVAL", DELETE_IF_OWN, 1, _name(phone, key), digest))


def _name(phone: str, key: str) -> str:
    return f"unoapi-idempotency:{phone}:{hashlib.sha256(key.encode()).hexdigest()}"
