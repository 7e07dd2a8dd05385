"""From a client's Cloud API message to a command for the connector."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import ValidationError

from unoapi.errors import MessageRejected, UnknownMessage
from unoapi.errors.validation import NOT_VALID, explain
from unoapi.models.chats import MAX_ROWS, Menu, MenuRow
from unoapi.models.cloud_api.messages import (
    TYPING_S,
    ContactsMessage,
    EditMessage,
    InteractiveMessage,
    LocationMessage,
    MediaObject,
    Pin,
    PinMessage,
    PollMessage,
    ReactionMessage,
    Sender,
    TextMessage,
)
from unoapi.models.cloud_api.messages.interactive import (
    Button,
    Buttons,
    CallButton,
    CopyCodeButton,
    List,
    OtherInteractive,
    Reply,
    UrlButton,
    UrlLink,
)
from unoapi.models.connector import content
from unoapi.models.connector.bounds import plain_name
from unoapi.models.connector.commands import ConnectorCommand, Quote, Read, Send, Typing
from unoapi.models.file_types import OPUS
from unoapi.models.identity import NO_USER_IDS
from unoapi.models.jobs import computed_id, now_ms
from unoapi.models.media import UNKNOWN, path_of, plain_address, plain_mime_type, type_of
from unoapi.models.message_keys import OWN_IDS, MessageKey
from unoapi.models.phones import (
    NUMBER_IN_TEXT,
    STATUS_POSTS,
    is_group,
    is_individual,
    read_address,
    to_jid,
    user_of,
)
from unoapi.models.text import bold, plain_text
from unoapi.providers.whatsmeow.vcards import write_card
from unoapi.services.preparation import first_link

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.cloud_api.messages import Command, OutboundMessage, Text
    from unoapi.models.cloud_api.messages.interactive import Interactive
    from unoapi.models.session import Session

    Keys = Callable[[str], MessageKey | None]
    Mode = Literal["text", "classic", "native"]

UNSUPPORTED, INVALID = 131051, 131009
NEEDED = {
    "location_request_message": "body", "flow": "action.parameters.flow_cta", "carousel": "action.cards",
    "cta_call": "action.parameters with display_text and phone_number",
}  # fmt: skip
"""Without what nothing of a kind that phones are sent in words can be shown."""
MAX_TIMER_S = 366 * 86_400
"""More than any phone offers; a number that does not fit would spoil the whole message."""
MAX_CARDS = 10
ON_PHONE = Sender(at_meta=False)
MEASURED = ("seconds", "waveform", "width", "height", "thumbnail", "animated", "view_once", "page_count")
COUNTED = ("seconds", "width", "height", "page_count")
MAX_COUNT = 0xFFFF_FFFF
"""WhatsApp's own fields for these hold no other numbers."""
VOICE = {"audio/ogg": OPUS}
"""WhatsApp plays a voice note only with its codec."""
PIN_DAYS, USUAL_PIN_DAYS, DAY_S = (1, 7, 30), 7, 86_400
NEVER_POSTED = frozenset({"document", "contacts", "location", "poll"})
"""What phones do not show as a status post."""
COLOR = re.compile(r"#?[0-9A-Fa-f]{6}")
WORDS_OF = "caption"
"""Of what the id of the words is made that follow a file without a caption of its own."""
EVERYBODY = re.compile(r"(?<!\s)\s*+@(?:todos|all)\b", re.IGNORECASE)
"""Mentions all members of a group, as clients of the Node version write it."""


