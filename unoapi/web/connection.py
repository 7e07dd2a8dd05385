"""The connection of a number for programs: its state, the code to scan or to type, connect and disconnect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from flask import Blueprint, jsonify
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from unoapi.errors import RequestError
from unoapi.errors.validation import invalid_value
from unoapi.models.blanks import NothingIsEmpty
from unoapi.models.connector.commands import Connect
from unoapi.models.phones import MAX_WRITTEN_CHARS, read_address
from unoapi.services.qr_codes import data_url
from unoapi.services.sessions import CONNECTED_ELSEWHERE, status_of
from unoapi.web.auth import session_token
from unoapi.web.connector import code_is_asked_for, publish_command
from unoapi.web.parts import parts
from unoapi.web.schemas import body

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.models.session import Session

routes = Blueprint("qr", __name__)

SHOWN = (
    "label", "autoConnect", "ignoreGroupMessages", "ignoreOwnMessages", "readOnReceipt", "composingMessage",
    "rejectCalls",
)  # fmt: skip
ORPHANED = "no connector runs it"
METHODS = {"": None, "qrcode": "qr", "pairing_code": "code"}
"""What forms leave empty, and how the option `connectionType` calls the methods."""


class ConnectRequest(BaseModel):
    """How to connect. `phone` is the number that a pairing code is for, when it is not the session's."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)

    method: Annotated[
        Literal["qr", "code", "resume"] | None,
        BeforeValidator(lambda value: METHODS.get(value, value) if isinstance(value, str) else value),
    ] = None
    phone: Annotated[str, NothingIsEmpty] = Field(default="", max_length=MAX_WRITTEN_CHARS)


@routes.get("/session/<node:phone>/state")
@session_token
def state(phone: str) -> ResponseReturnValue:
    """The connection's state, the code to scan or to type while it lives, and the settings that belong to it."""
    return jsonify(state_of(phone))


def state_of(phone: str) -> dict[str, Any]:
    """The connection as `state` answers it. Raises StoreUnavailable, Postponed."""
    uno = parts()
    details = uno.connections.details(phone)
    session = uno.sessions.find(phone)
    settings = session.model_dump(by_alias=True, mode="json")
    if details["left"]:
        details = {"status": "offline", "state": {"state": "disconnected", "reason": ORPHANED}}
    status = status_of(session, details["status"])
    connection = {} if session.provider in CONNECTED_ELSEWHERE else details.get("state") or {}
    if connection.get("state") == "restricted" and connection.get("until", 0) < time.time():
        connection = {"state": "connected"}  # as far as anybody knows: the next new chat tells
    answer: dict[str, Any] = {
        "phone": phone,
        "provider": session.provider,
        "status": status,
        "state": connection.get("state", status),
        "reason": connection.get("reason", ""),
        **({"until": connection["until"]} if connection.get("until") else {}),
        "settings": {name: settings.get(name) for name in SHOWN},
    }
    qr, pairing = details.get("qr"), details.get("pairing_code")
    if qr and _is_valid(qr):
        answer["qr"] = {"image": data_url(qr["code"]), "n": qr.get("n", 1), "of": qr.get("of", 0)}
    if pairing and _is_valid(pairing):
        answer["pairing_code"] = f"{pairing['code'][:4]}-{pairing['code'][4:]}"
    return answer


@routes.post("/session/<node:phone>/connect")
@session_token
@body(ConnectRequest)
def connect(phone: str, body: ConnectRequest) -> ResponseReturnValue:
    """Connect: with the stored login if there is one, else show a code."""
    if elsewhere := _connected_elsewhere(phone):
        return elsewhere
    ask_to_connect(phone, body)
    return jsonify(success=True) if body.method == "resume" else code_is_asked_for(phone)


def ask_to_connect(phone: str, wish: ConnectRequest) -> None:
    """Publish the command. Raises RequestError, BrokerUnavailable, Postponed."""
    session = _registered(phone)
    method = wish.method or ("code" if session.connection_type == "pairing_code" else "qr")
    number = _number(wish.phone, own=phone) if wish.phone else phone
    command = Connect(method=method, phone=number)
    publish_command(phone, "session.connect", command.model_dump(exclude_none=True))


def _number(written: str, *, own: str) -> str:
    """The digits of a number as people write it. Raises RequestError."""
    try:
        address = read_address(written, own=own)
    except ValueError as error:
        raise _refusal(f"{error}") from None
    if not address.isdigit():
        raise _refusal("must be a phone number in international form")
    return address


def _refusal(reason: str) -> RequestError:
    return invalid_value(f"phone: {reason}")


@routes.post("/session/<node:phone>/disconnect")
@session_token
def disconnect(phone: str) -> ResponseReturnValue:
    """Disconnect, and stay so until somebody asks for a connection."""
    return _connected_elsewhere(phone) or _sent(phone, "session.disconnect", {})


@routes.post("/session/<node:phone>/reload")
@session_token
def reload(phone: str) -> ResponseReturnValue:
    """Disconnect and connect again."""
    return _connected_elsewhere(phone) or _sent(phone, "session.reload", {"method": "resume"})


@routes.post("/session/<node:phone>/logout")
@session_token
def logout(phone: str) -> ResponseReturnValue:
    """Leave the phone's list of devices."""
    return _connected_elsewhere(phone) or _sent(phone, "session.logout", {})


def _connected_elsewhere(phone: str) -> ResponseReturnValue | None:
    """The answer for a number that no connector connects: nothing is done, and it is said. None for a phone."""
    place = CONNECTED_ELSEWHERE.get(_registered(phone).provider)
    if place is None:
        return None
    return jsonify(success=True, warnings=[f"The number is {place}: no connector connects it, and nothing was done."])


def _registered(phone: str) -> Session:
    """The session. Raises RequestError (404): a connector connects no number that is not stored."""
    session = parts().sessions.find(phone)
    if not session.stored:
        details = f"The number {phone} is not registered: POST /v15.0/{phone}/register first."
        raise RequestError("Unsupported request: unknown number", code=100, status=404, details=details)
    return session


def _sent(phone: str, what: str, data: dict[str, Any]) -> ResponseReturnValue:
    publish_command(phone, what, data)
    return jsonify(success=True)


def _is_valid(code: dict[str, Any]) -> bool:
    return not code.get("expires_at") or float(code["expires_at"]) > time.time()
