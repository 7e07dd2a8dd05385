"""Cloud API callbacks, as Meta and anything that speaks like it post them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, model_validator

from unoapi.models.cloud_api.as_sent import AsSent, Part
from unoapi.models.cloud_api.event_content import ITEMS

MAX_EVENTS = 1000
"""In one request."""


@dataclass(frozen=True)
class Change:
    """One change of a callback: `value` is its document as sent, `entry_id` the account's id, if there is one."""

    value: dict[str, Any]
    field: str = "messages"
    entry_id: str = ""

    def about(self, phone: str, *, number_id: str) -> Change:
        """The same change, of this number and no other: clients find the number by the metadata."""
        metadata = {"display_phone_number": phone, "phone_number_id": number_id}
        return replace(self, value={**self.value, "metadata": metadata}, entry_id="")


class CallbackItem(Part):
    """A message or a status."""

    id: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class CallbackValue(AsSent):
    """What changed."""

    messages: list[CallbackItem] = Field(default=[], max_length=1000)
    message_echoes: list[CallbackItem] = Field(default=[], max_length=1000)
    statuses: list[CallbackItem] = Field(default=[], max_length=1000)
    contacts: list[dict[str, Any]] = Field(default=[], max_length=1000)
    metadata: dict[str, Any] | None = None


class CallbackChange(Part):
    """A change of one kind: `field` names it."""

    field: str = "messages"
    value: CallbackValue


class CallbackEntry(Part):
    """The changes of one account."""

    changes: list[CallbackChange] = Field(min_length=1, max_length=1000)


def _count(document: Any) -> int:
    """The events in a callback that nobody has checked: one for each item, or for a change without any."""
    events = 0
    for entry in _list(document, "entry"):
        for change in _list(entry, "changes"):
            value = change.get("value") if isinstance(change, dict) else None
            events += max(1, sum(len(_list(value, name)) for name in ITEMS))
    return events


def _list(document: Any, name: str) -> list[Any]:
    part = document.get(name) if isinstance(document, dict) else None
    return part if isinstance(part, list) else []


class EventPayload(Part):
    """The form of a Cloud API callback, as far as it is needed to take it apart."""

    entry: list[CallbackEntry] = Field(min_length=1, max_length=1000)

    @model_validator(mode="before")
    @classmethod
    def _not_too_many(cls, value: Any) -> Any:
        """Counted before anything is made of it: the bounds of the lists bound no product of them."""
        if _count(value) > MAX_EVENTS:
            raise ValueError(f"a request holds at most {MAX_EVENTS} events")
        return value

    @property
    def changes(self) -> list[Change]:
        """All changes, in order."""
        return [
            Change(change.value.to_wire(), field=change.field, entry_id=str(getattr(entry, "id", None) or ""))
            for entry in self.entry
            for change in entry.changes
        ]
