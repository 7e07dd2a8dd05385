"""What the API asks of a connector, as plain JSON on `unoapi.outgoing.whatsmeow`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from unoapi.models.connector.content import Base, Content, Media
from unoapi.models.connector.quoting import Quoted

VERSION = 1
CONTROL = frozenset({"session.connect", "session.disconnect", "session.logout", "session.reload"})
"""For whoever runs the sessions, not for one session's queue."""


class Quote(Base):
    """The message that a sent one answers to. `from_me`: the number's own, whose address the engine knows best.

    `chat` is where it stands, if that is another chat: a group, or the posts of a status.
    """

    id: str
    chat: str = ""
    participant: str = ""
    from_me: bool = False
    text: str = ""
    quoted: Quoted | None = None


class Send(Base):
    """A message to send.

    `silent`: nobody waits for its result; `about`: the API's id of the message that it is part of. Both come back.
    `read_first`: what the contact wrote before is marked as read first, as far as the engine knows it.
    """

    content: Content
    context: Quote | None = None
    mentions: tuple[str, ...] = ()
    mention_all: bool = False
    ephemeral_seconds: int = 0
    composing: bool = False
    read_first: bool = False
    silent: bool = False
    about: str = Field(default="", max_length=512)
    interactive_mode: Literal["text", "classic", "native"] = "text"


class Read(Base):
    """Messages to mark as read."""

    ids: tuple[str, ...] = Field(min_length=1, max_length=1000)
    chat: str
    sender: str = ""
    kind: Literal["read", "played"] = "read"


class Typing(Base):
    """Show that somebody writes or records."""

    chat: str
    state: Literal["composing", "recording", "paused"]


class RejectCall(Base):
    """A call to refuse."""

    sender: str = Field(alias="from")
    id: str


class Block(Base):
    """A contact to block, or to block no more."""

    contact: str = Field(min_length=1, max_length=100)
    blocked: bool = True


class ChangeProfile(Base):
    """What the number says of itself. What is absent stays; `picture` is a JPEG."""

    about: str | None = Field(default=None, max_length=139)
    picture: Media | None = None


class Connect(Base):
    """Connect, or show a code to. `resume` uses a stored login and shows no code.

    `wake`: it has something to send; it is connected only if it has a login and nobody disconnected it.
    """

    method: Literal["qr", "code", "resume"] = "qr"
    phone: str = ""
    wake: Literal[True] | None = None


class Nothing(Base):
    """No data."""


class Logout(Base):
    """Remove the login. `server` is the connector that has it, for a session that is no longer stored."""

    server: str = ""


class ConnectorCommand(Base):
    """The envelope of every command. Times are milliseconds since the epoch."""

    version: int = Field(default=VERSION, ge=1)
    type: str
    command_id: str = Field(min_length=1, max_length=512)
    session: str = Field(pattern=r"^[0-9]{1,20}$")
    to: str = ""
    created_at: int = 0
    expires_at: int = 0
    attempt: int = Field(default=1, ge=1)
    data: dict[str, Any] = Field(default_factory=dict)


COMMANDS: dict[str, type[Base]] = {
    "send": Send,
    "read": Read,
    "typing": Typing,
    "call.reject": RejectCall,
    "block": Block,
    "profile": ChangeProfile,
    "session.connect": Connect,
    "session.disconnect": Nothing,
    "session.logout": Logout,
    "session.reload": Nothing,
}
