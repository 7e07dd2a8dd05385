"""The request bin: what webhooks without a receiver get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, jsonify
from pydantic import BaseModel, ConfigDict, Field

from unoapi.models.request_bin import BIN_URL
from unoapi.web.auth import session_token
from unoapi.web.parts import parts
from unoapi.web.schemas import query

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("request_bin", __name__)


class BinQuery(BaseModel):
    """Only what came after the request with this `seq`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    after: int = Field(default=0, ge=0)


@routes.get("/<version>/<node:phone>/bin")
@session_token
@query(BinQuery)
def requests(version: str, phone: str, query: BinQuery) -> ResponseReturnValue:  # noqa: ARG001
    """Show what a webhook with the address of the request bin got: the last 30 requests of an hour, the oldest first.

    Such a webhook has `urlAbsolute` as `address` says; nothing leaves this installation.
    """
    kept = parts().request_bin.read(phone, after=query.after)
    return jsonify(address=BIN_URL, data=[request.as_json() for request in kept])
