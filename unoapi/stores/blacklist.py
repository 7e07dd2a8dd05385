"""Contacts whose events a webhook does not get: `unoapi-blacklist:<P>:<webhook>:<contact>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.errors import RequestError, StoreUnavailable
from unoapi.models.contacts import contact_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unoapi.stores.redis import Command, RedisClient

MAX_BLOCKED = 10_000
PAGE = 1000


class RedisBlacklist:
    """The blacklist, in Redis alone, so that every process sees the same. With Redis away nobody is blocked."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def blocking(self, phone: str, webhook_ids: Sequence[str], contact: str) -> set[str]:
        """The webhooks, out of these, that get no events of the contact. Never raises; it fails open."""
        if not webhook_ids or not contact:
            return set()
        try:
            (values,) = self._redis.call(("MGET", *(_key(phone, webhook_id, contact) for webhook_id in webhook_ids)))
        except StoreUnavailable:
            return set()
        return {webhook_id for webhook_id, value in zip(webhook_ids, values, strict=True) if value is not None}

    def put(self, phone: str, webhook_id: str, contact: str, *, ttl_s: int) -> None:
        """Block for `ttl_s` seconds; 0 ends it, below 0 is for ever. Raises StoreUnavailable."""
        self._redis.call(_command(phone, webhook_id, contact, ttl_s))

    def mute(self, phone: str, contact: str, seconds: Mapping[str, int]) -> None:
        """Block a contact, for each webhook id so many seconds. Never raises, never waits."""
        if contact and seconds:
            self._redis.post(*(_command(phone, webhook_id, contact, ttl_s) for webhook_id, ttl_s in seconds.items()))

    def block(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> None:
        """Block users for all these webhooks until they are unblocked.

        Raises RequestError when there would be too many, StoreUnavailable.
        """
        keys = [contact_key(contact) for contact in contacts]
        (count,) = self._redis.call(("SCARD", _blocked_key(phone)))
        if int(count) + len(keys) > MAX_BLOCKED:
            details = f"A number blocks at most {MAX_BLOCKED} users; {count} are blocked. Nobody was changed."
            raise RequestError("Too many blocked users", code=100, status=400, details=details)
        commands = [_command(phone, webhook_id, contact, -1) for webhook_id in webhook_ids for contact in keys]
        self._redis.call(*commands, ("SADD", _blocked_key(phone), *keys))

    def unblock(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> None:
        """Unblock users. Raises StoreUnavailable."""
        keys = [contact_key(contact) for contact in contacts]
        commands = [_command(phone, webhook_id, contact, 0) for webhook_id in webhook_ids for contact in keys]
        self._redis.call(*commands, ("SREM", _blocked_key(phone), *keys))

    def blocked(self, phone: str) -> list[str]:
        """The users that were blocked for all webhooks, as many as may be. Raises StoreUnavailable.

        In pages, so that no answer is large enough to hold up what others ask of Redis.
        """
        cursor, contacts = "0", set[str]()
        while len(contacts) < MAX_BLOCKED:
            ((cursor, members),) = self._redis.call(("SSCAN", _blocked_key(phone), cursor, "COUNT", PAGE))
            contacts.update(members)
            if str(cursor) == "0":
                break
        return sorted(contacts)[:MAX_BLOCKED]


def _command(phone: str, webhook_id: str, contact: str, ttl_s: int) -> Command:
    key = _key(phone, webhook_id, contact)
    if ttl_s == 0:
        return ("DEL", key)
    return ("SET", key, "1") if ttl_s < 0 else ("SET", key, "1", "EX", ttl_s)


def _key(phone: str, webhook_id: str, contact: str) -> str:
    return f"unoapi-blacklist:{phone}:{webhook_id}:{contact_key(contact)}"


def _blocked_key(phone: str) -> str:
    return f"unoapi-blocked:{phone}"
