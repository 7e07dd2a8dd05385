"""RPC requests to a connected phone, which want an answer now. They are not persistent: who asks may ask again."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from unoapi.models.connector.content import MAX_LIST, Base
from unoapi.models.connector.groups import (
    AboutGroup,
    AskInvite,
    ChangeGroup,
    ChangeMembers,
    CreateGroup,
    DecideRequests,
    Group,
    Groups,
    Invite,
    JoinRequests,
    Members,
)

VERSION = 1
REPLY_TO = "amq.rabbitmq.reply-to"
"""RabbitMQ's own way of answering: no queue to declare, and nothing is stored for a caller that has gone."""


class RpcRequest(Base):
    """The envelope of a question."""

    version: int = Field(default=VERSION, ge=1)
    method: str = Field(max_length=64)
    session: str = Field(pattern=r"^[0-9]{1,20}$")
    data: dict[str, Any] = Field(default_factory=dict)


class CheckContacts(Base):
    """`contacts.check`: which of these numbers, digits only, are on WhatsApp."""

    phones: tuple[str, ...] = Field(min_length=1, max_length=MAX_LIST)


class CheckedContacts(Base):
    """The answer, in the order of the question."""

    there: tuple[bool, ...]


class Nothing(Base):
    """No data."""


class RpcReply(Base):
    """The envelope of an answer: `data`, or why there is none.

    With a `code`, one of the Cloud API's, it is a refusal that another try would get again.
    """

    version: int = Field(default=VERSION, ge=1)
    data: dict[str, Any] | None = None
    error: str = Field(default="", max_length=300)
    code: int = 0


RPC_METHODS: dict[str, tuple[type[Base], type[Base]]] = {
    "contacts.check": (CheckContacts, CheckedContacts),
    "group.list": (Nothing, Groups),
    "group.get": (AboutGroup, Group),
    "group.create": (CreateGroup, Group),
    "group.change": (ChangeGroup, Nothing),
    "group.members": (ChangeMembers, Members),
    "group.invite": (AskInvite, Invite),
    "group.requests": (AboutGroup, JoinRequests),
    "group.decide": (DecideRequests, Members),
    "group.leave": (AboutGroup, Nothing),
}
"""The forms of question and answer, by method."""
