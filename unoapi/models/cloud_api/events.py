"""Cloud API events: what a webhook gets. One message or one status per event."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from unoapi.errors import RequestError
from unoapi.errors.validation import NOT_VALID
from unoapi.models.cloud_api.event_content import ECHOES, GROUPS, ITEMS, OTHER_ITEMS, EventContent
from unoapi.models.identity import ADDRESS_FIELDS, RECIPIENT_FIELDS, Identity, People, is_same_phone
from unoapi.models.jobs import computed_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unoapi.models.cloud_api.callbacks import Change

BESIDE_ITEMS = frozenset({"messaging_product", "metadata", "contacts"})
TEXTS = ADDRESS_FIELDS | RECIPIENT_FIELDS | {"timestamp"}
MOST_BYTES = 4 * 1024 * 1024
MAX_ID_CHARS = 512
"""What is longer than any id of WhatsApp's is cut where it only names the event: the event has it whole."""
CODE = re.compile(r"13[0-9]{4}", re.ASCII)
"""Meta's codes for what became of messages."""
OF_NO_MESSAGE = ("payment", "call")
"""Of statuses that name a message or a call, but say nothing of how a message fares."""

TITLES = {
    131009: NOT_VALID,
    131026: "Message undeliverable",
    131047: "Re-engagement message",
    131049: "Message kept back",
    131051: "Unsupported message type",
    131053: "Media upload error",
}
"""What WhatsApp's reasons to refuse a message are called: clients show the title beside the code, and no more."""

_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
_IN_ORDER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
HISTORY_PART = {"metadata": {"phase": 0, "chunk_order": 1, "progress": 100}}
"""Clients expect it. How much of the history a phone has handed over is not known here."""
STATUSES = ("sent", "delivered", "read", "played", "deleted", "failed")


@dataclass(frozen=True)
class Event:
    """One Cloud API event with what the gateway must know about it.

    `kind` is "message", the status, or the field of any other event. `account_id` and `number_id` are empty where
    nobody has said yet under which ids the client knows the number: it is the phone then.
    """

    event_id: str
    message_id: str
    kind: str
    phone: str
    value: dict[str, Any] = field(repr=False, compare=False)
    change_field: str = "messages"
    account_id: str = ""
    number_id: str = ""
    entry_time: int = field(default=0, compare=False)

    def addressed(self, *, number_id: str, account_id: str) -> Event:
        """The same event under the number's own ids, where the callback did not name others."""
        if self.number_id and self.account_id:
            return self
        return replace(self, number_id=self.number_id or number_id, account_id=self.account_id or account_id)

    @cached_property
    def body(self) -> str:
        """The exact text that is signed and sent."""
        entry = {
            "id": self.account_id or self.phone,
            **({"time": self.entry_time} if self.entry_time else {}),
            "changes": [{"value": self.content.value, "field": self.change_field}],
        }
        return serialise({"object": "whatsapp_business_account", "entry": [entry]})

    @cached_property
    def content(self) -> EventContent:
        """What the event says."""
        given = self.value.get("metadata") or {}
        shown = "".join(figure for figure in str(given.get("display_phone_number") or "") if figure.isdigit())
        metadata = {
            **given,
            "display_phone_number": shown or self.phone,
            "phone_number_id": self.number_id or self.phone,
        }
        others = {key: part for key, part in self.value.items() if key != "metadata"}
        full = {"messaging_product": "whatsapp", "metadata": metadata, **others}
        return EventContent(self.kind, full, self.change_field)


def serialise(document: Any) -> str:
    """JSON in ASCII, once: every attempt sends these bytes, and receivers that re-encode still match the signature."""
    return _ENCODER.encode(document)


