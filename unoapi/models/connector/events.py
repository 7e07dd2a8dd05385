"""What the connector reports, as it stands on `unoapi.incoming.whatsmeow`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from unoapi.models.connector.bounds import bounded
from unoapi.models.connector.content import Base, Content, Unsupported
from unoapi.models.connector.groups import MAX_MEMBERS
from unoapi.models.phones import STATUS_POSTS

STATES = Literal[
    "starting", "qr", "pairing", "connecting", "connected", "disconnected", "standby", "logged_out", "replaced",
    "banned", "outdated", "conflict", "stopped", "crashed", "not_scanned", "link_failed", "restricted",
]  # fmt: skip

STATUS_WORDS = {
    "starting": "connecting",
    "connecting": "connecting",
    "qr": "connecting",
    "pairing": "connecting",
    "connected": "online",
    "disconnected": "offline",
    "crashed": "offline",
    "stopped": "offline",
    "banned": "offline",
    "outdated": "offline",
    "replaced": "offline",
    "standby": "standby",
    "logged_out": "disconnected",
    "conflict": "disconnected",
    "not_scanned": "disconnected",
    "link_failed": "disconnected",
    "restricted": "online",
}
"""The words that stand in `unoapi-status:<P>`, as in the Node version."""
YEAR_10000_S = 253_402_300_800
KIND_OF_SERVER = {"g.us": "group", "newsletter": "newsletter", "broadcast": "broadcast"}


def kind_of_chat(jid: str) -> str:
    """What a chat's address says that it is: user, group, newsletter, status or broadcast."""
    return "status" if jid == STATUS_POSTS else KIND_OF_SERVER.get(jid.partition("@")[2], "user")


