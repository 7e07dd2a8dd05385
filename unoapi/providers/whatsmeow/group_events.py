"""Changes of a group as Cloud API events: what Meta reports of its own groups, in Meta's shape."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from unoapi.models.cloud_api.callbacks import Change
from unoapi.models.cloud_api.events import Event, split
from unoapi.models.identity import is_same_phone
from unoapi.providers.whatsmeow.inbound import identity_of

if TYPE_CHECKING:
    from unoapi.models.connector.events import GroupChange, Party
    from unoapi.models.session import Session

LIFECYCLE, SETTINGS, PARTICIPANTS = "group_lifecycle_update", "group_settings_update", "group_participants_update"


def group_events(change: GroupChange, *, session: Session) -> list[Event]:
    """The events of a change: one of each kind at most, but one for each thing that happened to members.

    None when the session ignores groups.
    """
    jid = change.group.jid
    if session.ignores(chat=jid, phone=session.phone, from_me=False):
        return []
    head = {"timestamp": str(change.timestamp or int(time.time())), "group_id": jid}
    found = [(LIFECYCLE, _lifecycle(change)), (SETTINGS, _settings(change))]
    found += [(PARTICIPANTS, part) for part in _participants(change, session.phone)]
    by = _person(change.by) if change.by is not None else {}
    more = {"changed_by": by} if by else {}
    changes = [Change({"groups": [{**head, **part, **more}]}, field=field) for field, part in found if part]
    return split(session.phone, changes)


def _lifecycle(change: GroupChange) -> dict[str, Any]:
    if change.deleted:
        return {"type": "group_delete"}
    if not change.created:
        return {}
    return {"type": "group_create", "subject": change.subject or ""} | _optional(description=change.description or "")


def _settings(change: GroupChange) -> dict[str, Any]:
    """What is otherwise now. What Meta has no name for stands beside it in the same form."""
    if change.created or change.joined:
        return {}
    new: dict[str, Any] = {}
    for field, text in (("group_subject", change.subject), ("group_description", change.description)):
        if text is not None:
            new[field] = {"text": text, "update_successful": True}
    if change.picture is not None:
        new["profile_picture"] = {"update_successful": True} | (
            {"removed": True} if change.picture == "removed" else {}
        )
    for field, value in (("announcement", change.announcement), ("locked", change.locked)):
        if value is not None:
            new[field] = {"enabled": value, "update_successful": True}
    if change.ephemeral_seconds is not None:
        new["disappearing_messages"] = {"seconds": change.ephemeral_seconds, "update_successful": True}
    if change.invite_link:
        new["invite_link"] = {"link": change.invite_link, "update_successful": True}
    return {"type": "group_settings_update", **new} if new else {}


def _participants(change: GroupChange, phone: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    added = [_person(party) for party in change.added]
    if change.joined:
        added.append({"wa_id": phone})
    if added and not change.created:
        parts.append({"type": "group_participants_add", **_optional(reason=change.reason), "added_participants": added})
    if change.removed:
        by = None if change.by is None else identity_of(change.by)
        left = by is None or any(identity_of(party).likeness(by) for party in change.removed)
        initiator = "participant" if left else "business" if _is_own(change.by, phone) else "admin"
        gone = [_person(party) for party in change.removed]
        parts.append({"type": "group_participants_remove", "initiated_by": initiator, "removed_participants": gone})
    for name, people in (("promote", change.promoted), ("demote", change.demoted)):
        if people:
            named = [_person(party) for party in people]
            parts.append({"type": f"group_participants_{name}", f"{name}d_participants": named})
    return parts


def _is_own(party: Party | None, phone: str) -> bool:
    return party is not None and is_same_phone(identity_of(party).phone, phone)


def _person(party: Party) -> dict[str, Any]:
    identity = identity_of(party)
    return _optional(wa_id=identity.phone, user_id=identity.user_id, username=identity.username)


def _optional(**fields: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