def commands_for(  # noqa: PLR0913 (what a message depends on)
    message: OutboundMessage,
    *,
    message_id: str,
    session: Session,
    keys: Keys,
    until_ms: int,
    timer_s: int = 0,
    of_template: bool = False,
) -> list[ConnectorCommand]:
    """The commands that a message needs; it disappears after `timer_s`. `of_template`: it was made from one.

    Raises MessageRejected for what cannot be sent.
    """
    to = message.to or ""
    if not to:
        _refuse(*NO_USER_IDS)
    if "@" not in to and not to.isdigit():
        _refuse_value("to: only a number at Meta can send to Meta's groups.")
    if to == STATUS_POSTS and _option(message, "statusJidList"):
        details = (
            "statusJidList: who sees a status post is what the phone's privacy settings say; this connection cannot."
        )
        _refuse_value(details)
    try:
        body = _content(message, to=to, keys=keys, own=session.phone)
        shown = body.header_media if isinstance(body, content.Buttons) else None
        if to == STATUS_POSTS and (shown or body).kind in NEVER_POSTED:
            _refuse_kind("A status post is a text, a picture, a film or a sound: phones show nothing else there.")
        named = _mentions(message, body, own=session.phone)
        body, everybody = _without_mention(body, message, to=to)
        send = Send(
            content=body,
            context=_quote(message, keys),
            mentions=named,
            mention_all=everybody,
            ephemeral_seconds=min(timer_s, MAX_TIMER_S) if is_individual(to) or is_group(to) else 0,
            composing=session.composing_message,
            read_first=session.read_on_reply and not session.read_on_receipt and is_individual(to),
            interactive_mode=_mode(body, message, session, to=to, of_template=of_template),
        )
    except ValidationError as error:  # fields that Meta does not know, and the connector does
        _refuse_value(f"The message's object has not the form of its type: {'; '.join(explain(error))}.")
    following = []
    if isinstance(body, content.Media) and body.caption and body.kind not in content.CAPTIONED:
        words = Send(
            content=content.Text(body=body.caption),
            silent=True,
            about=message_id,
            ephemeral_seconds=send.ephemeral_seconds,
            mentions=send.mentions,
            mention_all=send.mention_all,
        )
        send = send.model_copy(update={"mentions": (), "mention_all": False})  # they ring where they are read
        own_id = computed_id(WORDS_OF, session.phone, message_id)
        following.append(_command("send", words.model_dump(mode="json"), own_id, session, until_ms, to=to))
    return [_command("send", send.model_dump(mode="json"), message_id, session, until_ms, to=to), *following]


def menu_of(message: OutboundMessage, *, message_id: str) -> Menu | None:
    """What a contact may choose from in a message; none when there is nothing to choose."""
    if not isinstance(message, InteractiveMessage):
        return None
    item = _interactive(message.interactive)
    if isinstance(item, content.ListMenu):
        rows = [MenuRow(id=row.id, title=row.title, description=row.description, section=section.title)
                for section in item.sections for row in section.rows]  # fmt: skip
        return Menu(message_id=message_id, kind="list", rows=tuple(rows[:MAX_ROWS]))
    if not isinstance(item, content.Buttons):
        return None
    rows = [MenuRow(id=button.id if button.type == "reply" else "", title=button.title) for button in item.buttons]
    return Menu(message_id=message_id, kind="button", rows=tuple(rows)) if any(row.id for row in rows) else None


def ensure_possible(message: OutboundMessage) -> None:
    """Raise MessageRejected for a kind of interactive message that no phone can send, whatever it holds."""
    if isinstance(message, InteractiveMessage):
        _interactive(message.interactive)


def marks_for(mark: Command, *, session: Session, keys: Keys, until_ms: int) -> list[ConnectorCommand]:
    """The commands that mark a message as read, show typing in its chat, or delete it.

    Raises UnknownMessage, and MessageRejected for what cannot be deleted. The same mark has the same ids.
    """
    about = mark.message_id or ""
    key = keys(about)
    if key is None:
        details = "message_id: nothing is known of this message."
        raise UnknownMessage(NOT_VALID, code=INVALID, details=details)
    commands = []
    if mark.status == "deleted":
        if not key.from_me and (is_individual(key.chat) or key.chat == STATUS_POSTS):
            details = "message_id: only own messages can be deleted, and those of others in a group."
            _refuse_value(details)
        gone = content.Revoke(
            target_id=key.id, target_from_me=key.from_me, target_participant=key.participant, about=about
        )
        data = Send(content=gone).model_dump(mode="json")
        commands.append(
            _command("send", data, computed_id("deleted", session.phone, about), session, until_ms, to=key.chat)
        )
        if (words := keys(computed_id(WORDS_OF, session.phone, about))) is not None:
            gone = content.Revoke(target_id=words.id, target_from_me=True)
            data = Send(content=gone, silent=True).model_dump(mode="json")
            own_id = computed_id("deleted", session.phone, words.id)
            commands.append(_command("send", data, own_id, session, until_ms, to=key.chat))
    names_nobody = is_group(key.chat) and not key.participant  # a vote or a reaction: what it is about has its own mark
    if mark.status == "read" and not (key.from_me or names_nobody):
        data = Read(ids=(key.id,), chat=key.chat, sender=key.participant or key.chat).model_dump(mode="json")
        commands.append(_command("read", data, computed_id("read", session.phone, about), session, until_ms))
    if mark.typing_indicator is not None:
        data = Typing(chat=key.chat, state="composing").model_dump(mode="json")
        ends_ms = min(until_ms, now_ms() + TYPING_S * 1000)
        commands.append(_command("typing", data, computed_id("typing", session.phone, about), session, ends_ms))
    return commands


