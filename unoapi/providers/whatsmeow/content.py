"""From the content of a received message to the Cloud API's message object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.models.cloud_api.events import error_object
from unoapi.models.connector import content
from unoapi.models.media import MAX_BYTES, MEGABYTE, UNKNOWN, extension, type_of
from unoapi.models.text import mended_json
from unoapi.providers.whatsmeow.vcards import read_card

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.connector.content import Base, Content, MediaFile

UNSUPPORTED = 131051
MEDIA_NOT_DOWNLOADED = 131052
NOT_FETCHED = "The file could not be fetched from WhatsApp. Its description is complete, its bytes are not here."
TOO_LARGE = f"The file has more than {MAX_BYTES // MEGABYTE} MB, and is not fetched from WhatsApp: it is on the phone."
NO_VOTE = "(the vote was taken back)"
NO_TYPE = ("", UNKNOWN, "application/unknown")


def cloud_content(item: Content, *, message_id: str) -> dict[str, Any] | None:
    """`type` and the object of the type. None for what is no message to anybody."""
    if isinstance(item, content.Protocol | content.Pin):
        return None
    convert = _CONVERTERS.get(type(item))
    if convert is None:
        kind = item.field if isinstance(item, content.Unsupported) and item.field else item.kind
        details = f"Messages of kind {kind[:50]} are not supported yet."
        return {"type": "unsupported", "errors": [error_object(UNSUPPORTED, "Unsupported message type", details)]}
    return convert(item, message_id)


def media_type_of(mime_type: str, filename: str) -> str:
    """The MIME type without parameters; where there is none, the one of the file's name."""
    plain = mime_type.partition(";")[0].strip().lower()
    if plain in NO_TYPE:
        return type_of(filename) or plain or UNKNOWN
    return plain


def file_name(message_id: str, mime_type: str) -> str:
    """A name for a file that came without one."""
    return f"{message_id}.{extension(mime_type)}"


def _text(item: content.Text, _: str) -> dict[str, Any]:
    return _as_text(item.body)


def _as_text(body: str) -> dict[str, Any]:
    return {"type": "text", "text": {"body": body}}


def _media(item: content.Media, message_id: str) -> dict[str, Any]:
    mime_type = media_type_of(item.mime_type, item.filename)
    saved: MediaFile = item.media or content.MediaFile(state="failed")
    file: dict[str, Any] = {"filename": item.filename or file_name(message_id, mime_type), "mime_type": mime_type}
    if item.caption:
        file["caption"] = item.caption
    if item.kind == "audio":
        file["voice"] = item.voice
    if item.kind == "sticker":
        file["animated"] = item.animated
    if item.view_once:
        file["view_once"] = True
    digest = saved.sha256 or (saved.descriptor.file_sha256 if saved.descriptor else "")
    if digest:
        file["sha256"] = digest
    if saved.key:
        file["id"] = saved.key
    message: dict[str, Any] = {"type": item.kind, item.kind: file}
    if saved.state == "failed":
        is_large = saved.descriptor is not None and saved.descriptor.file_length > MAX_BYTES
        details = TOO_LARGE if is_large else NOT_FETCHED
        message["errors"] = [error_object(MEDIA_NOT_DOWNLOADED, "Media download error", details)]
    return message


def _contacts(item: content.Contacts, _: str) -> dict[str, Any]:
    return {"type": "contacts", "contacts": [read_card(card.vcard, name=card.name) for card in item.contacts]}


def _location(item: content.Location, _: str) -> dict[str, Any]:
    location: dict[str, Any] = {"latitude": item.latitude, "longitude": item.longitude}
    location |= {key: value for key in ("name", "address", "url", "live") if (value := getattr(item, key))}
    return {"type": "location", "location": location}


def _reaction(item: content.Reaction, _: str) -> dict[str, Any]:
    return {"type": "reaction", "reaction": {"message_id": item.target_id, "emoji": item.emoji}}


def _interactive(kind: str, reply: dict[str, Any]) -> dict[str, Any]:
    return {"type": "interactive", "interactive": {"type": kind, kind: reply}}


