"""All message types by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.models.cloud_api.messages import contents, interactive

if TYPE_CHECKING:
    from unoapi.models.cloud_api.messages.outbound import OutboundMessage

MESSAGES: dict[str, type[OutboundMessage]] = {
    "text": contents.TextMessage,
    "image": contents.ImageMessage,
    "video": contents.VideoMessage,
    "audio": contents.AudioMessage,
    "speech": contents.SpeechMessage,
    "document": contents.DocumentMessage,
    "sticker": contents.StickerMessage,
    "location": contents.LocationMessage,
    "contacts": contents.ContactsMessage,
    "reaction": contents.ReactionMessage,
    "poll": contents.PollMessage,
    "pin": contents.PinMessage,
    "message_edit": contents.EditMessage,
    "interactive": interactive.InteractiveMessage,
    "template": interactive.TemplateMessage,
}
