"""How the sessions are connected, and which commands are on their way to the connector. All of it may be lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from unoapi.errors import StoreUnavailable
from unoapi.models.connector.events import STATUS_WORDS, PairingCode, QrCode, SessionState
from unoapi.models.jobs import now_ms
from unoapi.models.message_keys import MessageKey

if TYPE_CHECKING:
    from unoapi.stores.redis import Command, RedisClient

CHANNEL = "unoapi-broadcast"
"""The channel for front ends: `{"phone", "type", "content"}`."""
GAP_MS = 120_000
"""A connection that is gone for less, as in a restart, counts as there."""
RUNNING = frozenset({"online", "connecting"})
"""The statuses of a number that a connector runs."""
DAY_S = 86_400
RING_MS = 10_000
"""Further calls of one caller within this time count as the same call."""
PERSON = "@s.whatsapp.net"
"""The end of most addresses, which is left out in the key of a message."""
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
    """Statuses (`unoapi-status:<P>`, as in the Node version), codes, message keys, results that are awaited."""

    def __init__(self, redis: RedisClient, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    def record(self, phone: str, change: SessionState | QrCode | PairingCode, *, at_ms: int, seq: int) -> None:
        """Save the change, unless a newer one is saved, and broadcast it. Raises StoreUnavailable."""
        status, kind = "", {QrCode: "qr", PairingCode: "pairing_code"}.get(type(change), "state")
        if isinstance(change, SessionState):
            status = STATUS_WORDS[change.state]
        keys = (connection_key(phone), status_key(phone))
        arguments = (at_ms, seq, kind, change.model_dump_json(exclude_defaults=True), now_ms(), status)
        (newer,) = self._redis.call(("EVAL", _RECORD, 2, *keys, *arguments))
        if newer:
            shown = {"phone": phone, "type": kind, "content": json.loads(arguments[3]) | {"status": status}}
            self._redis.post(("PUBLISH", CHANNEL, json.dumps(shown)))

    def status(self, phone: str) -> str:
        """The status word; `disconnected` when none is known. Raises StoreUnavailable."""
        (status,) = self._redis.call(("GET", status_key(phone)))
        return str(status or "disconnected")

    def details(self, phone: str) -> dict[str, Any]:
        """The newest state, QR code and pairing code, as far as they are known. Raises StoreUnavailable."""
        status, fields, leased = self._redis.call(
            ("GET", status_key(phone)), ("HGETALL", connection_key(phone)), ("EXISTS", lease_key(phone))
        )
        saved = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
        left = is_left(status, leased=bool(leased), at_ms=int(saved.get("at", 0)))
        details: dict[str, Any] = {"status": str(status or "disconnected"), "left": left}
        for name in ("state", "qr", "pairing_code"):
            if name in saved:
                details[name] = json.loads(saved[name])
        return details

    def remember_key(  # noqa: PLR0913 (the fields of a key)
        self, phone: str, message_id: str, *, chat: str, participant: str = "", from_me: bool = False, theirs: str = ""
    ) -> None:
        """Save the key of a message. Never raises, never waits."""
        key = MessageKey(theirs or message_id, chat, participant, from_me)
        self._redis.post(self._saving(phone, message_id, key))

    def key(self, phone: str, message_id: str) -> MessageKey | None:
        """The key of a message, if it is known. Raises StoreUnavailable."""
        (text,) = self._redis.call(("GET", _message_key(phone, message_id)))
        try:
            return _read_key(json.loads(text)) if text else None
        except (KeyError, ValueError, TypeError, AttributeError):
            return None

    def expect(self, phone: str, command_id: str, *, within_s: int) -> None:
        """Note that a command's result is awaited. Raises StoreUnavailable."""
        self._redis.call(("SET", _wait_key(phone, command_id), WAITED, "EX", 2 * within_s + DAY_S))

    def settle(self, phone: str, command_id: str, *, key: MessageKey | None = None) -> bool:
        """Note that the result came, and the key of the message that left. Raises StoreUnavailable.

        True when the wait for it was given up before. Who sees that nothing is awaited any more sees the key, too.
        """
        first = () if key is None else (self._saving(phone, command_id, key),)
        *_, waiting = self._redis.call(*first, ("GETDEL", _wait_key(phone, command_id)))
        return bool(waiting == GIVEN_UP)

    def is_awaited(self, phone: str, command_id: str) -> bool:
        """Whether a command's result may still come. Raises StoreUnavailable."""
        (waiting,) = self._redis.call(("GET", _wait_key(phone, command_id)))
        return bool(waiting == WAITED)

    def give_up(self, phone: str, command_id: str) -> bool:
        """End the wait for a result. True when it has not come. Raises StoreUnavailable."""
        (waiting,) = self._redis.call(("SET", _wait_key(phone, command_id), GIVEN_UP, "XX", "GET", "KEEPTTL"))
        return waiting is not None

    def is_served(self, phone: str) -> bool:
        """Whether a connector runs the session and is connected, or was a moment ago. Raises StoreUnavailable."""
        status, leased, at_ms = self._redis.call(
            ("GET", status_key(phone)), ("EXISTS", lease_key(phone)), ("HGET", connection_key(phone), "at")
        )
        return bool(status == "online" and leased) or now_ms() - int(at_ms or 0) < GAP_MS

    def is_new_call(self, phone: str, caller: str, call_id: str) -> bool:
        """Whether this is the caller's first call in ten seconds, or the same call again. Never raises."""
        try:
            key = _ring_key(phone, caller)
            _, first = self._redis.call(("SET", key, call_id, "NX", "PX", RING_MS), ("GET", key))
        except StoreUnavailable:
            return True
        return first in (None, call_id)

    def _saving(self, phone: str, message_id: str, key: MessageKey) -> Command:
        values = [key.id, key.chat.removesuffix(PERSON), int(key.from_me), key.participant.removesuffix(PERSON)]
        text = json.dumps(values if key.participant else values[:3], separators=(",", ":"))
        return "SET", _message_key(phone, message_id), text, "EX", self._ttl_s


