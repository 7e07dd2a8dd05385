"""Cloud API callbacks, as Meta and anything that speaks like it post them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from unoapi.models.cloud_api.as_sent import AsSent, Part


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


class EventPayload(Part):
    """The form of a Cloud API callback, as far as it is needed to take it apart."""

    entry: list[CallbackEntry] = Field(min_length=1, max_length=1000)

    @property
    def changes(self) -> list[Change]:
        """All changes, in order."""
        return [
            Change(change.value.to_wire(), field=change.field, entry_id=str(getattr(entry, "id", None) or ""))
            for entry in self.entry
            for change in entry.changes
        ]
