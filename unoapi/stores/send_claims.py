"""Claims of sends: who may send a message, and the outcome."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from unoapi.models.claims import Claim
from unoapi.models.jobs import now_ms
from unoapi.models.receipts import Receipt

if TYPE_CHECKING:
    from unoapi.models.jobs import SendMessage
    from unoapi.stores.redis import RedisClient

LEASE_MS = 60_000
"""Longer than any provider may take to send; after it the outcome of an unfinished send is unknown."""


class RedisSendClaims:
    """Claims of sends. A claim is a lease: an unfinished one that ran out means an unknown outcome."""

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    def claim(self, job: SendMessage) -> Claim:
        """Ask for the right to send. Raises StoreUnavailable."""
        claim = json.dumps({"until_ms": now_ms() + LEASE_MS})
        taken, stored = self._redis.call(
            ("SET", _send_key(job), claim, "NX", "EX", self._ttl_s), ("GET", _send_key(job))
        )
        if taken:
            return Claim(free=True)
        try:
            state = json.loads(stored or "{}")
            if "receipt" in state:
                return Claim(receipt=Receipt.model_validate(state["receipt"]))
            left_ms = int(state.get("until_ms", 0)) - now_ms()
        except (ValueError, TypeError, AttributeError):  # not in our form: the outcome is unknown
            left_ms = 0
        return Claim(busy_ms=left_ms) if left_ms > 0 else Claim(lost=True)

    def settle(self, job: SendMessage, receipt: Receipt) -> None:
        """Save the outcome. Raises StoreUnavailable."""
        state = json.dumps({"receipt": receipt.model_dump(mode="json")})
        self._redis.call(("SET", _send_key(job), state, "EX", self._ttl_s))

    def release(self, job: SendMessage) -> None:
        """Give the right back. Raises StoreUnavailable."""
        self._redis.call(("DEL", _send_key(job)))


def _send_key(job: SendMessage) -> str:
    return f"unoapi-send:{job.phone}:{job.id}"