class Party(Base):
    """A chat or a sender. `kind` follows from the address where an engine leaves it out."""

    jid: str = ""
    kind: str = "user"  # user, group, newsletter, status, broadcast
    phone: str = ""
    lid: str = ""
    device: int = 0
    push_name: str = ""
    verified_name: str = ""
    username: str = ""
    picture: str = ""
    subject: str = ""

    @model_validator(mode="before")
    @classmethod
    def _kind_by_address(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("kind") or not isinstance(jid := value.get("jid"), str):
            return value
        return {**value, "kind": kind_of_chat(jid)}


class Referral(Base):
    """The advertisement that a message answers to."""

    source_type: str = ""
    source_id: str = ""
    source_url: str = ""
    headline: str = ""
    body: str = ""
    media_type: str = ""
    image_url: str = ""
    video_url: str = ""
    thumbnail_url: str = ""
    ctwa_clid: str = ""
    greeting: str = ""


class StatusPost(Base):
    """A status post that a message answers to: what it was, and the words in it."""

    kind: str = Field(default="", max_length=50)
    text: str = Field(default="", max_length=2000)


class ReferredProduct(Base):
    """A product of a catalogue. WhatsApp's catalogues have no id but their owner's number."""

    catalog_id: str = Field(default="", max_length=100)
    product_retailer_id: str = Field(default="", max_length=512)
    title: str = Field(default="", max_length=1000)


class ContextInfo(Base):
    """What a message answers to, and how it came about. `from_us`: it is known to be the number's own message.

    `participant` wrote that, and has `participant_phone` where the address is a LID whose phone is known.
    """

    id: str = ""
    participant: str = ""
    participant_phone: str = ""
    from_us: bool = False
    forwarded: bool = False
    forwarding_score: int = 0
    mentions: tuple[str, ...] = ()
    referral: Referral | None = None
    status: StatusPost | None = None
    product: ReferredProduct | None = None


class ReceivedMessage(Base):
    """A message from WhatsApp. `server_id` is the number that a channel's message has there.

    `ephemeral_seconds` is -1 where the message is of a kind that does not say whether it disappears. `history`: it was
    written before the phone was linked, and had this `history_status` then; its file is not fetched.
    """

    id: str = Field(min_length=1, max_length=512)
    chat: Party
    sender: Party
    from_me: bool = False
    timestamp_ms: int
    ephemeral_seconds: int = 0
    view_once: bool = False
    edited: bool = False
    retry_count: int = 0
    server_id: int = 0
    history: bool = False
    history_status: Literal["", "error", "pending", "sent", "delivered", "read", "played"] = ""
    content: Content
    context: ContextInfo | None = None

    @field_validator("content", mode="wrap")
    @classmethod
    def _unknown_is_unsupported(cls, value: object, handler: ValidatorFunctionWrapHandler) -> object:
        """Content of a known kind in a form of its own is unsupported: a message is never dropped for it."""
        kind = value.get("kind") if isinstance(value, dict) else None
        try:
            return handler(bounded(value) if isinstance(value, dict) else value)
        except ValidationError:
            if not isinstance(kind, str):
                raise
            return Unsupported(kind=kind[:50])


class MessageReceipt(Base):
    """Contacts received or read messages."""

    status: Literal["delivered", "read", "played", "self_read"]
    ids: tuple[str, ...]
    chat: Any = None
    participant: Any = None
    timestamp: int = 0


class SendError(Base):
    """Why a send failed. `raw` is the engine's own text."""

    code: int = 131000
    reason: str = "send failed"
    retryable: bool = False
    raw: str = ""


class SendResult(Base):
    """What came of a command. `chat` is where the message stands, for answers to it.

    `silent` and `about` come back from the command; `deleted` is the API's id of the message that was deleted,
    `edited` is WhatsApp's id of the one that was edited.
    """

    command_id: str
    status: Literal["sent", "failed", "ambiguous"]
    wa_id: str = ""
    to: str = ""
    chat: str = ""
    timestamp: int = 0
    attempts: int = 1
    silent: bool = False
    about: str = ""
    deleted: str = ""
    edited: str = ""
    error: SendError | None = None


class SessionState(Base):
    """The connection of a session changed. `still`: it is connected again, and as `restricted` as before."""

    state: STATES
    reason: str = ""
    until: int = 0
    still: bool = False
    jid: str = ""
    lid: str = ""
    push_name: str = ""
    business_name: str = ""
    platform: str = ""
    capabilities: dict[str, bool] = Field(default_factory=dict)

    @field_validator("until")
    @classmethod
    def _no_calendar_has_it(cls, value: int) -> int:
        """An end in milliseconds, or before all time, is none."""
        return value if 0 <= value < YEAR_10000_S else 0


class QrCode(Base):
    """A code to scan, as text. `n` counts from 1; `of` is how many there will be."""

    code: str = Field(max_length=4096)
    n: int = 1
    of: int = 0
    expires_at: int = 0


class PairingCode(Base):
    """A code to type into the phone."""

    code: str = Field(max_length=32)
    phone: str = ""
    expires_at: int = 0


class Undecryptable(Base):
    """A message that this device cannot read. The same id may come again, readable.

    `unavailable`: only the phone can show it; `view_once` is why, where it is known.
    """

    id: str = Field(min_length=1, max_length=512)
    chat: Party
    sender: Party
    from_me: bool = False
    unavailable: bool = False
    view_once: bool = False
    hide: bool = False
    timestamp_ms: int = 0

    @classmethod
    def of(cls, placeholder: ReceivedMessage) -> Undecryptable:
        """What stands in a chat in the place of a message that only the phone can show."""
        shared = {name: getattr(placeholder, name) for name in ("id", "chat", "sender", "from_me", "timestamp_ms")}
        return cls(**shared, unavailable=True, view_once=placeholder.view_once)


class Call(Base):
    """Somebody calls."""

    id: str = Field(min_length=1, max_length=512)
    sender: Party = Field(alias="from")
    phase: Literal["offer", "accept", "terminate", "notice"]
    media: str = ""
    reason: str = ""
    timestamp: int = 0


class GroupChange(Base):
    """Something of a group changed; a field that is absent did not. `by` is who changed it, where that is known.

    `timestamp` is in seconds. `created`: a new group with the number in it; `joined`: the number was added to it;
    `deleted`: the group is no more.
    """

    group: Party
    by: Party | None = None
    timestamp: int = 0
    created: bool = False
    joined: bool = False
    deleted: bool = False
    subject: str | None = None
    description: str | None = None
    picture: Literal["set", "removed"] | None = None
    announcement: bool | None = None
    locked: bool | None = None
    ephemeral_seconds: int | None = None
    invite_link: str = ""
    added: tuple[Party, ...] = Field(default=(), max_length=MAX_MEMBERS)
    removed: tuple[Party, ...] = Field(default=(), max_length=MAX_MEMBERS)
    promoted: tuple[Party, ...] = Field(default=(), max_length=MAX_MEMBERS)
    demoted: tuple[Party, ...] = Field(default=(), max_length=MAX_MEMBERS)
    reason: str = ""


class ConnectorEvent(Base):
    """The envelope of every event.

    `seq` grows by one with each event of a session: a hole in it is a loss. Data of an unknown type is not read.
    """

    version: int = Field(ge=1)
    type: str
    event_id: str
    session: str = Field(pattern=r"^[0-9]{1,20}$")
    server: str = ""
    engine: str = ""
    seq: int = 0
    occurred_at: str = ""
    partition_key: str = ""
    data: dict[str, Any]


EVENTS: dict[str, type[Base]] = {
    "message": ReceivedMessage,
    "receipt": MessageReceipt,
    "send_result": SendResult,
    "session": SessionState,
    "qr": QrCode,
    "pairing_code": PairingCode,
    "undecryptable": Undecryptable,
    "call": Call,
    "group": GroupChange,
}
"""The types that the API understands; `presence` and others may come and are ignored."""

__all__ = [
    "EVENTS", "STATES", "Call", "ConnectorEvent", "ContextInfo", "GroupChange", "MessageReceipt", "PairingCode",
    "Party", "QrCode", "ReceivedMessage", "Referral", "SendError", "SendResult", "SessionState", "Undecryptable",
    "Unsupported",
]  # fmt: skip
