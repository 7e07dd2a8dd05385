"""Received messages as Cloud API events."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from unoapi.errors import StoreUnavailable
from unoapi.models.cloud_api.callbacks import Change
from unoapi.models.cloud_api.events import Event, error_object, history_event, message_event, split, status_event
from unoapi.models.connector.content import (
    EMPTY,
    PLACEHOLDER,
    Edit,
    Media,
    PollVote,
    Protocol,
    Reaction,
    Revoke,
    Text,
    Unsupported,
)
from unoapi.models.connector.events import ReceivedMessage, Undecryptable
from unoapi.models.identity import Identity, is_same_phone
from unoapi.models.jobs import computed_id, now_ms
from unoapi.models.message_keys import UNREADABLE
from unoapi.models.phones import LID, to_jid, user_of, with_ninth_digit
from unoapi.models.text import is_visible
from unoapi.providers.whatsmeow.content import cloud_content
from unoapi.providers.whatsmeow.menu_answers import answered, names_of

if TYPE_CHECKING:
    from unoapi.models.connector.content import Content
    from unoapi.models.connector.events import ContextInfo, Party
    from unoapi.models.session import Session
    from unoapi.ports import Chats, Connections, MessageIds

Incoming = TypeVar("Incoming", ReceivedMessage, Undecryptable)
UNAVAILABLE = 131060
"""Meta's error code for a message that stands in the chat and cannot be shown to this device."""
TITLE = "This message is currently unavailable"
NOT_READ = "A message is here that this device could not read. Open WhatsApp on the phone to read it."
VIEW_ONCE = "A message is here that only the phone can show, as one for a single view. Open WhatsApp on the phone."
UNKNOWN_TO_CLIENTS = "UNO.OWN."
"""How our ids of messages begin that no client sent: deletions, and texts that refuse a call."""
NO_REACTION = "(the reaction was taken back)"
"""A reaction that is gone, as a text: an empty one is no message to anybody."""
TIMER_CHANGES = ("3", "EPHEMERAL_SETTING")
TO_MANY_OR_ONE = ("user", "broadcast", "status")
"""Kinds of chats in which what the number itself writes is to the chat, as in no group."""
NAMES = ("jid", "push_name", "verified_name", "username", "picture")
FREQUENTLY = 4
"""From this score on WhatsApp calls a message forwarded many times."""


def events_of(
    received: ReceivedMessage,
    *,
    session: Session,
    ids: MessageIds,
    connections: Connections | None,
    chats: Chats | None = None,
) -> list[Event]:
    """The events of a message; none when the session ignores it or when it is housekeeping."""
    phone, inner = session.phone, received.content
    if not _is_wanted(received, session=session, ids=ids):
        return []
    if received.history:
        return _past(received, session=session, ids=ids, connections=connections)
    counterparty = _counterparty(received, phone=phone)
    if isinstance(inner, Revoke) or (isinstance(inner, Edit) and not isinstance(inner.content, Unsupported)):
        _note_known(inner, received, phone=phone, connections=connections)
    heard, received = received, _naming_placeholders(received, phone=phone, connections=connections)
    inner = received.content
    edited = inner if isinstance(inner, Edit) else None
    if isinstance(inner, Revoke):
        status = _deleted(inner, received, counterparty=counterparty, phone=phone, ids=ids)
        return [] if status.message_id.startswith(UNKNOWN_TO_CLIENTS) else [status]
    if chats is not None:
        _remember_timer(received, phone=phone, chats=chats)
        received = answered(received, phone=phone, ids=ids, chats=chats)
    inner, target = _shown(received, phone=phone, ids=ids, reaction_as_reply=session.send_reaction_as_reply)
    body = cloud_content(inner, message_id=received.id)
    if connections is not None and (body is not None or received.retry_count):
        theirs, writer, own = _shown_in(heard, phone=phone, ids=ids)
        connections.remember_key(
            phone, received.id, chat=received.chat.jid, participant=writer, from_me=own, theirs=theirs
        )
    if body is None:
        return []
    message = _head(received, counterparty=counterparty, phone=phone) | body
    message |= _context(received.context, target=target, counterparty=counterparty, phone=phone, ids=ids)
    if edited is not None:
        message |= _edit_marks(edited)
    return [_event(message, received, counterparty=counterparty, session=session)]


