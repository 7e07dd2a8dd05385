"""One received message of every type that a webhook can get, as a contact of the sandbox writes it."""

from __future__ import annotations

from typing import Any

SHA = "0" * 64
QUOTED = {"from": "5511999990000", "id": "wamid.QUOTED"}


def media(mime_type: str, **more: Any) -> dict[str, Any]:
    return {"id": "1234567890123456", "mime_type": mime_type, "sha256": SHA, **more}


RECEIVED: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": {"body": "Olá, tudo bem? 🙂"}},
    "reply": {"type": "text", "text": {"body": "yes"}, "context": QUOTED},
    "image": {"type": "image", "image": media("image/jpeg", caption="look")},
    "video": {"type": "video", "video": media("video/mp4")},
    "audio": {"type": "audio", "audio": media("audio/ogg; codecs=opus", voice=True)},
    "document": {"type": "document", "document": media("application/pdf", filename="a.pdf")},
    "sticker": {"type": "sticker", "sticker": media("image/webp", animated=False)},
    "location": {"type": "location", "location": {"latitude": -23.5, "longitude": -46.6, "name": "SP"}},
    "contacts": {
        "type": "contacts",
        "contacts": [
            {
                "name": {"formatted_name": "Ana", "first_name": "Ana"},
                "phones": [{"phone": "+55 11 98888-7777", "wa_id": "5511988887777", "type": "CELL"}],
            }
        ],
    },
    "reaction": {"type": "reaction", "reaction": {"message_id": "wamid.QUOTED", "emoji": "👍"}},
    "button": {"type": "button", "button": {"text": "Yes", "payload": "yes"}, "context": QUOTED},
    "button_reply": {
        "type": "interactive",
        "interactive": {"type": "button_reply", "button_reply": {"id": "y", "title": "Yes"}},
        "context": QUOTED,
    },
    "list_reply": {
        "type": "interactive",
        "interactive": {"type": "list_reply", "list_reply": {"id": "1", "title": "One", "description": "first"}},
        "context": QUOTED,
    },
    "unsupported": {
        "type": "unsupported",
        "errors": [
            {
                "code": 131051,
                "title": "Message type unknown",
                "message": "Message type unknown",
                "error_data": {"details": "Message type is currently not supported."},
            }
        ],
    },
}
