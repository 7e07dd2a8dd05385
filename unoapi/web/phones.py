"""A number as Meta's Graph shows it: the phone object, its business profile, its blocked users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from flask import Blueprint, g, jsonify, request
from pydantic import BaseModel, ConfigDict, Field

from unoapi.errors import RequestError
from unoapi.models.contacts import is_phone
from unoapi.models.identity import Identity
from unoapi.models.options import BusinessProfile, WebUrl
from unoapi.models.phones import read_address
from unoapi.models.session import without_secrets
from unoapi.services import sessions, templates
from unoapi.services.sessions import chosen, phone_object, status_of
from unoapi.web.auth import session_token
from unoapi.web.graph import Page, asked_fields, page
from unoapi.web.parts import parts
from unoapi.web.pass_through import or_at_meta
from unoapi.web.request_body import any_object
from unoapi.web.schemas import body, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.models.session import Session

routes = Blueprint("phones", __name__)


class CallbackOverride(BaseModel):
    """Where events are to go instead. The `verify_token` is not stored: nothing is asked of the new address."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    override_callback_uri: WebUrl


class PhoneChange(BaseModel):
    """What may be changed of a phone object."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    webhook_configuration: CallbackOverride


class _User(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    user: Annotated[str, Field(max_length=128)] = ""
    user_id: Annotated[str, Field(max_length=128)] = ""

    @property
    def name(self) -> str:
        return self.user or self.user_id


class _Users(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    block_users: list[_User] = Field(min_length=1, max_length=1000)


def session_of(phone: str) -> Session:
    """The session in the path. Raises Postponed: answered 503."""
    return parts().sessions.find(phone)


@routes.get("/<graph:version>/<node:phone>")
@or_at_meta
@session_token
def show(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """The phone object with status, templates and configuration, or those `fields` of it."""
    uno, session, fields = parts(), session_of(phone), asked_fields()
    document = phone_object(session, operators=uno.operator_addresses)
    if not fields or "status" in fields:
        document["status"] = status_of(session, uno.directory.statuses([phone]).get(phone))
    if not fields or "message_templates" in fields:
        stored = uno.templates.get(phone)
        shown = templates.shown(phone, stored, only_hello=uno.settings.only_hello_template)
        document["message_templates"] = {"data": shown}
    if fields:
        return jsonify(chosen(document, fields))
    return jsonify({**without_secrets(uno.sessions.config(phone) or {}), **document})


@routes.post("/<graph:version>/<node:phone>")
@or_at_meta
@session_token
@body(PhoneChange, read=any_object)
def change(version: str, phone: str, body: PhoneChange) -> ResponseReturnValue:  # noqa: ARG001
    """Set the number's webhook the way Meta does: `webhook_configuration`."""
    url = body.webhook_configuration.override_callback_uri
    sessions.override_callback(phone, str(url), sessions=parts().sessions)
    return jsonify(success=True)


@routes.get("/<version>/<node:phone>/phone_numbers")
@session_token
@schema(query=Page)
def phone_numbers(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """The numbers of the business account that the token opens."""
    own = session_of(phone)
    account = [session for session in parts().directory.all() if session.waba_id == own.waba_id] if own.stored else []
    visible = [session for session in account if g.operator or session.phone == phone] or [own]
    operators = parts().operator_addresses
    listed = [chosen(phone_object(session, operators=operators), asked_fields()) for session in visible]
    return jsonify(page(listed))


@routes.get("/<version>/<node:phone>/whatsapp_business_profile")
@session_token
def business_profile(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """What the business says about itself."""
    profile = {"messaging_product": "whatsapp", **session_of(phone).business_profile.model_dump()}
    fields = asked_fields()
    wanted = {key: value for key, value in profile.items() if not fields or key in (*fields, "messaging_product")}
    return jsonify(data=[wanted])


@routes.post("/<version>/<node:phone>/whatsapp_business_profile")
@session_token
@schema(body=(BusinessProfile,))
def change_business_profile(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Change what is named of the business profile."""
    sessions.change_business_profile(phone, any_object(), sessions=parts().sessions)
    return jsonify(success=True)


@routes.get("/<version>/<node:phone>/block_users")
@session_token
def blocked_users(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """The users whose events no webhook gets."""
    users = parts().blacklist.blocked(phone)
    listed = page([{"id": user, "messaging_product": "whatsapp", **_named(user)} for user in users])
    return jsonify({**listed, "data": [{k: v for k, v in user.items() if k != "id"} for user in listed["data"]]})


@routes.route("/<version>/<node:phone>/block_users", methods=["POST", "DELETE"])
@session_token
def block_users(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Block users: no webhook of the number gets their events. DELETE unblocks them."""
    names = [user.name for user in _Users.model_validate(any_object()).block_users]
    wrong = [name for name in names if not (is_phone(name, own=phone) or Identity.of(name).user_id)]
    if wrong:
        details = f"{len(wrong)} of the users are neither phone numbers nor user ids; nobody was changed."
        raise RequestError("Parameter value is not valid", code=131009, status=400, details=details)
    uno = parts()
    webhook_ids = [webhook.id for webhook in session_of(phone).webhooks]
    numbers = [Identity.of(name).user_id or read_address(name, own=phone) for name in names]
    users: list[dict[str, Any]] = [
        {"input": name, **_named(number)} for name, number in zip(names, numbers, strict=True)
    ]
    if request.method == "POST":
        uno.blacklist.block(phone, webhook_ids, numbers)
        return jsonify(messaging_product="whatsapp", block_users={"added_users": users})
    uno.blacklist.unblock(phone, webhook_ids, numbers)
    return jsonify(messaging_product="whatsapp", block_users={"removed_users": users})


def _named(user: str) -> dict[str, str]:
    """A blocked user in the field of its kind."""
    return {"user_id": user} if Identity.of(user).user_id else {"wa_id": user}
