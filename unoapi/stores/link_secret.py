"""The key that signs links to files: drawn once for an installation, the same in all its processes."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

KEY = "unoapi-link-secret"


class RedisLinkSecret:
    """The first process that needs the secret draws it. It has nothing to do with any token."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._secret = ""

    def read(self) -> str:
        """The secret. Raises StoreUnavailable until it was read once."""
        if not self._secret:
            _, secret = self._redis.call(("SET", KEY, secrets.token_hex(32), "NX"), ("GET", KEY))
            self._secret = str(secret)
        return self._secret
