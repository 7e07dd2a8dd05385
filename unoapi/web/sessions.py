"""Sessions: configure a phone, list, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, jsonify

from unoapi.models.session import without_secrets
from unoapi.services import sessions as service
from unoapi.web.auth import any_session_token, session_token, visible_sessions
from unoapi.web.parts import parts
from unoapi.web.request_body import any_object

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("sessions", __name__)


@routes.post("/<version>/<node:phone>/register")
@session_token
def register(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Store the session's configuration, from JSON or a form. What is not named stays as it is."""
    config = service.change(phone, any_object(), sessions=parts().sessions)
    return jsonify({**without_secrets(config), "success": True, "display_phone_number": phone})


@routes.post("/<version>/<node:phone>/deregister")
@session_token
def deregister(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Remove the session on purpose. Its waiting deliveries become dead letters."""
    uno = parts()
    service.remove(phone, sessions=uno.sessions, max_age_s=uno.settings.unoapi_message_max_age)
    return "", 204


@routes.post("/<digits:phone>/request_code")
@routes.post("/<version>/<node:phone>/request_code")
@session_token
def request_code(phone: str, version: str = "") -> ResponseReturnValue:  # noqa: ARG001
    """Connect with a pairing code instead of a QR code."""
    service.change(phone, {"connectionType": "pairing_code"}, sessions=parts().sessions)
    return jsonify(success=True)


@routes.get("/sessions")
@any_session_token
def list_sessions() -> ResponseReturnValue:
    """The sessions that the token opens, with their configuration."""
    uno = parts()
    sessions = visible_sessions()
    phones = [session.phone for session in sessions]
    statuses = uno.directory.statuses(phones)
    configs = uno.sessions.configs(phones)
    return jsonify(
        data=[
            {
                **without_secrets(configs.get(session.phone, {})),
                "display_phone_number": session.phone,
                "status": "forwarder"
                if session.provider == "forwarder"
                else service.status_of(session, statuses.get(session.phone)),
            }
            for session in sessions
        ]
    )


@routes.get("/sessions/meta/mappings")
@any_session_token
def mappings() -> ResponseReturnValue:
    """Which phone is which phone number id and business account."""
    return jsonify(
        data=[
            {
                "session_phone": session.phone,
                "phone_number_id": session.phone_number_id,
                "business_account_id": session.waba_id,
            }
            for session in visible_sessions()
        ]
    )
