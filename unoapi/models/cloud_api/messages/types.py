"""All message types by name, and the one way in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from unoapi.errors import RequestError
from unoapi.models.cloud_api.messages import contents, interactive
from unoapi.models.phones import to_phone

if TYPE_CHECKING:
    from unoapi.models.cloud_api.messages.outbound import OutboundMessage

MESSAGES: dict[str, type[OutboundMessage]] = {
    "text": contents.TextMessage,
    "image": contents.ImageMessage,
    "video": contents.VideoMessage,
    "audio": contents.AudioMessage,
    "document": contents.DocumentMessage,
    "sticker": contents.StickerMessage,
    "location": contents.LocationMessage,
    "contacts": contents.ContactsMessage,
    "reaction": contents.ReactionMessage,
    "message_edit": contents.EditMessage,
    "interactive": interactive.InteractiveMessage,
    "template": interactive.TemplateMessage,
}
LATER = frozenset({"speech"})
"""What the former program takes and this one does not yet."""


def parse_message(body: dict[str, Any]) -> dict[str, Any]:
    """Check a client's message and give it its plain form: what providers get.

    Raises RequestError for a type that is not supported, pydantic's ValidationError for the rest.
    """
    kind = body.get("type", "text")
    if isinstance(kind, str) and kind in LATER:
        details = f"Messages of type {kind!r} are not built yet."
        raise RequestError("Not implemented", code=131051, status=501, details=details)
    model = MESSAGES.get(kind) if isinstance(kind, str) else None
    if model is None:
        details = f"Messages of type {str(kind)[:40]!r} are not supported. Supported: {', '.join(MESSAGES)}."
        raise RequestError("Message type is not supported", code=131051, status=400, details=details)
    message = model.model_validate(body)
    plain = {**body, "messaging_product": "whatsapp", "type": kind}
    if message.to is not None:
        plain["to"] = message.to if "@" in message.to else to_phone(message.to)
    if kind == "interactive" and isinstance(body["interactive"]["action"], str):
        plain["interactive"] = {**body["interactive"], "action": json.loads(body["interactive"]["action"])}
    return plain