def _read_key(stored: Any) -> MessageKey:
    """The key as a list; or as an object, in which form the version before wrote it, until the version after next.

    The Node version's has the names of its library.
    """
    if isinstance(stored, dict) and "remoteJid" in stored:
        stored = [stored["id"], stored["remoteJid"], stored.get("fromMe"), stored.get("participant") or ""]
    if isinstance(stored, dict):
        return MessageKey(**stored)
    message_id, chat, from_me, participant = (*stored, "")[:4]
    return MessageKey(message_id, _address(chat), _address(participant), from_me=bool(from_me))


def _address(short: str) -> str:
    return f"{short}{PERSON}" if short and "@" not in short else short


def is_left(status: str | None, *, leased: bool, at_ms: int) -> bool:
    """Whether a number has a status that no connector can end any more. `at_ms`: since when; 0: none recorded it."""
    return status in RUNNING and not leased and 0 < at_ms < now_ms() - GAP_MS


def lease_key(phone: str) -> str:
    """The key of the lease by which one connector runs a session."""
    return f"unoapi-connector-lease:{phone}"


def status_key(phone: str) -> str:
    """The key of a phone's status, as in the Node version."""
    return f"unoapi-status:{phone}"


def connection_key(phone: str) -> str:
    """The key of what a connector recorded last of a phone."""
    return f"unoapi-connection:{phone}"


def _message_key(phone: str, message_id: str) -> str:
    return f"unoapi-key:{phone}:{message_id}"


def _ring_key(phone: str, caller: str) -> str:
    return f"unoapi-ring:{phone}:{caller}"


def _wait_key(phone: str, command_id: str) -> str:
    return f"unoapi-command:{phone}:{command_id}"
