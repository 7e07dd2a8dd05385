"""From the connector's events to Cloud API events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from unoapi.errors import Postponed, StoreUnavailable
from unoapi.models.cloud_api.events import TITLES, Event, contact, error_object, message_event, status_event
from unoapi.models.connector.commands import ConnectorCommand, Read, RejectCall, Send
from unoapi.models.connector.content import Text
from unoapi.models.connector.events import (
    Call,
    ConnectorEvent,
    GroupChange,
    MessageReceipt,
    PairingCode,
    Party,
    QrCode,
    ReceivedMessage,
    SendResult,
    SessionState,
    Undecryptable,
)
from unoapi.models.identity import Identity
from unoapi.models.jobs import computed_id, now_ms
from unoapi.models.message_keys import MessageKey
from unoapi.models.text import mended
from unoapi.providers.whatsmeow import session_notices as notices
from unoapi.providers.whatsmeow.group_events import group_events
from unoapi.providers.whatsmeow.inbound import (
    UNKNOWN_TO_CLIENTS,
    events_of,
    identity_of,
    is_placeholder,
    is_shown,
    joined,
    own_message,
    placeholder_for,
    recipient_in,
    with_one_person,
)
from unoapi.services import own_chat
from unoapi.services.retries import wait_for_pair, wait_for_store
from unoapi.services.webhooks import to_fan_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.jobs import AwaitResult, FanOut, HandleOwnMessage, PostSessionState, ReceiveEvent
    from unoapi.models.session import Session
    from unoapi.ports import Chats, Connections, MessageIds, SessionStore

READ_AGAIN_MS = 60_000
RESEND_WAIT_MS, PHONE_WAIT_MS = 30_000, 120_000
"""So long the readable message is waited for: from the sender's device, or from the number's own phone."""
LOOK_AGAIN_MS = 60_000
MAX_WAIT_MS = 86_400_000
"""A command's result is waited for no longer, even while the connector works its queue off."""


class Received(NamedTuple):
    """What follows from one event: for the webhooks, or the one of the session, and for the connector.

    A message of the number to itself is also a job of its own, where its commands are allowed.
    """

    events: Sequence[FanOut | PostSessionState | HandleOwnMessage] = ()
    commands: Sequence[ConnectorCommand] = ()


