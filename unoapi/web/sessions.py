"""Sessions: configure a phone, list, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, g, jsonify

from unoapi.errors import Postponed
from unoapi.models.cloud_api.messages import new_message_id
from unoapi.models.connector.commands import Connect, ConnectorCommand, Logout
from unoapi.models.endpoints import origin_of
from unoapi.models.jobs import now_ms
from unoapi.models.request_bin import BIN_URL
from unoapi.models.session import Session, without_secrets
from unoapi.services import sessions as service
from unoapi.web.auth import any_session_token, session_token, visible_sessions
from unoapi.web.connector import code_is_asked_for, publish_command
from unoapi.web.parts import parts
from unoapi.web.pass_through import REFUSED, forward
from unoapi.web.request_body import limit_body, parameters
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

MAX_BYTES = 256 * 1024
"""Of a configuration's request: four times what is stored. More would only cost time that others wait for."""

OF_METAS = frozenset({"messaging_product", "pin", "data_localization_region", "backup"})
"""What Meta takes to register a number, and no configuration has."""

routes = Blueprint("sessions", __name__)


@routes.post("/<version>/<node:phone>/register")
@session_token
@schema(body=(Session,), also=REFUSED)
def register(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Store the session's configuration, from JSON or a form. What is not named stays as it is.

    What only names a PIN is a number's registration at Meta: one that is there is registered there.
    """
    limit_body(MAX_BYTES)
    uno, wanted = parts(), parameters(Session)
    if "pin" in wanted and wanted.keys() <= OF_METAS and (session := uno.sessions.find(phone)).provider == "forwarder":
        return forward(session, "register")
    if g.operator:
        service.check_ids(phone, wanted, directory=uno.directory)
    config = service.change(phone, wanted, sessions=uno.sessions, by_operator=g.operator)
    answer = {**without_secrets(config), "success": True, "display_phone_number": phone}
    if isinstance(webhooks := answer.get("webhooks"), list):
        answer["webhooks"] = [{"id": "default", **webhook} for webhook in webhooks]
    warnings = [
        *service.unread(wanted),
        *service.read_otherwise(phone, wanted),
        *_without_an_account(phone, wanted),
        *_unknown_names(phone, wanted),
    ]
    return jsonify({**answer, "warnings": warnings} if warnings else answer)


def _without_an_account(phone: str, wanted: dict[str, Any]) -> list[str]:
    if not {"provider", "connectionType"} & wanted.keys():
        return []
    session = parts().sessions.find(phone)
    if session.provider != "forwarder":
        return []
    account = session.webhook_forward
    complete = account.phone_number_id and account.business_account_id and account.token.get_secret_value()
    words = "provider: forwarder needs webhookForward with phoneNumberId, businessAccountId and token to send"
    return [] if complete else [words]


def _unknown_names(phone: str, wanted: dict[str, Any]) -> list[str]:
    """A sentence for each address of a change whose host is not known: what goes there will fail."""
    addresses = [one for one in service.addresses_in(wanted) if one[2] not in ("", BIN_URL)]
    hosts = {url: origin[1] for _, _, url in addresses if (origin := origin_of(url)) is not None}
    unknown = parts().host_names.unknown(hosts.values())
    return [
        f"{place}: no name server here knows {hosts[url]}; `unoapi endpoint test {phone} {webhook_id}` tries it"
        for webhook_id, place, url in addresses
        if hosts.get(url) in unknown
    ]


@routes.post("/<version>/<node:phone>/deregister")
@session_token
@schema(also={"204": "Removed."})
def deregister(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Remove the session on purpose, with its login at WhatsApp. Its waiting deliveries become dead letters."""
    remove(phone)
    return jsonify(success=True) if parts().settings.unoapi_deregister_body else ("", 204)


def remove(phone: str) -> None:
    """The same for a caller who may. Raises BrokerUnavailable, StoreUnavailable."""
    uno = parts()
    try:
        session = uno.sessions.find(phone)
    except Postponed:  # what is stored cannot be read; it is removed all the same
        server = uno.settings.unoapi_server_name
    else:
        server = session.server if session.stored and session.provider == "whatsmeow" else ""
    if server:
        uno.connector_commands.put([_forget_login(phone, server)])
    service.remove(phone, sessions=uno.sessions, max_age_s=uno.settings.unoapi_message_max_age)


def _forget_login(phone: str, server: str) -> ConnectorCommand:
    """The command that reaches the login's connector also when the session is no longer stored, whenever it runs."""
    now = now_ms()
    return ConnectorCommand(
        type="session.logout",
        command_id=new_message_id(),
        session=phone,
        created_at=now,
        data=Logout(server=server).model_dump(),
    )


@routes.post("/<digits:phone>/request_code")
@routes.post("/<version>/<node:phone>/request_code")
@session_token
def request_code(phone: str, version: str = "") -> ResponseReturnValue:  # noqa: ARG001
    """Connect with a pairing code instead of a QR code; for a number at Meta ask there for a code."""
    session = parts().sessions.find(phone)
    if session.provider == "forwarder":
        return forward(session, "request_code")
    if session.provider == "sandbox":
        return jsonify(success=True, warnings=["The number is in the sandbox: it is connected without a code."])
    service.change(phone, {"connectionType": "pairing_code"}, sessions=parts().sessions, by_operator=g.operator)
    publish_command(phone, "session.connect", Connect(method="code", phone=phone).model_dump(exclude_none=True))
    return code_is_asked_for(phone)


@routes.post("/<version>/<node:phone>/verify_code")
@session_token
def verify_code(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Take the code that Meta would have sent by SMS: clients ask while they set a number up. Meta's own checks it."""
    session = parts().sessions.find(phone)
    return forward(session, "verify_code") if session.provider == "forwarder" else jsonify(success=True)


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
                "id": session.phone,  # as the Node version's front ends know it
                "phone": session.phone,
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