def mime_type_of(link: str, *, kind: str, filename: str = "") -> str:
    """The MIME type to announce: by the name in the link, by what its query says, else by the file's name."""
    parts = urlsplit(link)
    query = parse_qs(parts.query)
    disposition = (query.get("response-content-disposition") or [""])[0]
    named = disposition.partition("filename=")[2].partition(";")[0].strip('" ')
    by_name = [type_of(name) if "." in name else "" for name in (unquote(parts.path), named, filename)]
    by_name.insert(1, (query.get("response-content-type") or [""])[0])
    mime_type = next((candidate for candidate in by_name if candidate), "audio/mpeg" if kind == "audio" else UNKNOWN)
    return VOICE.get(mime_type, mime_type)


def _content(message: OutboundMessage, *, to: str, keys: Keys, own: str) -> content.Content:
    item: content.Content
    match message:
        case TextMessage():
            item = _text(message.text).model_copy(update={"look": _look(message) if to == STATUS_POSTS else None})
        case EditMessage(context=context):
            key = _key(context.quoted_id if context else "", to=to, keys=keys)
            if not key.from_me and keys(context.quoted_id if context else "") is not None:
                _refuse_value("message_id: only own messages can be edited.")
            item = content.Edit(target_id=key.id, content=_text(message.text))
        case ContactsMessage():
            cards = [write_card(card.model_dump(), own=own) for card in message.contacts]
            item = content.Contacts(contacts=tuple(content.Card(name=name, vcard=card) for name, card in cards))
        case LocationMessage():
            item = content.Location.model_validate(message.location.model_dump(exclude_none=True))
        case ReactionMessage(reaction=reaction):
            key = _key(reaction.message_id, to=to, keys=keys)
            item = content.Reaction(
                target_id=key.id,
                target_from_me=key.from_me,
                target_participant=key.participant,
                emoji=reaction.emoji,
            )
        case PinMessage(pin=pin):
            item = _pin(pin, to=to, keys=keys)
        case PollMessage(poll=poll):
            item = content.Poll(name=poll.name, options=tuple(poll.options), selectable=poll.selectable_count)
        case InteractiveMessage():
            item = _interactive(message.interactive)
        case _:
            item = _file(message)
    return item


def _pin(pin: Pin, *, to: str, keys: Keys) -> content.Pin:
    if not (is_individual(to) or is_group(to)):
        _refuse_value("to: messages are pinned in chats and groups only.")
    key = _key(pin.message_id, to=to, keys=keys)
    days = next(days for days in PIN_DAYS if days >= (pin.expiration_days or USUAL_PIN_DAYS))
    return content.Pin(
        target_id=key.id,
        target_from_me=key.from_me,
        target_participant=key.participant,
        seconds=days * DAY_S if pin.type == "pin" else 0,
    )


def _file(message: OutboundMessage) -> content.Media:
    file = getattr(message, message.type, None)
    if isinstance(file, MediaObject):
        return _media(message.type, file)
    details = f"This connection cannot send messages of type {message.type}."
    return _refuse_kind(details)


