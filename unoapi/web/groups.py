"""Groups: those of a phone are asked of its connector, those of a number at Meta of Meta."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from flask import Blueprint, current_app, jsonify, request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from werkzeug.exceptions import MethodNotAllowed, NotFound

from unoapi.errors import MediaMissing, NobodyAnswers, QuestionRefused, RequestError
from unoapi.errors.validation import invalid_value
from unoapi.models.blanks import EmptyIsAbsent
from unoapi.models.cloud_api.messages import Sender
from unoapi.models.connector.groups import MAX_CHANGED, MAX_DESCRIPTION, MAX_SUBJECT
from unoapi.models.options import WebUrl
from unoapi.models.phones import GROUP, GROUP_OF_Z_API, is_group, is_individual, read_address, user_of
from unoapi.models.text import figures
from unoapi.ports import ServesPhones
from unoapi.services import groups
from unoapi.services.media import own_id
from unoapi.web.addresses import contact_of
from unoapi.web.auth import session_token
from unoapi.web.contacts import EXTENSION
from unoapi.web.graph import page
from unoapi.web.parts import parts
from unoapi.web.pass_through import EDGE, SECRETS, forward
from unoapi.web.request_body import parameters
from unoapi.web.schemas import checked, schema
from unoapi.web.uploads import file_of_handle

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.web.concurrency_limit import ConcurrencyLimit

routes = Blueprint("groups", __name__)

View = TypeVar("View", bound=Callable[..., Any])

STATUSES = {100: 404, 10: 403, 130429: 429, 131009: 400, 131051: 501, 131053: 400}
"""The HTTP status that fits what WhatsApp refused."""
ON, OFF = ("approval_required", "required", "on", "true", "1"), ("auto_approve", "open", "off", "false", "0", "none")
ROLES = {"": ("add", "added"), "admin": ("promote", "promoted"), "member": ("demote", "demoted")}
"""What is done for a wanted role, and the field of those for whom it was done."""
NAMES = ("user", "wa_id", "phone_number", "pn", "id", "jid", "user_id", "lid")
"""By which field clients name somebody."""


def _approval(value: object) -> object:
    text = str(value).lower()
    return True if text in ON else False if text in (*OFF, "not_required") else value


def _name(value: object) -> object:
    if isinstance(value, dict):
        return next((str(value[name]) for name in NAMES if value.get(name)), "")
    return figures(value)


JoinApproval = Annotated[bool | None, BeforeValidator(_approval)]
Person = Annotated[str, Field(min_length=1, max_length=128), BeforeValidator(_name)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)


class NewGroup(_Body):
    """A new group. Without participants it has the number alone until somebody follows the link."""

    subject: str = Field(min_length=1, max_length=MAX_SUBJECT)
    description: str = Field(default="", max_length=MAX_DESCRIPTION)
    participants: list[Person] = Field(default=[], max_length=MAX_CHANGED)
    join_approval_mode: JoinApproval = None


class GroupPicture(_Body):
    """A JPEG: by its address, by the id of an uploaded file, or by the handle of an upload."""

    url: Annotated[WebUrl | None, EmptyIsAbsent] = None
    link: Annotated[WebUrl | None, EmptyIsAbsent] = None
    id: str = Field(default="", max_length=200)


class GroupSettings(_Body):
    """What shall be otherwise; at least one field."""

    subject: str | None = Field(default=None, min_length=1, max_length=MAX_SUBJECT)
    description: str | None = Field(default=None, max_length=MAX_DESCRIPTION)
    announcement: bool | None = None
    locked: bool | None = None
    join_approval_mode: JoinApproval = None
    picture: GroupPicture | None = None
    profile_picture_file: str = Field(default="", max_length=1100)


class People(_Body):
    """Phones or user ids, as texts or as objects that name them; wishes to join by their ids, too."""

    participants: list[Person] = Field(default=[], max_length=MAX_CHANGED)
    join_requests: list[Person] = Field(default=[], max_length=MAX_CHANGED)
    role: Literal["", "admin", "member"] = ""


def of_phone(view: View) -> View:
    """Hand the view `ask`, the way to the phone's connector, and the group's address as `group`.

    Of a number at Meta Meta is asked instead. Stands below who may call the route. Raises RequestError.
    """

    @wraps(view)
    def served(phone: str, group: str = "", **_: Any) -> Any:
        uno = parts()
        session = uno.sessions.find(phone)
        provider = uno.providers[session.provider]
        if session.provider == "forwarder":
            edge = f"groups{request.path.partition('/groups')[2]}"
            if not EDGE.fullmatch(edge) or SECRETS in edge:
                raise NotFound
            return forward(session, edge)
        if not isinstance(provider, ServesPhones):
            details = "groups: only a phone or a number at Meta has them; this number is in the sandbox."
            raise RequestError("Not implemented", code=131000, status=501, details=details)
        named = {"group": _jid(group)} if group else {}
        limit: ConcurrencyLimit = current_app.extensions[EXTENSION]
        try:
            with limit.taken(phone):  # a connector may take its time
                return view(phone, ask=lambda method, data: provider.ask(phone, method, data), **named)
        except QuestionRefused as error:
            status = STATUSES.get(error.code, 400)
            raise RequestError("Request refused", code=error.code, status=status, details=f"{error}.") from error
        except NobodyAnswers as error:
            details = f"The phone's connector did not answer: {error}. A change may have been made all the same."
            raise RequestError(
                "Service temporarily unavailable", code=131016, status=503, details=details, retry_after_s=10
            ) from error

    return cast("View", served)


def _jid(group: str) -> str:
    """The address of a group. Raises RequestError."""
    has_host = "@" in group or GROUP_OF_Z_API.fullmatch(group)
    try:
        address = read_address(group if has_host else f"{group}@{GROUP}")
    except ValueError:
        address = ""
    if not is_group(address):
        details = f"The group in the path must be the id of a phone's group, as 120363…@{GROUP}."
        raise invalid_value(details)
    return address


def _people(named: list[str], phone: str) -> list[str]:
    """The addresses of those whom the body names, somebody at least. Raises RequestError."""
    if not named:
        details = "participants: name somebody, as a list of phones."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    return [_member(name, phone, f"participants[{position}]") for position, name in enumerate(named)]


def _member(name: str, phone: str, field: str) -> str:
    address = contact_of(name, sender=Sender(phone=phone, at_meta=False), field=field)
    if is_individual(address) and user_of(address).isdigit():
        return address
    details = f"{field}: must be a phone, or a …@lid that an event or an answer named."
    raise invalid_value(details)


@routes.get("/<graph:version>/<node:phone>/groups")
@session_token
@of_phone
def listed(phone: str, ask: groups.Ask) -> ResponseReturnValue:
    """The groups that the number is in, newest first, without their members."""
    shown = page(groups.list_groups(ask))
    return jsonify({"phone": phone, **shown, "groups": shown["data"]})


@routes.post("/<graph:version>/<node:phone>/groups")
@session_token
@schema(body=(NewGroup,))
@of_phone
def create(phone: str, ask: groups.Ask) -> ResponseReturnValue:
    """Make a group. Who cannot be added is named as failed: send that person the link."""
    new = checked(NewGroup, parameters(NewGroup))
    if new.join_approval_mode:
        raise _no_approval()
    members = _people(new.participants, phone) if new.participants else []
    return jsonify(groups.create(ask, subject=new.subject, members=members, description=new.description))


@routes.delete("/<graph:version>/<node:phone>/groups")
@session_token
@of_phone
def leave_all(phone: str, ask: groups.Ask) -> ResponseReturnValue:  # noqa: ARG001
    """Only Meta knows what it would do; a phone leaves its groups one by one."""
    raise MethodNotAllowed(valid_methods=["GET", "POST"])


@routes.get("/<graph:version>/<node:phone>/groups/<group>")
@session_token
@of_phone
def show(phone: str, ask: groups.Ask, group: str) -> ResponseReturnValue:  # noqa: ARG001 (the session's)
    """One group, with its members."""
    found = groups.find(ask, group)
    return jsonify({**groups.document(found), "participants": [groups.participant(one) for one in found.members]})


@routes.route("/<graph:version>/<node:phone>/groups/<group>", methods=["POST", "PATCH"])
@session_token
@schema(body=(GroupSettings,))
@of_phone
def change(phone: str, ask: groups.Ask, group: str) -> ResponseReturnValue:
    """Change what is named: subject, description, picture, who may write, who may change it."""
    body = checked(GroupSettings, parameters(GroupSettings))
    names = ("subject", "description", "announcement", "locked")
    wanted: dict[str, Any] = {name: value for name in names if (value := getattr(body, name)) is not None}
    if picture := _picture(body, phone):
        wanted["picture"] = picture
    if body.join_approval_mode is not None:
        raise _no_approval()
    if not wanted:
        details = f"Name at least one of {', '.join((*names, 'picture'))}."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    return jsonify(groups.change(ask, group, wanted))


def _no_approval() -> RequestError:
    details = "join_approval_mode: this connection cannot change who approves new members; do it on the phone."
    return RequestError("Not implemented", code=131051, status=501, details=details)


def _picture(body: GroupSettings, phone: str) -> dict[str, Any]:
    """Where the connector finds the picture; nothing when there is none. Raises RequestError."""
    if body.profile_picture_file:
        media_id = file_of_handle(body.profile_picture_file, phone=phone).id
        return {"kind": "image", "media": {"key": media_id, "state": "ready"}}
    if body.picture is None:
        return {}
    uno, url = parts(), body.picture.url or body.picture.link
    if url is not None:
        if why := uno.address_guard.refusal(str(url)):
            raise RequestError("Address not allowed", code=100, status=400, details=f"picture.url: {why}.")
        return {"kind": "image", "link": str(url)}
    try:
        file = uno.media_index.find(own_id(phone, body.picture.id), phone=phone)
    except MediaMissing:
        details = "picture: give `url`, or the `id` of an uploaded file of this number."
        raise invalid_value(details) from None
    return {"kind": "image", "media": {"key": file.id, "state": "ready"}}


@routes.delete("/<graph:version>/<node:phone>/groups/<group>")
@session_token
@of_phone
def leave(phone: str, ask: groups.Ask, group: str) -> ResponseReturnValue:  # noqa: ARG001
    """Leave a group: WhatsApp deletes one only when its last member has left."""
    groups.leave(ask, group)
    return jsonify(group_id=group, deleted=True)


@routes.get("/<graph:version>/<node:phone>/groups/<group>/participants")
@session_token
@of_phone
def participants(phone: str, ask: groups.Ask, group: str) -> ResponseReturnValue:
    """The members of a group."""
    found = groups.find(ask, group)
    return jsonify(
        phone=phone,
        group={"id": found.jid, "jid": found.jid, "subject": found.subject},
        participants=[groups.participant(one) for one in found.members],
        total_participant_count=found.size,
    )


@routes.route("/<graph:version>/<node:phone>/groups/<group>/participants", methods=["POST", "DELETE"])
@session_token
@schema(body=(People,))
@of_phone
def change_participants(phone: str, ask: groups.Ask, group: str) -> ResponseReturnValue:
    """Add members, or remove them. With `role` `admin` or `member` members become administrators, or none."""
    body = checked(People, parameters(People))
    action, done = ("remove", "removed") if request.method == "DELETE" else ROLES[body.role]
    members = _people(body.participants, phone)
    return jsonify(groups.change_members(ask, group, action=action, members=members, done=done))


@routes.route("/<graph:version>/<node:phone>/groups/<group>/invite_link", methods=["GET", "POST", "DELETE"])
@routes.route(
    "/<graph:version>/<node:phone>/groups/<group>/invite-link",
    endpoint="invite_link_of_the_fork",
    methods=["GET", "POST", "DELETE"],
)
@session_token
@of_phone
def invite_link(phone: str, ask: groups.Ask, group: str) -> ResponseReturnValue:  # noqa: ARG001
    """The link to join by. POST and DELETE make a new one: the one before opens nothing any more."""
    reset = request.method != "GET"
    link = groups.invite_link(ask, group, reset=reset)
    return jsonify({"group_id": group, "invite_link": link, **({"reset": True} if reset else {})})


@routes.get("/<graph:version>/<node:phone>/groups/<group>/join_requests")
@session_token
@of_phone
def join_requests(phone: str, ask: groups.Ask, group: str) -> ResponseReturnValue:  # noqa: ARG001
    """Who wishes to join."""
    wishes = groups.list_requests(ask, group)
    return jsonify(group_id=group, join_requests=wishes, data=wishes)


@routes.route("/<graph:version>/<node:phone>/groups/<group>/join_requests", methods=["POST", "DELETE"])
@session_token
@schema(body=(People,))
@of_phone
def decide(phone: str, ask: groups.Ask, group: str) -> ResponseReturnValue:
    """Approve wishes to join, or reject them."""
    action, done = ("reject", "rejected") if request.method == "DELETE" else ("approve", "approved")
    body = checked(People, parameters(People))
    members = _people(body.join_requests or body.participants, phone)
    return jsonify(groups.decide(ask, group, action=action, members=members, done=done))
