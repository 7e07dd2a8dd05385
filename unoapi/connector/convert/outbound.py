"""Converts the contract's content to WhatsApp's messages, as the JSON of their protobufs. Knows no engine.

Field names are those of the protobuf (`fileSHA256`, `stanzaID`); bytes are base64, as protobuf's JSON has them.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from unoapi.errors import SendRefused
from unoapi.models.connector import content
from unoapi.models.connector.quoting import Quoted
from unoapi.models.file_types import OPUS
from unoapi.models.media import with_ending
from unoapi.models.phones import STATUS_POSTS, to_jid
from unoapi.models.text import bold, italic

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.connector.commands import Quote, Send

FIELDS = {
    "image": "imageMessage",
    "video": "videoMessage",
    "audio": "audioMessage",
    "document": "documentMessage",
    "sticker": "stickerMessage",
}
SHOWN = {field: kind for kind, field in FIELDS.items()} | {"conversation": "text", "extendedTextMessage": "text"}
SHOWN_BUTTONS = {"classic": 3, "native": 10}
NATIVE_NAMES = {"reply": "quick_reply", "url": "cta_url", "call": "cta_call", "copy_code": "cta_copy"}
MENTIONS = ("mentionedJID", "nonJIDMentions")
WHITE = 0xFFFFFFFF
UNSUPPORTED, INVALID = 131051, 131009
"""The Cloud API's error codes for a kind of message that cannot be sent, and for what is wrong in one."""


def message_of(send: Send, *, to: str, uploaded: dict[str, Any] | None = None) -> dict[str, Any]:
    """The message to send. `uploaded` holds the fields that WhatsApp's server gave for a file. Raises SendRefused."""
    item = send.content
    mode = _mode(item, send.interactive_mode)
    if isinstance(item, content.Buttons | content.ListMenu) and mode == "text":
        words = as_text(item)
        if len(words) > content.MAX_TEXT:
            raise SendRefused(f"as a text the menu has more than {content.MAX_TEXT} characters", code=INVALID)
        if isinstance(item, content.Buttons) and item.header_media is not None:
            item = item.header_media.model_copy(update={"caption": words})
        else:
            item = content.Text(body=words)
    if isinstance(item, content.Media):
        message = _media(item, uploaded or {})
    elif isinstance(item, content.ListMenu) and mode == "native":
        message = _native_list(item)
    elif isinstance(item, content.Buttons):
        message = (_native if mode == "native" else _classic)(item, uploaded)
    else:
        convert = _CONVERTERS.get(type(item))
        if convert is None:
            raise SendRefused(f"messages of kind {item.kind} cannot be sent", code=UNSUPPORTED)
        message = convert(item, to)
    return _with_context(message, send)


def _mode(item: content.Content, mode: str) -> str:
    """How a menu is sent: more buttons than phones show are numbered lines."""
    return "text" if isinstance(item, content.Buttons) and len(item.buttons) > SHOWN_BUTTONS.get(mode, 0) else mode


def shown_as(message: dict[str, Any]) -> tuple[str, str]:
    """The kind of a message that left, when it is a text or a file, and the name of a document."""
    field = next(iter(message), "")
    part = message.get(field)
    if field == "documentWithCaptionMessage":
        field, part = FIELDS["document"], message[field]["message"][FIELDS["document"]]
    kind = SHOWN.get(field, "")
    return kind, str(part.get("fileName") or "") if kind == "document" and isinstance(part, dict) else ""


def media_of(send: Send) -> content.Media | None:
    """The file that must be uploaded first."""
    if isinstance(send.content, content.Media):
        return send.content
    return send.content.header_media if isinstance(send.content, content.Buttons) else None


def as_text(item: content.Buttons | content.ListMenu) -> str:
    """Choices as numbered lines: what every phone shows."""
    lines = [bold(item.header), item.body]
    number = 0
    if isinstance(item, content.Buttons):
        for button in item.buttons:
            number += 1
            value = "" if button.type == "reply" else f": {button.value}"
            lines.append(f"{number}. {button.title}{value}")
    else:
        for section in item.sections:
            lines.append(bold(section.title))
            for row in section.rows:
                number += 1
                lines.append(f"{number}. {row.title}" + (f" ({row.description})" if row.description else ""))
    lines.append(italic(item.footer))
    return "\n".join(line for line in lines if line)