def _text(text: Text) -> content.Text:
    """With the preview that was made of its link, else with the link alone: phones show it as one to tap on."""
    preview = getattr(text, "preview", None)
    if text.preview_url and not preview and (link := first_link(text.body)):
        preview = {"url": link}
    return content.Text.model_validate(
        {"body": text.body, "preview_url": bool(text.preview_url), "preview": preview if text.preview_url else None}
    )


def _look(message: TextMessage) -> content.Look | None:
    """The colour and the font of a status post: fields of the Node version's fork, at the top or in `options`."""
    color, font = _option(message, "backgroundColor"), _option(message, "font")
    look: dict[str, Any] = {} if font is None else {"font": font}
    if color is not None:
        if not isinstance(color, str) or not COLOR.fullmatch(color):
            _refuse_value("backgroundColor must be a colour such as #075E54.")
        look["background"] = 0xFF000000 | int(color[-6:], 16)
    try:
        return content.Look.model_validate(look) if look else None
    except ValidationError:
        _refuse_value("font must be a number from 0 to 10.")


def _option(message: OutboundMessage, name: str) -> Any:
    """A field that Meta does not have, at the top of a message or in its `options`."""
    options = getattr(message, "options", None)
    return getattr(message, name, None) or (options.get(name) if isinstance(options, dict) else None)


def _mode(item: content.Content, message: OutboundMessage, session: Session, *, to: str, of_template: bool) -> Mode:
    """How choices are sent. A classic button only answers: what opens an address, calls or is copied is a line.

    But not in a client's own buttons, which are as in the Node version. Channels and status posts show lines alone.
    """
    if not (is_individual(to) or is_group(to)):
        return "text"
    as_given = isinstance(message, InteractiveMessage) and isinstance(message.interactive, Buttons) and not of_template
    leads = isinstance(item, content.Buttons) and any(button.type != "reply" for button in item.buttons)
    is_hidden = session.interactive_mode == "classic" and leads and not as_given
    return "text" if is_hidden else session.interactive_mode


def _mentions(message: OutboundMessage, item: content.Content, *, own: str) -> tuple[str, ...]:
    """The members of a group that are named: in a field of the Node version, or by their numbers in the words."""
    mentions = getattr(message, "mentions", None) or []
    if isinstance(mentions, str):  # of a form: phones with commas between them, or a list as JSON
        mentions = [written.strip(' "') for written in mentions.strip("[] ").split(",")]
    if not isinstance(mentions, list):
        _refuse_value("mentions must be a list of phones.")
    named = [_member(str(written), own=own) for written in mentions if written not in ("", None)]
    if is_group(message.to or ""):
        named += [to_jid(number) for number in NUMBER_IN_TEXT.findall(_words(item))]
    return tuple(dict.fromkeys(named))


def _member(written: str, *, own: str) -> str:
    """The address of somebody who is mentioned: "@55 11 9…" as in the text, or a plain number."""
    name = written.strip().removeprefix("@")
    try:
        return to_jid(read_address(name, own=own))
    except ValueError as error:
        if name.isdigit():
            return to_jid(name)
        _refuse_value(f"mentions: {error}.")


def _without_mention(item: content.Content, message: OutboundMessage, *, to: str) -> tuple[content.Content, bool]:
    """The content, and whether it mentions everybody: by the field `mentionAll`, or by a word, in a group."""
    words = _words(item)
    if not is_group(to) or not EVERYBODY.search(words):
        return item, getattr(message, "mentionAll", None) in (True, "true")
    return content.with_words(item, EVERYBODY.sub("", words).strip() or words), True


def _words(item: content.Content) -> str:
    """In what a content says members of a group can be mentioned."""
    said = content.spoken(item)
    return str(getattr(said, content.WORDS.get(type(said), ""), ""))


