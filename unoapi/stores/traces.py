"""The steps of each message: `unoapi-trace:<P>:<id>`, a list of packed steps. They may be lost.

`unoapi-stuck:<state>` is a sorted set of the messages that a step may have left in a state, by when: what a delivery
that goes well never touches.

Each message has a trace, so its size is most of what Redis needs: a list takes what its steps take; a stream begins
with 4 KB. A step is text without names: `_packed`. What the version before wrote is read until the version after
next: steps that are JSON lists, and the streams `unoapi-trace:<id>`.
"""

from __future__ import annotations

import base64
import json
import random
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from string import ascii_letters
from typing import TYPE_CHECKING, Any
from uuid import UUID

from unoapi.errors import StoreUnavailable
from unoapi.models.message_log import stuck_by
from unoapi.models.trace import StuckMessage, completed, read_entry
from unoapi.stores.redis import score_pairs
from unoapi.stores.session_index import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unoapi.models.message_log import State
    from unoapi.models.trace import TraceEntry
    from unoapi.stores.redis import Command, RedisClient

MAX_TRACE_ENTRIES = 200
TRIM_EVERY = 16
"""One step in so many, drawn by chance, also cuts the list: a command less for all others."""
TIME_BYTES, TIME_CHARS = 5, 7
"""Milliseconds since EPOCH, in URL-safe base 64: until the year 2059."""
FIELDS = ("kind", "webhook", "delivery_id", "attempt", "status", "duration_ms", "detail")
"""The fields of a packed step after its time and the letter of its word, without what says nothing at the end."""
NOTHING = "-"
SEPARATOR = "\x1f"
WRITTEN_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
UUID_CHARS = 20
"""Of a UUID in base 85."""
LITERAL = ":"
"""Before a word that has no letter, and a delivery id that is no UUID. No base 85 begins so."""
COMMON = {"attempt": 1, "status": 200}
"""What an empty field stands for."""
WORDS = (
    "accepted", "queued", "sent", "received", "delivered", "attempt", "postponed", "filtered",
    "message", "text", "read", "failed", "default", "status", "event", "duplicate", "superseded",
    "suspected", "endpoint", "dead", "replayed", "notified", "callback",
)  # fmt: skip
"""All steps, and kinds and webhooks that nearly every message has: a packed step has their letter. Only append."""
LETTERS = dict(zip(WORDS, ascii_letters, strict=False))
MEANINGS = {letter: word for word, letter in LETTERS.items()}
LISTED = ("kind", "webhook", "delivery_id", "attempt", "status", "duration_ms", "detail")
"""The fields of a step that the version before packed as a JSON list, after its time and its word."""
AT_ONCE = 200
STUCK_AT_ONCE = 500
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class RedisTraces:
    """Traces: a list per phone and message id, bounded in length and time. `count` gets each step.

    Of each state at most `most_stuck` messages are indexed.
    """

    def __init__(
        self,
        redis: RedisClient,
        *,
        ttl_s: int,
        count: Callable[[TraceEntry], None] = lambda _: None,
        most_stuck: int = 5_000,
    ) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._count = count
        self._most_stuck = most_stuck

    def add(self, *entries: TraceEntry) -> None:
        """Append steps. Never raises, never waits."""
        self._redis.post(*self.commands(*entries))

    def commands(self, *entries: TraceEntry) -> list[Command]:
        """The commands that append steps, those of one message at once. Each step is counted."""
        commands: list[Command] = []
        for (phone, message_id), steps in groupby(entries, key=lambda entry: (entry.phone, entry.message_id)):
            packed: list[str] = []
            stuck: dict[State, TraceEntry] = {}
            for entry in steps:
                self._count(entry)
                packed.append(_packed(entry))
                if (state := stuck_by(entry)) is not None:
                    stuck[state] = entry
            if not message_id:
                continue
            key = _trace_key(phone, message_id)
            commands += [("RPUSH", key, *packed), ("EXPIRE", key, self._ttl_s)]
            trims = random.random() * TRIM_EVERY < 1  # noqa: S311 (chance, no secret)
            if trims:
                commands.append(("LTRIM", key, -MAX_TRACE_ENTRIES, -1))
            for state, entry in stuck.items():
                commands += self._index(state, entry, trims=trims)
        return commands

    def _index(self, state: State, entry: TraceEntry, *, trims: bool) -> list[Command]:
        if not self._most_stuck:
            return []
        key, at_ms = _stuck_key(state), round(entry.at.timestamp() * 1000)
        commands: list[Command] = [
            ("ZADD", key, at_ms, f"{entry.phone}{SEPARATOR}{entry.message_id}"),
            ("EXPIRE", key, self._ttl_s),
        ]
        if trims:
            commands.append(("ZREMRANGEBYRANK", key, 0, -self._most_stuck - 1))
        return commands

    def read(self, phone: str, message_id: str) -> list[TraceEntry]:
        """The last steps of a phone's message, oldest first. Raises StoreUnavailable."""
        (entries,) = self.read_all([(phone, message_id)])
        earlier = [entry for entry in self._read_stream(message_id) if entry.phone == phone]
        return completed(sorted([*earlier, *entries], key=lambda entry: entry.at))

    def read_all(self, messages: Sequence[tuple[str, str]]) -> list[list[TraceEntry]]:
        """The last steps of each message, by phone and id, oldest first. Raises StoreUnavailable."""
        if not messages:
            return []
        lists = self._redis.call(*(("LRANGE", _trace_key(*message), -MAX_TRACE_ENTRIES, -1) for message in messages))
        found = [
            [entry for text in texts if (entry := _unpacked(*message, text)) is not None]
            for message, texts in zip(messages, lists, strict=True)
        ]
        return [sorted(entries, key=lambda entry: entry.at) for entries in found]

    def find(self, message_id: str) -> list[TraceEntry]:
        """The last steps of a message of any phone. Raises StoreUnavailable.

        For a person: with a phone that was never stored all keys of Redis are walked.
        """
        phones = {entry.phone for entry in self._read_stream(message_id)} | set(self._phones_with(message_id))
        entries = [entry for phone in sorted(phones) for entry in self.read(phone, message_id)]
        return sorted(entries, key=lambda entry: entry.at)

    def stuck(self, state: State, *, until_ms: int | None = None) -> Iterator[StuckMessage]:
        """Messages of all phones that a step may have left in a state, the latest step first. Raises StoreUnavailable.

        Read in parts: one that moves meanwhile may be met twice, or not.
        """
        start, latest = 0, "+inf" if until_ms is None else until_ms
        while start < self._most_stuck:
            (found,) = self._redis.call(
                ("ZREVRANGEBYSCORE", _stuck_key(state), latest, "-inf", "WITHSCORES", "LIMIT", start, STUCK_AT_ONCE)
            )
            pairs = score_pairs(found)
            for member, score in pairs:
                phone, _, message_id = member.partition(SEPARATOR)
                yield StuckMessage(int(score), phone, message_id)
            if len(pairs) < STUCK_AT_ONCE:
                return
            start += STUCK_AT_ONCE

    def _phones_with(self, message_id: str) -> Iterator[str]:
        (stored,) = self._redis.call(("SMEMBERS", ALL))
        phones, any_trace = sorted(stored), False
        for start in range(0, len(phones), AT_ONCE):
            part = phones[start : start + AT_ONCE]
            there = self._redis.call(*(("EXISTS", _trace_key(phone, message_id)) for phone in part))
            for phone, exists in zip(part, there, strict=True):
                if exists:
                    any_trace = True
                    yield phone
        if not any_trace:
            yield from self._walk(message_id)

    def _walk(self, message_id: str) -> Iterator[str]:
        ending, cursor = f":{message_id}", "0"
        pattern = _trace_key("*", "".join(f"\\{char}" if char in "*?[]\\^" else char for char in message_id))
        while True:
            ((cursor, keys),) = self._redis.call(("SCAN", cursor, "MATCH", pattern, "COUNT", 1000, "TYPE", "list"))
            yield from (str(key).removeprefix("unoapi-trace:").removesuffix(ending) for key in keys)
            if str(cursor) == "0":
                return

    def _read_stream(self, message_id: str) -> list[TraceEntry]:
        """The steps that the version before wrote. Another key of this name is none of them."""
        try:
            (items,) = self._redis.call(("XRANGE", f"unoapi-trace:{message_id}", "-", "+"))
        except StoreUnavailable:
            return []
        entries = []
        for _, fields in items:
            try:
                entries.append(read_entry({**json.loads(fields["step"]), "message_id": message_id}))
            except (ValueError, TypeError, LookupError):
                continue  # an entry of another version is no reason to hide the others
        return entries