def _text(item: content.Text, to: str) -> dict[str, Any]:
    preview = item.preview
    look = item.look or content.Look() if to == STATUS_POSTS else None
    if preview is None and look is None:
        return {"conversation": item.body}
    shown: dict[str, Any] = {}
    if preview is not None:
        shown = {
            "matchedText": preview.url,
            "title": preview.title,
            "description": preview.description,
            "JPEGThumbnail": preview.thumbnail,
        }
    if look is not None:
        shown |= {"backgroundArgb": look.background, "textArgb": WHITE, "font": look.font}
    return {"extendedTextMessage": {"text": item.body, **{name: value for name, value in shown.items() if value}}}


def _media(item: content.Media, uploaded: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {**uploaded, "mimetype": _mime_type(item)}
    if item.caption and item.kind in content.CAPTIONED:
        part["caption"] = item.caption
    if item.kind == "document":
        name = item.filename or with_ending("file", item.mime_type)
        part |= {"fileName": name, "title": name}
    if item.kind == "audio":
        part["PTT"] = item.voice
    if item.kind == "sticker":
        part["isAnimated"] = item.animated
    measured = {
        "seconds": item.seconds if item.kind in ("audio", "video") else 0,
        "width": item.width if item.kind in ("image", "video", "sticker") else 0,
        "height": item.height if item.kind in ("image", "video", "sticker") else 0,
        "JPEGThumbnail": item.thumbnail if item.kind in ("image", "video", "document") else "",
        "waveform": item.waveform if item.kind == "audio" and item.voice else "",
        "pageCount": item.page_count if item.kind == "document" else 0,
        "gifPlayback": item.animated and item.kind == "video",
        "viewOnce": item.view_once and item.kind in ("image", "video", "audio"),
    }
    part |= {name: value for name, value in measured.items() if value}
    if item.kind == "document" and item.caption:
        return {"documentWithCaptionMessage": {"message": {"documentMessage": part}}}
    return {FIELDS[item.kind]: part}


def _mime_type(item: content.Media) -> str:
    """WhatsApp plays sound in ogg with its codec in the type alone."""
    plain = item.mime_type.partition(";")[0].strip().lower()
    return OPUS if item.kind == "audio" and plain in ("audio/ogg", "audio/opus") else item.mime_type


def _contacts(item: content.Contacts, _: str) -> dict[str, Any]:
    cards = [{"displayName": card.name, "vcard": card.vcard} for card in item.contacts]
    if len(cards) == 1:
        return {"contactMessage": cards[0]}
    return {"contactsArrayMessage": {"displayName": f"{len(cards)} contacts", "contacts": cards}}


def _location(item: content.Location, _: str) -> dict[str, Any]:
    location: dict[str, Any] = {"degreesLatitude": item.latitude, "degreesLongitude": item.longitude}
    location |= {key: value for key, value in (("name", item.name), ("address", item.address)) if value}
    return {"locationMessage": location}


def _key(item: content.Reaction | content.Revoke | content.Edit | content.Pin, to: str) -> dict[str, Any]:
    key: dict[str, Any] = {
        "remoteJID": to_jid(to),
        "fromMe": getattr(item, "target_from_me", True),
        "ID": item.target_id,
    }
    participant = getattr(item, "target_participant", "")
    if participant and to.endswith("@g.us"):
        key["participant"] = participant
    return key


def _reaction(item: content.Reaction, to: str) -> dict[str, Any]:
    return {"reactionMessage": {"key": _key(item, to), "text": item.emoji}}


def _pin(item: content.Pin, to: str) -> dict[str, Any]:
    at_ms = time.time_ns() // 1_000_000
    kind = "PIN_FOR_ALL" if item.seconds else "UNPIN_FOR_ALL"
    message: dict[str, Any] = {
        "pinInChatMessage": {"key": _key(item, to), "type": kind, "senderTimestampMS": f"{at_ms}"}
    }
    return message | ({"messageContextInfo": {"messageAddOnDurationInSecs": item.seconds}} if item.seconds else {})


def _revoke(item: content.Revoke, to: str) -> dict[str, Any]:
    return {"protocolMessage": {"key": _key(item, to), "type": "REVOKE"}}


def _edit(item: content.Edit, to: str) -> dict[str, Any]:
    inner_content = item.content
    edited: dict[str, Any]
    if isinstance(inner_content, content.Text):
        edited = {"conversation": inner_content.body}
    elif isinstance(inner_content, content.Media) and inner_content.kind in content.CAPTIONED:
        edited = {FIELDS[inner_content.kind]: {"caption": inner_content.caption}}
        if inner_content.kind == "document":
            edited = {"documentWithCaptionMessage": {"message": edited}}
    else:
        raise SendRefused("only texts and captions can be edited", code=UNSUPPORTED)
    at_ms = item.at_ms or time.time_ns() // 1_000_000
    inner = {"key": _key(item, to), "type": "MESSAGE_EDIT", "editedMessage": edited, "timestampMS": f"{at_ms}"}
    return {"editedMessage": {"message": {"protocolMessage": inner}}}


def _poll(item: content.Poll, _: str) -> dict[str, Any]:
    options = [{"optionName": option} for option in item.options]
    poll = {"name": item.name, "options": options, "selectableOptionsCount": item.selectable}
    field = "pollCreationMessageV3" if item.selectable == 1 else "pollCreationMessage"
    # Without a secret nobody could read the votes.
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    return {field: poll, "messageContextInfo": {"messageSecret": secret}}


def _list(item: content.ListMenu, _: str) -> dict[str, Any]:
    sections = [
        {
            "title": section.title,
            "rows": [
                {"rowID": row.id, "title": row.title, "description": row.description} for row in section.rows
            ],
        }
        for section in item.sections
    ]  # fmt: skip
    return {
        "listMessage": {
            "title": item.header,
            "description": item.body,
            "buttonText": item.button,
            "listType": "SINGLE_SELECT",
            "sections": sections,
            "footerText": item.footer,
        }
    }


def _native_list(item: content.ListMenu) -> dict[str, Any]:
    sections = [
        {
            "title": section.title,
            "rows": [
                {"header": "", "title": row.title, "description": row.description, "id": row.id}
                for row in section.rows
            ],
        }
        for section in item.sections
    ]  # fmt: skip
    button = {"name": "single_select", "buttonParamsJSON": _compact({"title": item.button, "sections": sections})}
    return {"interactiveMessage": _native_frame(item, [button])}


def _native_frame(item: content.ListMenu | content.Buttons, buttons: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "body": {"text": item.body},
        "nativeFlowMessage": {"buttons": buttons, "messageParamsJSON": "{}", "messageVersion": 1},
    }
    if item.footer:
        message["footer"] = {"text": item.footer}
    if item.header:
        message["header"] = {"title": item.header, "hasMediaAttachment": False}
    return message


def _compact(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _native(item: content.Buttons, uploaded: dict[str, Any] | None) -> dict[str, Any]:
    message = _native_frame(item, [_native_button(button) for button in item.buttons])
    if item.header_media is not None and item.header_media.kind in ("image", "video", "document"):
        media = _media(item.header_media.model_copy(update={"caption": ""}), uploaded or {})
        message["header"] = {"title": item.header, "hasMediaAttachment": True, **media}
    return {"interactiveMessage": message}


def _native_button(button: content.Button) -> dict[str, Any]:
    values: dict[str, Any] = {
        "reply": {"id": button.id, "display_text": button.title},
        "url": {"display_text": button.title, "url": button.value},
        "call": {"display_text": button.title, "phone_number": button.value},
        "copy_code": {"display_text": button.title, "copy_code": button.value},
    }
    if button.type not in values:
        raise SendRefused(f"buttons of type {button.type} cannot be sent", code=UNSUPPORTED)
    return {"name": NATIVE_NAMES[button.type], "buttonParamsJSON": _compact(values[button.type])}


def _classic(item: content.Buttons, uploaded: dict[str, Any] | None) -> dict[str, Any]:
    buttons = []
    for button in item.buttons:
        value = f"call:{button.value}" if button.type == "call" else button.value
        button_id = button.id if button.type in ("reply", "copy_code") else value
        buttons.append({"buttonID": button_id, "buttonText": {"displayText": button.title}, "type": "RESPONSE"})
    message: dict[str, Any] = {"contentText": item.body, "footerText": item.footer, "buttons": buttons}
    if item.header_media is not None and item.header_media.kind in ("image", "video", "document"):
        bare = item.header_media.model_copy(update={"caption": ""})
        message |= _media(bare, uploaded or {}) | {"headerType": item.header_media.kind.upper()}
    elif item.header:
        message |= {"text": item.header, "headerType": "TEXT"}
    else:
        message["headerType"] = "EMPTY"
    return {"buttonsMessage": message}


_CONVERTERS: dict[type[content.Base], Callable[[Any, str], dict[str, Any]]] = {
    content.Text: _text,
    content.Contacts: _contacts,
    content.Location: _location,
    content.Reaction: _reaction,
    content.Pin: _pin,
    content.Revoke: _revoke,
    content.Edit: _edit,
    content.Poll: _poll,
    content.ListMenu: _list,
}


def _with_context(message: dict[str, Any], send: Send) -> dict[str, Any]:
    context: dict[str, Any] = {}
    if send.context is not None:
        context |= _quoted(send.context)
    if send.mentions:
        context["mentionedJID"] = list(send.mentions)
    if send.mention_all:
        context["nonJIDMentions"] = 1
    if send.ephemeral_seconds:
        context["expiration"] = send.ephemeral_seconds
    return _in_context(message, context)


def _in_context(message: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    if not context:
        return message
    (name, part), *others = message.items()
    if name == "conversation":
        return {"extendedTextMessage": {"text": part, "contextInfo": context}}
    if name in ("reactionMessage", "pinInChatMessage", "protocolMessage"):
        return message
    if name == "editedMessage":  # whom it mentions stands beside its new words; the rest is as it was
        edit = part["message"]["protocolMessage"]
        marks = {mark: context[mark] for mark in MENTIONS if mark in context}
        edit["editedMessage"] = _in_context(edit["editedMessage"], marks)
        return message
    if name == "documentWithCaptionMessage":
        part["message"]["documentMessage"]["contextInfo"] = context
        return message
    return {name: {**part, "contextInfo": context}, **dict(others)}


def _quoted(quote: Quote) -> dict[str, Any]:
    quoted: dict[str, Any] = {"stanzaID": quote.id, "quotedMessage": _repeated(quote)}
    quoted |= {"remoteJID": quote.chat} if quote.chat else {}
    return quoted | ({"participant": quote.participant} if quote.participant else {})


def _repeated(quote: Quote) -> dict[str, Any]:
    """The quoted message as far as an answer shows it."""
    quoted = quote.quoted or Quoted(kind="text", text=quote.text)
    text = quoted.text
    shown: dict[str, dict[str, Any]] = {
        "image": {"imageMessage": {"caption": text}},
        "video": {"videoMessage": {"caption": text}},
        "audio": {"audioMessage": {"PTT": quoted.voice}},
        "document": {"documentMessage": {"fileName": text or "file", "title": text or "file"}},
        "sticker": {"stickerMessage": {"isAnimated": False}},
        "location": {"locationMessage": {"name": text}},
        "contacts": {"contactMessage": {"displayName": text}},
        "poll": {
            "pollCreationMessage": {"name": text, "options": [{"optionName": option} for option in quoted.options]}
        },
    }
    return shown.get(quoted.kind, {"conversation": text})
