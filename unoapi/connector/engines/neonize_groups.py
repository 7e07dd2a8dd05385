"""Groups on neonize. It gets the library's client and never loads the library itself."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from unoapi.connector.engines.whatsmeow_errors import classify_question_error
from unoapi.errors import EngineUnavailable, QuestionRefused
from unoapi.models.connector.groups import MAX_MEMBERS, ChangeGroup, Group, JoinRequest, Member
from unoapi.models.phones import LID, USER, to_jid, user_of, with_ninth_digit, without_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.connector.engines.neonize import NeonizeEngine

UNSUPPORTED, NOT_FOUND = 131051, 404


class MemberAction(Enum):
    """What is done to members: the library takes any enumeration with these values."""

    ADD = "add"
    REMOVE = "remove"
    PROMOTE = "promote"
    DEMOTE = "demote"


class NeonizeGroups:
    """The groups of one session. `phone_of` knows the phone of a LID."""

    def __init__(self, engine: NeonizeEngine, *, phone_of: Callable[[str], str]) -> None:
        self._engine = engine
        self._phone_of = phone_of

    def joined(self) -> list[Group]:
        """All groups, without their members."""
        return [self._group(group, members=False) for group in self._call("get_joined_groups")]

    def find(self, jid: str) -> Group:
        """One group with its members."""
        return self._group(self._call("get_group_info", self._engine.jid(jid)))

    def create(self, subject: str, members: Sequence[str]) -> Group:
        """A new group."""
        return self._group(self._call("create_group", subject, [self._resolved(member) for member in members]))

    def change(self, change: ChangeGroup, picture: bytes | None) -> None:
        """Change what is named, one after the other: what went well before an error stays so."""
        jid = self._engine.jid(change.group)
        if change.join_approval is not None:
            raise QuestionRefused("this engine cannot change who approves new members", code=UNSUPPORTED)
        if change.subject is not None:
            self._call("set_group_name", jid, change.subject)
        if change.description is not None:
            self._call("set_group_topic", jid, "", "", change.description)  # the library finds and makes the ids
        if change.announcement is not None:
            self._call("set_group_announce", jid, change.announcement)
        if change.locked is not None:
            self._call("set_group_locked", jid, change.locked)
        if picture is not None:
            self._call("set_group_photo", jid, picture)

    def change_members(self, jid: str, action: str, members: Sequence[str]) -> list[Member]:
        """Add, remove, promote or demote; what became of each."""
        wanted = [self._resolved(member) for member in members]
        changed = self._call("update_group_participants", self._engine.jid(jid), wanted, MemberAction(action))
        return [self._member(member) for member in changed]

    def invite_link(self, jid: str, *, reset: bool) -> str:
        """The link to join by."""
        return str(self._call("get_group_invite_link", self._engine.jid(jid), reset))

    def requests(self, jid: str) -> list[JoinRequest]:
        """Who wishes to join."""
        wishes = self._call("get_group_request_participants", self._engine.jid(jid))
        return [JoinRequest(**self._person(wish.Participant), requested_at=_seconds(wish.TimeAt)) for wish in wishes][
            :MAX_MEMBERS
        ]

    def decide(self, jid: str, action: str, members: Sequence[str]) -> list[Member]:
        """Approve by adding who has asked to join; the binding exports no decision, so that none can be rejected."""
        if action != "approve":
            raise QuestionRefused("this engine cannot reject requests to join: do it on the phone", code=UNSUPPORTED)
        waiting = {name for wish in self.requests(jid) for name in _names_of(wish)}
        wanted = [member for member in members if not waiting.isdisjoint(self._names(member))]
        strangers = [Member(jid=member, error=NOT_FOUND) for member in members if member not in wanted]
        return [*(self.change_members(jid, "add", wanted) if wanted else []), *strangers]

    def leave(self, jid: str) -> None:
        """Leave a group."""
        self._call("leave_group", self._engine.jid(jid))

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call the library; a call while it is not connected would abort the process."""
        if not self._engine.connected:
            raise EngineUnavailable("not connected")
        try:
            return getattr(self._engine.client, name)(*arguments)
        except Exception as error:
            raise classify_question_error(error) from error

    def _names(self, member: str) -> set[str]:
        """The addresses of somebody, and the phone of a LID."""
        address = without_device(to_jid(member))
        phone = self._phone_of(address) if address.endswith(f"@{LID}") else user_of(address)
        return {address, *({to_jid(with_ninth_digit(phone))} if phone else ())}

    def _resolved(self, member: str) -> Any:
        return self._engine.jid(self._engine.resolve(member))

    def _group(self, group: Any, *, members: bool = True) -> Group:
        return Group(
            jid=_address(group.JID),
            subject=group.GroupName.Name,
            description=group.GroupTopic.Topic,
            created_at=_seconds(group.GroupCreated),
            announcement=group.GroupAnnounce.IsAnnounce,
            locked=group.GroupLocked.isLocked,
            size=len(group.Participants),
            members=tuple(self._member(member) for member in group.Participants[:MAX_MEMBERS]) if members else (),
        )

    def _member(self, member: Any) -> Member:
        role = "owner" if member.IsSuperAdmin else "admin" if member.IsAdmin else "member"
        person = self._person(member.JID, _address(member.PhoneNumber), _address(member.LID))
        return Member(**person, name=member.DisplayName, role=role, error=member.Error)

    def _person(self, jid: Any, phone: str = "", lid: str = "") -> dict[str, str]:
        address = _address(jid)
        users = {host: user for user, _, host in (name.partition("@") for name in (phone, lid, address))}
        lid = f"{users[LID]}@{LID}" if users.get(LID) else ""
        return {"jid": address, "phone": users.get(USER, "") or (self._phone_of(lid) if lid else ""), "lid": lid}


def _names_of(wish: JoinRequest) -> set[str]:
    return {wish.jid, wish.lid, *({to_jid(with_ninth_digit(wish.phone))} if wish.phone else ())} - {""}


def _address(jid: Any) -> str:
    return f"{jid.User}@{jid.Server}" if jid.User else ""


def _seconds(timestamp: float) -> int:
    """The library gives some times in seconds, others in milliseconds."""
    return int(timestamp / 1000 if timestamp > 10**11 else timestamp)
