"""From a client's Cloud API message to a command for the connector."""

from __future__ import annotations

import mimetypes
import re
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import ValidationError

from unoapi.errors import MessageRejected
from unoapi.models.connector import content
from unoapi.models.connector.commands import Command, Quote, Read, Send, Typing
from unoapi.models.jobs import computed_id, now_ms
from unoapi.models.phones import to_jid, user_of
from unoapi.providers.whatsmeow.vcards import write_card

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.message_keys import MessageKey
    from unoapi.models.session import Session

    Keys = Callable[[str], MessageKey | None]

UNSUPPORTED, INVALID = 131051, 131009
MEDIA = ("image", "video", "audio", "document", "sticker")
SPECIAL_TYPES = {
    "ogg": "audio/ogg; codecs=opus",
    "oga": "audio/ogg; codecs=opus",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "webp": "image/webp",
}
EVERYBODY = re.compile(r"\s*@(?:todos|all)\b", re.IGNORECASE)
"""Mentions all members of a group, as clients of the former program write it."""
BUTTON_VALUES = {"url": "link", "call": "phone_number", "copy_code": "code"}


def commands_for(
    message: dict[str, Any], *, message_id: str, session: Session, keys: Keys, until_ms: int
) -> list[Command]:
    """The commands that a message needs. Raises MessageRejected for what cannot be sent."""
    to = str(message.get("to", ""))
    try:
        held, everybody = _addressed(_content(message, to=to, keys=keys), message, to=to)
        send = Send(
            content=held,
            context=_quote(message, keys),
            mentions=tuple(to_jid(str(each)) for each in message.get("mentions") or ()),
            mention_all=everybody,
            composing=session.composing_message,
            interactive_mode=session.interactive_mode,
        )
    except (ValidationError, KeyError, TypeError, AttributeError):
        _refuse(INVALID, "Parameter value is not valid", "The message's object has not the form of its type.")
    return [_command("send", send.model_dump(mode="json"), message_id, session, until_ms, to=to)]


def marks_for(mark: dict[str, Any], *, session: Session, keys: Keys, until_ms: int) -> list[Command]:
    """The commands that mark a message as read, show typing in its chat, or delete it.

    Raises MessageRejected when nothing is known of the message. The same mark has the same ids.
    """
    about = str(mark.get("message_id") or "")
    key = keys(about)
    if key is None:
        _refuse(INVALID, "Parameter value is not valid", "message_id: nothing is known of this message.")
    commands = []
    if mark.get("status") == "deleted":
        gone = content.Revoke(target_id=key.id, target_from_me=key.from_me, target_participant=key.participant)
        data = Send(content=gone).model_dump(mode="json")
        commands.append(
            _command("send", data, computed_id("deleted", session.phone, about), session, until_ms, to=key.chat)
        )
    if mark.get("status") == "read":
        data = Read(ids=(key.id,), chat=key.chat, sender=key.participant or key.chat).model_dump(mode="json")
        commands.append(_command("read", data, computed_id("read", session.phone, about), session, until_ms))
    if mark.get("typing_indicator"):
        data = Typing(chat=key.chat, state="composing").model_dump(mode="json")
        commands.append(_command("typing", data, computed_id("typing", session.phone, about), session, until_ms))
    return commands


def mime_type_of(link: str, *, kind: str, filename: str = "") -> str:
    """The MIME type to announce: by the name in the link, by what its query says, else by the file's name."""
    parts = urlsplit(link)
    query = parse_qs(parts.query)
    disposition = (query.get("response-content-disposition") or [""])[0]
    named = disposition.partition("filename=")[2].partition(";")[0].strip('" ')
    told = (query.get("response-content-type") or [""])[0]
    for name in (unquote(parts.path), "", named, filename):
        if not name and told:
            return told
        extension = name.rpartition(".")[2].lower() if "." in name.rpartition("/")[2] else ""
        found = SPECIAL_TYPES.get(extension) or mimetypes.guess_type(f"x.{extension}")[0] if extension else None
        if found:
            return found
    return "audio/mpeg" if kind == "audio" else "application/octet-stream"


def _content(message: dict[str, Any], *, to: str, keys: Keys) -> Any:  # noqa: PLR0911 (one for each type)
    kind = str(message.get("type") or "text")
    part: Any = message.get("text" if kind == "message_edit" else kind)
    if kind in MEDIA:
        return _media(kind, message[kind])
    if kind == "text":
        return content.Text(body=str(part["body"]), preview_url=bool(part.get("preview_url")))
    if kind == "contacts":
        cards = [write_card(each) for each in message["contacts"]]
        return content.Contacts(contacts=tuple(content.Card(name=name, vcard=card) for name, card in cards))
    if kind == "location":
        return content.Location.model_validate(part)
    if kind == "reaction":
        key = _key(str(part["message_id"]), to=to, keys=keys)
        return content.Reaction(
            target_id=key.id,
            target_from_me=key.from_me,
            target_participant=key.participant,
            emoji=str(part.get("emoji") or ""),
        )
    if kind == "interactive":
        return _interactive(message["interactive"])
    if kind == "message_edit":
        context = message.get("context") or {}
        key = _key(str(context.get("message_id") or context.get("id") or ""), to=to, keys=keys)
        return content.Edit(target_id=key.id, content=content.Text(body=str(part["body"])))
    return _refuse(
        UNSUPPORTED, "Message type is not supported", f"This connection cannot send messages of type {kind[:40]}."
    )


