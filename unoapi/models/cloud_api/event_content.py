"""What the gateway reads in a Cloud API event: decoded once, however often it is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

ITEMS = ("messages", "message_echoes", "statuses")
"""The lists of a change's value; an event that we make has one item in one of them."""


class Traits(BaseModel):
    """What the filters of a webhook decide by."""

    model_config = ConfigDict(frozen=True)

    status: bool
    group: bool
    newsletter: bool
    own: bool


@dataclass(frozen=True)
class EventContent:
    """The `value` of an event's only change. `kind` is "message", the status, or the field of any other event."""

    kind: str
    value: dict[str, Any]

    @classmethod
    def of(cls, body: str, *, kind: str) -> EventContent:
        """Decode the body of an event."""
        return cls(kind, json.loads(body)["entry"][0]["changes"][0]["value"])

    @cached_property
    def item(self) -> dict[str, Any]:
        """The message or status; empty in an event that has neither."""
        item: dict[str, Any] = next((self.value[name][0] for name in ITEMS if self.value.get(name)), {})
        return item

    def traits(self, phone: str) -> Traits:
        """What the filters of a webhook decide by, for events of the number `phone`."""
        group = str(self.item.get("group_id") or self._contact.get("group_id") or "")
        if not group and self.item.get("recipient_type") == "group":
            group = str(self.item.get("recipient_id") or "")
        return Traits(
            status=self.kind != "message",
            group=bool(group) and not group.endswith("@newsletter"),
            newsletter=group.endswith("@newsletter"),
            own=self.kind == "message" and str(self.item.get("from", "")) == phone,
        )

    def counterparty(self, phone: str) -> str:
        """With whom the number `phone` talks here: a contact, or a group. Empty when the event names nobody."""
        sender = str(self.item.get("from") or "")
        candidates = (
            self.item.get("group_id"),
            self._contact.get("group_id"),
            self.item.get("recipient_id") or self.item.get("to"),
            sender if sender != phone else "",
            self._contact.get("wa_id"),
        )
        return next((str(candidate) for candidate in candidates if candidate), "")

    @property
    def _contact(self) -> dict[str, Any]:
        contact: dict[str, Any] = (self.value.get("contacts") or [{}])[0]
        return contact
