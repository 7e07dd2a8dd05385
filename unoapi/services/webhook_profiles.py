"""The form in which a webhook gets events, where its receiver needs another one than ours: the field `profile`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from unoapi.models.cloud_api.events import serialise, whole_error
from unoapi.models.media import MEDIA_TYPES, is_own_media_id
from unoapi.models.message_keys import OWN_IDS, UNREADABLE
from unoapi.models.phones import LID, STATUS_POSTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.jobs import FanOut
    from unoapi.models.session import Webhook

    Shape = Callable[[dict[str, Any], str], dict[str, Any] | None]
    """Makes a change (`field`, `value`) another one, for a number; none when the receiver cannot take the event."""

PROFILE = "profile"
"""The name of the filter that stops what a receiver cannot take."""
LISTS = ("contacts", "messages", "statuses", "errors")
TYPEBOT_TYPES = frozenset(
    {"text", "button", "interactive", "location", "reaction", "contacts", "unsupported", "system", *MEDIA_TYPES}
)
NOT_SHOWN = frozenset({"revoke", "pin", "request_welcome", "media_placeholder"})
"""Types of Meta's in which nobody wrote anything: Chatwoot makes an empty message of each."""
REPLIES = frozenset({"button_reply", "list_reply"})
NAMES_BESIDE = {"from": "from_user_id", "to": "to_user_id", "recipient_id": "recipient_user_id"}
"""By what fields messages and statuses name somebody: the phone, and another name beside it."""
KNOWN_STATUSES = frozenset({"sent", "delivered", "read", "failed"})
MADE_EVENTS = {"group_create": "created", "group_delete": "deleted"}


def body_for(webhook: Webhook, job: FanOut) -> str | None:
    """The event's body as this webhook gets it; none when its receiver cannot take the event."""
    if not webhook.profile:
        return job.body
    document = json.loads(job.body)
    entry = document["entry"][0]
    change = SHAPES[webhook.profile](entry["changes"][0], job.phone)
    if change is None:
        return None
    entry["changes"] = [change]
    return serialise(document)


def _meta(change: dict[str, Any], _: str) -> dict[str, Any] | None:
    """What Meta itself sends: edits and deletions as messages, nothing of ours beside them."""
    value = change["value"]
    if _is_status_post(value):
        return None
    _without(value, "chat")
    _name_by_phone(value)
    for message in _items(value, "messages") + _items(value, "message_echoes"):
        if message.get("message_type") == "message_edit":
            _make_edit(message)
        for kind in MEDIA_TYPES:
            _without(message.get(kind), *(() if kind == "document" else ("filename",)), "view_once")
        _without(message.get("context"), "status", "message_id")
    for status in _items(value, "statuses"):
        if status.get("status") == "deleted":
            return _revoked(change, status)
    for contact in _items(value, "contacts"):
        _without(contact, "group_id", "group_subject", "group_picture")
        _without(contact.get("profile"), "picture")
    return change


def _is_status_post(value: dict[str, Any]) -> bool:
    """Whether it was shown to all who follow the writer: nobody wrote to the number, nor it to anybody."""
    own = any(echo.get("to") == STATUS_POSTS for echo in _items(value, "message_echoes"))
    return own or _as_object(value.get("chat")).get("type") == "status"


def _make_edit(message: dict[str, Any]) -> None:
    kind = str(message.get("type", ""))
    target = _as_object(message.pop("context", None)).get("id", "")
    new = {"type": kind, kind: message.pop(kind, {})}
    _without(message, "message_type", "edit_timestamp")
    message |= {"type": "edit", "edit": {"original_message_id": target, "message": new}}


def _show_edit(message: dict[str, Any]) -> None:
    """Show an edit of Meta's as those of phones: by what the message says now."""
    edit = _as_object(message.get("edit")) if message.get("type") == "edit" else {}
    new = _as_object(edit.get("message"))
    kind = str(new.get("type", ""))
    if not kind or kind not in new:
        return
    told = new[kind]
    if kind in MEDIA_TYPES:  # its caption alone is new
        kind, told = "text", {"body": str(_as_object(told).get("caption") or "")}
    target = edit.get("original_message_id", "")
    _without(message, "edit", "errors")
    message |= {"type": kind, kind: told, "context": {"message_id": target, "id": target}}
    message["message_type"] = "message_edit"


