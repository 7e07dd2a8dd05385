"""The numbers: a list, a new one, and for each one its page: connect it, try it, set it, remove it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any, Literal

from flask import Blueprint, Response, g, redirect, request, url_for
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unoapi.errors import RequestError, StoreUnavailable
from unoapi.errors.validation import invalid_value
from unoapi.models.phones import read_address
from unoapi.models.session import ProviderName
from unoapi.services import sessions as service
from unoapi.services.endpoints import endpoint_states
from unoapi.services.message_parsing import refusal_of
from unoapi.web import auth, connection, messages
from unoapi.web import sessions as api
from unoapi.web.connector import publish_command
from unoapi.web.console.access import (
    HTMX,
    any_login,
    current_login,
    new_login,
    opened_phone,
    operator_login,
    save_login,
    session_login,
)
from unoapi.web.console.login import ask
from unoapi.web.console.queues import has_connector
from unoapi.web.console.view import done, form, live, read_form, render
from unoapi.web.console.words import t
from unoapi.web.parts import parts
from unoapi.web.schemas import query, schema

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from flask.typing import ResponseReturnValue

    from unoapi.models.session import Session

routes = Blueprint("sessions", __name__)

ON_A_PAGE = 50
KINDS = {"online": "ok", "connecting": "warn", "offline": "bad"}
"""How a state looks; all others are quiet."""
BUSY = frozenset({"starting", "qr", "pairing", "connecting"})
SWITCHES = (
    "autoConnect", "ignoreGroupMessages", "ignoreOwnMessages", "readOnReceipt", "composingMessage",
)  # fmt: skip
"""Options that are on or off, in the order of the form."""
Line = Annotated[str, Field(max_length=2048)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class SessionQuery(BaseModel):
    """What the list is to show. `page` counts from 1."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    q: Annotated[str, Field(max_length=100)] = ""
    state: Literal["", "online", "connecting", "standby", "offline", "disconnected"] = ""
    page: Annotated[int, Field(ge=1, le=100_000)] = 1


class NewSession(_Form):
    """A number to register."""

    phone: Annotated[str, Field(max_length=30)]
    label: Annotated[str, Field(max_length=200)] = ""
    provider: ProviderName = "whatsmeow"
    auth_token: Annotated[str, Field(max_length=512)] = ""
    webhook_url: Line = ""
    webhook_header: Line = ""
    webhook_token: Line = ""
    webhook_secret: Line = ""
    phone_number_id: Line = ""
    business_account_id: Line = ""
    meta_token: Line = ""
    switches: tuple[str, ...] = ()

    def config(self, usual: Collection[str]) -> dict[str, Any]:
        """What is registered: only what was filled in, and the switches that are not as `usual` here."""
        webhook = {"urlAbsolute": self.webhook_url, "header": self.webhook_header, "token": self.webhook_token,
                   "secret": self.webhook_secret}  # fmt: skip
        account = {"phoneNumberId": self.phone_number_id, "businessAccountId": self.business_account_id,
                   "token": self.meta_token}  # fmt: skip
        named = {name: name in self.switches for name in SWITCHES if (name in self.switches) != (name in usual)}
        config: dict[str, Any] = {"provider": self.provider, "label": self.label, **named}
        if self.webhook_url:
            config["webhooks"] = [{"id": "default", **_filled(webhook)}]
        if self.provider == "forwarder" and _filled(account):
            config["webhookForward"] = _filled(account)
        return config


class ConnectForm(_Form):
    """How to connect."""

    method: Literal["qr", "code", "resume"]


class SettingsForm(_Form):
    """The settings of the page; a switch that is off is not sent."""

    label: Annotated[str, Field(max_length=200)] = ""
    rejectCalls: Annotated[str, Field(max_length=1000)] = ""  # noqa: N815 (as the setting is named)
    autoConnect: bool = False  # noqa: N815
    ignoreGroupMessages: bool = False  # noqa: N815
    ignoreOwnMessages: bool = False  # noqa: N815
    readOnReceipt: bool = False  # noqa: N815
    composingMessage: bool = False  # noqa: N815


class MessageForm(_Form):
    """A text to somebody."""

    to: Annotated[str, Field(max_length=128)]
    text: Annotated[str, Field(min_length=1, max_length=4096)]


# --- the list ---