def _media(kind: str, file: MediaObject) -> content.Media:
    link = (file.link or "").strip()
    media_id = "" if link else file.id
    known = plain_mime_type(plain_text(getattr(file, "mime_type", None)))
    # Meta gives a caption and a name to some types only; the Node version takes them with all.
    filename = plain_name(plain_text(getattr(file, "filename", None)))
    in_link = plain_name(path_of(link)) if kind == "document" else ""
    named = mime_type_of(link, kind=kind, filename=filename) if link else ""
    fields = {
        "kind": kind,
        "link": link,
        "media": {"key": media_id, "state": "ready"} if media_id else None,
        "mime_type": named if known == UNKNOWN else known,
        "filename": filename or in_link,
        "caption": plain_text(getattr(file, "caption", None)),
        "voice": kind == "audio" and bool(getattr(file, "voice", None)),
    }
    measured = {name: value for name in MEASURED if (value := getattr(file, name, None))}
    try:
        media = content.Media.model_validate({**fields, **measured})
    except ValidationError as error:  # a client's own fields of these names are as unknown as others
        odd = {problem["loc"][0] for problem in error.errors(include_input=False)} - {"view_once"}
        media = content.Media.model_validate({**fields, **{name: measured[name] for name in measured.keys() - odd}})
    return media.model_copy(update={name: 0 for name in COUNTED if not 0 <= getattr(media, name) <= MAX_COUNT})


def _interactive(message: Interactive) -> content.ListMenu | content.Buttons | content.Text | content.Media:
    header = message.header
    file = getattr(header, header.type) if header else None
    media = _media(header.type, file) if header and isinstance(file, MediaObject) else None
    frame = {
        "header": (header.text if header else None) or "",
        "body": message.body.text if message.body else "",
        "footer": message.footer.text if message.footer else "",
    }
    match message:
        case List(action=menu):
            sections = [
                content.Section(
                    title=section.title or "",
                    rows=tuple(
                        content.Row(id=row.id, title=row.title, description=row.description or "")
                        for row in section.rows
                    ),
                )
                for section in menu.sections
            ]
            return content.ListMenu(**frame, button=menu.button, sections=tuple(sections))
        case UrlLink(action=action):
            link = action.parameters
            buttons = [_url_button(link.display_text, link.url)]
        case Buttons(action=action):
            buttons = [_button(button) for button in action.buttons]
        case OtherInteractive(type="location_request_message") if message.body:
            return _in_words(frame, media)  # the contact reads what is asked, and shares the place by hand
        case OtherInteractive(type="flow", action={"parameters": {"flow_cta": str(label)}}):
            return _in_words(frame, media, f"\u25b8 {label}")
        case OtherInteractive(
            type="carousel", action={"cards": [_, *_] as cards} | {"carousel": {"cards": [_, *_] as cards}}
        ):
            words, buttons = _cards(cards)
            frame["body"] = _lines(frame["body"], *words, between="\n\n")
            if not buttons:
                return _in_words(frame, media)
        case OtherInteractive(
            type="cta_call", action={"parameters": {"display_text": str(label), "phone_number": str(number)}}
        ):
            buttons = [content.Button(type="call", title=label, value=number)]
        case _ if message.type in NEEDED:
            needed = f"interactive.{NEEDED[message.type]}: is missing"
            _refuse_kind(f"{needed}; without it this connection cannot send messages of type {message.type}.")
        case _:
            details = f"This connection cannot send interactive messages of type {message.type}."
            _refuse_kind(details)
    return content.Buttons(**frame, header_media=media, buttons=tuple(buttons))


def _in_words(frame: dict[str, str], media: content.Media | None, line: str = "") -> content.Text | content.Media:
    """What nobody can press as its words, below its file if it has one."""
    words = _lines(bold(frame["header"]), frame["body"], line, frame["footer"])
    return content.Text(body=words) if media is None else media.model_copy(update={"caption": words})


def _cards(cards: list[Any]) -> tuple[list[str], list[content.Button]]:
    """The words of each card, with the address of its picture, and all their buttons: no phone shows others' cards."""
    words: list[str] = []
    buttons: list[content.Button] = []
    if len(cards) > MAX_CARDS:
        _refuse_value(f"carousel: at most {MAX_CARDS} cards.")
    for card in cards:
        match card:
            case {"header": {"type": str(kind), **header}}:
                file = header.get(kind)
                head = _link_of(file) if isinstance(file, dict) else str(file or "")
            case _:
                head = ""
        body, footer, action = (_part(card, name) for name in ("body", "footer", "action"))
        words.append(_lines(head, str(body.get("text") or ""), str(footer.get("text") or "")))
        before = len(buttons)
        match action:
            case {"parameters": {"display_text": str(label), "url": str(address)}}:
                buttons.append(_url_button(label, address))
            case {"buttons": [*replies]}:
                buttons += map(_card_button, replies)
        if "product_retailer_id" in action or not (words[-1] or len(buttons) > before):
            details = "carousel: this connection cannot send cards of products, or cards that show nothing."
            _refuse_kind(details)
    return words, buttons