def _list_reply(item: content.ListReply, _: str) -> dict[str, Any]:
    reply = {"id": item.id or item.title, "title": item.title or item.id, "description": item.description}
    return _interactive("list_reply", reply)


def _button_reply(item: content.ButtonReply, _: str) -> dict[str, Any]:
    return _interactive("button_reply", {"id": item.id or item.title, "title": item.title or item.id})


def _flow_reply(item: content.FlowReply, _: str) -> dict[str, Any]:
    return _interactive("nfm_reply", {"name": item.name, "body": item.body, "response_json": mended_json(item.params)})


def _template_button(item: content.TemplateButton, _: str) -> dict[str, Any]:
    return {"type": "button", "button": {"payload": item.payload or item.text, "text": item.text or item.payload}}


def _poll(item: content.Poll, _: str) -> dict[str, Any]:
    return _as_text((f"*{item.name}*\n" if item.name else "") + " | ".join(item.options))


def _poll_vote(item: content.PollVote, _: str) -> dict[str, Any]:
    return _as_text(", ".join(item.options) or (NO_VOTE if item.withdrawn else "(a vote in a poll)"))


def _order(item: content.Order, _: str) -> dict[str, Any]:
    lines = [f"{item.item_count} x {item.currency} {item.total_1000 / 1000:.2f}".strip(), item.text]
    return _as_text("\n".join(line for line in lines if line))


def _product(item: content.Product, _: str) -> dict[str, Any]:
    return _as_text("\n".join(line for line in (f"*{item.title}*" if item.title else "", item.description) if line))


def _list_menu(item: content.ListMenu, _: str) -> dict[str, Any]:
    rows = [
        {
            "title": section.title,
            "rows": [
                {"id": row.id, "title": row.title, "description": row.description} for row in section.rows
            ],
        }
        for section in item.sections
    ]  # fmt: skip
    menu = _frame("list", item) | {"action": {"button": item.button, "sections": rows}}
    return {"type": "interactive", "interactive": menu}


def _buttons(item: content.Buttons, message_id: str) -> dict[str, Any]:
    if not item.buttons:
        return _as_text("\n".join(part for part in (item.header, item.body, item.footer) if part))
    menu = _frame("button", item) | {"action": {"buttons": [_button(button) for button in item.buttons]}}
    if item.header_media is None:
        return {"type": "interactive", "interactive": menu}
    media = _media(item.header_media, message_id)
    kind = str(media.pop("type"))
    menu |= {"header": {"type": kind, kind: media.pop(kind)}}
    if item.header:  # a menu has one header, and the file is it
        menu["body"] = {"text": f"*{item.header}*\n{item.body}".strip()}
    return {"type": "interactive", "interactive": menu, **media}


def _button(button: content.Button) -> dict[str, Any]:
    if button.type == "url":
        return {"type": "cta_url", "url": {"title": button.title, "link": button.value}}
    if button.type == "call":
        return {"type": "call", "call": {"title": button.title, "phone_number": button.value}}
    if button.type == "copy_code":
        return {"type": "copy_code", "copy_code": {"title": button.title, "code": button.value}}
    return {"type": "reply", "reply": {"id": button.id or button.value, "title": button.title}}


def _frame(kind: str, item: content.ListMenu | content.Buttons) -> dict[str, Any]:
    frame: dict[str, Any] = {"type": kind, "body": {"text": item.body}}
    if item.header:
        frame["header"] = {"type": "text", "text": item.header}
    if item.footer:
        frame["footer"] = {"text": item.footer}
    return frame


_CONVERTERS: dict[type[Base], Callable[[Any, str], dict[str, Any]]] = {
    content.Text: _text,
    content.Media: _media,
    content.Contacts: _contacts,
    content.Location: _location,
    content.Reaction: _reaction,
    content.ListReply: _list_reply,
    content.ButtonReply: _button_reply,
    content.FlowReply: _flow_reply,
    content.TemplateButton: _template_button,
    content.Poll: _poll,
    content.PollVote: _poll_vote,
    content.Order: _order,
    content.Product: _product,
    content.ListMenu: _list_menu,
    content.Buttons: _buttons,
}