def read_document(body: str) -> dict[str, Any]:
    """The JSON object in a body. An empty one when there is none: the report about a broken job must not break, too."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def contact(address: str, name: str = "") -> dict[str, Any]:
    """The contact of an address, as real clients need it."""
    return Identity.of(address).as_contact(name)


def message_event(phone: str, message: dict[str, Any], *, contacts: list[dict[str, Any]]) -> Event:
    """An event with one message. Timestamps are text in seconds."""
    return _event(phone, {"contacts": contacts, "messages": [_with_texts(message)]}, field="messages")


def status_event(  # noqa: PLR0913 (the fields of a status)
    phone: str,
    *,
    message_id: str,
    status: str,
    recipient: Identity,
    timestamp_s: int,
    error: dict[str, Any] | None = None,
    tracker: object = None,
    name: str = "",
) -> Event:
    """An event with one status. `tracker` is the client's own mark on the message, `name` the recipient's, if known."""
    item: dict[str, Any] = {
        "id": message_id,
        "status": status,
        "timestamp": str(timestamp_s),
        **recipient.as_recipient(),
    }
    if error is not None:
        item["errors"] = [error]
    if isinstance(tracker, str) and tracker:
        item["biz_opaque_callback_data"] = tracker
    return _event(phone, {"contacts": [recipient.as_contact(name)], "statuses": [item]}, field="messages")


def history_event(phone: str, message: dict[str, Any], *, thread: str, contacts: list[dict[str, Any]]) -> Event:
    """An event with one message that is older than the number's connection, in Meta's form for a number's past.

    `thread` is the chat: the contact, or the group.
    """
    part = {**HISTORY_PART, "threads": [{"id": thread, "messages": [_with_texts(message)]}]}
    event = _event(phone, {"contacts": contacts, "history": [part]}, field="history")
    return replace(event, message_id=str(message["id"]))


def error_object(code: int, title: str, details: str) -> dict[str, Any]:
    """An error of a status, with all the fields that clients insist on."""
    return {"code": code, "title": title, "message": title, "error_data": {"details": details}}


def whole_error(error: dict[str, Any]) -> dict[str, Any]:
    """An error of Meta's with what it lacks of the fields that clients insist on; the others stay as they came."""
    code, data = error.get("code"), error.get("error_data")
    title = str(error.get("title") or error.get("message") or "Error")
    details = str((data.get("details") if isinstance(data, dict) else None) or title)
    if isinstance(code, str) and CODE.fullmatch(code):  # on its way through somebody else's gateway it became a text
        code = int(code)
    full = error_object(code if type(code) is int else 131000, title, details)
    message = str(error.get("message") or title)
    data = {**(data if isinstance(data, dict) else {}), "details": details}
    return {**full, **error, "code": full["code"], "title": title, "message": message, "error_data": data}


def split(phone: str, changes: Iterable[Change], *, most_bytes: int = MOST_BYTES) -> list[Event]:
    """One event per message or status of a Cloud API callback, each with its own contact.

    Real clients read only the first item of an event. Missing contacts are added, because clients fail without them.
    Changes that hold neither (template updates, …) become one event each. Of several items each gets what Meta says
    beside items, and no other field: it would be copied to all of them. Raises RequestError when the bodies of the
    events are larger than `most_bytes` together.
    """
    events: list[Event] = []

    def add(value: dict[str, Any], change: Change) -> None:
        nonlocal most_bytes
        event = _event(phone, value, field=change.field, entry_id=change.entry_id, entry_time=change.entry_time)
        most_bytes -= len(event.body)
        if most_bytes < 0:
            details = "The events of this request are too large together: post fewer at once."
            raise RequestError("Invalid parameter", code=100, status=400, details=details)
        events.append(event)

    for change in changes:
        value = change.value
        lists = [key for key in ITEMS if value.get(key)]
        lists += [key for key in OTHER_ITEMS if _is_list_of_objects(value.get(key))]
        rest = {key: part for key, part in value.items() if key not in lists and key not in ITEMS}
        alone = sum(len(value[key]) for key in lists) == 1
        if not lists:
            add(rest, change)
        elif not alone:
            problems = {key: part for key, part in rest.items() if key == "errors" and part}
            rest = {key: part for key, part in rest.items() if key in BESIDE_ITEMS}
            if problems:  # of the account, and of none of the items
                add({**{key: part for key, part in rest.items() if key != "contacts"}, **problems}, change)
        contacts = _Contacts(value)
        for key in lists:
            for item in value[key]:
                add({**rest, **_own_part(key, item, rest, contacts, phone=phone, alone=alone)}, change)
    return events


def _is_list_of_objects(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(item, dict) for item in part)


