"""The latest messages of a number, as they are listed and searched; their steps are in their traces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from unoapi.models.contacts import contact_keys
from unoapi.models.identity import is_user_id
from unoapi.models.phones import digits_of, with_ninth_digit, without_ninth_digit
from unoapi.models.trace import TraceEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.jobs import MessageJob

Direction = Literal["sent", "received"]
State = Literal["accepted", "waiting", "sent", "delivered", "read", "failed", "dead", "filtered", "unknown"]
"""How far a message is. `dead`: an event of it was given up; `delivered` of a received one: to every webhook."""
STATES: tuple[State, ...] = get_args(State)
STUCK: tuple[State, ...] = ("waiting", "failed", "dead")
"""States that few messages are in, and that people look for: of all numbers together they have an index."""
MAX_LISTED = 200
MIN_DIGITS = 4
BRAZIL = "55"
NATIONAL_DIGITS = 10
"""Of a number that names its area: a zero may stand before it, and Brazil's ninth digit be missing."""
SPAN = re.compile(r"(\d{1,9})([smhd])")
WITHOUT_ZONE = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,6})?)?)?", re.ASCII)
"""A day, or a time that names no zone."""
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
WORDS = ("read", "played", "delivered", "sent")
"""WhatsApp's statuses, the furthest first."""
TRACKED = frozenset({"accepted", "received", "queued", "filtered", "delivered"})
"""Steps of an event whose kind says what WhatsApp reported."""


class LoggedMessage(NamedTuple):
    """One message: when it was accepted (Unix milliseconds), with whom, and of which type."""

    at_ms: int
    phone: str
    direction: Direction
    contact: str
    type: str
    id: str

    @classmethod
    def of(cls, job: MessageJob, kind: str) -> LoggedMessage:
        """A message that is sent, of this type."""
        return cls(job.accepted_at_ms, job.phone, "sent", job.contact, kind, job.message_id)

    @property
    def at(self) -> datetime:
        """When it was accepted."""
        return datetime.fromtimestamp(self.at_ms / 1000, UTC)


@dataclass(frozen=True)
class FoundMessage:
    """A message with how far it is, and the detail of the step that says so."""

    message: LoggedMessage
    state: State
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """What the API answers."""
        message = self.message
        return {
            "id": message.id,
            "phone": message.phone,
            "direction": message.direction,
            "contact": message.contact,
            "type": message.type,
            "at": message.at.isoformat(timespec="milliseconds"),
            "state": self.state,
            "detail": self.detail,
        }


def _ago(value: Any) -> Any:
    """A time span such as 1h is a moment so long ago; a day, and a time without a zone, are those of UTC."""
    if value == "":
        return None
    if isinstance(value, str) and (span := SPAN.fullmatch(value)):
        return datetime.now(UTC) - min(timedelta(**{UNITS[span[2]]: int(span[1])}), timedelta(days=36_500))
    if isinstance(value, str) and (local := WITHOUT_ZONE.fullmatch(value.strip())):
        day, time, seconds = local.groups()
        return f"{day}T{time or '00:00'}{seconds or ':00'}Z"
    return value


Moment = Annotated[AwareDatetime | None, BeforeValidator(_ago)]
Text = Annotated[str, StringConstraints(max_length=256, strip_whitespace=True)]