def _is_wanted(received: ReceivedMessage, *, session: Session, ids: MessageIds) -> bool:
    """Whether anybody hears of a message. The deletion of what a client sent is none: it is never ignored."""
    phone, inner = session.phone, received.content
    ignored = session.ignores(chat=address_of(received.chat), phone=phone, from_me=received.from_me)
    if received.history:
        return not (ignored or session.ignore_history_messages)
    return not ignored or (isinstance(inner, Revoke) and ids.ours(phone, inner.target_id) != inner.target_id)


def _naming_placeholders(received: ReceivedMessage, *, phone: str, connections: Connections | None) -> ReceivedMessage:
    """What is about a message that could not be read, by the id of what clients were told in its place."""
    if connections is None:
        return received
    content, context = received.content, received.context
    changed: dict[str, Any] = {}
    if isinstance(content, Revoke | Edit | Reaction) and (
        shown := _placeholder_of(content.target_id, phone=phone, connections=connections)
    ):
        changed["content"] = content.model_copy(update={"target_id": shown})
    if context is not None and (shown := _placeholder_of(context.id, phone=phone, connections=connections)):
        changed["context"] = context.model_copy(update={"id": shown})
    return received.model_copy(update=changed) if changed else received


def _placeholder_of(message_id: str, *, phone: str, connections: Connections) -> str:
    """The id of the placeholder of a message that nobody could read since; empty when there is none."""
    placeholder = _placeholder_id(phone, message_id)
    with suppress(StoreUnavailable):
        if message_id and connections.key(phone, message_id) is None and connections.key(phone, placeholder):
            return placeholder
    return ""


def _placeholder_id(phone: str, message_id: str) -> str:
    return f"{UNREADABLE}{computed_id('undecryptable', phone, message_id).upper()}"


def _shown_in(received: ReceivedMessage, *, phone: str, ids: MessageIds) -> tuple[str, str, bool]:
    """In which message WhatsApp shows this one, if in another: its id there, who wrote it, whether the number did.

    What answers to an edit, a vote or a reaction means that message: alone they are nowhere in the chat. The session's
    process knows the writer of what it has seen.
    """
    match received.content:
        case Edit(target_id=shown):
            return shown, received.sender.jid, received.from_me
        case Reaction(target_id=shown) | PollVote(poll_id=shown) if shown:
            return shown, "", ids.ours(phone, shown) != shown
    return "", received.sender.jid, received.from_me


def _past(
    received: ReceivedMessage, *, session: Session, ids: MessageIds, connections: Connections | None
) -> list[Event]:
    """The event of a message of before the phone was linked: it starts nothing, and is nothing to answer to at once."""
    phone, inner = session.phone, received.content
    counterparty = _counterparty(received, phone=phone)
    body = _absent_file(inner) if isinstance(inner, Media) else cloud_content(inner, message_id=received.id)
    if body is None or isinstance(inner, Revoke | Edit | Reaction | PollVote):
        return []
    message = _head(received, counterparty=counterparty, phone=phone) | body
    message |= _context(received.context, target="", counterparty=counterparty, phone=phone, ids=ids)
    chat = Identity.of(received.chat.jid).chat
    if received.from_me:
        message |= identity_of(counterparty)._replace(chat=chat).as_addressee()
    message["history_context"] = {"status": received.history_status.upper()} if received.history_status else {}
    if connections is not None:
        writer = received.sender.jid
        connections.remember_key(
            phone, received.id, chat=received.chat.jid, participant=writer, from_me=received.from_me
        )
    person = identity_of(counterparty)
    thread = chat or person.phone or person.user_id
    return [history_event(phone, message, thread=thread, contacts=[_contact(counterparty, received)])]


