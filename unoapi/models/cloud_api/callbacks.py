"""Cloud API callbacks, as Meta and anything that speaks like it post them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from unoapi.errors import describe
from unoapi.models.cloud_api.as_sent import AsSent, Part
from unoapi.models.cloud_api.event_content import ITEMS, OTHER_ITEMS

MAX_KIND = 64
MAX_SECONDS = 2**53
TIME = re.compile(r"[1-9][0-9]{0,14}", re.ASCII)
MAX_EVENTS = 1000
"""In one request."""


@dataclass(frozen=True)
class Change:
    """One change of a callback: `value` is its document as sent, `entry_id` the account's id, if there is one.

    `entry_time` is when Meta made it, in seconds: beside events of an account, where clients read it.
    """

    value: dict[str, Any]
    field: str = "messages"
    entry_id: str = ""
    entry_time: int = 0

    def about(self, phone: str, *, number_id: str) -> Change:
        """The same change, of this number and no other: clients find the number by the metadata."""
        metadata = {"display_phone_number": phone, "phone_number_id": number_id}
        return replace(self, value={**self.value, "metadata": metadata}, entry_id="")


@dataclass(frozen=True)
class OddPart:
    """A part of a callback that is no change: `document` is as much of it as nothing else was made of."""

    document: dict[str, Any]
    reason: str


class CallbackItem(Part):
    """A message or a status."""

    id: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    status: Annotated[str, Field(max_length=MAX_KIND)] | None = None


class CallbackValue(AsSent):
    """What changed."""

    messages: list[CallbackItem] = Field(default=[], max_length=1000)
    message_echoes: list[CallbackItem] = Field(default=[], max_length=1000)
    statuses: list[CallbackItem] = Field(default=[], max_length=1000)
    contacts: list[dict[str, Any]] = Field(default=[], max_length=1000)
    metadata: dict[str, Any] | None = None

    @field_validator("messages", "message_echoes", "statuses", "contacts", mode="before")
    @classmethod
    def _nothing_is_none(cls, value: object) -> object:
        return [] if value is None else value


class CallbackChange(Part):
    """A change of one kind: `field` names it."""

    field: Annotated[str, Field(max_length=MAX_KIND)] = "messages"
    value: CallbackValue


class CallbackEntry(Part):
    """The changes of one account."""

    changes: list[CallbackChange] = Field(min_length=1, max_length=1000)


def _count(document: Any) -> int:
    """The events in a callback that nobody has checked: one for each item, or for a change without any."""
    events = 0
    for entry in _list(document, "entry"):
        changes = _list(entry, "changes")
        events += not changes
        for change in changes:
            value = change.get("value") if isinstance(change, dict) else None
            events += max(1, sum(len(_list(value, name)) for name in (*ITEMS, *OTHER_ITEMS)))
    return events


def _list(document: Any, name: str) -> list[Any]:
    part = document.get(name) if isinstance(document, dict) else None
    return part if isinstance(part, list) else []


def _ensure_not_too_many(document: Any) -> Any:
    """Counted before anything is made of it: the bounds of the lists bound no product of them."""
    if _count(document) > MAX_EVENTS:
        raise ValueError(f"a request holds at most {MAX_EVENTS} events")
    return document


class EventPayload(Part):
    """The form of a Cloud API callback, as far as it is needed to take it apart."""

    entry: list[CallbackEntry] = Field(min_length=1, max_length=1000)

    _not_too_many = model_validator(mode="before")(_ensure_not_too_many)

    @property
    def changes(self) -> list[Change]:
        """All changes, in order."""
        return [
            Change(
                change.value.to_wire(),
                field=change.field,
                entry_id=_text(getattr(entry, "id", None)),
                entry_time=_seconds(getattr(entry, "time", None)),
            )
            for entry in self.entry
            for change in entry.changes
        ]


class _Entries(Part):
    """A callback, and nothing said yet of what is in it."""

    entry: list[Any] = Field(min_length=1, max_length=1000)

    _not_too_many = model_validator(mode="before")(_ensure_not_too_many)


def read_callback(document: dict[str, Any], *, mended: bool) -> tuple[list[Change], list[OddPart]]:
    """The changes of a callback, and what in it is none: each entry, change and item stands alone.

    With `mended` empty ids, and contacts and metadata of a strange form are left out; else they make it odd. Raises
    ValidationError for what is no callback, or when there is no change in it at all and nothing is mended.
    """
    try:
        return EventPayload.model_validate(document).changes, []
    except ValidationError as error:
        entries, problem = _Entries.model_validate(document).entry, error
    changes: list[Change] = []
    odd: list[OddPart] = []
    for entry in entries:
        made = (_text(entry.get("id")), _seconds(entry.get("time"))) if isinstance(entry, dict) else ("", 0)
        listed = _list(entry, "changes")
        if not listed:
            odd.append(OddPart({"entry": entry}, "an entry without changes"))
        for change in listed:
            _take(change, *made, mended=mended, changes=changes, odd=odd)
    if not changes and not mended:
        raise problem
    return changes, odd


def read_change(change: dict[str, Any], *, entry_id: str, entry_time: int) -> Change:
    """One change on its own. Raises ValidationError."""
    read = CallbackChange.model_validate(change)
    return Change(read.value.to_wire(), field=read.field, entry_id=entry_id, entry_time=entry_time)


def _take(  # noqa: PLR0913 (what it is beside, and where it goes)
    change: Any, entry_id: str, entry_time: int, *, mended: bool, changes: list[Change], odd: list[OddPart]
) -> None:
    """Read one change: its good items as one change, each odd one as a part of its own."""
    value = change.get("value") if isinstance(change, dict) else None
    if not isinstance(value, dict):
        odd.append(OddPart({"change": change}, "a change without a value"))
        return
    beside = {key: part for key, part in value.items() if key not in ITEMS}
    about = _cleaned(beside) if mended else beside
    frame = {key: part for key, part in change.items() if key != "value" and not (mended and part is None)}
    if reason := _problem_of({**frame, "value": about}):
        odd.append(OddPart({**frame, "value": value}, reason))
        return
    given = {name: value[name] for name in ITEMS if value.get(name) not in (None, [])}
    parts = [{name: part} for name, part in given.items() if not isinstance(part, list)]
    parts += [{name: [_with_id(item) if mended else item]} for name in given for item in _list(given, name)]
    good: dict[str, Any] = {}
    for part in parts:
        alone = {**frame, "value": part}
        if reason := _problem_of(alone):
            odd.append(OddPart(alone, reason))
        else:
            ((name, items),) = part.items()
            good.setdefault(name, []).extend(items)
    if good or not parts:
        whole = {**frame, "value": {**about, **good}}
        changes.append(read_change(whole, entry_id=entry_id, entry_time=entry_time))


def _with_id(item: Any) -> Any:
    """An item whose id is not empty: absent instead."""
    if not isinstance(item, dict) or item.get("id") != "":
        return item
    return {key: part for key, part in item.items() if key != "id"}


def _cleaned(about: dict[str, Any]) -> dict[str, Any]:
    """What stands beside items, without contacts and metadata of a strange form."""
    contacts = [contact for contact in _list(about, "contacts") if isinstance(contact, dict)]
    others = {key: part for key, part in about.items() if key not in ("contacts", "metadata")}
    metadata = about.get("metadata")
    return {
        **others,
        **({"contacts": contacts} if contacts else {}),
        **({"metadata": metadata} if isinstance(metadata, dict) else {}),
    }


def _problem_of(change: dict[str, Any]) -> str:
    """Why a change is none; empty when it is one."""
    try:
        CallbackChange.model_validate(change)
    except ValidationError as error:
        return describe(error)
    return ""


def _seconds(value: Any) -> int:
    """A time of Meta's, perhaps as a text; 0 for what is none."""
    if isinstance(value, str) and TIME.fullmatch(value):
        return int(value)
    return value if type(value) is int and 0 < value <= MAX_SECONDS else 0


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
