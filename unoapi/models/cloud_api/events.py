"""Cloud API events: what a webhook gets. One message or one status per event."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unoapi.errors import RequestError
from unoapi.models.cloud_api.event_content import ITEMS, EventContent
from unoapi.models.jobs import computed_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unoapi.models.cloud_api.callbacks import Change

BESIDE_ITEMS = frozenset({"messaging_product", "metadata", "contacts"})
MOST_BYTES = 4 * 1024 * 1024

STATUSES = ("sent", "delivered", "read", "played", "deleted", "failed")


@dataclass(frozen=True)
class Event:
    """One Cloud API event with what the gateway must know about it.

    `kind` is "message" or the status; `body` is the exact text that is signed and sent, and `content` what it says.
    """

    event_id: str
    message_id: str
    kind: str
    body: str = field(repr=False)
    content: EventContent = field(repr=False, compare=False)


def serialise(document: Any) -> str:
    """JSON in ASCII, once: every attempt sends these bytes, and receivers that re-encode still match the signature."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":"))


def read_document(body: str) -> dict[str, Any]:
    """The JSON object in a body. An empty one when there is none: the report about a broken job must not break, too."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def contact(phone: str, name: str = "") -> dict[str, Any]:
    """A contact as real clients need it: `user_id` is the plain phone, `profile.name` is never absent."""
    return {"profile": {"name": name or phone}, "wa_id": phone, "user_id": phone}


def message_event(phone: str, message: dict[str, Any], *, contacts: list[dict[str, Any]]) -> Event:
    """An event with one message. Timestamps are text in seconds."""
    return _event(phone, {"contacts": contacts, "messages": [_with_text_timestamp(message)]}, field="messages")


def status_event(  # noqa: PLR0913 (the fields of a status)
    phone: str,
    *,
    message_id: str,
    status: str,
    recipient: str,
    timestamp_s: int,
    error: dict[str, Any] | None = None,
    tracker: object = None,
) -> Event:
    """An event with one status. `tracker` is the client's own mark on the message."""
    item: dict[str, Any] = {
        "id": message_id,
        "status": status,
        "timestamp": str(timestamp_s),
        "recipient_id": recipient,
    }
    if error is not None:
        item["errors"] = [error]
    if isinstance(tracker, str) and tracker:
        item["biz_opaque_callback_data"] = tracker
    return _event(phone, {"contacts": [contact(recipient)], "statuses": [item]}, field="messages")


def error_object(code: int, title: str, details: str) -> dict[str, Any]:
    """An error of a status, with all the fields that clients insist on."""
    return {"code": code, "title": title, "message": title, "error_data": {"details": details}}


def split(phone: str, changes: Iterable[Change], *, most_bytes: int = MOST_BYTES) -> list[Event]:
    """One event per message or status of a Cloud API callback.

    Real clients read only the first item of an event. Missing contacts are added, because clients fail without them.
    Changes that hold neither (template updates, …) become one event each. Of several items each gets what Meta says
    beside items, and no other field: it would be copied to all of them. Raises RequestError when the bodies of the
    events are larger than `most_bytes` together.
    """
    events: list[Event] = []

    def add(value: dict[str, Any], change: Change) -> None:
        nonlocal most_bytes
        event = _event(phone, value, field=change.field, entry_id=change.entry_id)
        most_bytes -= len(event.body)
        if most_bytes < 0:
            details = "The events of this request are too large together: post fewer at once."
            raise RequestError("Invalid parameter", code=100, status=400, details=details)
        events.append(event)

    for change in changes:
        value = change.value
        lists = [key for key in ITEMS if value.get(key)]
        rest = {key: part for key, part in value.items() if key not in ITEMS}
        alone = sum(len(value[key]) for key in lists) == 1
        if not lists:
            add(rest, change)
        elif not alone:
            rest = {key: part for key, part in rest.items() if key in BESIDE_ITEMS}
        for key in lists:
            for item in value[key]:
                contacts = _contacts_of(item, rest.get("contacts") or [], phone=phone, alone=alone)
                add({**rest, "contacts": contacts, key: [_with_text_timestamp(item)]}, change)
    return events


def _contacts_of(
    item: dict[str, Any], contacts: list[dict[str, Any]], *, phone: str, alone: bool
) -> list[dict[str, Any]]:
    """The contact that the item is about. Another one's only where it cannot be a mistake: clients believe it."""
    counterparty = str(item.get("recipient_id") or item.get("to") or item.get("from") or "")
    meant = [candidate for candidate in contacts if str(candidate.get("wa_id") or "") == counterparty]
    if not meant and (alone or counterparty in ("", phone)):
        meant = contacts[:1]
    filled = []
    for given in meant:
        wa_id = str(given.get("wa_id") or "")
        profile = dict(given["profile"]) if isinstance(given.get("profile"), dict) else {}
        profile["name"] = str(profile.get("name") or wa_id or counterparty)
        filled.append({**given, "profile": profile, "wa_id": wa_id, "user_id": str(given.get("user_id") or wa_id)})
    return filled or [contact(counterparty)]


def _with_text_timestamp(item: dict[str, Any]) -> dict[str, Any]:
    others = {key: part for key, part in item.items() if key != "timestamp"}
    return others if item.get("timestamp") is None else {**item, "timestamp": str(item["timestamp"])}


def _event(phone: str, value: dict[str, Any], *, field: str, entry_id: str = "") -> Event:
    metadata = dict(value.get("metadata") or {})
    shown = "".join(figure for figure in str(metadata.get("display_phone_number") or "") if figure.isdigit())
    metadata |= {
        "display_phone_number": shown or phone,
        "phone_number_id": str(metadata.get("phone_number_id") or phone),
    }
    full = {
        "messaging_product": "whatsapp",
        "metadata": metadata,
        **{k: v for k, v in value.items() if k != "metadata"},
    }
    items: list[dict[str, Any]] = next((full[key] for key in ITEMS if full.get(key)), [])
    item = items[0] if items else {}
    kind = str(item.get("status") or "unknown") if full.get("statuses") else "message" if items else field
    message_id = str(item.get("id") or "")
    content = {key: part for key, part in full.items() if key not in ("contacts", "metadata", "messaging_product")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    body = serialise(
        {
            "object": "whatsapp_business_account",
            "entry": [{"id": entry_id or phone, "changes": [{"value": full, "field": field}]}],
        }
    )
    return Event(
        event_id=computed_id("event", phone, message_id, kind, digest),
        message_id=message_id,
        kind=kind,
        body=body,
        content=EventContent(kind, full),
    )
