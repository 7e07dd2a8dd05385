"""Contacts whose events a webhook does not get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from flask import Blueprint, jsonify
from pydantic import BaseModel, ConfigDict, Field

from unoapi.models.session import TtlS
from unoapi.services.endpoint_test import find_webhook
from unoapi.web.addresses import contact_of
from unoapi.web.auth import session_token
from unoapi.web.messages import sender_for
from unoapi.web.parts import parts
from unoapi.web.schemas import body

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("blacklist", __name__)


class BlacklistEntry(BaseModel):
    """A contact, and for how many seconds: 0 takes it off, -1 is for ever."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)

    to: Annotated[str, Field(min_length=1, max_length=128)]
    ttl: TtlS = 0


@routes.post("/<digits:phone>/blacklist/<webhook_id>")
@session_token
@body(BlacklistEntry)
def put(phone: str, webhook_id: str, body: BlacklistEntry) -> ResponseReturnValue:
    """Put a contact on a webhook's blacklist, or take it off."""
    contact = contact_of(body.to, sender=sender_for(phone), field="to")
    if body.ttl:
        find_webhook(parts().sessions.find(phone), webhook_id)
    parts().blacklist.put(phone, webhook_id[:100], contact, ttl_s=body.ttl)
    return jsonify(success=True)