def _card_button(button: Any) -> content.Button:
    """A button of a card: Meta's quick reply, or one that other messages may have, too."""
    part = _part(button, "quick_reply")
    try:
        return _button(Button.model_validate({"reply": part} if part else button, context=ON_PHONE))
    except ValidationError as error:
        problems = explain(error, place=lambda place: ".".join(("carousel.cards.action.buttons", *map(str, place))))
        _refuse_value("; ".join(problems))


def _link_of(file: dict[str, Any]) -> str:
    link = str(file.get("link") or "")
    if file.get("id") and not link:
        details = "carousel: this connection needs the file of each card as a link."
        _refuse_kind(details)
    return plain_address(link)


def _part(value: Any, name: str) -> dict[str, Any]:
    part = value.get(name) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}


def _lines(*lines: str, between: str = "\n") -> str:
    return between.join(line for line in lines if line)


def _button(button: Button) -> content.Button:
    match button:
        case Button(type="url", url=UrlButton() as part):
            return _url_button(part.title, part.link)
        case Button(type="call", call=CallButton() as part):
            value = part.phone_number
        case Button(type="copy_code", copy_code=CopyCodeButton() as part):
            value = part.code
        case Button(reply=Reply() as reply):
            return content.Button(type="reply", id=reply.id, title=reply.title)
    return content.Button(type=button.type, title=part.title, value=value, id=str(getattr(part, "id", None) or ""))


def _url_button(title: str, address: str) -> content.Button:
    """A button with its address as a browser writes it: in a text a space would end the link."""
    return content.Button(type="url", title=title, value=plain_address(address))


def _quote(message: OutboundMessage, keys: Keys) -> Quote | None:
    quoted = message.context.quoted_id if message.context else ""
    if not quoted or isinstance(message, EditMessage):
        return None
    key = keys(quoted)
    if key is None and quoted.startswith(OWN_IDS):
        return None  # WhatsApp does not know our ids: the phones would show nothing to tap on
    if key is None:
        return Quote(id=quoted)
    elsewhere = key.chat != message.to and not is_individual(key.chat)  # phones answer to a group's message in private
    chat = key.chat if elsewhere else ""
    return Quote(id=key.id, chat=chat, participant=key.participant, from_me=key.from_me)


def _key(message_id: str, *, to: str, keys: Keys) -> MessageKey:
    """The key of a message in this chat. A person's chat may be named by the phone or by the LID."""
    key = keys(message_id)
    if key is not None:
        is_here = key.chat == to_jid(to) or (is_individual(key.chat) and is_individual(to))
        if not is_here or key.chat == STATUS_POSTS:
            details = "message_id: this message stands in another chat than `to`, where nobody would see the change."
            _refuse_value(details)
        return key
    if not message_id or message_id.startswith(OWN_IDS):
        details = "message_id: nothing is known of this message, or it is too old."
        _refuse_value(details)
    return MessageKey(id=message_id, chat=to_jid(to))  # WhatsApp's own id of a received message


def _command(  # noqa: PLR0913 (the fields of a command)
    kind: str, data: dict[str, Any], command_id: str, session: Session, until_ms: int, *, to: str = ""
) -> ConnectorCommand:
    address = to if "@" in to else user_of(to)
    return ConnectorCommand(
        type=kind,
        command_id=command_id,
        session=session.phone,
        to=address,
        created_at=now_ms(),
        expires_at=until_ms,
        data=data,
    )


def _refuse_value(details: str) -> NoReturn:
    _refuse(INVALID, NOT_VALID, details)


def _refuse_kind(details: str) -> NoReturn:
    _refuse(UNSUPPORTED, "Message type is not supported", details)


def _refuse(code: int, title: str, details: str) -> NoReturn:
    raise MessageRejected(title, code=code, details=details)
