"""Cloud API events: what a webhook gets. One message or one status per event."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from unoapi.models.jobs import computed_id

STATUSES = ("sent", "delivered", "read", "played", "deleted", "failed")


class Event(BaseModel):
    """One Cloud API event with what the gateway must know about it.

    `kind` is "message" or the status; `body` is the exact text that is signed and sent.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    event_id: str
    message_id: str
    kind: str
    body: str

    def traits(self, phone: str) -> Traits:
        """What the filters of a webhook look at."""
        value = self.value
        items = value.get("messages") or value.get("message_echoes") or value.get("statuses") or [{}]
        item = items[0]
        contact = (value.get("contacts") or [{}])[0]
        group = str(item.get("group_id") or contact.get("group_id") or "")
        if not group and item.get("recipient_type") == "group":
            group = str(item.get("recipient_id") or "")
        return Traits(
            status=self.kind != "message",
            group=bool(group) and not group.endswith("@newsletter"),
            newsletter=group.endswith("@newsletter"),
            own=self.kind == "message" and str(item.get("from", "")) == phone,
        )

    def counterparty(self, phone: str) -> str:
        """With whom the number `phone` talks here: a contact, or a group. Empty when nobody can be told."""
        value = self.value
        items = value.get("messages") or value.get("message_echoes") or value.get("statuses") or [{}]
        item = items[0]
        contact = (value.get("contacts") or [{}])[0]
        sender = str(item.get("from") or "")
        known = (
            item.get("group_id"),
            contact.get("group_id"),
            item.get("recipient_id") or item.get("to"),
            sender if sender != phone else "",
            contact.get("wa_id"),
        )
        return next((str(each) for each in known if each), "")

    @property
    def value(self) -> dict[str, Any]:
        """The `value` of the only change."""
        value: dict[str, Any] = json.loads(self.body)["entry"][0]["changes"][0]["value"]
        return value


class Traits(BaseModel):
    """What the filters of a webhook look at."""

    model_config = ConfigDict(frozen=True)

    status: bool
    group: bool
    newsletter: bool
    own: bool


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


def split(phone: str, payload: dict[str, Any]) -> list[Event]:
    """One event per message or status of a Cloud API callback.

    Real clients read only the first item of an event. Missing contacts are added, because clients fail without them.
    Changes that hold neither (template updates, …) become one event each.
    """
    events: list[Event] = []
    for entry in payload["entry"]:
        for change in entry["changes"]:
            value = dict(change["value"])
            field = str(change.get("field", "messages"))
            lists = [key for key in ("messages", "message_echoes", "statuses") if value.get(key)]
            rest = {key: part for key, part in value.items() if key not in ("messages", "message_echoes", "statuses")}
            alone = sum(len(value[key]) for key in lists) == 1
            if not lists:
                events.append(_event(phone, rest, field=field, entry_id=entry.get("id")))
            for key in lists:
                for item in value[key]:
                    contacts = _contacts_of(item, rest.get("contacts") or [], phone=phone, alone=alone)
                    own = {**rest, "contacts": contacts}
                    own[key] = [_with_text_timestamp(item)]
                    events.append(_event(phone, own, field=field, entry_id=entry.get("id")))
    return events


def _contacts_of(
    item: dict[str, Any], contacts: list[dict[str, Any]], *, phone: str, alone: bool
) -> list[dict[str, Any]]:
    """The contact that the item is about. Another one's only where it cannot be a mistake: clients believe it."""
    counterparty = str(item.get("recipient_id") or item.get("to") or item.get("from") or "")
    mine = [each for each in contacts if str(each.get("wa_id") or "") == counterparty]
    if not mine and (alone or counterparty in ("", phone)):
        mine = contacts[:1]
    filled = []
    for each in mine:
        wa_id = str(each.get("wa_id") or "")
        given = each.get("profile")
        profile = dict(given) if isinstance(given, dict) else {}
        profile["name"] = str(profile.get("name") or wa_id or counterparty)
        filled.append({**each, "profile": profile, "wa_id": wa_id, "user_id": str(each.get("user_id") or wa_id)})
    return filled or [contact(counterparty)]


def _with_text_timestamp(item: dict[str, Any]) -> dict[str, Any]:
    others = {key: part for key, part in item.items() if key != "timestamp"}
    return others if item.get("timestamp") is None else {**item, "timestamp": str(item["timestamp"])}


def _event(phone: str, value: dict[str, Any], *, field: str, entry_id: object = None) -> Event:
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
    items = full.get("messages") or full.get("message_echoes") or full.get("statuses") or []
    item = items[0] if items else {}
    kind = str(item.get("status") or "unknown") if full.get("statuses") else "message" if items else field
    message_id = str(item.get("id") or "")
    content = {key: part for key, part in full.items() if key not in ("contacts", "metadata", "messaging_product")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    body = serialise(
        {
            "object": "whatsapp_business_account",
            "entry": [{"id": str(entry_id or phone), "changes": [{"value": full, "field": field}]}],
        }
    )
    return Event(
        event_id=computed_id("event", phone, message_id, kind, digest), message_id=message_id, kind=kind, body=body
    )
