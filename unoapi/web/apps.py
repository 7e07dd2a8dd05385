"""Meta's apps, as far as clients ask them: a token for an app's secret, and where the app's events go.

There are no apps here. Whoever names one, by whatever id, means the number that the token opens; and its token is the
app's secret, with which receivers check the signatures of what they get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from flask import Blueprint, g, jsonify
from pydantic import BaseModel, ConfigDict, Field

from unoapi.errors import RequestError
from unoapi.models.options import WebUrl
from unoapi.models.phones import is_valid
from unoapi.services import sessions
from unoapi.web.auth import check_owner, check_secret, given_token, is_stored, opened_sessions, owner
from unoapi.web.errors import not_found
from unoapi.web.parts import parts
from unoapi.web.request_body import MAX_TOKEN_FORM, limit_body, parameters
from unoapi.web.schemas import checked, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.models.session import Session

routes = Blueprint("apps", __name__)
ACCOUNT = "whatsapp_business_account"
FIELDS = ("messages", "smb_message_echoes", "message_template_status_update", "account_update", "calls", "history")
"""What a subscription names of what it gets, which is everything that the webhook's flags let pass."""


class TokenRequest(BaseModel):
    """What is shown for a token: an app's secret, or an older token."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    client_secret: Annotated[str, Field(max_length=1000)] = ""
    fb_exchange_token: Annotated[str, Field(max_length=1000)] = ""


class Subscription(BaseModel):
    """Where an app's events are to go. The `verify_token` is not stored: nothing is asked of the new address."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    object: Literal["whatsapp_business_account"] = "whatsapp_business_account"
    callback_url: WebUrl


def number_of(app: str, opened: list[Session]) -> Session:
    """The number that is meant by the id of an app, or by its own, of those that a token opens. Raises RequestError."""
    meant = [session for session in opened if session.answers_to(app)]
    if not meant and (is_valid(app) or is_stored(app)):
        raise not_found("The token does not open this number.")
    meant = meant or opened
    if len(meant) != 1:
        details = "The token opens several numbers: use a session's token, or the number's id in the path."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    return meant[0]


def _opened(app: str) -> Session:
    """The number of an app that the caller's token opens, as it is stored now. Raises RequestError, Postponed."""
    phone = number_of(app, opened_sessions()).phone
    check_owner(phone)
    return parts().sessions.find(phone)


@routes.route("/<graph:version>/oauth/access_token", methods=["GET", "POST"])
@owner
@schema(body=(TokenRequest,))
def access_token(version: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Say that a number's token, as the secret of an app or to be renewed, is good: it is the token to go on with."""
    limit_body(MAX_TOKEN_FORM)
    asked = checked(TokenRequest, parameters(TokenRequest))
    token = asked.client_secret or asked.fb_exchange_token
    check_secret(token)
    return jsonify(access_token=token, token_type="bearer")  # noqa: S106 (the kind of the token)


@routes.get("/<graph:version>/<node:app>/subscriptions")
@owner
def subscriptions(version: str, app: str) -> ResponseReturnValue:
    """Where the app's events go; nothing when nobody has subscribed."""
    session = _opened(app)
    address = next((hook.url_absolute for hook in session.webhooks if hook.id == sessions.subscription_id(app)), None)
    if address is None:
        return jsonify(data=[])
    shown = sessions.shown_address(address, phone=session.phone, operators=parts().operator_addresses)
    fields: list[dict[str, Any]] = [{"name": name, "version": version} for name in FIELDS]
    return jsonify(data=[{"object": ACCOUNT, "callback_url": shown, "active": True, "fields": fields}])


@routes.post("/<graph:version>/<node:app>/subscriptions")
@owner
@schema(body=(Subscription,))
def subscribe(version: str, app: str) -> ResponseReturnValue:  # noqa: ARG001
    """Let the events of the token's number go to `callback_url`, too, signed with the token as the app's secret."""
    session, wanted = _opened(app), checked(Subscription, parameters(Subscription))
    if g.operator:
        details = "Subscribe with the number's own token: it becomes the secret that signs what the address gets."
        raise RequestError("Permission denied", code=10, status=403, details=details)
    url = str(wanted.callback_url)
    sessions.subscribe(session.phone, app=app, url=url, secret=given_token(), sessions=parts().sessions)
    return jsonify(success=True)


@routes.delete("/<graph:version>/<node:app>/subscriptions")
@owner
def unsubscribe(version: str, app: str) -> ResponseReturnValue:  # noqa: ARG001
    """Take that address away again; the number's other webhooks stay."""
    sessions.unsubscribe(_opened(app).phone, app=app, sessions=parts().sessions)
    return jsonify(success=True)
