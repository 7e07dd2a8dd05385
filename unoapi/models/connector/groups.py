"""Groups of a phone, and what is asked of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unoapi.models.connector.content import Base, Media

MAX_GROUPS = 5000
MAX_MEMBERS = 2048
"""WhatsApp's own bound is 1,024; communities have more."""
MAX_CHANGED = 256
MAX_SUBJECT, MAX_DESCRIPTION = 100, 2048
"""WhatsApp's bounds, in characters."""
GroupJid = Annotated[str, Field(pattern=r"^[0-9]{1,32}(-[0-9]{1,32})?@g\.us$")]
Jid = Annotated[str, Field(max_length=100)]
Jids = Annotated[tuple[Jid, ...], Field(min_length=1, max_length=MAX_CHANGED)]


class Member(Base):
    """Somebody in a group. `error` is WhatsApp's code of what could not be done; 0: nothing went wrong."""

    jid: str = ""
    phone: str = ""
    lid: str = ""
    name: str = ""
    role: Literal["member", "admin", "owner"] = "member"
    error: int = 0


class Group(Base):
    """A group. `created_at` in seconds since the epoch; `join_approval` is none where an engine cannot say it."""

    jid: str
    subject: str = ""
    description: str = ""
    created_at: int = 0
    announcement: bool = False
    locked: bool = False
    join_approval: bool | None = None
    size: int = 0
    members: tuple[Member, ...] = Field(default=(), max_length=MAX_MEMBERS)


class Groups(Base):
    """All groups that the number is in, without their members."""

    groups: tuple[Group, ...] = Field(default=(), max_length=MAX_GROUPS)


class AboutGroup(Base):
    """A question about one group."""

    group: GroupJid


class CreateGroup(Base):
    """A new group with these members; with none it has the number alone."""

    subject: str = Field(min_length=1, max_length=MAX_SUBJECT)
    members: tuple[Jid, ...] = Field(default=(), max_length=MAX_CHANGED)


class ChangeGroup(AboutGroup):
    """What shall be otherwise. A field that is absent stays as it is; `picture` is a JPEG."""

    subject: str | None = Field(default=None, min_length=1, max_length=MAX_SUBJECT)
    description: str | None = Field(default=None, max_length=MAX_DESCRIPTION)
    announcement: bool | None = None
    locked: bool | None = None
    join_approval: bool | None = None
    picture: Media | None = None


class ChangeMembers(AboutGroup):
    """Who shall come, go, or be or no more be an administrator."""

    action: Literal["add", "remove", "promote", "demote"]
    members: Jids


class DecideRequests(AboutGroup):
    """Whose wishes to join are granted, or refused."""

    action: Literal["approve", "reject"]
    members: Jids


class Members(Base):
    """What became of each of those who were named."""

    members: tuple[Member, ...] = Field(default=(), max_length=MAX_MEMBERS)


class AskInvite(AboutGroup):
    """The link to join by. `reset` makes a new one, and the old one opens nothing any more."""

    reset: bool = False


class Invite(Base):
    """A link that anybody may join by."""

    link: str = Field(max_length=200)


class JoinRequest(Member):
    """Somebody who wishes to join; the time in seconds since the epoch."""

    requested_at: int = 0


class JoinRequests(Base):
    """Those who wish to join."""

    requests: tuple[JoinRequest, ...] = Field(default=(), max_length=MAX_MEMBERS)
