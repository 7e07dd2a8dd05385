"""A number as Meta's Graph shows it: the phone object, its business profile, its blocked users."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from flask import Blueprint, g, jsonify, request
from pydantic import BaseModel, ConfigDict, Field

from unoapi.errors import MediaMissing
from unoapi.errors.validation import invalid_value
from unoapi.models.blanks import EmptyIsAbsent, NothingIsNoText
from unoapi.models.contacts import is_phone
from unoapi.models.identity import Identity, is_user_id
from unoapi.models.options import BusinessProfile, WebUrl
from unoapi.models.phones import digits_of, is_individual, read_address, with_ninth_digit
from unoapi.models.session import without_secrets
from unoapi.ports import ServesPhones
from unoapi.services import sessions, templates
from unoapi.services.sessions import account_object, chosen, phone_object, status_of
from unoapi.web import templates as message_templates
from unoapi.web.auth import check_owner, is_stored, opened_phone, owner, session_token
from unoapi.web.graph import Page, asked_fields, page
from unoapi.web.parts import parts
from unoapi.web.pass_through import REFUSED, forward, forward_change, or_at_meta, said_of_account, said_of_number
from unoapi.web.request_body import parameters
from unoapi.web.schemas import checked, schema
from unoapi.web.uploads import file_of_handle

if TYPE_CHECKING:
    from flask import Response
    from flask.typing import ResponseReturnValue

    from unoapi.models.session import Session

routes = Blueprint("phones", __name__)

OK = 200
MOST_ASKED_FOR, ASK_S = 25, 10
"""Of a list's numbers so many are asked for at Meta, each with a request, and none after so many seconds."""


class CallbackOverride(BaseModel):
    """Where events are to go instead. The `verify_token` is not stored: nothing is asked of the new address."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    override_callback_uri: Annotated[WebUrl | None, EmptyIsAbsent] = None


class PhoneChange(BaseModel):
    """What may be changed of a phone object. A `pin`, and names, are taken: Meta's registration is not ours."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    webhook_configuration: CallbackOverride | None = None


class _User(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)

    user: Annotated[str, Field(max_length=128), NothingIsNoText] = ""
    user_id: Annotated[str, Field(max_length=128), NothingIsNoText] = ""

    @property
    def name(self) -> str:
        return self.user or self.user_id