def _absent_file(file: Media) -> dict[str, Any]:
    """A file of the history, which is not fetched: what it was, in Meta's word for it."""
    described = {"type": file.kind, "mime_type": file.mime_type, "filename": file.filename, "caption": file.caption}
    return {"type": "media_placeholder", "media_placeholder": {key: text for key, text in described.items() if text}}


def _note_known(
    change: Revoke | Edit, received: ReceivedMessage, *, phone: str, connections: Connections | None
) -> None:
    """Let nobody wait for a message that could not be read and was deleted, or that an edit has told meanwhile.

    Its key says that it was there.
    """
    if connections is None:
        return
    with suppress(StoreUnavailable):
        known = connections.key(phone, change.target_id) or connections.key(
            phone, _placeholder_id(phone, change.target_id)
        )
        if known is None:
            chat, writer = received.chat.jid, received.sender.jid
            connections.remember_key(phone, change.target_id, chat=chat, participant=writer, from_me=received.from_me)


def _event(message: dict[str, Any], received: ReceivedMessage, *, counterparty: Party, session: Session) -> Event:
    """The message's event: an echo, if the number wrote it and the session wants echoes in the form of coexistence."""
    contacts = [_contact(counterparty, received)]
    if not (received.from_me and session.outgoing_messages_coex):
        event = message_event(session.phone, message, contacts=contacts)
        if received.chat.kind not in ("broadcast", "status"):
            return event
        return replace(event, value={**event.value, "chat": {"id": received.chat.jid, "type": received.chat.kind}})
    chat = Identity.of(received.chat.jid).chat
    echo = {**message, **identity_of(counterparty)._replace(chat=chat).as_addressee()}
    change = Change({"message_echoes": [echo], "contacts": contacts}, field="smb_message_echoes")
    (event,) = split(session.phone, [change])
    return event


def own_message(received: ReceivedMessage, *, phone: str) -> dict[str, Any] | None:
    """A text or a file that the number wrote to itself, as a message; none for anything else.

    By who wrote and whose chat it is: by the phone, and by WhatsApp's own id where the chat is named by that.
    """
    chat = identity_of(received.chat)
    to_itself = is_same_phone(chat.phone, phone) or bool(chat.likeness(identity_of(received.sender)))
    written = isinstance(received.content, Text | Media) and not received.history
    if not (written and received.from_me and received.chat.kind == "user" and to_itself):
        return None
    body = cloud_content(received.content, message_id=received.id)
    return None if body is None else {"id": received.id, **body}


def _remember_timer(received: ReceivedMessage, *, phone: str, chats: Chats) -> None:
    """The contact decides after how long messages disappear; answers that say nothing of it would seem to stay."""
    content = received.content
    if isinstance(content, Protocol) and content.name not in TIMER_CHANGES:
        return
    if isinstance(content, Reaction | PollVote | Edit | Unsupported):
        return  # they carry no timer, or one that cannot be read
    seconds = content.seconds if isinstance(content, Protocol) else received.ephemeral_seconds
    if seconds < 0:
        return
    for name in names_of(received.chat):
        chats.remember_timer(phone, name, seconds)


def _shown(received: ReceivedMessage, *, phone: str, ids: MessageIds, reaction_as_reply: bool) -> tuple[Content, str]:
    """The content that the event has, and our id of what it answers to."""
    inner: Content = received.content
    match inner:
        case Edit():
            return _edited(inner), ids.ours(phone, inner.target_id)
        case Reaction():
            return _reaction(inner, phone=phone, ids=ids, as_reply=reaction_as_reply)
        case PollVote() if inner.poll_id:
            return inner, ids.ours(phone, inner.poll_id)
        case Media() if received.view_once:
            return inner.model_copy(update={"view_once": True}), ""
    return inner, ""


def _counterparty(received: ReceivedMessage | Undecryptable, *, phone: str) -> Party:
    """With whom the number `phone` talks: whom it wrote to, else who wrote: in a group it may be the number itself."""
    if not received.from_me:
        return received.sender
    if received.chat.kind in TO_MANY_OR_ONE:
        return received.chat
    return received.sender if received.sender.phone else received.sender.model_copy(update={"phone": phone})