class _Contacts:
    """The contacts of a change, found by any of their names: a thousand of them beside a thousand items."""

    def __init__(self, value: dict[str, Any]) -> None:
        given = value.get("contacts")
        self._given = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []

    def __bool__(self) -> bool:
        return bool(self._given)

    @cached_property
    def _people(self) -> People:
        return People(map(Identity.of_contact, self._given))

    def of(self, counterparty: Identity, *, alone: bool) -> list[dict[str, Any]]:
        """The contact that an item is about. Another one's only where it cannot be a mistake: clients believe it."""
        person = counterparty.person
        if len(self._given) == 1:  # as nearly always
            told = Identity.of_contact(self._given[0])
            position = 0 if person.likeness(told) or (alone and person.may_be(told)) else None
        else:
            position = self._people.most_alike(person)
        return [counterparty.as_contact(given=None if position is None else self._given[position])]

    def members_of(self, group: dict[str, Any], *, alone: bool) -> dict[str, Any]:
        """The contacts beside a change of a group: those that it names, when others stand there, too."""
        if alone or not self:
            return {}
        lists = [part for part in group.values() if isinstance(part, list)]
        named = (Identity.of_contact(member) for members in lists for member in members if isinstance(member, dict))
        return {"contacts": [self._given[position] for position in self._people.alike(named)]}


def _own_part(  # noqa: PLR0913 (what stands around it)
    key: str, item: dict[str, Any], beside: dict[str, Any], contacts: _Contacts, *, phone: str, alone: bool
) -> dict[str, Any]:
    """An item of a list, and the contacts that it is about."""
    if key == GROUPS:
        return {**contacts.members_of(item, alone=alone), key: [item]}
    if key not in ITEMS and "contacts" not in beside:
        return {key: [item]}
    counterparty = Identity.of_counterparty(item, phone=phone, echo=key == ECHOES)
    if not counterparty and not contacts and is_same_phone(str(item.get("from") or ""), phone):
        counterparty = Identity(phone)  # the number wrote, and nothing says to whom
    return {"contacts": contacts.of(counterparty, alone=alone), key: [_with_texts(item) if key in ITEMS else item]}


def _with_texts(item: dict[str, Any]) -> dict[str, Any]:
    """An item whose time and addresses are text, and its errors whole, as Meta writes them: receivers need them so."""
    numbers = {key: item[key] for key in TEXTS & item.keys() if type(item[key]) in (int, float)}
    texts: dict[str, Any] = {
        key: f"{value:.0f}" if isinstance(value, float) else str(value) for key, value in numbers.items()
    }
    errors = item.get("errors")
    if isinstance(errors, list):
        texts["errors"] = [whole_error(error) if isinstance(error, dict) else error for error in errors]
    return {key: part for key, part in (item | texts).items() if key != "timestamp" or part is not None}


def _event(phone: str, value: dict[str, Any], *, field: str, entry_id: str = "", entry_time: int = 0) -> Event:
    content = {key: part for key, part in value.items() if key not in BESIDE_ITEMS}
    name = next((key for key in (*ITEMS, *OTHER_ITEMS) if _is_list_of_objects(value.get(key))), "")
    item = value[name][0] if name else {}
    kind = field
    if name == "statuses":
        kind = _status_of(item)
    elif name in ITEMS:
        kind = "message"
        content[name] = [_without_addresses(item), is_same_phone(str(item.get("from") or ""), phone)]
    elif not name and entry_time:  # it says itself no time: approved twice is two events
        content = {"entry_time": entry_time, "value": content}
    message_id = str(item.get("id") or "")
    digest = hashlib.sha256(_IN_ORDER.encode(content).encode()).hexdigest()
    metadata = value.get("metadata") or {}
    return Event(
        event_id=computed_id("event", phone, message_id, kind, digest),
        message_id=message_id[:MAX_ID_CHARS],
        kind=kind,
        phone=phone,
        value=value,
        change_field=field,
        account_id=entry_id,
        number_id=str(metadata.get("phone_number_id") or ""),
        entry_time=entry_time,
    )


def _status_of(item: dict[str, Any]) -> str:
    """The status of a message; that of a payment for it, or of a call, is none of the message's own."""
    status, about = str(item.get("status") or "unknown"), item.get("type")
    return f"{about}.{status}"[:64] if about in OF_NO_MESSAGE else status


def _without_addresses(message: dict[str, Any]) -> dict[str, Any]:
    """A message without who wrote it: told once with a LID and once with a phone it is the same message."""
    context = message.get("context")
    told = {key: part for key, part in message.items() if key not in ADDRESS_FIELDS}
    if isinstance(context, dict):
        told["context"] = {key: part for key, part in context.items() if key not in ADDRESS_FIELDS}
    return told
