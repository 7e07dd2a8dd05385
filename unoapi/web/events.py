"""Cloud API events that enter: Meta's callbacks and anything that speaks like them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from flask import Blueprint, jsonify
from pydantic import BaseModel, ConfigDict, Field

from unoapi.bootstrap import unoapi
from unoapi.models.events import split
from unoapi.models.jobs import Parcel
from unoapi.models.trace import TraceEntry
from unoapi.services.outgoing import stamp
from unoapi.web.auth import session_token
from unoapi.web.bodies import json_object

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("events", __name__)


class _Loose(BaseModel):
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)


class _Item(_Loose):
    id: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class _Value(_Loose):
    messages: list[_Item] = Field(default=[], max_length=1000)
    message_echoes: list[_Item] = Field(default=[], max_length=1000)
    statuses: list[_Item] = Field(default=[], max_length=1000)
    contacts: list[dict[str, Any]] = Field(default=[], max_length=1000)
    metadata: dict[str, Any] | None = None


class _Change(_Loose):
    field: str = "messages"
    value: _Value


class _Entry(_Loose):
    changes: list[_Change] = Field(min_length=1, max_length=1000)


class EventPayload(_Loose):
    """The form of a Cloud API callback, as far as it is needed to take it apart."""

    entry: list[_Entry] = Field(min_length=1, max_length=1000)


@routes.post("/webhooks/whatsapp/<digits:phone>")
@session_token
def receive(phone: str) -> ResponseReturnValue:
    """Accept events: 200 only after the queue has confirmed all of them."""
    body = json_object()
    EventPayload.model_validate(body)
    uno = unoapi()
    jobs = [stamp(event, phone=phone, sessions=uno.sessions) for event in split(phone, body)]
    uno.publisher.publish([Parcel(job) for job in jobs])
    uno.traces.add(
        *(TraceEntry(step="accepted", phone=phone, message_id=job.message_id, kind=job.kind) for job in jobs)
    )
    return jsonify(success=True)
