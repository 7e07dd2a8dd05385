"""What the gateway reads in a Cloud API event: decoded once, however often it is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from unoapi.models.identity import Identity, is_same_phone
from unoapi.models.strict_json import parsed_own

ECHOES = "message_echoes"
ITEMS = ("messages", ECHOES, "statuses")
"""The lists of a change's value; an event that we make has one item in one of them."""
GROUPS = "groups"
OTHER_ITEMS = ("calls", "user_preferences", "user_id_update", GROUPS)
"""Lists of which each element is about one contact or group, too; such an event's kind is its field."""


HISTORY = frozenset({"history", "smb_app_state_sync"})
"""Fields of what was there before a number came to Meta: its old messages, its address book."""
CALLS, GROUP_FIELDS = "calls", "group_"


class Traits(NamedTuple):
    """What the filters of a webhook decide by."""

    status: bool
    group: bool
    newsletter: bool
    own: bool
    about: Literal["chat", "account", "calls", "history"] = "chat"


@dataclass(frozen=True)
class EventContent:
    """The `value` of an event's only change, and its `field`.

    `kind` is "message", the status, or the field of any other event.
    """

    kind: str
    value: dict[str, Any]
    field: str = "messages"

    @classmethod
    def of(cls, body: str, *, kind: str) -> EventContent:
        """Decode the body of an event."""
        change = parsed_own(body)["entry"][0]["changes"][0]
        return cls(kind, change["value"], str(change.get("field") or "messages"))

    @cached_property
    def item(self) -> dict[str, Any]:
        """The message or status; empty in an event that has neither."""
        for name in ITEMS:
            if items := self.value.get(name):
                item: dict[str, Any] = items[0]
                return item
        return {}

    def traits(self, phone: str) -> Traits:
        """What the filters of a webhook decide by, for events of the number `phone`."""
        chat = self.counterparty(phone).chat
        return Traits(
            about=self._about,
            status=self.kind != "message",
            group=self.field.startswith(GROUP_FIELDS) or (bool(chat) and not chat.endswith("@newsletter")),
            newsletter=chat.endswith("@newsletter"),
            own=self.kind == "message" and self._is_own(phone),
        )

    def counterparty(self, phone: str) -> Identity:
        """With whom the number `phone` talks here: a contact, or somebody in a group. Empty for nobody."""
        if phone not in self._counterparties:
            named = Identity.of_counterparty(self.item, phone=phone, echo=bool(self.value.get(ECHOES)))
            contact = Identity.of_contact(self._contact)
            joined = named if named == contact or named.contradicts(contact) else named.joined(contact)
            self._counterparties[phone] = joined
        return self._counterparties[phone]

    @cached_property
    def _counterparties(self) -> dict[str, Identity]:
        return {}

    @property
    def _about(self) -> Literal["chat", "account", "calls", "history"]:
        if self.field in HISTORY:
            return "history"
        if self.field == CALLS:
            return "calls"
        return "chat" if self.item or self.field.startswith(GROUP_FIELDS) else "account"

    def _is_own(self, phone: str) -> bool:
        sender, metadata = str(self.item.get("from") or ""), self.value.get("metadata") or {}
        return is_same_phone(sender, phone) or is_same_phone(sender, str(metadata.get("display_phone_number") or ""))

    @property
    def _contact(self) -> dict[str, Any]:
        contacts = self.value.get("contacts")
        first = contacts[0] if isinstance(contacts, list) and contacts else {}
        return first if isinstance(first, dict) else {}