@routes.get("/console/sessions")
@any_login
@query(SessionQuery)
@schema(described=False)
def page(query: SessionQuery) -> ResponseReturnValue:
    """Show the numbers that the login may see."""
    sessions, words = g.login.sessions(), query.q.casefold()
    if words:
        digits = "".join(character for character in words if character.isdigit())
        sessions = [session for session in sessions if _is_meant(session, words, digits)]
    if query.state:
        sessions = [session for session, state in _with_states(sessions) if state == query.state]
    start = (query.page - 1) * ON_A_PAGE
    return render(
        "console/sessions.html",
        here="sessions",
        lines=_with_states(sessions[start : start + ON_A_PAGE]),
        found=len(sessions),
        query=query,
        kinds=KINDS,
        previous=_page_url(query, query.page - 1) if query.page > 1 else "",
        next=_page_url(query, query.page + 1) if len(sessions) > start + ON_A_PAGE else "",
    )


def _is_meant(session: Session, words: str, digits: str) -> bool:
    return bool(digits and digits in session.phone) or words in session.label.casefold()


def _with_states(sessions: Sequence[Session]) -> list[tuple[Session, str]]:
    """The numbers with whether each one is connected; only of those at a phone somebody recorded it."""
    recorded = [session.phone for session in sessions if session.provider not in service.CONNECTED_ELSEWHERE]
    statuses = parts().directory.statuses(recorded)
    return [(session, service.status_of(session, statuses.get(session.phone))) for session in sessions]


def _page_url(query: SessionQuery, number: int) -> str:
    named: dict[str, Any] = {name: value for name, value in (("q", query.q), ("state", query.state)) if value}
    return url_for("console.sessions.page", **named, page=number)


# --- a new one ---


@routes.get("/console/sessions/new")
@operator_login
@schema(described=False)
def new() -> ResponseReturnValue:
    """Ask for what a new number needs."""
    return _ask_for_session(NewSession(phone="", switches=_usual_switches()))


@routes.post("/console/sessions/new")
@operator_login
@schema(described=False)
def register() -> ResponseReturnValue:
    """Register a number; its token is shown this once."""
    values = {name: value for name, value in request.form.items() if name not in ("csrf_token", "switches")}
    try:
        wanted = NewSession.model_validate({**values, "switches": tuple(request.form.getlist("switches"))})
    except ValidationError as error:
        return _ask_for_session(NewSession(phone=""), error=refusal_of(error).details)
    token = wanted.auth_token or secrets.token_urlsafe(24)
    try:
        phone = _new_phone(wanted.phone)
        config = {**wanted.config(_usual_switches()), "authToken": token}
        service.check_ids(phone, config, directory=parts().directory)
        service.change(phone, config, sessions=parts().sessions, by_operator=True)
    except RequestError as error:
        return _ask_for_session(wanted, error=error.details)
    return render("console/session_new.html", here="sessions", phone=phone, token=token)


def _usual_switches() -> tuple[str, ...]:
    """The options that are on for every number, unless it says otherwise."""
    settings = parts().settings
    usual = {
        "autoConnect": settings.auto_connect,
        "ignoreGroupMessages": settings.ignore_group_messages,
        "ignoreOwnMessages": settings.ignore_own_messages,
        "readOnReceipt": settings.read_on_receipt,
        "composingMessage": settings.composing_message,
    }
    return tuple(name for name in SWITCHES if usual[name])


def _new_phone(written: str) -> str:
    """The digits of a number that is not registered yet. Raises RequestError."""
    try:
        phone = read_address(written.strip())
    except ValueError:
        phone = ""  # in English, and about the address of a chat, too, which nobody registers
    if not phone.isdigit():
        raise _refusal(t("sessions.no_phone"))
    if parts().sessions.config(phone) is not None:
        raise _refusal(t("sessions.exists", phone=phone))
    return phone


def _ask_for_session(values: NewSession, *, error: str = "") -> Response:
    context = {"values": values, "switches": SWITCHES, "error": error}
    return render("console/session_form.html", 400 if error else 200, here="sessions", **context)