def _packed(entry: TraceEntry) -> str:
    time = _time(max(0, (entry.at - EPOCH) // MILLISECOND))
    outcome = (entry.attempt, entry.status, entry.duration_ms, entry.detail)
    before, after = _around((entry.step, entry.kind, entry.webhook), outcome, has_delivery=bool(entry.delivery_id))
    return f"{time}{before}{_short(entry.delivery_id)}{after}" if entry.delivery_id else f"{time}{before}"


@lru_cache(maxsize=64)
def _time(ms: int) -> str:
    return base64.urlsafe_b64encode(ms.to_bytes(TIME_BYTES, "big"))[:TIME_CHARS].decode()


@lru_cache(maxsize=512)
def _around(
    about: tuple[str, str, str], outcome: tuple[int | None, int | None, int | None, str], *, has_delivery: bool
) -> tuple[str, str]:
    """What a packed step has between its time and its delivery id, and behind that: nearly all steps say the same."""
    (step, kind, webhook), (attempt, status, duration_ms, detail) = about, outcome
    after = [
        _number("attempt", attempt), _number("status", status), _number("duration_ms", duration_ms),
        f"{LITERAL}{detail}" if detail else NOTHING,
    ]  # fmt: skip
    values = [_word(kind), _word(webhook), "" if has_delivery else NOTHING, *after]
    while values and values[-1] == NOTHING:
        values.pop()
    plain = [value.replace(SEPARATOR, " ") for value in values]
    if not has_delivery:
        return f"{LETTERS[step]}{SEPARATOR.join(plain)}", ""
    return f"{LETTERS[step]}{SEPARATOR.join(plain[:3])}", "".join(f"{SEPARATOR}{value}" for value in plain[3:])


def _unpacked(phone: str, message_id: str, text: str) -> TraceEntry | None:
    """The step, or none: one of another version is no reason to hide the others."""
    try:
        at_ms, step, fields = _listed(text) if text.startswith("[") else _fields(text)
        at = EPOCH + timedelta(milliseconds=at_ms)
        return read_entry({**fields, "at": at, "step": step, "phone": phone, "message_id": message_id})
    except (ValueError, TypeError, LookupError, OverflowError):
        return None


def _fields(text: str) -> tuple[int, str, dict[str, Any]]:
    """Time, word and fields of a packed step."""
    at_ms = int.from_bytes(base64.urlsafe_b64decode(f"{text[:TIME_CHARS]}="), "big")
    fields: dict[str, Any] = {}
    for name, value in zip(FIELDS, text[TIME_CHARS + 1 :].split(SEPARATOR), strict=False):
        if value == NOTHING or (not value and name not in COMMON):
            continue
        if name in ("attempt", "status", "duration_ms"):
            fields[name] = int(value) if value else COMMON[name]
        elif value.startswith(LITERAL):
            fields[name] = value[1:]
        else:
            fields[name] = _long(value) if name == "delivery_id" else MEANINGS[value]
    return at_ms, MEANINGS[text[TIME_CHARS]], fields


def _listed(text: str) -> tuple[int, str, dict[str, Any]]:
    """The same of a step in the form of the version before, until the version after next."""
    at_ms, *values = json.loads(text)
    values[:3] = (WORDS[word - 1] if isinstance(word, int) and word else word for word in values[:3])
    step, *values = values
    fields = {name: value for name, value in zip(LISTED, values, strict=False) if value}
    if "delivery_id" in fields:
        fields["delivery_id"] = _long(fields["delivery_id"])
    return at_ms, step, fields


def _word(word: str) -> str:
    return LETTERS.get(word) or f"{LITERAL}{word}" if word else NOTHING


def _number(name: str, value: int | None) -> str:
    if value is None:
        return NOTHING
    return "" if value == COMMON.get(name) else f"{value}"


def _short(delivery_id: str) -> str:
    """20 characters for a UUID, which is what a delivery has; anything else as it is."""
    if not WRITTEN_UUID.fullmatch(delivery_id):
        return f"{LITERAL}{delivery_id.replace(SEPARATOR, ' ')}"
    return base64.b85encode(bytes.fromhex(delivery_id.replace("-", ""))).decode()


def _long(short: str | list[str]) -> str:
    """The delivery id of a packed step, also of one in the form of the version before."""
    if isinstance(short, list):
        return short[0]
    packed = base64.b85decode(short) if len(short) == UUID_CHARS else base64.urlsafe_b64decode(f"{short}==")
    return f"{UUID(bytes=packed)}"


def _stuck_key(state: State) -> str:
    return f"unoapi-stuck:{state}"


def _trace_key(phone: str, message_id: str) -> str:
    return f"unoapi-trace:{phone}:{message_id}"