class _Users(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    block_users: list[_User] = Field(min_length=1, max_length=1000)


def session_of(phone: str) -> Session:
    """The session in the path. Raises Postponed: answered 503."""
    return parts().sessions.find(phone)


@routes.get("/<graph:version>/<node:node>")
@or_at_meta
@owner
def show(version: str, node: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """The phone object with status, templates and configuration, or those `fields` of it.

    What only Meta knows of a number or an account that is there, as its quality or its name, is asked there when it is
    among the `fields`.
    By the id of its business account it is the account, with what is said of its number; by that of a template the
    template.
    """
    if template := _template_of(node):
        return jsonify(chosen(template[1], asked_fields()))
    return _shown(opened_phone(node), node)


def _template_of(node: str) -> tuple[str, dict[str, Any]] | None:
    """The number and the template of an id that is no number's. Raises RequestError for a caller without a right."""
    found = None if is_stored(node) else message_templates.owner_of(node)
    if found is not None:
        check_owner(found[0])
    return found


def _shown(phone: str, node: str) -> ResponseReturnValue:
    uno, session, fields = parts(), session_of(phone), asked_fields()
    document = phone_object(session, operators=uno.operator_addresses)
    is_account = node == session.waba_id and node not in (phone, session.phone_number_id)
    if is_account:
        document |= account_object(session)
    if not fields or "status" in fields:
        document["status"] = status_of(session, uno.directory.statuses([phone]).get(phone))
    if not fields or "message_templates" in fields:
        stored = uno.templates.get(phone)
        shown = templates.shown(phone, stored, only_hello=uno.settings.only_hello_template)
        document["message_templates"] = {"data": [] if session.provider == "forwarder" else shown}  # Meta's are there
    if fields:
        said = said_of_account(session, fields) if is_account else {}
        others = [name for name in fields if name not in said]
        return jsonify(chosen({**document, **said_of_number(session, others), **said}, fields))
    return jsonify({**without_secrets(uno.sessions.config(phone) or {}), **document})


@routes.post("/<graph:version>/<node:node>")
@or_at_meta
@owner
@schema(body=(PhoneChange,), also=REFUSED)
def change(version: str, node: str) -> ResponseReturnValue:  # noqa: ARG001
    """Set the number's webhook the way Meta does: `webhook_configuration`. An empty address takes it back.

    What else is kept of a number or an account at Meta, as its PIN, is changed there. At the id of a template it
    changes the template's components or category.
    """
    if template := _template_of(node):
        return message_templates.edit(*template)
    phone = opened_phone(node)
    wanted = checked(PhoneChange, parameters(PhoneChange)).webhook_configuration
    if wanted:
        return set_callback(phone, wanted)
    session = session_of(phone)
    return forward_change(session, node) if session.provider == "forwarder" else jsonify(success=True)


def set_callback(phone: str, wanted: CallbackOverride) -> ResponseReturnValue:
    """Let the number's events go to the address that is wanted; none: where they went before."""
    if wanted.override_callback_uri is None:
        sessions.restore_callback(phone, sessions=parts().sessions)
    else:
        sessions.override_callback(phone, str(wanted.override_callback_uri), sessions=parts().sessions)
    return jsonify(success=True)


@routes.get("/<version>/<node:phone>/phone_numbers")
@session_token
@schema(query=Page)
def phone_numbers(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """The numbers of the business account that the token opens."""
    own = session_of(phone)
    account = [session for session in parts().directory.all() if session.waba_id == own.waba_id] if own.stored else []
    visible = [session for session in account if g.operator or session.phone == phone] or [own]
    operators, fields = parts().operator_addresses, asked_fields()
    by_id = {session.phone_number_id: session for session in visible}
    answer = page([chosen(phone_object(session, operators=operators), fields) for session in visible])
    until = time.monotonic() + ASK_S
    for shown in answer["data"][:MOST_ASKED_FOR]:
        if time.monotonic() >= until:
            break
        shown.update(said_of_number(by_id[shown["id"]], fields))
    return jsonify(answer)


@routes.get("/<version>/<node:phone>/whatsapp_business_profile")
@session_token
@schema(also=REFUSED)
def business_profile(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """What the business says about itself; that of a number at Meta is there."""
    if (session := session_of(phone)).provider == "forwarder":
        return forward(session, "whatsapp_business_profile")
    profile = {"messaging_product": "whatsapp", **session.business_profile.model_dump()}
    picture_id = profile.pop("profile_picture_id")
    if picture_id:
        profile["profile_picture_url"] = _picture(phone, picture_id)
    fields = asked_fields()
    wanted = {key: value for key, value in profile.items() if not fields or key in (*fields, "messaging_product")}
    return jsonify(data=[wanted])


@routes.post("/<version>/<node:phone>/whatsapp_business_profile")
@session_token
@schema(body=(BusinessProfile,), also=REFUSED)
def change_business_profile(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Change what is named of the business profile; a phone shows `about` and the picture, a JPEG, to its contacts."""
    if (session := session_of(phone)).provider == "forwarder":
        return forward(session, "whatsapp_business_profile")
    wanted = parameters(BusinessProfile)
    wanted.pop("profile_picture_id", None)
    if handle := wanted.pop("profile_picture_handle", None):
        wanted["profile_picture_id"] = file_of_handle(str(handle), phone=phone).id
    elif "profile_picture_url" in wanted:
        wanted["profile_picture_id"] = ""
    sessions.change_business_profile(phone, wanted, sessions=parts().sessions)
    provider = parts().providers[session.provider]
    if isinstance(provider, ServesPhones):
        about = None if wanted.get("about") is None else str(wanted["about"])
        provider.change_profile(phone, about=about, picture_id=str(wanted.get("profile_picture_id") or ""))
    return jsonify(success=True)


def _picture(phone: str, media_id: str) -> str:
    """A link to an uploaded picture; empty when it has expired."""
    try:
        return parts().signed_urls.make(parts().media_index.find(media_id, phone=phone))
    except MediaMissing:
        return ""


@routes.get("/<version>/<node:phone>/block_users")
@session_token
@schema(also=REFUSED)
def blocked_users(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """The users whom the number blocks: no webhook gets their events. Those of a number at Meta are kept there."""
    if (session := session_of(phone)).provider == "forwarder":
        return forward(session, "block_users")
    users = parts().blacklist.blocked(phone)
    listed = page([{"id": user, "messaging_product": "whatsapp", **_named(user)} for user in users])
    return jsonify({**listed, "data": [{k: v for k, v in user.items() if k != "id"} for user in listed["data"]]})


@routes.route("/<version>/<node:phone>/block_users", methods=["POST", "DELETE"])
@session_token
@schema(also=REFUSED)
def block_users(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Block users: no webhook gets their events, and the phone, or Meta, blocks them. DELETE unblocks them."""
    names = [user.name for user in checked(_Users, parameters(_Users)).block_users]
    wrong = [name for name in names if not (is_phone(name, own=phone) or Identity.of(name).user_id)]
    if wrong:
        details = f"{len(wrong)} of the users are neither phone numbers nor user ids; nobody was changed."
        raise invalid_value(details)
    numbers = {name: Identity.of(name).user_id or read_address(name, own=phone) for name in names}
    is_blocked, session = request.method == "POST", session_of(phone)
    done = "added_users" if is_blocked else "removed_users"
    if session.provider == "forwarder":
        answer = forward(session, "block_users")
        changed = _changed_at_meta(answer, done, numbers)
    else:
        users: list[dict[str, Any]] = [{"input": name, **_named(numbers[name])} for name in names]
        answer = jsonify(messaging_product="whatsapp", block_users={done: users})
        changed = list(numbers.values())
    if changed:
        _block(session, changed, is_blocked=is_blocked)
    return answer


def _block(session: Session, numbers: list[str], *, is_blocked: bool) -> None:
    """Block users, or unblock them: in WhatsApp where a phone does so, and for all webhooks."""
    uno, phone = parts(), session.phone
    provider = uno.providers[session.provider]
    if isinstance(provider, ServesPhones):
        there = [number for number in numbers if is_individual(number) and not is_user_id(number)]
        provider.block(phone, there, blocked=is_blocked)
    change = uno.blacklist.block if is_blocked else uno.blacklist.unblock
    change(phone, [webhook.id for webhook in session.webhooks], numbers)


def _changed_at_meta(answer: Response, done: str, numbers: dict[str, str]) -> list[str]:
    """The numbers, which stand by the names that were asked with, that Meta blocked or unblocked."""
    named = _named_at_meta(answer, done)
    if named is None:
        return list(numbers.values()) if answer.status_code == OK else []
    return [number for name, number in numbers.items() if {name, number} & named]


def _named_at_meta(answer: Response, done: str) -> set[str] | None:
    """The users whom Meta blocked or unblocked, by all of their names; none at all when its answer has no lists."""
    document = answer.get_json(silent=True)
    lists = document.get("block_users") if isinstance(document, dict) else None
    if not isinstance(lists, dict):
        return None
    users = lists.get(done)
    named = [user for user in users if isinstance(user, dict)] if isinstance(users, list) else []
    names = {f"{name}" for user in named for name in user.values()}
    return names | {with_ninth_digit(digits_of(name)) for name in names}  # Meta may write a phone in another form


def _named(user: str) -> dict[str, str]:
    """A blocked user in the field of its kind."""
    return {"user_id": user} if Identity.of(user).user_id else {"wa_id": user}