def _filled(fields: dict[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in fields.items() if value.strip()}


def _refusal(details: str) -> RequestError:
    return invalid_value(details)


# --- one number ---


@routes.get("/session/<node:phone>")
@routes.get("/sessions/<node:phone>", endpoint="session_page_of_the_node_version")
@routes.get("/connect/<node:phone>", endpoint="qr_page_of_the_node_version")
@schema(answer="text/html", also={"303": "Opened with a token in the query: the page without it."})
def session_page(phone: str) -> ResponseReturnValue:
    """Show a number: to who is logged in, and to who comes with a token that opens it."""
    login = current_login()
    given = request.args.get("access_token")
    if login is not None and (login.operator or not given):
        g.operator = login.operator
        return _session_page(opened_phone(login, phone))
    if given is None and not request.headers.get("Authorization") and not _has_own_header():
        return ask(401, then=url_for("console.sessions.session_page", phone=phone))
    opened = auth.opened_phone(phone)
    g.login = new_login(given or auth.given_token())
    answer = redirect(url_for("console.sessions.session_page", phone=phone), 303) if given else _session_page(opened)
    return save_login(answer, g.login)  # type: ignore[arg-type]


session_page.access = "session"  # type: ignore[attr-defined]


def _has_own_header() -> bool:
    return bool(request.headers.get(parts().settings.unoapi_header_name))


def _session_page(phone: str) -> Response:
    uno = parts()
    session = uno.sessions.find(phone)
    return render(
        "console/session.html",
        here="sessions",
        session=session,
        switches=SWITCHES,
        settings=session.model_dump(by_alias=True, mode="json"),
        webhooks=_webhooks(session),
        **_connection(phone),
    )


def _webhooks(session: Session) -> list[dict[str, Any]] | None:
    """A line for each webhook; none while nobody knows how they are."""
    uno = parts()
    known: dict[str, Any] = {
        "sessions": uno.sessions,
        "deliveries": uno.deliveries,
        "breakers": uno.breakers,
        "activity": uno.activity,
        "operators": uno.operator_addresses,
    }
    try:
        states = endpoint_states([session.phone], **known, refusal=uno.address_guard.refusal)
    except StoreUnavailable:
        return None
    addresses = {
        webhook.id: service.shown_address(
            webhook.address(session.phone), phone=session.phone, operators=uno.operator_addresses
        )
        for webhook in session.webhooks
    }
    return [{**state, "address": addresses.get(state["webhook"], "")} for state in states]


def _connection(phone: str) -> dict[str, Any]:
    state = connection.state_of(phone)
    at_phone = state["provider"] not in service.CONNECTED_ELSEWHERE
    return {
        "phone": phone,
        "state": state,
        "kind": KINDS.get(state["status"], ""),
        "at_phone": at_phone,
        "nobody": at_phone and has_connector() is False,
        "busy": state["state"] in BUSY,
    }


@routes.get("/console/sessions/<node:phone>/connection")
@session_login
@schema(described=False)
def connection_part(phone: str) -> ResponseReturnValue:
    """Show the part of the page that changes: the connection's state, and the code."""
    return live("console/_connection.html", **_connection(phone))


@routes.post("/console/sessions/<node:phone>/connect")
@session_login
@form(ConnectForm)
@schema(described=False)
def connect(phone: str, form: ConnectForm) -> ResponseReturnValue:
    """Connect; a number of which nothing is stored is registered first: its own page was asked for its code."""
    sessions = parts().sessions
    if not sessions.find(phone).stored:
        service.change(phone, {}, sessions=sessions, by_operator=g.operator)
    connection.ask_to_connect(phone, connection.ConnectRequest(method=form.method))
    return _after(phone, "done.connecting")


@routes.post("/console/sessions/<node:phone>/disconnect")
@session_login
@schema(described=False)
def disconnect(phone: str) -> ResponseReturnValue:
    """Disconnect, and stay so."""
    publish_command(phone, "session.disconnect", {})
    return _after(phone, "done.disconnecting")


@routes.post("/console/sessions/<node:phone>/logout")
@session_login
@schema(described=False)
def logout(phone: str) -> ResponseReturnValue:
    """Leave the phone's list of devices."""
    publish_command(phone, "session.logout", {})
    return _after(phone, "done.unlinking")


@routes.post("/console/sessions/<node:phone>/settings")
@session_login
@schema(described=False)
def save(phone: str) -> ResponseReturnValue:
    """Save the settings of the page."""
    try:
        wanted = read_form(SettingsForm).model_dump()
        service.change(phone, wanted, sessions=parts().sessions, by_operator=g.operator)
    except RequestError as error:
        if HTMX not in request.headers:
            raise
        return render("console/_said.html", text=error.details, kind="problem")
    if HTMX in request.headers:
        return render("console/_said.html", text=t("session.saved"), kind="")
    return _after(phone, "done.saved")


@routes.post("/console/sessions/<node:phone>/message")
@session_login
@form(MessageForm)
@schema(described=False)
def message(phone: str, form: MessageForm) -> ResponseReturnValue:
    """Send a text, to see that the number works."""
    body = {"messaging_product": "whatsapp", "to": form.to, "type": "text", "text": {"body": form.text}}
    messages.accept(phone, body)
    return _after(phone, "done.message_accepted")


@routes.post("/console/sessions/<node:phone>/remove")
@session_login
@schema(described=False)
def remove(phone: str) -> ResponseReturnValue:
    """Remove the number with its login at WhatsApp."""
    api.remove(phone)
    return done("sessions.page", "done.removed")


def _after(phone: str, notice: str) -> ResponseReturnValue:
    if HTMX in request.headers:
        return live("console/_connection.html", **_connection(phone))
    return done("sessions.session_page", notice, phone=phone)
