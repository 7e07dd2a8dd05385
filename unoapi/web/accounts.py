"""Nodes of Meta's Graph around the numbers: tokens, accounts, subscriptions; and routes that are not built yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, g, jsonify, request

from unoapi.services import sessions
from unoapi.web.auth import any_session_token, refuse_guess, session_token, token_opens, visible_sessions
from unoapi.web.graph import Page, page
from unoapi.web.parts import parts
from unoapi.web.phones import CallbackOverride, session_of, set_callback
from unoapi.web.request_body import parameters
from unoapi.web.schemas import checked, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("meta", __name__)
APP_ID = "unoapi"
SCOPES = ["whatsapp_business_management", "whatsapp_business_messaging"]


@routes.get("/<graph:version>")
@any_session_token
def root(version: str) -> ResponseReturnValue:
    """Say that the token is good: some clients test their credentials here."""
    return jsonify(success=True, id=APP_ID, version=version)


@routes.get("/<version>/me")
@any_session_token
def me(version: str) -> ResponseReturnValue:  # noqa: ARG001
    """Who the token is: this gateway, or the number that it opens."""
    opened = [] if g.operator else visible_sessions()
    name = (opened[0].label or opened[0].phone) if len(opened) == 1 else APP_ID
    return jsonify(id=opened[0].waba_id if len(opened) == 1 else APP_ID, name=name)


@routes.get("/<version>/debug_token")
@any_session_token
def debug_token(version: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Say whether `input_token`, else the caller's own, opens anything, and what."""
    given = request.args.get("input_token", "")
    valid, opened = token_opens(given) if given else (True, visible_sessions())
    if not valid and not g.operator:
        refuse_guess()
    data: dict[str, Any] = {
        "is_valid": valid,
        "app_id": APP_ID,
        "application": APP_ID,
        "expires_at": 0,
        "scopes": SCOPES if valid else [],
    }
    if valid and given:
        accounts = sorted({session.waba_id for session in opened})
        data["granular_scopes"] = [{"scope": scope, "target_ids": accounts} for scope in SCOPES]
    return jsonify(data=data)


@routes.get("/<version>/me/whatsapp_business_accounts")
@any_session_token
@schema(query=Page)
def accounts(version: str) -> ResponseReturnValue:  # noqa: ARG001
    """The business accounts that the token may see."""
    names = {session.waba_id: session.label or session.phone for session in visible_sessions()}
    return jsonify(page([{"id": waba_id, "name": name} for waba_id, name in names.items()]))


@routes.get("/<version>/<node:phone>/subscribed_apps")
@session_token
def subscribed_apps(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """This gateway, which is always subscribed."""
    app: dict[str, Any] = {
        "id": APP_ID,
        "whitelisted": True,
        "whatsapp_business_api_data": {"id": APP_ID, "name": APP_ID, "link": request.url_root},
    }
    absolute = next((webhook.url_absolute for webhook in session_of(phone).webhooks), None)
    if absolute is not None:
        operators = parts().operator_addresses
        app["override_callback_uri"] = sessions.shown_address(absolute, phone=phone, operators=operators)
    return jsonify(data=[app])


@routes.post("/<version>/<node:phone>/subscribed_apps")
@session_token
def subscribe(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Subscribe; with `override_callback_uri` the number's events go to that address, without they do not any more."""
    return set_callback(phone, checked(CallbackOverride, parameters(CallbackOverride)))


@routes.delete("/<version>/<node:phone>/subscribed_apps")
@session_token
def unsubscribe(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Take the address of `override_callback_uri` back: the webhook's own one counts again."""
    sessions.restore_callback(phone, sessions=parts().sessions)
    return jsonify(success=True)
