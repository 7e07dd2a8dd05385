"""From the connector's events to Cloud API events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from unoapi.models.connector import ConnectorEvent, MessageReceipt, ReceivedMessage, SendResult
from unoapi.models.events import Event, contact, error_object, message_event, status_event
from unoapi.services.outgoing import stamp

if TYPE_CHECKING:
    from unoapi.models.jobs import FanOut, ReceiveEvent
    from unoapi.ports import MessageIds, SessionStore

UNSUPPORTED = 131051


def receive(job: ReceiveEvent, *, ids: MessageIds, sessions: SessionStore) -> list[FanOut]:
    """The events for the webhooks. An event of a type that no webhook could want gives none."""
    envelope = ConnectorEvent.model_validate(job.event)
    phone = envelope.session
    events: list[Event] = []
    if envelope.type == "message":
        events = [_message(phone, ReceivedMessage.model_validate(envelope.data), ids)]
    elif envelope.type == "receipt":
        events = _receipt(phone, MessageReceipt.model_validate(envelope.data), ids)
    elif envelope.type == "send_result":
        events = [_send_result(phone, SendResult.model_validate(envelope.data), ids)]
    return [stamp(event, phone=phone, sessions=sessions) for event in events]


def _message(phone: str, received: ReceivedMessage, ids: MessageIds) -> Event:
    partner = received.chat if received.from_me else received.sender
    partner_id = _number(partner.phone or partner.jid)
    message: dict[str, Any] = {
        "from": phone if received.from_me else partner_id,
        "id": received.id,
        "timestamp": str(received.timestamp_ms // 1000),
    }
    if received.chat.kind == "group":
        message["group_id"] = received.chat.jid
    if received.context is not None and received.context.id:
        message["context"] = {
            "from": _number(received.context.participant) or partner_id,
            "id": ids.ours(phone, received.context.id),
        }
    if received.content.kind == "text":
        message |= {"type": "text", "text": {"body": received.content.body}}
    else:
        details = f"Messages of kind {received.content.kind[:50]} are not supported yet."
        message |= {"type": "unsupported", "errors": [error_object(UNSUPPORTED, "Unsupported message type", details)]}
    name = partner.verified_name or partner.push_name
    return message_event(phone, message, contacts=[contact(partner_id, name)])


def _receipt(phone: str, receipt: MessageReceipt, ids: MessageIds) -> list[Event]:
    if receipt.status == "self_read":
        return []
    who = receipt.participant or receipt.chat
    recipient = _number(who.get("phone") or who.get("jid") or "" if isinstance(who, dict) else str(who or ""))
    return [
        status_event(
            phone,
            message_id=ids.ours(phone, message_id),
            status="read" if receipt.status == "played" else receipt.status,
            recipient=recipient,
            timestamp_s=receipt.timestamp or int(time.time()),
        )
        for message_id in receipt.ids
    ]


def _send_result(phone: str, result: SendResult, ids: MessageIds) -> Event:
    if result.wa_id:
        ids.remember(phone, theirs=result.wa_id, ours=result.command_id)
    failure = None
    if result.status == "ambiguous":
        failure = error_object(131000, "Outcome unknown", "It may have left or not. It is not sent again by itself.")
    elif result.status == "failed":
        problem = result.error
        reason = problem.reason[:200] if problem else "send failed"
        failure = error_object(problem.code if problem else 131000, "Message not sent", reason)
    return status_event(
        phone,
        message_id=result.command_id,
        status="failed" if failure else "sent",
        recipient=_number(result.to),
        timestamp_s=result.timestamp or int(time.time()),
        error=failure,
    )


def _number(address: str) -> str:
    return address.partition("@")[0].partition(":")[0].lstrip("+")
