"""A page to connect a phone: the QR code, the connection's state, and the session's settings."""

from __future__ import annotations

import secrets
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from unoapi.errors import RequestError
from unoapi.models.connector.commands import Connect
from unoapi.models.phones import read_address
from unoapi.services.qr_codes import data_url
from unoapi.services.sessions import CONNECTED_ELSEWHERE, status_of
from unoapi.web.auth import opened_phone, session_token
from unoapi.web.connector import publish_command
from unoapi.web.parts import parts
from unoapi.web.schemas import body, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("qr", __name__)

REFUSALS = frozenset({401, 403})
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


@routes.get("/session/<node:phone>")
@schema(answer="text/html")
def page(phone: str) -> ResponseReturnValue:
    """The page. It shows nothing but the number in its own address; without a token it asks for one."""
    status = 200
    try:
        opened_phone(phone)
    except RequestError as error:
        if error.status not in REFUSALS:
            raise
        status = error.status
    nonce = secrets.token_urlsafe(16)
    shown = "".join(character for character in phone if character.isascii() and character.isalnum())
    answer = Response(_page().replace("__NONCE__", nonce).replace("__PHONE__", shown), status=status)
    policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
    policy += "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    answer.headers["Content-Security-Policy"] = policy
    return answer


page.access = "session"  # type: ignore[attr-defined]


@routes.get("/session/<node:phone>/state")
@session_token
def state(phone: str) -> ResponseReturnValue:
    """The connection's state, the code to scan or to type while it lives, and the settings that the page shows."""
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
    return jsonify(answer)


@routes.post("/session/<node:phone>/connect")
@session_token
@body(ConnectRequest)
def connect(phone: str, body: ConnectRequest) -> ResponseReturnValue:
    """Connect: with the stored login if there is one, else show a code."""
    session = parts().sessions.find(phone)
    method = body.method or ("code" if session.connection_type == "pairing_code" else "qr")
    return _sent(phone, "session.connect", Connect(method=method, phone=body.phone or phone).model_dump())


@routes.post("/session/<node:phone>/disconnect")
@session_token
def disconnect(phone: str) -> ResponseReturnValue:
    """Disconnect, and stay so until somebody asks for a connection."""
    return _sent(phone, "session.disconnect", {})


@routes.post("/session/<node:phone>/reload")
@session_token
def reload(phone: str) -> ResponseReturnValue:
    """Disconnect and connect again."""
    return _sent(phone, "session.reload", {"method": "resume"})


@routes.post("/session/<node:phone>/logout")
@session_token
def logout(phone: str) -> ResponseReturnValue:
    """Leave the phone's list of devices."""
    return _sent(phone, "session.logout", {})


def _sent(phone: str, what: str, data: dict[str, Any]) -> ResponseReturnValue:
    publish_command(phone, what, data)
    return jsonify(success=True)


def _is_valid(code: dict[str, Any]) -> bool:
    return not code.get("expires_at") or float(code["expires_at"]) > time.time()


@lru_cache(maxsize=1)
def _page() -> str:
    return (Path(__file__).with_suffix(".html")).read_text("utf-8")
