"""Who runs a session: a lease in Redis, so that two connectors never use one login. Orders for other connectors."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING

from pydantic import ValidationError

from unoapi.errors import StoreUnavailable
from unoapi.models.connector.commands import Command
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

log = get_logger(__name__)

LEASE_MS = 30_000
RENEW_S = 10.0
ASKED_TTL_S = 300
_RENEW = """
local holder = redis.call('GET', KEYS[1])
if not holder then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
return 0
"""
_GIVE_BACK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Leases:
    """The leases of one connector.

    While Redis does not answer, a running session goes on: the session's queue has one consumer at a time, and
    WhatsApp itself ends the older of two connections with one login.
    """

    def __init__(self, store: RedisClient, server: str) -> None:
        self._store = store
        self._server = server
        self._owner = f"{server}:{secrets.token_hex(8)}"
        self._renewed = 0.0

    def take(self, phone: str) -> bool:
        """Become the one who runs a session. Also when Redis does not answer: see above."""
        try:
            (mine,) = self._store.call(("EVAL", _RENEW, 1, _key(phone), self._owner, LEASE_MS))
        except StoreUnavailable:
            return True
        return bool(mine)

    def renew(self, phones: list[str]) -> list[str]:
        """Every ten seconds; the phones that somebody else runs now."""
        now = time.monotonic()
        if now - self._renewed < RENEW_S or not phones:
            return []
        self._renewed = now
        try:
            mine = self._store.call(*(("EVAL", _RENEW, 1, _key(phone), self._owner, LEASE_MS) for phone in phones))
        except StoreUnavailable:
            log.warning("leases_not_renewed", hint="check Redis; the sessions go on")
            return []
        return [phone for phone, held in zip(phones, mine, strict=True) if not held]

    def give_back(self, phone: str) -> None:
        """Let another connector run the session."""
        self._store.post(("EVAL", _GIVE_BACK, 1, _key(phone), self._owner))

    def hold(self, phone: str) -> None:
        """Nobody shall start the session until somebody asks for it, other connectors and later ones included."""
        self._store.post(("SET", _held_key(phone), "1"))

    def free(self, phone: str) -> None:
        """Somebody has asked for the session."""
        self._store.post(("DEL", _held_key(phone)))

    def held(self, phones: list[str]) -> set[str]:
        """Those that nobody shall start. None when Redis does not answer."""
        if not phones:
            return set()
        try:
            (marks,) = self._store.call(("MGET", *(_held_key(phone) for phone in phones)))
        except StoreUnavailable:
            return set()
        return {phone for phone, mark in zip(phones, marks, strict=True) if mark}

    def elsewhere(self, phone: str) -> str:
        """The other connector that runs a session; empty when none does, or nobody knows."""
        try:
            (holder,) = self._store.call(("GET", _key(phone)))
        except StoreUnavailable:
            return ""
        return str(holder) if holder and holder != self._owner else ""

    def hand_over(self, command: Command, server: str) -> None:
        """Leave a command for a connector: any one of that name, or the one that `elsewhere` told.

        Raises StoreUnavailable.
        """
        key = _asked_key(server)
        self._store.call(("RPUSH", key, command.model_dump_json()), ("EXPIRE", key, ASKED_TTL_S))

    def asked(self) -> list[Command]:
        """Commands that other connectors left for this one."""
        try:
            found = self._store.call(*(("LPOP", _asked_key(name), 100) for name in (self._server, self._owner)))
        except StoreUnavailable:
            return []
        commands = []
        for text in (each for part in found for each in part or []):
            try:
                commands.append(Command.model_validate(json.loads(text)))
            except (ValueError, ValidationError):
                continue
        return commands


def _key(phone: str) -> str:
    return f"unoapi-connector-lease:{phone}"


def _held_key(phone: str) -> str:
    return f"unoapi-connector-held:{phone}"


def _asked_key(server: str) -> str:
    return f"unoapi-connector-asked:{server}"
