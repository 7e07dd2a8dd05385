"""Sessions: configure a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify

from unoapi.bootstrap import unoapi
from unoapi.models.session import without_secrets
from unoapi.services.sessions import merge
from unoapi.web.auth import session_token
from unoapi.web.bodies import json_object

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("sessions", __name__)


@routes.post("/<version>/<digits:phone>/register")
@session_token
def register(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Store the session's configuration. What is not named stays as it is."""
    change = json_object()
    sessions = unoapi().sessions
    config: dict[str, Any] = merge(sessions.config(phone) or {}, change)
    session = sessions.save(phone, config)
    return jsonify({**without_secrets(config), "success": True, "display_phone_number": session.phone})
