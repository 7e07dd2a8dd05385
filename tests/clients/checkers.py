"""What each real receiver insists on in a webhook: a violation is a sentence. Sources: the receivers' own readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TYPEBOT_TYPES = {
    "text", "button", "interactive", "image", "video", "audio", "document", "location", "webhook", "reaction",
    "sticker", "contacts", "unsupported", "system",
}  # fmt: skip
STATUSES = {"sent", "delivered", "read", "played", "failed", "deleted"}
MEDIA = {"image", "video", "audio", "document", "sticker"}


def envelope(event: dict[str, Any]) -> Iterator[str]:
    """Rules R5 and R15: index 0 is all that most read, and the ids must be those that the client knows."""
    if event.get("object") != "whatsapp_business_account":
        yield "object"
    if len(event["entry"]) != 1 or len(event["entry"][0]["changes"]) != 1:
        yield "exactly one entry with one change"
    if not isinstance(event["entry"][0].get("id"), str) or not event["entry"][0]["id"]:
        yield "entry[0].id is a text"
    value = event["entry"][0]["changes"][0]["value"]
    if value.get("messaging_product") != "whatsapp":
        yield "messaging_product"
    if not str(value["metadata"].get("display_phone_number", "")).isdigit():
        yield "display_phone_number is digits"
    if not value["metadata"].get("phone_number_id"):
        yield "phone_number_id"


def items(event: dict[str, Any]) -> Iterator[str]:
    """Rules R2, R3, R5, R14 and R19, of events that hold messages or statuses."""
    value = event["entry"][0]["changes"][0]["value"]
    items = [*value.get("messages", []), *value.get("statuses", [])]
    if len(items) != 1:
        yield f"exactly one message or status, not {len(items)}"
    for contact in value.get("contacts") or [{}]:
        named = contact.get("profile", {}).get("name") and (contact.get("wa_id") or contact.get("user_id"))
        if not named or not {"wa_id", "user_id"} <= contact.keys():
            yield "contacts[0] with profile.name, wa_id and user_id"
    for item in items:
        if not isinstance(item.get("timestamp"), str) or len(item["timestamp"]) != len("1767225600"):
            yield "timestamp is a text of seconds"
        if "conversation" in item and "origin" not in item["conversation"]:
            yield "conversation.origin"


def errors(event: dict[str, Any]) -> Iterator[str]:
    """Rule R7."""
    value = event["entry"][0]["changes"][0]["value"]
    for item in [*value.get("messages", []), *value.get("statuses", [])]:
        for error in item.get("errors", []):
            if not isinstance(error.get("code"), int) or not error.get("title") or not error.get("message"):
                yield "errors[] with code, title and message"
            if not error.get("error_data", {}).get("details"):
                yield "errors[].error_data.details"


def chatwoot(event: dict[str, Any]) -> Iterator[str]:
    value = event["entry"][0]["changes"][0]["value"]
    for status in value.get("statuses", []):
        if status["status"] not in STATUSES - {"played", "deleted"}:
            yield f"status {status['status']} raises"
    for message in value.get("messages", []):
        kind = message["type"]
        if not message.get("id") or not message.get("from"):
            yield "id and from"
        if kind in MEDIA and not message[kind].get("id"):
            yield "media id"
        if kind == "contacts" and not message["contacts"][0]["phones"][0].get("phone"):
            yield "contacts[].phones[].phone"


def typebot(event: dict[str, Any]) -> Iterator[str]:
    """A strict schema: any violation refuses the whole request with 400."""
    value = event["entry"][0]["changes"][0]["value"]
    for message in value.get("messages", []):
        kind = message["type"]
        if kind not in TYPEBOT_TYPES:
            yield f"type {kind}"
        if not isinstance(message.get("from"), str):
            yield "from is a text"
        if kind in MEDIA and not (message[kind].get("id") and message[kind].get("mime_type")):
            yield "media with id and mime_type"
        if kind == "interactive" and message["interactive"]["type"] not in ("button_reply", "list_reply"):
            yield "interactive type"
        if kind == "location" and not all(
            isinstance(message["location"].get(part), int | float) for part in ("latitude", "longitude")
        ):
            yield "location in numbers"
        if kind == "button" and not (message["button"].get("text") and message["button"].get("payload")):
            yield "button with text and payload"
    for status in value.get("statuses", []):
        recipient = status.get("recipient_id")
        if not isinstance(recipient, str) or not (recipient or status.get("recipient_user_id")):
            yield "statuses[].recipient_id"


def n8n(event: dict[str, Any]) -> Iterator[str]:
    """One item per change: value and field; statuses are filtered by their status."""
    change = event["entry"][0]["changes"][0]
    if not isinstance(change.get("field"), str) or not isinstance(change.get("value"), dict):
        yield "field and value"


def pywa(event: dict[str, Any]) -> Iterator[str]:
    value = event["entry"][0]["changes"][0]["value"]
    for message in value.get("messages", []):
        kind = message["type"]
        if kind in MEDIA and not all(message[kind].get(part) for part in ("id", "mime_type", "sha256")):
            yield "media with id, mime_type and sha256"
        if kind == "interactive" and message["interactive"]["type"] == "list_reply":
            context = message.get("context") or {}
            if not context.get("from") or not context.get("id"):
                yield "a list reply has a context"


CHECKERS: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    check.__name__: check for check in (envelope, items, errors, chatwoot, typebot, n8n, pywa)
}


def violations(event: dict[str, Any]) -> list[str]:
    """All rules that an event breaks, with the receiver that insists on them."""
    return [f"{name}: {problem}" for name, check in CHECKERS.items() for problem in check(event)]
