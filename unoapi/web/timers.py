"""Timers: a message that goes out when nobody answers in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify

from unoapi.errors import RequestError
from unoapi.models.contacts import contact_key
from unoapi.models.jobs import now_ms
from unoapi.models.timers import TimerRequest
from unoapi.services import timers
from unoapi.services.message_parsing import parse_message
from unoapi.web.auth import session_token
from unoapi.web.parts import parts
from unoapi.web.request_body import json_of, named_fields
from unoapi.web.schemas import body

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("timers", __name__)


def _fields() -> dict[str, Any]:
    fields = named_fields()
    if isinstance(fields.get("nexts"), str):
        fields["nexts"] = json_of(fields["nexts"], name="nexts")
    return fields


@routes.post("/timer/<digits:phone>/<to>")
@session_token
@body(TimerRequest, read=_fields)
def start(phone: str, to: str, body: TimerRequest) -> ResponseReturnValue:
    """Start a timer; one that waits for the same contact stops. Fields in the body or the query."""
    contact, at_ms = _contact(to), now_ms()
    for step in (body, *body.nexts):
        parse_message(step.send_body(contact))  # refused here, while the client can read why
    uno = parts()
    uno.publisher.publish([timers.start(phone, contact, body, at_ms=at_ms, timers=uno.timers)])
    return jsonify(success=True)


@routes.delete("/timer/<digits:phone>/<to>")
@session_token
def stop(phone: str, to: str) -> ResponseReturnValue:
    """Stop the contact's timer."""
    # A millisecond later, so that a timer of the same one stops, too.
    parts().timers.touch(phone, _contact(to), at_ms=now_ms() + 1)
    return jsonify(success=True)


def _contact(to: str) -> str:
    contact = contact_key(to)[:128]
    if not contact or not ("@" in contact or contact.isdigit()):
        raise RequestError("Invalid parameter", code=100, status=400, details="The path must end with a phone.")
    return contact
