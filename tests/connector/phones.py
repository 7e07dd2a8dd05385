"""Simulated phones: what they receive and send, and what the API and the webhooks get of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.support.stack import CONTACT, PHONE, Stack, eventually
from unoapi.connector.engines.registry import SIMULATED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.receiver import Receiver

NOBODY = "http://127.0.0.1:9/"
"""A webhook's address where nothing listens."""
CHAT = {"jid": f"{CONTACT}@s.whatsapp.net", "kind": "user", "phone": CONTACT, "push_name": "Maria"}


class Phone:
    """One simulated phone of a stack."""

    def __init__(self, uno: Stack, phone: str = PHONE) -> None:
        self.uno = uno
        self.phone = phone
        self.folder: Path = uno.folder / "phones" / phone / SIMULATED

    def log_in(self) -> None:
        """As if a QR code had been scanned once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder.parent / "login").write_text(f"{self.phone}:1@s.whatsapp.net")

    def simulate(self, **line: Any) -> None:
        """Hand the simulated engine an event (`type`, `data`) or an instruction (`do`)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def receives(self, message_id: str, content: dict[str, Any], **more: Any) -> None:
        """A contact writes."""
        data = {"id": message_id, "chat": CHAT, "sender": CHAT, "timestamp_ms": time.time_ns() // 1_000_000}
        self.simulate(type="message", data={**data, "content": content, **more})

    def sent(self) -> list[dict[str, Any]]:
        """Messages that left for WhatsApp."""
        return [line for line in self.written() if "message" in line]

    def written(self) -> list[dict[str, Any]]:
        file = self.folder / "sent.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def state(self) -> dict[str, Any]:
        answer = self.uno.get(f"/session/{self.phone}/state")
        return dict(answer.json()) if answer.ok else {"status": answer.text}

    def wait_online(self, *, within_s: float = 30) -> None:
        eventually(lambda: self.status() == "online", within_s=within_s, what="online")

    def status(self) -> str:
        import redis  # noqa: PLC0415 (only here)

        client: Any = redis.Redis.from_url(self.uno.environment["REDIS_URL"], decode_responses=True)
        return str(client.get(f"unoapi-status:{self.phone}"))


def events(receiver: Receiver, path: str = "/hook") -> list[dict[str, Any]]:
    """The values of all events that a webhook got, in order."""
    bodies = [json.loads(request.body) for request in receiver.requests(path)]
    return [body["entry"][0]["changes"][0]["value"] for body in bodies]


def statuses(receiver: Receiver, message_id: str, path: str = "/hook") -> list[str]:
    """The statuses of a sent message that a webhook got, in order."""
    every = [status for value in events(receiver, path) for status in value.get("statuses", [])]
    return [status["status"] for status in every if status["id"] == message_id]


def messages(receiver: Receiver) -> list[dict[str, Any]]:
    """The received messages that a webhook got, without notices, in order."""
    every = [message for value in events(receiver) for message in value.get("messages", [])]
    return [message for message in every if not message["id"].startswith("UNO.NOT.")]


def messages_with(receiver: Receiver, message_id: str) -> list[dict[str, Any]]:
    """What a webhook got of one received message."""
    return [message for message in messages(receiver) if message["id"] == message_id]


def connected_phone(uno: Stack, url: str = NOBODY) -> Phone:
    """A phone that is logged in and connected, with one webhook; the connector is started for it."""
    phone = Phone(uno)
    phone.log_in()
    uno.register([{"id": "crm", "urlAbsolute": url}], provider="whatsmeow")
    uno.connector()
    phone.wait_online()
    return phone