def _revoked(change: dict[str, Any], status: dict[str, Any]) -> dict[str, Any] | None:
    """A contact's deletion as a message; of what the number deleted itself, under an id of ours, Meta tells nothing."""
    deleted = str(status.get("id", ""))
    if deleted.startswith(OWN_IDS) and not deleted.startswith(UNREADABLE):
        return None
    value = {name: part for name, part in change["value"].items() if name != "statuses"}
    group = status.get("recipient_type") == "group"
    of = "recipient_participant" if group else "recipient"
    sender, user_id = status.get(f"{of}_id", ""), status.get(f"{of}_user_id", "")
    message = {
        "from": sender,
        **({"from_user_id": user_id} if user_id and user_id != sender else {}),
        "id": f"{deleted}.revoke",
        "timestamp": status.get("timestamp", ""),
        "type": "revoke",
        "revoke": {"original_message_id": deleted},
        **({"group_id": status.get("recipient_id", "")} if group else {}),
    }
    return {**change, "value": {**value, "messages": [message]}}


def _unoapi(change: dict[str, Any], phone: str) -> dict[str, Any] | None:
    """What the Node version sent: lists that are always there, media ids with the phone, its form of group changes.

    There the id of each number is its phone, also of one at Meta.
    """
    value = change["value"]
    _without(value, "chat")
    if "phone_number_id" in _as_object(value.get("metadata")):
        value["metadata"] = {**value["metadata"], "phone_number_id": phone}
    if str(change.get("field", "")).startswith("group_"):
        groups = [_group_change(item) for item in _items(value, "groups")]
        return {**change, "value": {**value, **(groups[0] if groups else {})}}
    for message in _items(value, "messages") + _items(value, "message_echoes"):
        for kind in MEDIA_TYPES:
            file = message.get(kind)
            if isinstance(file, dict) and is_own_media_id(str(file.get("id") or "")):
                file["id"] = f"{phone}/{file['id']}"
    for status in _items(value, "statuses"):
        status["conversation"] = {"id": status.get("recipient_id", ""), **_as_object(status.get("conversation"))}
    if change.get("field") == "messages":
        value |= {name: value.get(name) or [] for name in LISTS}
    return change


def _group_change(item: dict[str, Any]) -> dict[str, Any]:
    """One change as the fork of the Node version words it."""
    kind = str(item.get("type", ""))
    told = {"group_id": item.get("group_id", ""), "timestamp": item.get("timestamp", "")}
    if kind in MADE_EVENTS:
        return {**told, "event": MADE_EVENTS[kind]}
    if kind.startswith("group_participants_"):
        action = kind.removeprefix("group_participants_")
        named: Any = next((part for name, part in item.items() if name.endswith("_participants")), [])
        return {**told, "action": action, "participants": named}
    changes = {name: part for name, part in item.items() if isinstance(part, dict) and name != "changed_by"}
    plain = {
        name.removeprefix("group_"): part.get("text", part.get("enabled", part.get("link", True)))
        for name, part in changes.items()
    }
    return {**told, "changes": plain}


def _chatwoot(change: dict[str, Any], _: str) -> dict[str, Any] | None:
    """What Chatwoot shows: it drops messages with errors, of unknown types, and reactions, and fails on deletions."""
    value = change["value"]
    if change.get("field") == "history" or any(
        status.get("status") not in KNOWN_STATUSES for status in _items(value, "statuses")
    ):
        return None
    _name_by_phone(value)
    for message in _items(value, "messages") + _items(value, "message_echoes"):
        _show_edit(message)
        kind = str(message.get("type", ""))
        if kind in NOT_SHOWN:
            return None
        if message.get("errors") or kind == "unsupported":
            _make_text(message, _apology(message, kind))
        elif kind == "reaction":
            reaction = _as_object(message.get("reaction"))
            if not reaction.get("emoji"):
                return None
            _make_text(message, str(reaction["emoji"]))
            target = reaction.get("message_id", "")
            message["context"] = {"id": target, "message_id": target}
        elif kind == "interactive" and not REPLIES & _as_object(message.get(kind)).keys():
            _make_text(message, _words_of(_as_object(message.get(kind))))
        elif kind in ("order", "system"):
            _make_text(message, _words_of_order(_as_object(message.get(kind))) or f"({kind})")
    return change


def _typebot(change: dict[str, Any], phone: str) -> dict[str, Any] | None:
    """What Typebot's strict reader takes: one field too many or too few, and the whole event is refused.

    What the number hears from itself, news of its connection, is left out: Typebot would answer it.
    """
    value = change["value"]
    messages, statuses = _items(value, "messages"), _items(value, "statuses")
    unknown = any(status.get("status") not in KNOWN_STATUSES for status in statuses)
    own = any(message.get("from") == phone for message in messages)
    if change.get("field") != "messages" or own or _is_status_post(value):
        return None
    _without(value, "chat")
    writer = next((name for contact in _items(value, "contacts") for name in _names(contact)), phone)
    if unknown or not all(_typebot_message(one, writer) for one in messages):
        return None
    _name_by_phone(value)
    for status in statuses:
        digits = re.sub(r"[^0-9]", "", str(status.get("recipient_id") or status.get("recipient_user_id") or ""))
        status |= {"recipient_id": digits, "timestamp": str(status.get("timestamp", ""))}
    for item in messages + statuses:
        if "errors" in item:
            item["errors"] = [whole_error(error) for error in _items(item, "errors")]
    for contact in _items(value, "contacts"):
        _without(contact.get("profile"), "picture")
    return change


