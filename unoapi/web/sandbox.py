"""The sandbox's other side: a simulated contact writes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flask import Blueprint, jsonify

from unoapi.errors import RequestError
from unoapi.errors.validation import invalid_value
from unoapi.models.cloud_api.events import message_event
from unoapi.models.cloud_api.messages import SandboxMessage, Sender, new_message_id
from unoapi.models.identity import is_same_phone
from unoapi.models.jobs import Envelope, computed_id
from unoapi.models.media import MEDIA_TYPES
from unoapi.models.trace import TraceEntry
from unoapi.services import media, own_chat
from unoapi.services.webhooks import to_fan_out
from unoapi.telemetry.logging import LISTENER, UPSERT, get_logger
from unoapi.web.auth import session_token
from unoapi.web.parts import parts
from unoapi.web.request_body import parameters
from unoapi.web.schemas import checked, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("sandbox", __name__)
log = get_logger(__name__)

WITHOUT_OBJECT = frozenset({"unsupported", "request_welcome"})
"""Types of which a received message has no object."""
CHOICES = frozenset({"interactive", "button"})


@routes.post("/sandbox/<digits:phone>/messages")
@session_token
@schema(body=(SandboxMessage,))
def contact_writes(phone: str) -> ResponseReturnValue:
    """A contact writes to the session, with any received type. The answer carries the message's id."""
    body = checked(SandboxMessage, parameters(SandboxMessage), context=Sender(phone=phone))
    return jsonify(messaging_product="whatsapp", messages=[{"id": receive(phone, body)}])


def receive(phone: str, body: SandboxMessage) -> str:
    """Let the contact write; returns the message's id. Raises RequestError, BrokerUnavailable, Postponed."""
    uno = parts()
    session = uno.sessions.find(phone)
    if session.provider != "sandbox":
        details = 'Register the session with {"provider": "sandbox"} first.'
        raise RequestError("The session is not in the sandbox", code=100, status=400, details=details)
    if body.type not in WITHOUT_OBJECT and body.type not in body.message:
        details = f"{body.type}: the object of the message's type is missing"
        raise RequestError("Required parameter is missing", code=131008, status=400, details=details)
    if not isinstance(body.message.get(body.type, {}), dict | list):
        details = f"{body.type}: must be an object: {{…}}, as in a received message"
        raise invalid_value(details)
    message_id = body.id or new_message_id()
    message = {**body.message, "id": message_id, "timestamp": str(body.timestamp or int(time.time()))}
    if body.type in MEDIA_TYPES and isinstance(file := message[body.type], dict):
        message[body.type] = media.as_received(file, phone=phone, index=uno.media_index)
    if body.type in CHOICES:  # made in a message of the number's, which clients read here
        about = computed_id("simulated menu", phone, message_id).replace("-", "").upper()
        message.setdefault("context", {"from": phone, "id": f"wamid.{about}"})
    log.debug(UPSERT, message_id=message_id, phone=phone)
    event = message_event(phone, message, contacts=[body.contact])
    log.debug(LISTENER, message_id=message_id, phone=phone, type="message")
    accepted = TraceEntry(step="accepted", phone=phone, message_id=message_id, kind=event.kind)
    itself = is_same_phone(body.identity.phone, phone)
    own = own_chat.job_for(message, session=session, at_s=int(time.time())) if itself else []
    received = to_fan_out(event, phone=phone, sessions=uno.sessions)
    uno.publisher.publish([Envelope(job) for job in (received, *own)])
    uno.traces.add(accepted)
    return message_id