class OwnMessageQuery(BaseModel):
    """Selects messages of one number. Fields that are left out match all. Times: ISO, Unix seconds, or a span (1h)."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: Text = ""
    contact: Text = ""
    direction: Literal["", "sent", "received"] = ""
    state: Literal["", "accepted", "waiting", "sent", "delivered", "read", "failed", "dead", "filtered", "unknown"] = ""
    since: Moment = None
    until: Moment = None
    before: str = Field(default="", max_length=600)
    limit: int = Field(default=50, ge=1, le=MAX_LISTED)

    def matcher(self) -> Callable[[LoggedMessage], bool]:
        """Whether a message is selected, as far as its trace is not needed; made once for thousands of messages."""
        since_ms = 0 if self.since is None else self.since.timestamp() * 1000
        until_ms = float("inf") if self.until is None else self.until.timestamp() * 1000
        is_meant = is_contact(self.contact) if self.contact else None

        def matches(message: LoggedMessage) -> bool:
            return (
                since_ms <= message.at_ms <= until_ms
                and self.id in ("", message.id)
                and self.direction in ("", message.direction)
                and (is_meant is None or is_meant(message.contact))
            )

        return matches


class MessageQuery(OwnMessageQuery):
    """The same of all numbers, or of one."""

    phone: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,20}$")] = ""


def is_searchable(asked: str) -> bool:
    """Whether a contact can be found by this: an address, a user id, or enough digits of a phone."""
    return not asked or "@" in asked or is_user_id(asked) or any(map(_ends_of, (asked, *contact_keys(asked))))


NOT_SEARCHABLE = f"must be a phone, its last digits (at least {MIN_DIGITS}), or an address such as …@g.us"


def is_contact(asked: str) -> Callable[[str], bool]:
    """Whether a contact is meant: by the address, the phone as people write it, or its last digits."""
    keys = contact_keys(asked)
    known = tuple({end for written in (asked, *keys) for end in _ends_of(written)})
    return lambda contact: contact in (asked, *keys) or (bool(known) and contact.partition("@")[0].endswith(known))


def _ends_of(written: str) -> set[str]:
    """With what the digits of a contact may end that is written so; nothing when there are too few of them."""
    digits = digits_of(written)
    if len(digits) < MIN_DIGITS:
        return set()
    national = digits.lstrip("0")
    ends = {national, with_ninth_digit(f"{BRAZIL}{national}").removeprefix(BRAZIL)}
    return {digits, with_ninth_digit(digits), without_ninth_digit(digits)} | (
        ends if len(national) >= NATIONAL_DIGITS else set()
    )


def stuck_by(entry: TraceEntry) -> State | None:
    """In which of `STUCK` a step may leave its message; the other steps say whether it does."""
    match entry.step:
        case "dead":
            return "dead" if entry.webhook else "failed"
        case "failed":
            return "failed"
        case "received" | "accepted" if entry.kind == "failed":
            return "failed"
        case "attempt" | "postponed" | "suspected" | "replayed":
            return "waiting"
        case _:
            return None


def state_of(direction: Direction, steps: Sequence[TraceEntry]) -> tuple[State, str]:
    """How far a message is by its steps, the oldest first, and the detail of the step that says so."""
    if not steps:
        return "unknown", ""
    if dead := _dead(steps):
        return "dead" if dead.webhook else "failed", dead.detail
    return _sent_state(steps) if direction == "sent" else _received_state(steps)


def _dead(steps: Sequence[TraceEntry]) -> TraceEntry | None:
    """The step with which the message, or an event of it, was given up, unless it was replayed or delivered since."""
    dead = dict[tuple[str, str], TraceEntry]()
    for step in steps:
        if step.step == "dead":
            dead[step.webhook, step.kind] = step
        elif step.step in ("replayed", "delivered"):
            dead.pop((step.webhook, step.kind), None)
    return next(iter(dead.values()), None)


def _sent_state(steps: Sequence[TraceEntry]) -> tuple[State, str]:
    reported = {step.kind for step in steps if step.step in TRACKED}
    # What failed before a replay of the send counts no more.
    last = max((at for at, step in enumerate(steps) if step.step == "replayed" and not step.webhook), default=0)
    failed = [
        step for step in steps[last:] if step.step == "failed" or (step.step in TRACKED and step.kind == "failed")
    ]
    word = next((word for word in WORDS if word in reported), "")
    if failed and word not in ("read", "played", "delivered"):
        return "failed", next((step.detail for step in failed if step.detail), "")
    if word:
        return "read" if word == "played" else word, ""  # type: ignore[return-value]
    if any(step.step == "sent" or (step.step == "received" and step.kind == "message") for step in steps):
        return "sent", ""  # the second: the number wrote it on another device
    waiting = [step for step in steps[last:] if step.step in ("attempt", "postponed", "suspected")]
    return ("waiting", waiting[-1].detail) if waiting else ("accepted", "")


def _received_state(steps: Sequence[TraceEntry]) -> tuple[State, str]:
    last = dict[tuple[str, str], TraceEntry]()
    for step in steps:
        if step.webhook and step.step in ("queued", "attempt", "postponed", "delivered", "duplicate", "replayed"):
            last[step.webhook, step.kind] = step
    open_ = [step for step in last.values() if step.step not in ("delivered", "duplicate")]
    if open_:
        return "waiting", next((step.detail for step in open_ if step.detail), "")
    if last:
        return "delivered", ""
    filtered = [step for step in steps if step.step == "filtered"]
    return ("filtered", filtered[-1].detail) if filtered else ("accepted", "")
