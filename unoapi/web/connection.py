"""The connection of a number for programs: its state, the code to scan or to type, connect and disconnect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from flask import Blueprint, jsonify
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from unoapi.models.connector.commands import Connect
from unoapi.models.phones import read_address
from unoapi.services.qr_codes import data_url
from unoapi.services.sessions import CONNECTED_ELSEWHERE, status_of
from unoapi.web.auth import session_token
from unoapi.web.connector import publish_command
from unoapi.web.parts import parts
from unoapi.web.schemas import body

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("qr", __name__)

SHOWN = (
    "label", "autoConnect", "ignoreGroupMessages", "ignoreOwnMessages", "readOnReceipt", "composingMessage",
    "rejectCalls",
)  # fmt: skip


def _as_people_write_it(value: object) -> object:
    """The digits of a number like "+55 11 …"; of a chat's address nothing is a number."""
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        return value
    address = read_address(f"{value}")
    if not address.isdigit():
        raise ValueError("must be a phone number in international form")
    return address


class ConnectRequest(BaseModel):
    """How to connect. `phone` is the number that a pairing code is for, when it is not the session's."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    method: Literal["qr", "code", "resume"] | None = None
    phone: Annotated[str, BeforeValidator(_as_people_write_it)] = Field(default="", max_length=20)


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
    status = status_of(session, details["status"])
    connection = {} if session.provider in CONNECTED_ELSEWHERE else details.get("state") or {}
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
    return jsonify(success=True)


def ask_to_connect(phone: str, wish: ConnectRequest) -> None:
    """Publish the command. Raises BrokerUnavailable, Postponed."""
    session = parts().sessions.find(phone)
    method = wish.method or ("code" if session.connection_type == "pairing_code" else "qr")
    publish_command(phone, "session.connect", Connect(method=method, phone=wish.phone or phone).model_dump())


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
    return _sent(phone, "session.logout", {})


def _connected_elsewhere(phone: str) -> ResponseReturnValue | None:
    """The answer for a number that no connector connects: nothing is done, and it is said. None for a phone."""
    place = CONNECTED_ELSEWHERE.get(parts().sessions.find(phone).provider)
    if place is None:
        return None
    return jsonify(success=True, warnings=[f"The number is {place}: no connector connects it, and nothing was done."])


def _sent(phone: str, what: str, data: dict[str, Any]) -> ResponseReturnValue:
    publish_command(phone, what, data)
    return jsonify(success=True)


def _is_valid(code: dict[str, Any]) -> bool:
    return not code.get("expires_at") or float(code["expires_at"]) > time.time()
