"""Groups of the simulated phone: they stand in a file, and each change is reported as WhatsApp reports it."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from unoapi.errors import QuestionRefused
from unoapi.models.connector.groups import ChangeGroup, Group, JoinRequest, Member
from unoapi.models.phones import to_jid, user_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NO_SUCH_GROUP, UNREACHABLE = 100, 403
PRIVATE = "15550000403"
"""Somebody whom nobody may add to a group."""


class SimulatedGroups:
    """The groups of one simulated phone. `report` takes the data of an event `group`."""

    def __init__(self, file: Path, phone: str, report: Callable[[dict[str, Any]], None]) -> None:
        self._file = file
        self._phone = phone
        self._report = report

    def joined(self) -> list[Group]:
        """All groups, without their members."""
        return [Group.model_validate({**group, "members": ()}) for group in self._read().values()]

    def find(self, jid: str) -> Group:
        """One group with its members."""
        return Group.model_validate(self._known(jid))

    def create(self, subject: str, members: Sequence[str]) -> Group:
        """A new group, whose id follows from the ones before."""
        groups = self._read()
        jid = f"120363{int(time.time() * 1e6) % 10**12:012}@g.us"
        people = [_member(self._phone, role="owner"), *(_member(member) for member in members)]
        there = [person for person in people if not person["error"]]
        groups[jid] = {"jid": jid, "subject": subject, "created_at": int(time.time()), "size": len(there)}
        groups[jid]["members"] = there
        self._write(groups)
        self._tell(jid, created=True, subject=subject, added=[_party(person) for person in there])
        return Group.model_validate({**groups[jid], "members": people})

    def change(self, change: ChangeGroup, picture: bytes | None) -> None:
        """Change what is named."""
        groups = self._read()
        group = self._known(change.group)
        changed = change.model_dump(exclude={"group", "picture"}, exclude_none=True)
        groups[change.group] = {**group, **changed}
        self._write(groups)
        self._tell(change.group, **changed, **({"picture": "set"} if picture else {}))

    def change_members(self, jid: str, action: str, members: Sequence[str]) -> list[Member]:
        """Add, remove, promote or demote."""
        groups, group = self._read(), self._known(jid)
        named = [_member(member) for member in members]
        done = [person for person in named if not person["error"]]
        names = {person["jid"] for person in done}
        others = [person for person in group["members"] if person["jid"] not in names]
        role = {"promote": "admin"}.get(action, "member")
        group["members"] = others if action == "remove" else [*others, *({**person, "role": role} for person in done)]
        groups[jid] = {**group, "size": len(group["members"])}
        self._write(groups)
        field = {"add": "added", "remove": "removed", "promote": "promoted", "demote": "demoted"}[action]
        self._tell(jid, **{field: [_party(person) for person in done]})
        return [Member.model_validate(person) for person in named]

    def invite_link(self, jid: str, *, reset: bool) -> str:
        """The link to join by."""
        groups, group = self._read(), self._known(jid)
        groups[jid] = {**group, "links": group.get("links", 0) + reset}
        self._write(groups)
        code = hashlib.sha256(f"{jid}{groups[jid]['links']}".encode()).hexdigest()[:22]
        link = f"https://chat.whatsapp.com/{code}"
        if reset:
            self._tell(jid, invite_link=link)
        return link

    def requests(self, jid: str) -> list[JoinRequest]:
        """Who wishes to join: whoever stands there as `wishes` in the file."""
        return [JoinRequest.model_validate(wish) for wish in self._known(jid).get("wishes", [])]

    def decide(self, jid: str, action: str, members: Sequence[str]) -> list[Member]:
        """Approve or reject such wishes."""
        groups, group = self._read(), self._known(jid)
        names = {to_jid(member) for member in members}
        groups[jid] = {**group, "wishes": [wish for wish in group.get("wishes", []) if wish["jid"] not in names]}
        self._write(groups)
        if action == "approve":
            return self.change_members(jid, "add", members)
        return [Member.model_validate(_member(member)) for member in members]

    def leave(self, jid: str) -> None:
        """Leave a group."""
        groups = self._read()
        self._known(jid)
        del groups[jid]
        self._write(groups)
        self._tell(jid, removed=[_party(_member(self._phone))])

    def _known(self, jid: str) -> dict[str, Any]:
        groups = self._read()
        if jid not in groups:
            raise QuestionRefused("the number is in no such group", code=NO_SUCH_GROUP)
        return dict(groups[jid])

    def _read(self) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text())) if self._file.exists() else {}

    def _write(self, groups: dict[str, Any]) -> None:
        self._file.write_text(json.dumps(groups))

    def _tell(self, jid: str, **changed: Any) -> None:
        by = _party(_member(self._phone))
        self._report({"group": {"jid": jid, "kind": "group"}, "by": by, "timestamp": int(time.time()), **changed})


def _member(address: str, *, role: str = "member") -> dict[str, Any]:
    phone = user_of(address)
    error = UNREACHABLE if phone == PRIVATE else 0
    return {"jid": to_jid(address), "phone": phone, "role": role, "error": error}


def _party(person: dict[str, Any]) -> dict[str, Any]:
    return {"jid": person["jid"], "kind": "user", "phone": person["phone"]}