def _deleted(revoke: Revoke, received: ReceivedMessage, *, counterparty: Party, phone: str, ids: MessageIds) -> Event:
    message_id = ids.ours(phone, revoke.target_id)
    return status_event(
        phone,
        message_id=message_id,
        status="deleted",
        recipient=recipient_in(received.chat, counterparty),
        timestamp_s=received.timestamp_ms // 1000,
        tracker=ids.marks(phone, [message_id]).get(message_id) if received.from_me else None,
        name=_name_of(counterparty, received),
    )


def _head(received: ReceivedMessage, *, counterparty: Party, phone: str) -> dict[str, Any]:
    sender = Identity(phone) if received.from_me else identity_of(counterparty)
    head: dict[str, Any] = {
        **sender.as_sender(),
        "id": received.id,
        "timestamp": str(received.timestamp_ms // 1000),
    }
    if received.chat.kind in ("group", "newsletter"):
        head["group_id"] = received.chat.jid
    return head


def _reaction(reaction: Reaction, *, phone: str, ids: MessageIds, as_reply: bool) -> tuple[Any, str]:
    """The content, and what it answers to when it is sent as an answer."""
    target = ids.ours(phone, reaction.target_id)
    if as_reply:
        return Text(body=reaction.emoji or NO_REACTION), target
    return reaction.model_copy(update={"target_id": target}), ""


def _edit_marks(edit: Edit) -> dict[str, Any]:
    marks = {"message_type": "message_edit"}
    return marks | {"edit_timestamp": str(edit.at_ms)} if edit.at_ms else marks


def _edited(edit: Edit) -> Any:
    """New content. Of a file whose caption was changed, or taken away, only the caption is new."""
    inner = edit.content
    if isinstance(inner, Media) and not (inner.media and inner.media.key):
        return Text(body=inner.caption)
    return inner


def _context(
    context: ContextInfo | None, *, target: str, counterparty: Party, phone: str, ids: MessageIds
) -> dict[str, Any]:
    if target:
        return {"context": {"message_id": target, "id": target}}
    if context is None:
        return {}
    parts: dict[str, Any] = {}
    if context.id:
        quoted = ids.ours(phone, context.id)
        author, other = _author(context), identity_of(counterparty)
        author = author.joined(other) if author.likeness(other) or not context.participant else author
        parts |= {"from": phone} if context.from_us or quoted != context.id else author.as_sender()
        parts |= {"message_id": quoted, "id": quoted}
    if context.status is not None:
        post = {"type": context.status.kind or "text", "caption": context.status.text}
        parts["status"] = {"id": parts.get("id", ""), **{name: text for name, text in post.items() if text}}
    if context.product is not None:
        parts["referred_product"] = {name: text for name, text in context.product.model_dump().items() if text}
    if context.forwarding_score >= FREQUENTLY:
        parts["frequently_forwarded"] = True
    elif context.forwarded:
        parts["forwarded"] = True
    fields: dict[str, Any] = {"context": parts} if parts else {}
    if context.referral is not None:
        referral = {key: value for key, value in context.referral.model_dump().items() if value}
        greeting = referral.pop("greeting", "")
        if referral:
            fields["referral"] = referral | ({"welcome_message": {"text": greeting}} if greeting else {})
    return fields


def _author(context: ContextInfo) -> Identity:
    author = Identity.of(context.participant)
    return author._replace(phone=with_ninth_digit(context.participant_phone)) if context.participant_phone else author


def _contact(counterparty: Party, received: ReceivedMessage) -> dict[str, Any]:
    """The one the message is about. `user_id` is the LID where there is one, as newer clients expect."""
    identity = identity_of(counterparty)
    described = identity.as_contact(_name_of(counterparty, received) or identity.phone or identity.user_id)
    if counterparty.picture:
        described["profile"]["picture"] = counterparty.picture
    if received.chat.kind in ("group", "newsletter"):
        described["group_id"] = received.chat.jid
        described |= {"group_subject": received.chat.subject} if received.chat.subject else {}
        described |= {"group_picture": received.chat.picture} if received.chat.picture else {}
    return described


def _name_of(counterparty: Party, received: ReceivedMessage) -> str:
    """How somebody who wrote is called; empty for the number itself, and for whom it wrote to."""
    names = (counterparty.verified_name, counterparty.push_name, counterparty.username)
    return "" if received.from_me else next(filter(is_visible, names), "")


def address_of(chat: Party) -> str:
    """The address of a chat, by its phone where that is known: a chat with oneself may be named by a LID, too."""
    return to_jid(chat.phone) if chat.kind == "user" and chat.phone else chat.jid


def is_placeholder(received: ReceivedMessage) -> bool:
    """Whether it stands for a message that only the phone can show, as the first one out of an advertisement.

    One that came without any content does so, too: somebody wrote something.
    """
    return isinstance(received.content, Protocol) and received.content.name.lower() in (PLACEHOLDER, EMPTY)


def is_shown(lost: Undecryptable, *, session: Session) -> bool:
    """Whether anybody is to hear of a message that cannot be read here."""
    return not lost.hide and not session.ignores(chat=address_of(lost.chat), phone=session.phone, from_me=lost.from_me)


def placeholder_for(lost: Undecryptable, *, session: Session, connections: Connections | None) -> Event:
    """The event of a message that only the phone can show, under an id of its own: the readable one may still come.

    Answers and marks that name that id mean the message.
    """
    own_id = _placeholder_id(session.phone, lost.id)
    if connections is not None:
        chat, writer = lost.chat.jid, lost.sender.jid
        connections.remember_key(
            session.phone, own_id, chat=chat, participant=writer, from_me=lost.from_me, theirs=lost.id
        )
    placeholder = ReceivedMessage(
        id=own_id,
        chat=lost.chat,
        sender=lost.sender,
        from_me=lost.from_me,
        timestamp_ms=lost.timestamp_ms or now_ms(),
        content=Unsupported(kind="unsupported"),
    )
    counterparty = _counterparty(lost, phone=session.phone)
    details = VIEW_ONCE if lost.view_once or lost.unavailable else NOT_READ
    kind = {"type": "view_once"} if lost.view_once else {"type": "placeholder"}
    body = {"type": "unsupported", "unsupported": kind, "errors": [error_object(UNAVAILABLE, TITLE, details)]}
    message = _head(placeholder, counterparty=counterparty, phone=session.phone) | body
    return _event(message, placeholder, counterparty=counterparty, session=session)


def with_one_person(received: Incoming) -> Incoming:
    """A message in which the chat and who wrote have the names of both, where they are one person.

    So it is in a talk of two when the other one writes, and in the number's talk with itself.
    """
    to_another = received.from_me and not identity_of(received.chat).likeness(identity_of(received.sender))
    if to_another or received.chat.kind != "user":
        return received
    sender = joined(received.sender, received.chat)
    return received.model_copy(update={"sender": sender, "chat": joined(received.chat, sender)})


def joined(party: Party, other: Party) -> Party:
    """The party with the names that it lacks and the other one has; as it is when that is certainly somebody else."""
    identity, same = identity_of(party), identity_of(other)
    if identity.contradicts(same):
        return party
    known = identity.joined(same)
    names = {name: getattr(party, name) or getattr(other, name) for name in NAMES}
    return party.model_copy(update={**names, "phone": known.phone, "lid": known.user_id})


def identity_of(party: Party) -> Identity:
    """Who a party is: the phone, as far as it is known, and the LID."""
    address, lid = Identity.of(party.jid), party.lid
    if party.phone and party.phone != user_of(address.key):  # the digits of a LID or a group are no phone
        address = Identity.of(party.phone)
    own_lid = Identity.of(lid if "@" in lid else f"{lid}@{LID}") if lid else Identity()
    return Identity(address.phone, own_lid.user_id or address.user_id, username=party.username, chat=address.chat)


def recipient_in(chat: Party, person: Party) -> Identity:
    """Whose a status is: in a group the group's, with the member."""
    return identity_of(person)._replace(chat=Identity.of(chat.jid).chat)