def receive(  # noqa: PLR0913 (collaborators)
    job: ReceiveEvent,
    *,
    ids: MessageIds,
    sessions: SessionStore,
    connections: Connections | None = None,
    chats: Chats | None = None,
    save_picture: notices.SavePicture | None = None,
) -> Received:
    """Events for the webhooks, and what the session's options make us answer: mark as read, refuse a call.

    Nothing for an event of a type that nobody could want. `save_picture` saves the picture of a QR code.

    Raises Postponed for a receipt that comes before the send result it belongs to, and for a session that cannot be
    looked up now: its options say what is to be ignored. The same while nobody can say what a receipt belongs to.
    """
    event = ConnectorEvent.model_validate(mended(job.event))
    phone = event.session
    commands: list[ConnectorCommand] = []
    own: list[HandleOwnMessage] = []
    match event.type:
        case "message":
            message, session = with_one_person(ReceivedMessage.model_validate(event.data)), sessions.find(phone)
            if is_placeholder(message) and not message.history:
                events = _placeholder(Undecryptable.of(message), session, connections, job=job)
            else:
                events = events_of(message, session=session, ids=ids, connections=connections, chats=chats)
                commands = _read_marks(message, session)
                if (written := own_message(message, phone=phone)) is not None:
                    own = own_chat.job_for(written, session=session, at_s=message.timestamp_ms // 1000)
        case "undecryptable":
            lost = with_one_person(Undecryptable.model_validate(event.data))
            events = _placeholder(lost, sessions.find(phone), connections, job=job)
        case "receipt":
            receipt = MessageReceipt.model_validate(event.data)
            events = _receipt(receipt, sessions.find(phone), ids, age_ms=now_ms() - job.accepted_at_ms)
        case "send_result":
            events = _send_result(phone, SendResult.model_validate(event.data), ids, connections)
        case "call":
            events, commands = _call(Call.model_validate(event.data), sessions.find(phone), connections)
        case "group":
            events = _group(GroupChange.model_validate(event.data), sessions.find(phone), chats)
        case "session" | "qr" | "pairing_code":
            changes = _connection_change(event, sessions=sessions, connections=connections, save_picture=save_picture)
            return Received(changes)
        case _:
            return Received()
    return Received([*(to_fan_out(event, phone=phone, sessions=sessions) for event in events), *own], commands)


def overdue(job: AwaitResult, *, ids: MessageIds, sessions: SessionStore, connections: Connections) -> FanOut | None:
    """The `failed` status of a message of which no connector reported a result; none when one did.

    Raises Postponed while a connector works the session's queue off: a campaign takes its time.
    """
    if connections.is_served(job.phone) and now_ms() - job.accepted_at_ms < MAX_WAIT_MS:
        raise Postponed("the connector works the session's queue off", after_ms=LOOK_AGAIN_MS)
    if not connections.give_up(job.phone, job.message_id):
        return None
    details = "No connector reported in time what became of it. It is not sent again by itself."
    event = status_event(
        job.phone,
        message_id=job.message_id,
        status="failed",
        recipient=Identity.of(job.recipient),
        timestamp_s=int(time.time()),
        error=error_object(131000, "No connector", details),
        tracker=ids.marks(job.phone, [job.message_id]).get(job.message_id),
    )
    return to_fan_out(event, phone=job.phone, sessions=sessions)


def command(kind: str, data: dict[str, Any], *, phone: str, about: str, to: str = "") -> ConnectorCommand:
    """A command that is not a client's message. The same cause gives the same id."""
    now = now_ms()
    return ConnectorCommand(
        type=kind,
        command_id=computed_id("command", phone, kind, about),
        session=phone,
        to=to,
        created_at=now,
        expires_at=now + READ_AGAIN_MS,
        data=data,
    )


def _receipt(receipt: MessageReceipt, session: Session, ids: MessageIds, *, age_ms: int) -> list[Event]:
    """The statuses of the messages; none of those that no client knows, or hears of."""
    if receipt.status == "self_read":
        return []
    phone = session.phone
    try:
        known = ids.known_ours(phone, receipt.ids)
    except StoreUnavailable as error:
        raise wait_for_store(error, age_ms=age_ms) from error
    if len(known) < len(set(receipt.ids)):
        wait_for_pair(age_ms)
    ours = {theirs: known.get(theirs, theirs) for theirs in receipt.ids}
    ours = {theirs: our_id for theirs, our_id in ours.items() if not our_id.startswith(UNKNOWN_TO_CLIENTS)}
    if session.ignores(chat=_party_of(receipt.chat).jid, phone=phone, from_me=False):  # written on the phone, there
        ours = {theirs: our_id for theirs, our_id in ours.items() if our_id != theirs}
    chat, member = _party_of(receipt.chat), _party_of(receipt.participant)
    if chat.kind == "user":
        member = joined(member, chat)
    recipient = recipient_in(chat, member if receipt.participant else chat)
    marks = ids.marks(phone, list(ours.values()))
    return [
        status_event(
            phone,
            message_id=ours[message_id],
            status="read" if receipt.status == "played" else receipt.status,
            recipient=recipient,
            timestamp_s=receipt.timestamp or int(time.time()),
            tracker=marks.get(ours[message_id]),
        )
        for message_id in receipt.ids
        if message_id in ours
    ]


def _placeholder(
    lost: Undecryptable, session: Session, connections: Connections | None, *, job: ReceiveEvent
) -> list[Event]:
    """The event of a message that cannot be read here, when the readable one has not come after a while.

    WhatsApp sends that again by itself, normally within seconds, with the same id. Raises Postponed meanwhile.
    """
    if not is_shown(lost, session=session):
        return []
    if connections is not None and connections.key(session.phone, lost.id) is not None:
        return []
    left_ms = (PHONE_WAIT_MS if lost.unavailable else RESEND_WAIT_MS) - (now_ms() - job.accepted_at_ms)
    if connections is not None and left_ms > 0:
        raise Postponed("the readable message may still come", after_ms=left_ms)
    return [placeholder_for(lost, session=session, connections=connections)]


def _party_of(told: object) -> Party:
    """A chat or a member of a receipt, as an address or as an object."""
    if not isinstance(told, dict):
        return Party(jid=str(told or ""))
    return Party.model_validate({key: part for key, part in told.items() if isinstance(part, str)})


def _send_result(phone: str, result: SendResult, ids: MessageIds, connections: Connections | None) -> list[Event]:
    if connections is not None:
        # Without it the wait for this result would end in a failed status: the result waits for Redis instead.
        given_up = connections.settle(phone, result.command_id, key=_key_of(result))
        if given_up and result.status == "failed":
            return []  # the client got a failed status when the wait ended
    if result.wa_id and (result.silent or result.deleted):
        ids.remember_ours(phone, theirs=result.wa_id, ours=result.about or f"{UNKNOWN_TO_CLIENTS}{result.command_id}")
    elif result.wa_id:
        ids.remember_ours(phone, theirs=result.wa_id, ours=result.command_id)
    if result.silent or (result.deleted and result.status != "sent"):
        return []  # nobody was told of this message
    failure = None
    if result.status == "ambiguous":
        failure = error_object(131000, "Outcome unknown", "It may have left or not. It is not sent again by itself.")
    elif result.status == "failed":
        problem = result.error
        code, reason = (problem.code, problem.reason[:200]) if problem else (131000, "send failed")
        failure = error_object(code, TITLES.get(code, "Message not sent"), reason)
    about = result.deleted or result.command_id
    return [
        status_event(
            phone,
            message_id=about,
            status="failed" if failure else "deleted" if result.deleted else "sent",
            recipient=Identity.of(result.to),
            timestamp_s=result.timestamp or int(time.time()),
            error=failure,
            tracker=ids.marks(phone, [about]).get(about),
        )
    ]


def _key_of(result: SendResult) -> MessageKey | None:
    """The key of a message that left: one that its client knows, or the words of one, which are deleted with it."""
    if not result.wa_id or result.deleted or (result.silent and not result.about):
        return None
    return MessageKey(result.edited or result.wa_id, result.chat or result.to, from_me=True)


def _read_marks(message: ReceivedMessage, session: Session) -> list[ConnectorCommand]:
    ignored = session.ignores(chat=message.chat.jid, phone=session.phone, from_me=message.from_me)
    if not session.read_on_receipt or message.from_me or message.history or ignored:
        return []
    read = Read(ids=(message.id,), chat=message.chat.jid, sender=message.sender.jid)
    return [command("read", read.model_dump(mode="json"), phone=session.phone, about=message.id)]


def _group(change: GroupChange, session: Session, chats: Chats | None) -> list[Event]:
    """The events of a group's change. Its timer counts from now on, also where nobody wants events of groups."""
    if chats is not None and change.ephemeral_seconds is not None:
        chats.remember_timer(session.phone, change.group.jid, change.ephemeral_seconds)
    return group_events(change, session=session)


def _call(call: Call, session: Session, connections: Connections | None) -> tuple[list[Event], list[ConnectorCommand]]:
    """The event and the refusal of a call; neither for a caller who called a moment ago.

    Of a group's call there is a notice, which cannot be refused.
    """
    if call.phase not in ("offer", "notice"):
        return [], []
    caller = call.sender.phone or call.sender.jid
    if connections is not None and not connections.is_new_call(session.phone, caller, call.id):
        return [], []
    events = [_call_event(call, session)] if session.message_calls_webhook else []
    return events, _refuse(call, session) if session.reject_calls and call.phase == "offer" else []


def _call_event(call: Call, session: Session) -> Event:
    caller = identity_of(call.sender)
    message = {
        **caller.as_sender(),
        "id": f"UNO.CALL.{computed_id('call', session.phone, call.id).upper()}",
        "timestamp": str(call.timestamp or int(time.time())),
        "type": "text",
        "text": {"body": session.message_calls_webhook},
    }
    return message_event(session.phone, message, contacts=[caller.as_contact(call.sender.push_name)])


def _refuse(call: Call, session: Session) -> list[ConnectorCommand]:
    caller = call.sender.jid if not call.sender.phone else f"{call.sender.phone}@s.whatsapp.net"
    reject = RejectCall.model_validate({"from": call.sender.jid, "id": call.id})
    text = Send(content=Text(body=session.reject_calls), silent=True)
    return [
        command("call.reject", reject.model_dump(mode="json", by_alias=True), phone=session.phone, about=call.id),
        command("send", text.model_dump(mode="json"), phone=session.phone, about=f"call:{call.id}", to=caller),
    ]


def _connection_change(
    event: ConnectorEvent,
    *,
    sessions: SessionStore,
    connections: Connections | None,
    save_picture: notices.SavePicture | None,
) -> list[FanOut | PostSessionState]:
    """Record a change of the connection; its notice goes to the session's own webhook, or else to all the others."""
    session, at_ms = sessions.find(event.session), notices.at_ms(event.occurred_at)
    change: notices.ConnectionChange
    match event.type:
        case "session":
            change = SessionState.model_validate(event.data)
        case "qr":
            change = QrCode.model_validate(event.data)
        case _:
            change = PairingCode.model_validate(event.data)
    if connections is not None:
        connections.record(event.session, change, at_ms=at_ms, seq=event.seq)
    if session.session_webhook is not None:
        job = notices.job_for(change, session=session, event_id=event.event_id, at_ms=at_ms)
        return [job] if job else []
    message = notices.message(change, session=session, event_id=event.event_id, at_ms=at_ms, save_picture=save_picture)
    if message is None:
        return []
    notice = message_event(session.phone, message, contacts=[contact(session.phone)])
    # A notice never causes another one.
    return [to_fan_out(notice, phone=session.phone, sessions=sessions, notify_on_failure=False)]
