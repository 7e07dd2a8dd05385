"""What the connector tells, as it stands on `unoapi.incoming.whatsmeow`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Base(BaseModel):
    """Unknown fields are ignored: an engine may tell more than we need."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Party(Base):
    """A chat or a sender."""

    jid: str = ""
    kind: str = "user"
    phone: str = ""
    lid: str = ""
    push_name: str = ""
    verified_name: str = ""


class Content(Base):
    """What a message holds. `kind` names it."""

    kind: str
    body: str = ""


class ContextInfo(Base):
    """What a message answers to."""

    id: str = ""
    participant: str = ""


class ReceivedMessage(Base):
    """A message from WhatsApp."""

    id: str = Field(min_length=1, max_length=512)
    chat: Party
    sender: Party
    from_me: bool = False
    timestamp_ms: int
    content: Content
    context: ContextInfo | None = None


class MessageReceipt(Base):
    """Contacts received or read messages."""

    status: Literal["delivered", "read", "played", "self_read"]
    ids: tuple[str, ...]
    chat: Any = None
    participant: Any = None
    timestamp: int = 0


class SendError(Base):
    """Why a send failed."""

    code: int = 131000
    reason: str = "send failed"


class SendResult(Base):
    """What came of a command."""

    command_id: str
    status: Literal["sent", "failed", "ambiguous"]
    wa_id: str = ""
    to: str = ""
    timestamp: int = 0
    error: SendError | None = None


class ConnectorEvent(Base):
    """The envelope of every event."""

    version: int = Field(ge=1)
    type: str
    event_id: str
    session: str = Field(pattern=r"^[0-9]{1,20}$")
    occurred_at: str = ""
    data: dict[str, Any]
