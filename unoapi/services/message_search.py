"""Searching the latest messages: by id, contact, state and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from unoapi.models.jobs import SendMessage
from unoapi.models.message_log import STUCK, FoundMessage, LoggedMessage, MessageQuery, OwnMessageQuery, state_of
from unoapi.models.trace import StuckMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unoapi.models.message_log import State
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

    By its id a message is found as long as it has a trace, also when it is none of the latest; and so are those of all
    numbers that are stuck.
    """
    phone = phone or (query.phone if isinstance(query, MessageQuery) else "")
    if query.state in STUCK and not (phone or query.id):
        page = _read_stuck(query, log, traces)
    else:
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


def _read_stuck(query: OwnMessageQuery, log: MessageLog, traces: Traces) -> MessagePage:
    """A page by the index of the state; its cursor is a place in it.

    An only page also shows what waits among the very latest messages and was not tried yet.
    """
    page, looked, matches = MessagePage(), 0, query.matcher()
    state: State = query.state  # type: ignore[assignment]
    candidates = _behind(query, traces, state)
    while batch := list(islice(candidates, STATES_AT_ONCE)):
        found = _in_state(state, batch, log, traces)
        for candidate in batch:
            one = found.get(candidate)
            if one is not None and matches(one.message):
                page.messages.append(one)
            if len(page.messages) >= query.limit:
                page.next = _place(candidate)
                return page
        looked += len(batch)
        if looked >= (STATES_AT_ONCE if query.contact else MAX_STATES):
            page.next = _place(batch[-1])
            return page
    if query.before:
        return page
    shown = {_cursor(one.message) for one in page.messages}
    latest = [message for message in islice(log.latest(), STATES_AT_ONCE) if matches(message)]
    for one in with_states(latest, traces):
        if one.state == state and _cursor(one.message) not in shown and len(page.messages) < query.limit:
            shown.add(_cursor(one.message))
            page.messages.append(one)
    return page


def _in_state(
    state: State, batch: Sequence[StuckMessage], log: MessageLog, traces: Traces
) -> dict[StuckMessage, FoundMessage]:
    """Those that are in the state. What the log says of a message is asked for these alone: it is not read by id."""
    read = traces.read_all([(candidate.phone, candidate.id) for candidate in batch])
    steps_of = {candidate: steps for candidate, steps in zip(batch, read, strict=True) if steps}
    guessed = {candidate: _of_trace(candidate.id, steps) for candidate, steps in steps_of.items()}
    found = {candidate: one for candidate, one in guessed.items() if one.state == state}
    logged = log.find([(candidate.phone, candidate.id) for candidate in found])
    for candidate in list(found):
        message = logged.get((candidate.phone, candidate.id))
        if message is not None:
            found[candidate] = FoundMessage(message, *state_of(message.direction, steps_of[candidate]))
    return {candidate: one for candidate, one in found.items() if one.state == state}


def _behind(query: OwnMessageQuery, traces: Traces, state: State) -> Iterator[StuckMessage]:
    """The indexed messages behind the cursor, without those that were accepted before the time that is asked for."""
    place = _read_place(query.before)
    since_ms = 0 if query.since is None else query.since.timestamp() * 1000
    for candidate in traces.stuck(state, until_ms=place.at_ms if place else None):
        if candidate.at_ms < since_ms:
            return
        if place is None or candidate < place:
            yield candidate


def _place(candidate: StuckMessage) -> str:
    return f"{candidate.at_ms}.{candidate.phone}.{candidate.id}"


def _read_place(cursor: str) -> StuckMessage | None:
    """The place of a cursor; none of one that is none of ours."""
    at_text, _, key = cursor.partition(".")
    phone, _, message_id = key.partition(".")
    return StuckMessage(int(at_text), phone, message_id) if at_text.isascii() and at_text.isdigit() else None


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
    sent = any(
        step.step in ("sent", "failed") or step.kind in ("sent", "delivered", "read", SendMessage.task)
        for step in steps
    )
    message = LoggedMessage(
        round(first.at.timestamp() * 1000), first.phone, "sent" if sent else "received", "", first.kind, message_id
    )
    return FoundMessage(message, *state_of(message.direction, steps))
