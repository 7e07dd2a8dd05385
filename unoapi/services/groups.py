"""Groups of a phone, asked of its connector and told in Meta's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from unoapi.errors import NobodyAnswers, QuestionRefused, UnoError
from unoapi.models.connector.groups import Group, Groups, Invite, JoinRequests, Member, Members
from unoapi.models.phones import to_jid, with_ninth_digit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel

    Ask = Callable[[str, dict[str, Any]], dict[str, Any]]
    """A question of the connector's contract: its method, its data. Raises QuestionRefused, and NobodyAnswers."""

Reply = TypeVar("Reply", bound="BaseModel")


def list_groups(ask: Ask) -> list[dict[str, Any]]:
    """All groups, without their members."""
    groups = _read(Groups, ask("group.list", {})).groups
    return [document(group) for group in sorted(groups, key=lambda group: (-group.created_at, group.jid))]


def find(ask: Ask, jid: str) -> Group:
    """One group with its members."""
    return _read(Group, ask("group.get", {"group": jid}))


def create(ask: Ask, *, subject: str, members: Sequence[str], description: str) -> dict[str, Any]:
    """A new group, with the link to join it; whoever could not be added is invited by hand.

    Once it is there that is answered, though its link or its description fails, with `warnings`: who asked again would
    make a second one.
    """
    group = _read(Group, ask("group.create", {"subject": subject, "members": [to_jid(member) for member in members]}))
    people = [{**person(member), "status": "failed" if member.error else "added"} for member in group.members]
    answer = {"id": group.jid, "subject": group.subject, "description": "", "invite_link": "", "participants": people}
    steps: dict[str, Callable[[], str]] = {"invite_link": lambda: invite_link(ask, group.jid, reset=False)}
    if description:
        steps["description"] = lambda: _described(ask, group.jid, description)
    failures: dict[str, UnoError] = {}
    for name, step in steps.items():
        try:
            answer[name] = step()
        except QuestionRefused as error:
            failures[name] = error
        except NobodyAnswers as error:  # the next question would wait as long, and the client for both
            failures = {missing: error for missing in steps if not answer[missing]} | failures
            break
    warnings = [f"{name}: the group is made, but this is not: {error}" for name, error in failures.items()]
    return {**answer, "warnings": warnings} if warnings else answer


def _described(ask: Ask, jid: str, description: str) -> str:
    ask("group.change", {"group": jid, "description": description})
    return description


def change(ask: Ask, jid: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """What was named is otherwise now."""
    ask("group.change", {"group": jid, **wanted})
    return {"id": jid, **{name: value for name, value in wanted.items() if name != "picture"}, "updated": True}


def change_members(ask: Ask, jid: str, *, action: str, members: Sequence[str], done: str) -> dict[str, Any]:
    """What became of each of those who were named: under `done`, or under `failed` with WhatsApp's code."""
    data = {"group": jid, "action": action, "members": [to_jid(member) for member in members]}
    return _sorted(_read(Members, ask("group.members", data)).members, jid, done=done)


def list_requests(ask: Ask, jid: str) -> list[dict[str, Any]]:
    """Who wishes to join."""
    wishes = _read(JoinRequests, ask("group.requests", {"group": jid})).requests
    return [{"join_request_id": wish.jid, **person(wish), "requested_at": str(wish.requested_at)} for wish in wishes]


def decide(ask: Ask, jid: str, *, action: str, members: Sequence[str], done: str) -> dict[str, Any]:
    """The same for wishes to join that were approved or rejected."""
    data = {"group": jid, "action": action, "members": [to_jid(member) for member in members]}
    return _sorted(_read(Members, ask("group.decide", data)).members, jid, done=done)


def invite_link(ask: Ask, jid: str, *, reset: bool) -> str:
    """The link to join by."""
    return _read(Invite, ask("group.invite", {"group": jid, "reset": reset})).link


def leave(ask: Ask, jid: str) -> None:
    """Leave a group."""
    ask("group.leave", {"group": jid})


def document(group: Group) -> dict[str, Any]:
    """A group as an answer shows it."""
    approval = {True: "approval_required", False: "auto_approve"}.get(group.join_approval or False)
    return {
        "id": group.jid,
        "jid": group.jid,
        "subject": group.subject,
        "description": group.description,
        "creation_timestamp": str(group.created_at),
        "participants_count": group.size,
        "total_participant_count": group.size,
        "announcement": group.announcement,
        "locked": group.locked,
        "suspended": False,
        **({"join_approval_mode": approval} if group.join_approval is not None else {}),
    }


def person(member: Member) -> dict[str, Any]:
    """Somebody in a group, by the names that events have for the same person."""
    phone = with_ninth_digit(member.phone)
    return {"wa_id": phone} | ({"user_id": member.lid} if member.lid else {})


def participant(member: Member) -> dict[str, Any]:
    """The same with what the group says of it."""
    named = person(member)
    name = member.name or named["wa_id"] or member.lid
    admin = member.role != "member"
    return {"jid": member.jid, "user_id": named["wa_id"], **named, "name": name, "is_admin": admin, "role": member.role}


def _sorted(members: Sequence[Member], jid: str, *, done: str) -> dict[str, Any]:
    well = [person(member) for member in members if not member.error]
    failed = [{**person(member), "error": {"code": member.error}} for member in members if member.error]
    return {"group_id": jid, done: well, "failed": failed}


def _read(model: type[Reply], data: dict[str, Any]) -> Reply:
    """An answer of the contract. Raises NobodyAnswers for one of another form."""
    try:
        return model.model_validate(data)
    except ValueError as error:
        raise NobodyAnswers("the connector's answer has not the form of the contract") from error
