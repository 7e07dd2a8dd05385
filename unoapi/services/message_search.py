"""Searching the latest messages: by id, contact, state and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from unoapi.models.message_log import FoundMessage, LoggedMessage, MessageQuery, OwnMessageQuery, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unoapi.models.trace import TraceEntry
    from unoapi.ports import MessageIds, MessageLog, Traces

STATES_AT_ONCE = 100
MAX_STATES = 400
"""So many traces are read for one page: what was looked at without a hit is passed with the next one."""
MAX_TOO_OLD = 500
"""After so many in a row that are too old all others are: those that were written last may have waited for long."""


@dataclass
class MessagePage:
    """Messages, the newest first. `next` is the `before` of the next page; empty when there is none."""

    messages: list[FoundMessage] = field(default_factory=list)
    next: str = ""

    def as_json(self) -> dict[str, Any]:
        """What the API answers."""
        data = [found.as_json() for found in self.messages]
        return {"data": data, "next": self.next} if self.next else {"data": data}


def follow(message_id: str, *, phone: str, traces: Traces, ids: MessageIds) -> list[TraceEntry]:
    """The steps of a message, oldest first: by the client's id, or by one that WhatsApp has for it.

    Raises StoreUnavailable.
    """
    return traces.read(phone, message_id) or traces.read(phone, ids.ours(phone, message_id))


def search(query: OwnMessageQuery, *, phone: str = "", log: MessageLog, traces: Traces) -> MessagePage:
    """A page of the selected messages of a number, or of all. Raises StoreUnavailable.

    By its id a message is found as long as it has a trace, also when it is none of the latest.
    """
    phone = phone or (query.phone if isinstance(query, MessageQuery) else "")
    page = _read(query, log.latest(phone), traces)
    if query.id and not page.messages and not query.before:
        page.messages = _by_trace(query, phone, traces)
    page.messages.sort(key=lambda found: found.message.at_ms, reverse=True)
    return page


def _read(query: OwnMessageQuery, messages: Iterator[LoggedMessage], traces: Traces) -> MessagePage:
    page, looked = MessagePage(), 0
    selected = _selected(query, messages)
    while batch := list(islice(selected, STATES_AT_ONCE if query.state else min(query.limit, STATES_AT_ONCE))):
        for one in with_states(batch, traces):
            if query.state in ("", one.state):
                page.messages.append(one)
            if len(page.messages) >= query.limit:
                page.next = _cursor(one.message)
                return page
        looked += len(batch)
        if looked >= MAX_STATES:
            page.next = _cursor(batch[-1])
            return page
    return page


def with_states(messages: Sequence[LoggedMessage], traces: Traces) -> list[FoundMessage]:
    """The messages with how far they are. Raises StoreUnavailable."""
    read = traces.read_all([(message.phone, message.id) for message in messages])
    return [
        FoundMessage(message, *state_of(message.direction, steps))
        for message, steps in zip(messages, read, strict=True)
    ]


def _selected(query: OwnMessageQuery, messages: Iterator[LoggedMessage]) -> Iterator[LoggedMessage]:
    """The selected messages behind the cursor, each once."""
    seen, passed, too_old, matches = set[str](), not query.before, 0, query.matcher()
    since_ms = 0 if query.since is None else query.since.timestamp() * 1000
    for message in messages:
        too_old = too_old + 1 if message.at_ms < since_ms else 0
        if too_old > MAX_TOO_OLD:
            return
        key = _cursor(message)
        if passed and key not in seen and matches(message):
            yield message
        seen.add(key)
        passed = passed or key == query.before


def _cursor(message: LoggedMessage) -> str:
    return f"{message.phone}.{message.id}"


def _by_trace(query: OwnMessageQuery, phone: str, traces: Traces) -> list[FoundMessage]:
    """Messages of an id by their traces alone: with whom is not known there."""
    steps = traces.read(phone, query.id) if phone else traces.find(query.id)
    phones = dict.fromkeys(step.phone for step in steps)
    return [_of_trace(query.id, [step for step in steps if step.phone == owner]) for owner in phones]


def _of_trace(message_id: str, steps: Sequence[TraceEntry]) -> FoundMessage:
    first = steps[0]
    sent = any(step.step in ("sent", "failed") or step.kind in ("sent", "delivered", "read") for step in steps)
    message = LoggedMessage(
        round(first.at.timestamp() * 1000), first.phone, "sent" if sent else "received", "", first.kind, message_id
    )
    return FoundMessage(message, *state_of(message.direction, steps))
