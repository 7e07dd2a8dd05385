"""Leases in Redis: only one connector runs a session, so that two never use one login.

Beside them stand the sessions that are suspended, and the commands that one connector forwards to another.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Protocol

from unoapi.broker.connector_commands import parse_command
from unoapi.errors import InvalidCommand, StoreUnavailable
from unoapi.stores.connections import lease_key
from unoapi.stores.redis import DELETE_IF_OWN
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.models.connector.commands import ConnectorCommand
    from unoapi.stores.redis import RedisClient

log = get_logger(__name__)

LEASE_MS = 30_000
RENEW_S = 10.0
FORWARDED_TTL_S = 300
_RENEW = """
local owner = redis.call('GET', KEYS[1])
if not owner then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
if owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
return 0
"""


class Leases(Protocol):
    """What the supervisor and the router of one connector need of its leases."""

    def take(self, phone: str) -> bool:
        """Whether this connector may run the session. Who has the lease may ask again."""

    def renew(self, phones: list[str]) -> list[str]:
        """Renew the leases, at most every ten seconds. Returns the phones that another connector runs now."""

    def release(self, phone: str) -> None:
        """Let another connector run the session."""

    def suspend(self, phone: str) -> None:
        """No connector starts the session until a command wants it connected, later connectors included."""

    def resume(self, phone: str) -> None:
        """A command wants the session connected."""

    def suspended(self, phones: list[str]) -> set[str]:
        """Which of these sessions are suspended."""

    def other_owner(self, phone: str) -> str:
        """The other connector that runs a session; empty when none does, or that is not known."""

    def forward(self, command: ConnectorCommand, connector: str) -> None:
        """Leave a command for a connector: a server name (any connector of that name takes it) or an `other_owner`.

        Raises StoreUnavailable.
        """

    def take_forwarded(self) -> list[ConnectorCommand]:
        """The commands that other connectors left for this one."""


class RedisLeases:
    """The leases of one connector, in Redis.

    While Redis does not answer, a running session goes on: the session's queue has one consumer at a time, and
    WhatsApp itself ends the older of two connections with one login.
    """

    def __init__(self, store: RedisClient, server: str) -> None:
        self._store = store
        self._server = server
        self._owner = f"{server}:{secrets.token_hex(8)}"
        self._renewed = 0.0
        self._others: set[str] = set()  # sessions that another connector ran when Redis answered last
        self._suspended: set[str] = set()

    def take(self, phone: str) -> bool:
        """When Redis does not answer: true unless another connector had the session when it was asked for last."""
        try:
            (taken,) = self._store.call(("EVAL", _RENEW, 1, lease_key(phone), self._owner, LEASE_MS))
        except StoreUnavailable:
            return phone not in self._others
        self._note_owner(phone, ours=bool(taken))
        return bool(taken)

    def renew(self, phones: list[str]) -> list[str]:
        """Renew the leases, at most every ten seconds. Returns the phones that another connector runs now."""
        now = time.monotonic()
        if now - self._renewed < RENEW_S or not phones:
            return []
        self._renewed = now
        try:
            renewed = self._store.call(
                *(("EVAL", _RENEW, 1, lease_key(phone), self._owner, LEASE_MS) for phone in phones)
            )
        except StoreUnavailable:
            log.warning("leases_not_renewed", hint="check Redis; the sessions go on")
            return []
        for phone, is_ours in zip(phones, renewed, strict=True):
            self._note_owner(phone, ours=bool(is_ours))
        return [phone for phone, is_ours in zip(phones, renewed, strict=True) if not is_ours]

    def _note_owner(self, phone: str, *, ours: bool) -> None:
        (self._others.discard if ours else self._others.add)(phone)

    def release(self, phone: str) -> None:
        """Let another connector run the session."""
        self._store.post(("EVAL", DELETE_IF_OWN, 1, lease_key(phone), self._owner))

    def suspend(self, phone: str) -> None:
        """No connector starts the session until a command wants it connected, later connectors included."""
        self._store.post(("SET", _suspended_key(phone), "1"))

    def resume(self, phone: str) -> None:
        """A command wants the session connected."""
        self._store.post(("DEL", _suspended_key(phone)))

    def suspended(self, phones: list[str]) -> set[str]:
        """Which of these sessions are suspended; those that were when Redis answered last, when it does not."""
        if not phones:
            return set()
        try:
            (marks,) = self._store.call(("MGET", *(_suspended_key(phone) for phone in phones)))
        except StoreUnavailable:
            return self._suspended & set(phones)
        known = {phone for phone, mark in zip(phones, marks, strict=True) if mark}
        self._suspended = (self._suspended - set(phones)) | known
        return known

    def other_owner(self, phone: str) -> str:
        """The other connector that runs a session; empty when none does, or Redis does not answer."""
        try:
            (owner,) = self._store.call(("GET", lease_key(phone)))
        except StoreUnavailable:
            return ""
        return str(owner) if owner and owner != self._owner else ""

    def forward(self, command: ConnectorCommand, connector: str) -> None:
        """Leave a command for a connector: a server name (any connector of that name takes it) or an `other_owner`.

        Raises StoreUnavailable.
        """
        key = _forwarded_key(connector)
        self._store.call(("RPUSH", key, command.model_dump_json()), ("EXPIRE", key, FORWARDED_TTL_S))

    def take_forwarded(self) -> list[ConnectorCommand]:
        """The commands that other connectors left for this one."""
        try:
            lists = self._store.call(*(("LPOP", _forwarded_key(name), 100) for name in (self._server, self._owner)))
        except StoreUnavailable:
            return []
        commands = []
        for text in (text for texts in lists for text in texts or []):
            try:
                commands.append(parse_command(text))
            except InvalidCommand:
                continue
        return commands


def _suspended_key(phone: str) -> str:
    return f"unoapi-connector-held:{phone}"


def _forwarded_key(connector: str) -> str:
    return f"unoapi-connector-asked:{connector}"
