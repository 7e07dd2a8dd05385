"""The interface of a WhatsApp library, as the connector needs it. One engine serves one session in one process."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.connector.groups import ChangeGroup, Group, JoinRequest, Member

    Emit = Callable[[str, bytes], None]
    """Takes an event's kind and bytes, and returns when both are on the disk. Raises when they cannot be."""

CONTRACT_EVENT = "told"
"""Kind of events that are in the contract's words already; their bytes are those of `contract_event`. On disks."""


def contract_event(kind: str, data: dict[str, Any]) -> bytes:
    """The bytes of an event of the contract: the JSON of `{"type", "data"}`."""
    return json.dumps({"type": kind, "data": data}).encode()


class Exit(IntEnum):
    """Why a session's process ended; its exit code. The supervisor decides by it whether to start the session again."""

    STOPPED = 0
    NETWORK = 10  # WhatsApp was not reached: started again after a pause
    REFUSED = 11  # WhatsApp was reached and the connection failed: counts as an attempt
    PROXY = 12  # its proxy may not be called, or is not found: started again after a pause
    LOGGED_OUT = 20
    REPLACED = 21
    BANNED = 22
    OUTDATED = 23
    NOT_SCANNED = 24
    CONFLICT = 25
    LINK_FAILED = 26  # WhatsApp refused to link the device: a passkey is asked for, or the phone is too old
    DISK = 30


LOGGED_OUT = "logged out"
STILL_LISTED = "logged out here alone: it was not connected; remove the device on the phone, too"
"""Reasons of who logs out: WhatsApp hears of it while the session is connected."""


@dataclass(frozen=True)
class Ended:
    """The connection is over. `reason` is for people; `until` the end of a ban, in seconds since the epoch."""

    code: Exit
    reason: str = ""
    until: int = 0


@dataclass(frozen=True)
class EngineEvent:
    """One event in the contract's words. `parts` distinguish it from other events, and make its id."""

    type: str
    data: dict[str, Any]
    parts: tuple[str, ...] = ()
    partition: str = ""


HISTORY_MARK = "history"
"""Among an event's parts: a message of the history is another event than the same message when it arrives."""


def housekeeping_mark(message: dict[str, Any]) -> tuple[str, ...]:
    """What distinguishes housekeeping from a message: what stands for one has its id, and is another event."""
    content = message.get("content")
    return ("protocol",) if isinstance(content, dict) and content.get("kind") == "protocol" else ()


@dataclass(frozen=True)
class Sent:
    """What WhatsApp's server answered. `timestamp` in seconds; `server_id` is a channel's number of the message."""

    wa_id: str
    timestamp: int
    chat: str = ""
    server_id: int = 0


@dataclass(frozen=True)
class Login:
    """How to log in: `resume` with a stored login, or a new one by `qr` or pairing `code` for a phone.

    What the phone hands over of the last `history_days` is reported, too; with 0 nothing is.
    """

    method: str = "resume"
    phone: str = ""
    proxy: str = field(default="", repr=False)
    qr_timeout_s: float = 60.0
    history_days: int = 0


@dataclass(frozen=True)
class ProfilePicture:
    """Where the small picture of a contact or a chat is. Another picture has another `id`."""

    id: str
    url: str


class PhoneGroups(Protocol):
    """The groups of a session. Everything raises QuestionRefused and EngineUnavailable."""

    def joined(self) -> list[Group]:
        """All groups, without their members."""

    def find(self, jid: str) -> Group:
        """One group with its members."""

    def create(self, subject: str, members: Sequence[str]) -> Group:
        """A new group. Who could not be added has an `error`."""

    def change(self, change: ChangeGroup, picture: bytes | None) -> None:
        """Change what is named; the picture is a JPEG."""

    def change_members(self, jid: str, action: str, members: Sequence[str]) -> list[Member]:
        """Add, remove, promote or demote; what became of each."""

    def invite_link(self, jid: str, *, reset: bool) -> str:
        """The link to join by."""

    def requests(self, jid: str) -> list[JoinRequest]:
        """Who wishes to join."""

    def decide(self, jid: str, action: str, members: Sequence[str]) -> list[Member]:
        """Approve or reject such wishes."""

    def leave(self, jid: str) -> None:
        """Leave a group."""


class Engine(Protocol):
    """A WhatsApp library for one session.

    After SendRefused and EngineUnavailable it is certain that nothing left. After any other error of `send` the message
    may have left.
    """

    name: str
    capabilities: dict[str, bool]

    @property
    def groups(self) -> PhoneGroups:
        """The session's groups."""

    @property
    def account(self) -> str:
        """The address of the account that is connected, without a device; empty before it is known."""

    def run(self, login: Login, emit: Emit) -> Ended:
        """Connect, and return when the connection is over for good."""

    def convert(self, kind: str, payload: bytes) -> list[EngineEvent]:
        """The contract's events in an event of the library."""

    @property
    def connected(self) -> bool:
        """Whether a message could be sent now."""

    def resolve(self, to: str) -> str:
        """WhatsApp's address for a phone number. Raises SendRefused when it has none, EngineUnavailable."""

    def contacts(self, phones: list[str]) -> list[bool]:
        """Which of these numbers are on WhatsApp, in order. Raises EngineUnavailable."""

    def send(self, to: str, message: dict[str, Any]) -> Sent:
        """Send the JSON of a protobuf message, and wait for the server's answer."""

    def react_in_channel(self, channel: str, server_id: int, emoji: str) -> Sent:
        """React to a channel's message, which is named by its number there; no emoji takes the reaction back."""

    def upload(self, kind: str, data: bytes) -> dict[str, Any]:
        """Upload a file; the fields for the message that will refer to it. Raises EngineUnavailable."""

    def download(self, descriptor: dict[str, Any]) -> bytes:
        """Fetch a received file."""

    def mark_read(self, chat: str, sender: str, ids: list[str], *, played: bool) -> None:
        """Mark messages as read or played."""

    def typing(self, chat: str, state: str) -> None:
        """Show `composing`, `recording` or `paused`."""

    def reject_call(self, caller: str, call_id: str) -> None:
        """Refuse a call."""

    def picture(self, jid: str) -> ProfilePicture | None:
        """The picture of a contact or a group; none when there is none to see. Raises EngineUnavailable."""

    def channel_name(self, jid: str) -> str:
        """What a channel calls itself. Raises EngineUnavailable."""

    def block(self, jid: str, *, blocked: bool) -> None:
        """Block a contact, or unblock it."""

    def change_profile(self, about: str | None, picture: bytes | None) -> None:
        """Change the number's own words and picture, a JPEG; what is None stays."""

    def request_again(self, chat: str, sender: str, message_id: str) -> None:
        """Ask the phone for a message that only it can show. It comes as an ordinary message, or never."""

    def logout(self) -> None:
        """Remove this device from the phone's list."""

    def stop(self) -> None:
        """Disconnect; events that have arrived are still emitted, then `run` returns or the process ends."""
