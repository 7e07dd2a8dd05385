"""Reads the history that a phone hands to a device when it is linked: what was written before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.connector.convert.json_fields import Raw, int_at, object_at, objects_at, text_at
from unoapi.models.phones import GROUP, without_device

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_MESSAGES = frozenset({"protocol", "edit", "pin", "revoke", "reaction", "poll_vote", "undecryptable"})
"""Contents that change or judge another message: in a history that is what it has become, or they stand beside it."""
STATUSES = {
    "ERROR": "error", "PENDING": "pending", "SERVER_ACK": "sent", "DELIVERY_ACK": "delivered", "READ": "read",
    "PLAYED": "played",
}  # fmt: skip


def messages_in(sync: Raw) -> Iterator[tuple[Raw, str, str]]:
    """The messages of a history in the form of the library's event, each with its status and its chat's name.

    `sync` is the JSON of the protobuf with its keys in lower case, and with the number's own address as `account`.
    """
    account = text_at(sync, "account")
    for conversation in objects_at(object_at(sync, "data"), "conversations"):
        chat = without_device(text_at(conversation, "id"))
        name = text_at(conversation, "displayname") or text_at(conversation, "name")
        names = (text_at(conversation, part) for part in ("pnjid", "lidjid"))
        other = next((jid for jid in names if jid not in ("", chat)), "")
        for item in objects_at(conversation, "messages"):
            stored = object_at(item, "message")
            info = _info(stored, chat=chat, other=other, account=account, name=name)
            if chat and info["id"] and object_at(stored, "message"):
                status = STATUSES.get(text_at(stored, "status"), "")
                yield {"info": info, "message": object_at(stored, "message")}, status, name


def _info(stored: Raw, *, chat: str, other: str, account: str, name: str) -> dict[str, Any]:
    key = object_at(stored, "key")
    from_me = bool(key.get("fromme"))
    in_group = chat.endswith(f"@{GROUP}")
    writer = account if from_me else text_at(key, "participant") or text_at(stored, "participant") or chat
    source = {
        "chat": _jid(chat),
        "sender": _jid(writer),
        "isfromme": from_me,
        **({} if in_group or not other else {"recipientalt": _jid(other)}),
        **({} if in_group or not other or from_me else {"senderalt": _jid(other)}),
    }
    return {
        "id": text_at(key, "id"),
        "messagesource": source,
        "pushname": text_at(stored, "pushname") or ("" if in_group else name),
        "verifiedname": {"details": {"verifiedname": text_at(stored, "verifiedbizname")}},
        "timestamp": int_at(stored, "messagetimestamp") * 1000,
    }


def _jid(address: str) -> dict[str, Any]:
    user, _, server = without_device(address).partition("@")
    return {"user": user, "server": server}
