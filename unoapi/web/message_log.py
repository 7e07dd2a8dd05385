"""The latest messages: listed and searched, and what they say where the operator lets it be kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify

from unoapi.errors.validation import invalid_value
from unoapi.models.message_log import NOT_SEARCHABLE, MessageQuery, OwnMessageQuery, is_searchable
from unoapi.services.message_search import search
from unoapi.web.auth import operator, session_token
from unoapi.web.errors import not_found
from unoapi.web.parts import parts
from unoapi.web.schemas import query

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("message_log", __name__)


@routes.get("/admin/messages")
@operator
@query(MessageQuery)
def messages(query: MessageQuery) -> ResponseReturnValue:
    """Search the latest messages of all numbers, or of one, the newest first; `next` is the `before` of the next page.

    `contact` is a phone as people write it, an address, or the last digits of a phone, at least four. Times are ISO,
    Unix seconds, or a span such as 1h. How many are kept: `UNOAPI_MESSAGE_LOG_MAX`, and as many of those that wait,
    failed or are dead, however many came since.
    """
    _ensure_searchable(query)
    uno = parts()
    return jsonify(search(query, log=uno.message_log, traces=uno.traces).as_json())


@routes.get("/<version>/<node:phone>/messages")
@session_token
@query(OwnMessageQuery)
def messages_of(version: str, phone: str, query: OwnMessageQuery) -> ResponseReturnValue:  # noqa: ARG001
    """Search the latest messages of a number, the newest first; `next` is the `before` of the next page."""
    _ensure_searchable(query)
    uno = parts()
    return jsonify(search(query, phone=phone, log=uno.message_log, traces=uno.traces).as_json())


@routes.get("/<version>/<node:phone>/messages/<message_id>/body")
@session_token
def message_body(version: str, phone: str, message_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """What a message says, where `UNOAPI_CONSOLE_BODIES` is on; one that was too long is cut, and then text."""
    text = parts().message_log.body(phone, message_id)
    if text is None:
        raise not_found("The body is not kept: UNOAPI_CONSOLE_BODIES is off, or it is too old.")
    return jsonify(body=_read(text))


def _ensure_searchable(query: OwnMessageQuery) -> None:
    if not is_searchable(query.contact):
        details = f"contact: {NOT_SEARCHABLE}."
        raise invalid_value(details)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
