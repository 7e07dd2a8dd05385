"""Timers: a message that goes out when nobody answers in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, jsonify

from unoapi.models.jobs import now_ms
from unoapi.models.timers import TimerRequest
from unoapi.services import timers
from unoapi.services.message_parsing import parse_message
from unoapi.web.addresses import contact_of
from unoapi.web.auth import session_token
from unoapi.web.messages import ensure_sendable, sender_for
from unoapi.web.parts import parts
from unoapi.web.schemas import body

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("timers", __name__)
PLACE = "The end of the path"


@routes.post("/timer/<digits:phone>/<to>")
@session_token
@body(TimerRequest)
def start(phone: str, to: str, body: TimerRequest) -> ResponseReturnValue:
    """Start a timer; one that waits for the same contact stops. Fields in the body or the query."""
    uno, sender, at_ms = parts(), sender_for(phone), now_ms()
    contact = contact_of(to, sender=sender, field=PLACE)
    for step in (body, *body.nexts):
        ensure_sendable(parse_message(step.send_body(contact), sender=sender), sender=sender)
    uno.publisher.publish([timers.start(phone, contact, body, at_ms=at_ms, timers=uno.timers)])
    return jsonify(success=True)


@routes.delete("/timer/<digits:phone>/<to>")
@session_token
def stop(phone: str, to: str) -> ResponseReturnValue:
    """Stop the contact's timer."""
    # A millisecond later, so that a timer of the same one stops, too.
    parts().timers.touch(phone, contact_of(to, sender=sender_for(phone), field=PLACE), at_ms=now_ms() + 1)
    return jsonify(success=True)
