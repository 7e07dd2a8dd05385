"""Converts whatsmeow's events, as the JSON of their protobufs, to the contract's. Knows no engine."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unoapi.connector.convert.history import NO_MESSAGES, messages_in
from unoapi.connector.convert.inbound import content_of, context_of, is_view_once, timer_of
from unoapi.connector.convert.json_fields import (
    Raw,
    int_at,
    list_at,
    lowered,
    object_at,
    objects_at,
    text_at,
)
from unoapi.connector.engines.base import HISTORY_MARK, EngineEvent, housekeeping_mark
from unoapi.models.connector.events import kind_of_chat
from unoapi.models.identity import is_same_phone
from unoapi.models.phones import LID, USER, with_ninth_digit, without_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECEIPTS = {
    "delivered": "delivered",
    "read": "read",
    "played": "played",
    "readself": "self_read",
    "playedself": "self_read",
}
HOSTED = {"hosted": USER, "hosted.lid": LID, "c.us": USER}
"""Other names of the servers of persons."""
WRITTEN = ("body", "caption", "name", "text", "header", "footer", "title", "description")
"""Where a content holds words in which somebody can be mentioned."""
MENTION = re.compile(r"@([0-9]{1,20})(?![0-9])")
ADMIN_EDIT, REVOKED = "3", ("7", "8")
"""What WhatsApp writes beside a channel's message that was changed or deleted: nothing inside of it says so."""
LONGEST_SECONDS = 10**11
SAYS_NO = frozenset({"announcement", "locked", "description", "ephemeral_seconds"})
"""Changes of a group that are changes, too, when they are off or empty now."""


def convert_event(
    kind: str, event: Raw, *, phone_of: Callable[[str], str] = lambda _: "", own: str = ""
) -> list[EngineEvent]:
    """The contract's events in an event of the library; none for what the contract has no event for.

    `phone_of` knows the phone of a LID, where the event itself does not say it; `own` is the session's number.
    """
    convert = _CONVERTERS.get(kind)
    events = convert(event) if convert is not None else []
    for converted in events:
        for party in _persons(converted.data):
            if party.get("lid") and not party.get("phone"):
                party["phone"] = phone_of(str(party["lid"]))
        _name_mentioned(converted.data, phone_of, own=own)
        context = converted.data.get("context")
        if isinstance(context, dict) and str(context.get("participant") or "").endswith(f"@{LID}"):
            context["participant_phone"] = phone_of(without_device(context["participant"]))
    return events


