"""Converts whatsmeow's events, as the JSON of their protobufs, to the contract's. Knows no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.connector.convert.inbound import content_of, context_of
from unoapi.connector.convert.json_fields import Raw, int_at, list_at, lowered, object_at, text_at
from unoapi.connector.engines.base import EngineEvent, housekeeping_mark

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = {"g.us": "group", "newsletter": "newsletter", "broadcast": "broadcast"}
RECEIPTS = {
    "delivered": "delivered",
    "read": "read",
    "played": "played",
    "readself": "self_read",
    "playedself": "self_read",
}
USER, LID = "s.whatsapp.net", "lid"


def convert_event(kind: str, event: Raw, *, phone_of: Callable[[str], str] = lambda _: "") -> list[EngineEvent]:
    """The contract's events in an event of the library; none for what the contract has no event for.

    `phone_of` knows the phone of a LID, where the event itself does not say it.
    """
    convert = _CONVERTERS.get(kind)
    events = convert(event) if convert is not None else []
    for converted in events:
        for name in ("chat", "sender", "participant", "from"):
            party = converted.data.get(name)
            if isinstance(party, dict) and party.get("lid") and not party.get("phone"):
                party["phone"] = phone_of(str(party["lid"]))
        _name_mentioned(converted.data, phone_of)
    return events


def _name_mentioned(data: dict[str, Any], phone_of: Callable[[str], str]) -> None:
    """Let a text name those whom it mentions by their phones: `@24788516941`, digits of a LID, names nobody."""
    content, context = data.get("content"), data.get("context")
    if not isinstance(content, dict) or not isinstance(context, dict):
        return
    for mention in context.get("mentions") or []:
        user, _, server = str(mention).partition("@")
        phone = phone_of(str(mention)) if server == LID else ""
        if phone:
            for field in ("body", "caption"):
                if isinstance(content.get(field), str):
                    content[field] = content[field].replace(f"@{user}", f"@{phone}")


def address_of(jid: Raw) -> str:
    """The address in a JID object: user, device, server."""
    user, server = text_at(jid, "user"), text_at(jid, "server")
    device = int_at(jid, "device")
    return f"{user}{f':{device}' if device else ''}@{server}" if server else ""


def _message(event: Raw) -> list[EngineEvent]:
    plain = lowered(event)
    info = object_at(plain, "info")
    message = _raw(event, "Message")
    context = context_of(message)
    chat, sender, from_me = _parties(info)
    data: dict[str, Any] = {
        "id": text_at(info, "id"),
        "chat": chat,
        "sender": sender,
        "from_me": from_me,
        "timestamp_ms": int_at(info, "timestamp"),
        "ephemeral_seconds": int((context or {}).get("expiration") or 0),
        "view_once": any(bool(plain.get(name)) for name in ("isviewonce", "isviewoncev2", "isviewoncev2extension")),
        "edited": bool(plain.get("isedit")),
        "retry_count": int_at(plain, "retrycount"),
        "content": content_of(message),
        "context": context,
    }
    edit = f"{text_at(info, 'edit')}|{data['edited']}"
    parts = (chat["jid"], sender["jid"], data["id"], edit, str(data["retry_count"]), *housekeeping_mark(data))
    return [EngineEvent("message", data, parts=parts, partition=chat["jid"])]


def _undecryptable(event: Raw) -> list[EngineEvent]:
    plain = lowered(event)
    info = object_at(plain, "info")
    chat, sender, from_me = _parties(info)
    data = {
        "id": text_at(info, "id"),
        "chat": chat,
        "sender": sender,
        "from_me": from_me,
        "unavailable": bool(plain.get("isunavailable")),
        "view_once": "view_once" in text_at(plain, "unavailabletype").lower().replace("-", "_"),
        "hide": text_at(plain, "decryptfailmode") == "DECRYPT_FAIL_HIDE",
        "timestamp_ms": int_at(info, "timestamp"),
    }
    return [
        EngineEvent("undecryptable", data, parts=(chat["jid"], sender["jid"], str(data["id"])), partition=chat["jid"])
    ]


def _receipt(event: Raw) -> list[EngineEvent]:
    plain = lowered(event)
    status = RECEIPTS.get(text_at(plain, "type").replace("_", "").lower())
    if status is None:
        return []
    chat, sender, _ = _parties(plain)
    ids = [str(message_id) for message_id in list_at(plain, "messageids")]
    timestamp = int_at(plain, "timestamp")
    data: dict[str, Any] = {"status": status, "ids": ids, "chat": chat, "timestamp": timestamp}
    if chat["kind"] == "group":
        data["participant"] = sender
    parts = (chat["jid"], sender["jid"], status, *ids)
    return [EngineEvent("receipt", data, parts=parts, partition=chat["jid"])]


def _call(phase: str) -> Callable[[Raw], list[EngineEvent]]:
    def convert(event: Raw) -> list[EngineEvent]:
        plain = lowered(event)
        meta = object_at(plain, "basiccallmeta")
        caller = _party(object_at(meta, "callcreator") or object_at(meta, "from"), object_at(meta, "callcreatoralt"))
        call_id = text_at(meta, "callid")
        data = {
            "id": call_id,
            "from": caller,
            "phase": phase,
            "media": text_at(plain, "media"),
            "reason": text_at(plain, "reason"),
            "timestamp": int_at(meta, "timestamp"),
        }
        return [EngineEvent("call", data, parts=(call_id, phase), partition=str(caller["jid"]))] if call_id else []

    return convert


def _parties(info: Raw) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """The chat, the writer, and whether the writer is the number itself."""
    source = object_at(info, "messagesource")
    from_me = bool(source.get("isfromme"))
    writer, other = object_at(source, "senderalt"), object_at(source, "recipientalt")
    details = object_at(object_at(info, "verifiedname"), "details")
    names = {"push_name": text_at(info, "pushname"), "verified_name": text_at(details, "verifiedname")}
    sender = _party(object_at(source, "sender"), writer) | names
    chat = _party(object_at(source, "chat"), other if from_me else writer)
    if chat["kind"] == "user" and not from_me:
        chat |= names
    return chat, sender, from_me


def _party(jid: Raw, alternative: Raw) -> dict[str, Any]:
    server = text_at(jid, "server")
    address = address_of({**jid, "device": 0})
    users = {text_at(address, "server"): text_at(address, "user") for address in (alternative, jid)}
    personal = server in (USER, LID)
    kind = "status" if address == "status@broadcast" else KINDS.get(server, "user")
    return {
        "jid": address,
        "kind": kind,
        "phone": users.get(USER, "") if personal else "",
        "lid": f"{users[LID]}@lid" if personal and users.get(LID) else "",
        "device": int_at(jid, "device"),
    }


def _raw(event: Raw, name: str) -> Raw:
    value = event.get(name) or event.get(name.lower())
    return value if isinstance(value, dict) else {}


_CONVERTERS: dict[str, Callable[[Raw], list[EngineEvent]]] = {
    "Message": _message,
    "UndecryptableMessage": _undecryptable,
    "Receipt": _receipt,
    "CallOffer": _call("offer"),
    "CallOfferNotice": _call("notice"),
    "CallTerminate": _call("terminate"),
}