def _name_by_phone(value: dict[str, Any]) -> None:
    """Name who has a phone by that alone: receivers look for a `user_id` first, and a LID is not always there.

    To programs of Meta's form a LID is no user id.
    """
    for contact in _items(value, "contacts"):
        if contact.get("wa_id") and str(contact.get("user_id", "")).endswith(f"@{LID}"):
            contact["user_id"] = contact["wa_id"]
    for item in (item for name in ("messages", "message_echoes", "statuses") for item in _items(value, name)):
        for named, beside in NAMES_BESIDE.items():
            if item.get(named) and str(item.get(beside, "")).endswith(f"@{LID}"):
                _without(item, beside)


def _names(contact: dict[str, Any]) -> list[str]:
    return [str(contact[name]) for name in ("wa_id", "user_id") if contact.get(name)]


def _typebot_message(message: dict[str, Any], writer: str) -> bool:
    """Change a message for Typebot, which answers to its `from`. False when it has no form for it.

    `writer` wrote it, if it does not say so itself: notices of Meta's about a user name nobody else.
    """
    _show_edit(message)
    if message.get("type") == "order" and (words := _words_of_order(_as_object(message.get("order")))):
        _make_text(message, words)
    kind = str(message.get("type", ""))
    if kind not in TYPEBOT_TYPES:
        return False
    told = _as_object(message.get(kind))
    if kind == "interactive" and not REPLIES & told.keys():
        _make_text(message, _words_of(told))
    elif kind in MEDIA_TYPES and not told.get("id"):
        _make_text(message, _apology(message, kind))
    elif kind in MEDIA_TYPES:
        _without(told, "filename", "url", "sha256", "view_once", *_nulls(told))
    _without(message, "message_type", "edit_timestamp")
    message["timestamp"] = str(message.get("timestamp", ""))
    message["from"] = str(message.get("from") or message.get("from_user_id") or writer)
    return True


def _apology(message: dict[str, Any], kind: str) -> str:
    """What a person reads in the place of a message that the receiver would not show."""
    errors = _items(message, "errors")
    details = str(_as_object(errors[0].get("error_data")).get("details") or "") if errors else ""
    file = _as_object(message.get(kind))
    words = (str(file.get("filename") or ""), str(file.get("caption") or ""), details or f"({kind})")
    return "\n".join(line for line in words if line)


def _words_of(interactive: dict[str, Any]) -> str:
    """The words of something to press, or of a form that was filled."""
    kind = str(interactive.get("type", ""))
    reply = _as_object(interactive.get(kind))
    if kind == "nfm_reply":
        return "\n".join(str(reply[name]) for name in ("body", "response_json") if reply.get(name))
    parts = [_as_object(interactive.get(name)).get("text") for name in ("header", "body", "footer")]
    action = _as_object(interactive.get("action"))
    for button in _items(action, "buttons"):
        told = _as_object(button.get(str(button.get("type", ""))))
        parts.append(f"\u25b8 {told.get('title', '')}")
    for section in _items(action, "sections"):
        parts += [f"\u25b8 {row.get('title', '')}" for row in _items(section, "rows")]
    return "\n".join(str(part) for part in parts if part) or f"({kind})"


def _words_of_order(part: dict[str, Any]) -> str:
    """The words of an order, with what is ordered, or of a notice of Meta's."""
    items = [
        f"{item.get('quantity', 1)} x {item.get('product_retailer_id', '')}"
        f" ({item.get('currency', '')} {item.get('item_price', '')})"
        for item in _items(part, "product_items")
    ]
    return "\n".join(str(line) for line in (part.get("body"), part.get("text"), *items) if line)


def _make_text(message: dict[str, Any], body: str) -> None:
    _without(message, str(message.get("type", "")), "errors", "unsupported")
    message |= {"type": "text", "text": {"body": body}}


def _items(part: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = part.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _as_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _nulls(part: dict[str, Any]) -> list[str]:
    return [name for name, value in part.items() if value is None]


def _without(part: object, *names: str) -> None:
    if isinstance(part, dict):
        for name in names:
            part.pop(name, None)


SHAPES: dict[str, Shape] = {"meta": _meta, "unoapi": _unoapi, "chatwoot": _chatwoot, "typebot": _typebot}
"""By the values of a webhook's `profile`."""
