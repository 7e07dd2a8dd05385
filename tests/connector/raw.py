"""Received messages in the common notation of the case files, as a connector's events have them."""

from __future__ import annotations

from typing import Any

from unoapi.connector.convert.inbound import content_of, context_of
from unoapi.models.phones import user_of


def party(jid: str, *, alternative: str = "", **names: str) -> dict[str, Any]:
    """A chat or a sender with its phone and LID, as far as they are known."""
    addresses = [address for address in (jid, alternative) if address]
    phone = next((user_of(address) for address in addresses if address.endswith("@s.whatsapp.net")), "")
    lid = next((address for address in addresses if address.endswith("@lid")), "")
    servers = {"g.us": "group", "newsletter": "newsletter", "broadcast": "status"}
    kind = servers.get(jid.partition("@")[2], "user")
    return {"jid": jid, "kind": kind, "phone": phone, "lid": lid, **names}


def received(raw: dict[str, Any]) -> dict[str, Any]:
    """The data of a `message` event."""
    key = raw["key"]
    chat = str(key["remoteJid"])
    writer = str(key.get("participant") or raw.get("participant") or chat)
    alternative = str(key.get("senderPn") or key.get("remoteJidAlt") or key.get("participantPn") or "")
    metadata = raw.get("groupMetadata") or {}
    names = {
        "push_name": raw.get("pushName", ""),
        "verified_name": raw.get("verifiedBizName", ""),
        "username": key.get("remoteJidUsername", ""),
        "picture": raw.get("profilePicture", ""),
    }
    group = {"subject": metadata.get("subject", ""), "picture": metadata.get("profilePicture", "")}
    individual = chat.endswith(("@s.whatsapp.net", "@lid"))
    return {
        "id": key["id"],
        "chat": party(chat, alternative=alternative, **(names if individual else group)),
        "sender": party(writer, alternative=alternative, **names),
        "from_me": key.get("fromMe", False),
        "timestamp_ms": raw["messageTimestamp"] * 1000,
        "content": content_of(raw["message"]),
        "context": context_of(raw["message"]),
    }