def _addressed(item: Any, message: dict[str, Any], *, to: str) -> tuple[Any, bool]:
    """The content, and whether it mentions everybody: by the field `mentionAll`, or by a word in a group's text."""
    asked = message.get("mentionAll") is True
    if not isinstance(item, content.Text) or not to.endswith("@g.us") or not EVERYBODY.search(item.body):
        return item, asked
    return item.model_copy(update={"body": EVERYBODY.sub("", item.body).strip() or item.body}), True


def _media(kind: str, part: dict[str, Any]) -> content.Media:
    link = str(part.get("link") or "")
    media_id = "" if link else str(part.get("id") or "")
    if not media_id and not link.startswith(("http://", "https://")):
        _refuse(INVALID, "Parameter value is not valid", f"{kind}: a link or an id is needed.")
    filename = str(part.get("filename") or "")
    mime_type = mime_type_of(link, kind=kind, filename=filename) if link else ""
    return content.Media.model_validate(
        {
            "kind": kind,
            "link": link,
            "media": {"key": media_id, "state": "ready"} if media_id else None,
            "mime_type": mime_type,
            "filename": filename or (unquote(urlsplit(link).path).rpartition("/")[2] if kind == "document" else ""),
            "caption": str(part.get("caption") or ""),
            "voice": kind == "audio" and bool(part.get("voice")),
        }
    )


def _interactive(part: dict[str, Any]) -> Any:
    kind = part.get("type")
    action = part.get("action") or {}
    header = part.get("header") or {}
    frame = {
        "header": str(header.get("text") or ""),
        "body": str((part.get("body") or {}).get("text") or ""),
        "footer": str((part.get("footer") or {}).get("text") or ""),
    }
    if kind == "list":
        return content.ListMenu.model_validate(
            {**frame, "button": action.get("button") or "", "sections": action.get("sections") or []}
        )
    if kind == "cta_url":
        parameters = action["parameters"]
        buttons = [content.Button(type="url", title=parameters["display_text"], value=parameters["url"])]
    elif kind == "button" and action.get("buttons"):
        buttons = [_button(each) for each in action["buttons"]]
    else:
        details = f"This connection cannot send interactive messages of type {str(kind)[:40]}."
        _refuse(UNSUPPORTED, "Message type is not supported", details)
    media = _media(header["type"], header[header["type"]]) if header.get("type") in MEDIA else None
    return content.Buttons.model_validate({**frame, "header_media": media, "buttons": buttons})


def _button(button: dict[str, Any]) -> content.Button:
    kind = str(button.get("type") or "reply")
    part = button[kind]
    if kind == "reply":
        return content.Button(type="reply", id=str(part["id"]), title=str(part["title"]))
    return content.Button.model_validate(
        {"type": kind, "title": part["title"], "value": str(part[BUTTON_VALUES[kind]]), "id": str(part.get("id") or "")}
    )


def _quote(message: dict[str, Any], keys: Keys) -> Quote | None:
    context = message.get("context")
    if not isinstance(context, dict) or message.get("type") == "message_edit":
        return None
    quoted = str(context.get("message_id") or context.get("id") or "")
    if not quoted:
        return None
    key = keys(quoted)
    return Quote(id=key.id if key else quoted, participant=key.participant if key else "")


def _key(message_id: str, *, to: str, keys: Keys) -> MessageKey:
    from unoapi.models.message_keys import MessageKey  # noqa: PLC0415 (a plain record; everything else of ports is types)

    known = keys(message_id)
    if known is not None:
        return known
    if not message_id or message_id.startswith("wamid."):
        details = "message_id: nothing is known of this message, or it is too old."
        _refuse(INVALID, "Parameter value is not valid", details)
    return MessageKey(id=message_id, chat=to_jid(to))  # WhatsApp's own id of a received message


def _command(  # noqa: PLR0913 (the fields of a command)
    kind: str, data: dict[str, Any], command_id: str, session: Session, until_ms: int, *, to: str = ""
) -> Command:
    address = to if "@" in to else user_of(to)
    return Command(
        type=kind,
        command_id=command_id,
        session=session.phone,
        to=address,
        created_at=now_ms(),
        expires_at=until_ms,
        data=data,
    )


def _refuse(code: int, title: str, details: str) -> NoReturn:
    raise MessageRejected(title, code=code, details=details)
