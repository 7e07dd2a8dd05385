"""Contacts whose events a webhook does not get: `unoapi-blacklist:<P>:<webhook>:<contact>`.

`unoapi-blacklisted:<P>` counts them, by the second in which each ends.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from unoapi.errors import RequestError, StoreUnavailable
from unoapi.models.contacts import contact_key, contact_keys
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unoapi.stores.redis import Command, RedisClient

log = get_logger(__name__)

MAX_BLOCKED = 10_000
MAX_ENTRIES = 20_000
"""Contacts on the blacklists of a number's webhooks, those included that it mutes by writing to them."""
PAGE = 1000
PUT = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) and not redis.call('ZSCORE', KEYS[1], ARGV[3]) then return 0 end
local ttl_s = tonumber(ARGV[4])
redis.call('ZADD', KEYS[1], ttl_s < 0 and '+inf' or ARGV[1] + ttl_s, ARGV[3])
if ttl_s < 0 then redis.call('SET', KEYS[2], '1') else redis.call('SET', KEYS[2], '1', 'EX', ttl_s) end
return 1
"""
"""Add an entry, by its end in seconds, unless there are too many that have not ended. Whether it was added."""


class RedisBlacklist:
    """The blacklist, in Redis alone, so that every process sees the same. With Redis away nobody is blocked."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def blocking(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> set[str]:
        """The webhooks, out of these, that get no events of any of the contacts. Never raises; it fails open."""
        return {webhook_id for webhook_id, _ in self._entries(phone, webhook_ids, contacts)}

    def blocked_by_any(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> set[str]:
        """The contacts, out of these, whose events a webhook does not get. Never raises; it fails open."""
        return {contact for _, contact in self._entries(phone, webhook_ids, contacts)}

    def _entries(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The entries there are, each a webhook and a contact out of these; none while Redis is away."""
        entries = [(webhook_id, contact) for webhook_id in webhook_ids for contact in contacts]
        if not entries:
            return
        try:
            (values,) = self._redis.call(("MGET", *blocking_keys(phone, webhook_ids, contacts)))
        except StoreUnavailable:
            return
        yield from (entry for entry, value in zip(entries, values, strict=True) if value is not None)

    def put(self, phone: str, webhook_id: str, contact: str, *, ttl_s: int) -> None:
        """Block for `ttl_s` seconds; 0 ends it, below 0 is for ever.

        Raises RequestError when there would be too many, StoreUnavailable.
        """
        if ttl_s == 0:
            entries = [_entry(webhook_id, key) for key in contact_keys(contact)]
            self._redis.call(*(command for entry in entries for command in _removal(phone, entry)))
            return
        (added,) = self._redis.call(_put(phone, webhook_id, contact, ttl_s))
        if not added:
            details = f"The blacklists of a number have at most {MAX_ENTRIES} contacts: take some off first."
            raise RequestError("Too many contacts on the blacklist", code=100, status=400, details=details)

    def mute(self, phone: str, contact: str, seconds: Mapping[str, int]) -> None:
        """Block a contact, for each webhook id so many seconds. Never raises, never waits.

        With too many the log says so, and the contact is not blocked.
        """

        def report(results: list[Any]) -> None:
            if not all(results):
                log.warning("blacklist_full", phone=phone, hint=f"a number has at most {MAX_ENTRIES} entries")

        muted = [_put(phone, webhook_id, contact, ttl_s) for webhook_id, ttl_s in seconds.items()]
        if contact and muted:
            self._redis.post(*muted, on_results=report)

    def block(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> None:
        """Block users for all these webhooks until they are unblocked.

        Raises RequestError when there would be too many, StoreUnavailable.
        """
        keys = [contact_key(contact) for contact in contacts]
        (count,) = self._redis.call(("SCARD", _blocked_key(phone)))
        if int(count) + len(keys) > MAX_BLOCKED:
            details = f"A number blocks at most {MAX_BLOCKED} users; {count} are blocked. Nobody was changed."
            raise RequestError("Too many blocked users", code=100, status=400, details=details)
        names = [_key(phone, _entry(webhook_id, contact)) for webhook_id in webhook_ids for contact in keys]
        commands = [("SET", name, "1") for name in names]
        self._redis.call(*commands, ("SADD", _blocked_key(phone), *keys))

    def unblock(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> None:
        """Unblock users. Raises StoreUnavailable."""
        keys = [key for contact in contacts for key in contact_keys(contact)]
        entries = [_entry(webhook_id, contact) for webhook_id in webhook_ids for contact in keys]
        commands = [command for entry in entries for command in _removal(phone, entry)]
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


def blocking_keys(phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> list[str]:
    """The keys that are there while a webhook gets no events of a contact."""
    return [_key(phone, _entry(webhook_id, contact)) for webhook_id in webhook_ids for contact in contacts]


def _put(phone: str, webhook_id: str, contact: str, ttl_s: int) -> Command:
    entry = _entry(webhook_id, contact)
    return ("EVAL", PUT, 2, _entries_key(phone), _key(phone, entry), int(time.time()), MAX_ENTRIES, entry, ttl_s)


def _removal(phone: str, entry: str) -> tuple[Command, Command]:
    return ("ZREM", _entries_key(phone), entry), ("DEL", _key(phone, entry))


def _entry(webhook_id: str, contact: str) -> str:
    return f"{webhook_id}:{contact_key(contact)}"


def _key(phone: str, entry: str) -> str:
    return f"unoapi-blacklist:{phone}:{entry}"


def _entries_key(phone: str) -> str:
    return f"unoapi-blacklisted:{phone}"


def _blocked_key(phone: str) -> str:
    return f"unoapi-blocked:{phone}"
