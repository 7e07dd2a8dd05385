"""The request bins: `unoapi-bin:<P>`, a list of JSON, the newest first: bounded in count, size and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from unoapi.models.request_bin import BinnedRequest

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

MAX_REQUESTS = 30
MAX_BODY_CHARS = 16_384
TTL_S = 3600


class RedisRequestBin:
    """The last requests of each number's bin."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def add(self, phone: str, request: BinnedRequest) -> None:
        """Keep a request. Raises StoreUnavailable."""
        key, kept = bin_key(phone), request.model_copy(update={"body": request.body[:MAX_BODY_CHARS]})
        self._redis.call(
            ("LPUSH", key, kept.model_dump_json()), ("LTRIM", key, 0, MAX_REQUESTS - 1), ("EXPIRE", key, TTL_S)
        )

    def read(self, phone: str, *, after: int = 0) -> list[BinnedRequest]:
        """The requests that came after the one with this number, the oldest first. Raises StoreUnavailable."""
        (texts,) = self._redis.call(("LRANGE", bin_key(phone), 0, -1))
        requests = [request for text in texts if (request := _unpacked(text)) is not None and request.seq > after]
        return sorted(requests, key=lambda request: request.seq)


def _unpacked(text: str) -> BinnedRequest | None:
    """The request, or none: one of another version is no reason to hide the others."""
    try:
        return BinnedRequest.model_validate_json(text)
    except ValidationError:
        return None


def bin_key(phone: str) -> str:
    """The key of a number's requests."""
    return f"unoapi-bin:{phone}"
