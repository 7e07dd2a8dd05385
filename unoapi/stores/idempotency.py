"""Idempotency keys of the last 24 hours."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from unoapi.models.claims import KeyState

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

KEPT_S = 86_400
ACCEPTED = ":accepted"


class RedisIdempotency:
    """A key holds the digest of its body, and later that the request was accepted."""

    def __init__(self, store: RedisClient) -> None:
        self._store = store

    def claim(self, phone: str, key: str, *, digest: str) -> KeyState:
        """Take a key for a body, or learn what it stands for already. Raises StoreUnavailable."""
        name = _name(phone, key)
        free, held = self._store.call(("SET", name, digest, "NX", "EX", KEPT_S), ("GET", name))
        known = str(held or digest)
        return KeyState(taken=not free, accepted=known == digest + ACCEPTED, other_body=not known.startswith(digest))

    def settle(self, phone: str, key: str, *, digest: str) -> None:
        """Remember, soon, that the request was accepted. Never raises."""
        self._store.post(("SET", _name(phone, key), digest + ACCEPTED, "EX", KEPT_S))


def _name(phone: str, key: str) -> str:
    return f"unoapi-idempotency:{phone}:{hashlib.sha256(key.encode()).hexdigest()}"
