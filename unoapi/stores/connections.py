"""How the sessions are connected, and what is on its way through the connector. All of it may be lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from unoapi.errors import StoreUnavailable
from unoapi.models.connector.events import STATUS_WORDS, PairingCode, QrCode, SessionState
from unoapi.models.jobs import now_ms
from unoapi.models.message_keys import MessageKey

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

CHANNEL = "unoapi-broadcast"
"""What front ends are shown: `{"phone", "type", "content"}`."""
RING_MS = 10_000
"""A caller who rings again within this time is told once."""
WAITED, GIVEN_UP = "waited", "given up"
# Newer by time, then by number; a time far in the future is a clock that was wrong.
_RECORD = """
local at, seq = tonumber(redis.call('HGET', KEYS[1], 'at') or '0'), tonumber(redis.call('HGET', KEYS[1], 'seq') or '0')
local now = tonumber(ARGV[5])
if at < now + 60000 and (tonumber(ARGV[1]) < at or (tonumber(ARGV[1]) == at and tonumber(ARGV[2]) < seq)) then
  return 0
end
redis.call('HSET', KEYS[1], 'at', ARGV[1], 'seq', ARGV[2], ARGV[3], ARGV[4])
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[2], ARGV[6])
end
if ARGV[3] == 'state' then
  redis.call('HDEL', KEYS[1], 'qr', 'pairing_code')
end
return 1
"""


class RedisConnections:
    """Statuses (`unoapi-status:<P>`, as in the former program), codes, keys of messages, results that are awaited."""

    def __init__(self, store: RedisClient, *, ttl_s: int) -> None:
        self._store = store
        self._ttl_s = ttl_s

    def record(self, phone: str, news: SessionState | QrCode | PairingCode, *, at_ms: int, seq: int) -> None:
        """Keep the newest state and show it. Raises StoreUnavailable."""
        status, kind = "", {QrCode: "qr", PairingCode: "pairing_code"}.get(type(news), "state")
        if isinstance(news, SessionState):
            status = STATUS_WORDS[news.state]
        keys = (_connection_key(phone), _status_key(phone))
        arguments = (at_ms, seq, kind, news.model_dump_json(exclude_defaults=True), now_ms(), status)
        (newer,) = self._store.call(("EVAL", _RECORD, 2, *keys, *arguments))
        if newer:
            shown = {"phone": phone, "type": kind, "content": json.loads(arguments[3]) | {"status": status}}
            self._store.post(("PUBLISH", CHANNEL, json.dumps(shown)))

    def status(self, phone: str) -> str:
        """The status word; `disconnected` when none is known. Raises StoreUnavailable."""
        (status,) = self._store.call(("GET", _status_key(phone)))
        return str(status or "disconnected")

    def details(self, phone: str) -> dict[str, Any]:
        """The newest state, QR code and pairing code, as far as they are known. Raises StoreUnavailable."""
        status, fields = self._store.call(("GET", _status_key(phone)), ("HGETALL", _connection_key(phone)))
        known = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
        found: dict[str, Any] = {"status": str(status or "disconnected"), "at_ms": int(known.get("at", 0))}
        for name in ("state", "qr", "pairing_code"):
            if name in known:
                found[name] = json.loads(known[name])
        return found

    def remember_key(  # noqa: PLR0913 (the fields of a key)
        self, phone: str, message_id: str, *, chat: str, participant: str = "", from_me: bool = False, theirs: str = ""
    ) -> None:
        """Keep where a message stands. Never raises, never waits."""
        key = {"id": theirs or message_id, "chat": chat, "participant": participant, "from_me": from_me}
        self._store.post(("SET", _key_key(phone, message_id), json.dumps(key), "EX", self._ttl_s))

    def key(self, phone: str, message_id: str) -> MessageKey | None:
        """Where a message stands, when it is known. Raises StoreUnavailable."""
        (text,) = self._store.call(("GET", _key_key(phone, message_id)))
        try:
            return MessageKey(**json.loads(text)) if text else None
        except (ValueError, TypeError):
            return None

    def expect(self, phone: str, command_id: str, *, within_s: int) -> None:
        """A command is on its way; its result is wanted. Raises StoreUnavailable."""
        self._store.call(("SET", _wait_key(phone, command_id), WAITED, "EX", 2 * within_s + 3600))

    def settle(self, phone: str, command_id: str) -> bool:
        """The result is there. True when the wait for it was given up before."""
        try:
            (was,) = self._store.call(("GETDEL", _wait_key(phone, command_id)))
        except StoreUnavailable:
            return False
        return bool(was == GIVEN_UP)

    def give_up(self, phone: str, command_id: str) -> bool:
        """End the wait for a result. True when it has not come. Raises StoreUnavailable."""
        (was,) = self._store.call(("SET", _wait_key(phone, command_id), GIVEN_UP, "XX", "GET", "KEEPTTL"))
        return was is not None

    def is_new_call(self, phone: str, caller: str, call_id: str) -> bool:
        """Whether this call counts: the caller's first in ten seconds, however often it is told. Never raises."""
        try:
            key = _ring_key(phone, caller)
            _, first = self._store.call(("SET", key, call_id, "NX", "PX", RING_MS), ("GET", key))
        except StoreUnavailable:
            return True
        return first in (None, call_id)


def _status_key(phone: str) -> str:
    return f"unoapi-status:{phone}"


def _connection_key(phone: str) -> str:
    return f"unoapi-connection:{phone}"


def _key_key(phone: str, message_id: str) -> str:
    return f"unoapi-key:{phone}:{message_id}"


def _ring_key(phone: str, caller: str) -> str:
    return f"unoapi-ring:{phone}:{caller}"


def _wait_key(phone: str, command_id: str) -> str:
    return f"unoapi-command:{phone}:{command_id}"
