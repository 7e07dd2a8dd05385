"""Messages that clients send, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify

from unoapi.bootstrap import unoapi
from unoapi.errors import RequestError
from unoapi.models.events import serialise
from unoapi.models.jobs import Parcel, SendMessage
from unoapi.models.messages import OutboundMessage, new_message_id
from unoapi.models.trace import TraceEntry
from unoapi.web.auth import session_token
from unoapi.web.bodies import json_object

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("messages", __name__)


@routes.post("/<version>/<digits:phone>/messages")
@session_token
def send_message(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Accept one message: 200 only after the queue has confirmed it."""
    body = json_object()
    _check_type(body)
    message = OutboundMessage.model_validate(body)
    uno = unoapi()
    message_id = new_message_id()
    job = SendMessage(id=message_id, phone=phone, message_id=message_id, body=serialise({**body, "to": message.to}))
    uno.publisher.publish([Parcel(job)])
    uno.traces.add(TraceEntry(step="accepted", phone=phone, message_id=message_id, kind=message.type))
    return jsonify(
        messaging_product="whatsapp",
        contacts=[{"input": str(body["to"]), "wa_id": message.to}],
        messages=[{"id": message_id}],
    )


def _check_type(body: dict[str, Any]) -> None:
    if body.get("type", "text") != "text":
        details = f"Messages of type {str(body.get('type'))[:40]!r} are not supported. Supported: text."
        raise RequestError("Message type is not supported", code=131051, status=400, details=details)


@routes.get("/<version>/<digits:phone>/messages/<message_id>/trace")
@session_token
def trace(version: str, phone: str, message_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """The life of a message, oldest step first."""
    entries = [entry for entry in unoapi().traces.read(message_id) if entry.phone == phone]
    if not entries:
        details = "Nothing is known of this message: another number's, older than UNOAPI_TRACE_TTL, or not accepted."
        raise RequestError("Unknown message", code=100, status=404, details=details)
    return jsonify(
        message_id=message_id,
        phone=phone,
        trace=[
            entry.model_dump(mode="json", exclude_defaults=True, exclude={"phone", "message_id"}) for entry in entries
        ],
    )