def _persons(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everybody who is named in an event."""
    for name in ("chat", "sender", "participant", "from", "by"):
        if isinstance(data.get(name), dict):
            yield data[name]
    for name in ("added", "removed", "promoted", "demoted"):
        yield from data.get(name, [])


def _name_mentioned(data: dict[str, Any], phone_of: Callable[[str], str], *, own: str) -> None:
    """Let a text name those whom it mentions by their phones: `@24788516941`, digits of a LID, names nobody.

    The session's own number is written as the session writes it: bots look for it.
    """
    content, context = data.get("content"), data.get("context")
    if not isinstance(content, dict) or not isinstance(context, dict):
        return
    phones = {}
    for mention in context.get("mentions") or []:
        address = without_device(str(mention))
        user, _, server = address.partition("@")
        if phone := phone_of(address) if server == LID else user if server == USER else "":
            phones[user] = own if is_same_phone(phone, own) else with_ninth_digit(phone)
    if not phones:
        return
    edited = content.get("content")
    for part in (content, edited if isinstance(edited, dict) else {}):
        for field in WRITTEN:
            if isinstance(text := part.get(field), str) and "@" in text:
                part[field] = MENTION.sub(lambda found: f"@{phones.get(found[1], found[1])}", text)


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
    if context and chat["kind"] == "user" and not context["participant"] and "target_from_me" in context:
        context["from_us"] = context["target_from_me"] == from_me  # the key is as its writer sees it
    flags = ("isviewonce", "isviewoncev2", "isviewoncev2extension")
    data: dict[str, Any] = {
        "id": text_at(info, "id"),
        "chat": chat,
        "sender": sender,
        "from_me": from_me,
        "timestamp_ms": int_at(info, "timestamp"),
        "ephemeral_seconds": timer_of(message),
        "view_once": any(bool(plain.get(name)) for name in flags) or is_view_once(message),
        "edited": bool(plain.get("isedit")),
        "retry_count": int_at(plain, "retrycount"),
        "content": content_of(message),
        "context": context,
    }
    if chat["kind"] == "newsletter":
        data |= {"server_id": int_at(info, "serverid"), **_changed(plain, data)}
    edit = f"{text_at(info, 'edit')}|{data['edited']}"
    parts = (chat["jid"], sender["jid"], data["id"], edit, str(data["retry_count"]), *housekeeping_mark(data))
    return [EngineEvent("message", data, parts=parts, partition=chat["jid"])]


def _history(event: Raw) -> list[EngineEvent]:
    """The messages of a history, in its order. What only changes another one is left out."""
    events = []
    for stored, status, name in messages_in(lowered(event)):
        (converted,) = _message(stored)
        data = converted.data
        if data["content"]["kind"] in NO_MESSAGES:
            continue
        if data["chat"]["kind"] == "group" and name:
            data["chat"]["subject"] = name
        data |= {"history": True, "history_status": status}
        events.append(replace(converted, parts=(*converted.parts, HISTORY_MARK)))
    return events


def _changed(event: Raw, data: dict[str, Any]) -> dict[str, Any]:
    """What a channel's message becomes that is a change of an earlier one: it comes with the id of that."""
    how, content = text_at(object_at(event, "info"), "edit"), data["content"]
    if how in REVOKED:
        return {"id": f"{data['id']}.deleted", "content": {"kind": "revoke", "target_id": data["id"]}}
    if how != ADMIN_EDIT or content["kind"] == "protocol":
        return {}
    at_ms = int_at(object_at(event, "newslettermeta"), "editts") or data["timestamp_ms"]
    content = {"kind": "edit", "target_id": data["id"], "content": content, "at_ms": at_ms}
    return {"id": f"{data['id']}.{at_ms}", "content": content}


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
    chat, sender, from_me = _parties(plain)
    if from_me:  # another device of the number's: it says nothing of the contact
        status = "self_read" if status in ("read", "played", "self_read") else None
    if status is None:
        return []
    ids = [str(message_id) for message_id in list_at(plain, "messageids")]
    timestamp = int_at(plain, "timestamp")
    data: dict[str, Any] = {"status": status, "ids": ids, "chat": chat, "timestamp": timestamp}
    if chat["kind"] in ("group", "status", "broadcast"):
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


def _group_change(event: Raw) -> list[EngineEvent]:
    plain = lowered(event)
    name, topic, gone = object_at(plain, "name"), object_at(plain, "topic"), object_at(plain, "delete")
    announce, locked = object_at(plain, "announce"), object_at(plain, "locked")
    timer, sender = object_at(plain, "ephemeral"), object_at(plain, "sender")
    data: dict[str, Any] = {
        "group": _party(object_at(plain, "jid"), {}),
        "timestamp": _seconds(plain),
        "deleted": bool(gone.get("deleted")),
        "reason": text_at(plain, "joinreason"),
        "invite_link": text_at(plain, "newinvitelink"),
        **({"by": _party(sender, object_at(plain, "senderpn"))} if sender else {}),
        **({"subject": text_at(name, "name")} if name else {}),
        **({"description": text_at(topic, "topic")} if topic else {}),
        **({"announcement": bool(announce.get("isannounce"))} if announce else {}),
        **({"locked": bool(locked.get("islocked"))} if locked else {}),
        **({"ephemeral_seconds": int_at(timer, "disappearingtimer")} if timer else {}),
    }
    people = {"added": "join", "removed": "leave", "promoted": "promote", "demoted": "demote"}
    data |= {field: [_party(jid, {}) for jid in objects_at(plain, raw)] for field, raw in people.items()}
    return _group_event(data)


def _joined_group(event: Raw) -> list[EngineEvent]:
    """The number is in a group: a new one, or one that it was added to."""
    plain = lowered(event)
    group = object_at(plain, "groupinfo")
    members = [_party(object_at(member, "jid"), object_at(member, "phonenumber"))
               for member in objects_at(group, "participants")]  # fmt: skip
    created = text_at(plain, "type") == "new" or bool(text_at(plain, "createkey"))
    sender, timer = object_at(plain, "sender"), int_at(object_at(group, "groupephemeral"), "disappearingtimer")
    data: dict[str, Any] = {
        "group": _party(object_at(group, "jid"), {}),
        "timestamp": int_at(group, "groupcreated") if created else 0,
        "created": created,
        "subject": text_at(object_at(group, "groupname"), "name"),
        "reason": text_at(plain, "reason"),
        "added": members if created else [],
        **({"ephemeral_seconds": timer} if timer else {}),
        **({"by": _party(sender, object_at(plain, "senderpn"))} if sender else {}),
    }
    return _group_event(data | ({} if created else {"joined": True}))


def _picture(event: Raw) -> list[EngineEvent]:
    """A group's picture; those of contacts are looked up when they write."""
    plain = lowered(event)
    chat = _party(object_at(plain, "jid"), {})
    if chat["kind"] != "group":
        return []
    author = object_at(plain, "author")
    data: dict[str, Any] = {
        "group": chat,
        "timestamp": _seconds(plain),
        "picture": "removed" if plain.get("remove") else "set",
        **({"by": _party(author, {})} if author else {}),
    }
    return _group_event(data)


def _seconds(event: Raw) -> int:
    """When it happened. The library gives some times in milliseconds."""
    at = int_at(event, "timestamp")
    return at // 1000 if at > LONGEST_SECONDS else at


def _group_event(data: dict[str, Any]) -> list[EngineEvent]:
    """An event of a group, without what says nothing; the same change told twice is one event."""
    told = {name: part for name, part in data.items() if part not in ("", [], False) or name in SAYS_NO}
    jid = str(data["group"]["jid"])
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return [EngineEvent("group", told, parts=(jid, digest), partition=jid)] if jid else []


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
    jid, alternative = _plain_server(jid), _plain_server(alternative)
    server = text_at(jid, "server")
    address = address_of({**jid, "device": 0})
    users = {text_at(address, "server"): text_at(address, "user") for address in (alternative, jid)}
    personal = server in (USER, LID)
    return {
        "jid": address,
        "kind": kind_of_chat(address),
        "phone": users.get(USER, "") if personal else "",
        "lid": f"{users[LID]}@lid" if personal and users.get(LID) else "",
        "device": int_at(jid, "device"),
    }


def _plain_server(jid: Raw) -> Raw:
    server = text_at(jid, "server")
    return {**jid, "server": HOSTED[server]} if server in HOSTED else jid


def _raw(event: Raw, name: str) -> Raw:
    value = event.get(name) or event.get(name.lower())
    return value if isinstance(value, dict) else {}


_CONVERTERS: dict[str, Callable[[Raw], list[EngineEvent]]] = {
    "HistorySync": _history,
    "Message": _message,
    "UndecryptableMessage": _undecryptable,
    "Receipt": _receipt,
    "CallOffer": _call("offer"),
    "CallOfferNotice": _call("notice"),
    "CallTerminate": _call("terminate"),
    "GroupInfo": _group_change,
    "JoinedGroup": _joined_group,
    "Picture": _picture,
}
