"""What an API client sends, checked at the door with the Cloud API's limits."""

from unoapi.models.cloud_api.messages.command import TYPING_S, Command
from unoapi.models.cloud_api.messages.contents import (
    AudioMessage,
    CaptionedMedia,
    ContactsMessage,
    DocumentMessage,
    EditMessage,
    ImageMessage,
    LocationMessage,
    MediaObject,
    Pin,
    PinMessage,
    PollMessage,
    ReactionMessage,
    SpeechMessage,
    Text,
    TextMessage,
)
from unoapi.models.cloud_api.messages.interactive import InteractiveMessage, Template, TemplateMessage
from unoapi.models.cloud_api.messages.outbound import (
    OutboundMessage,
    computed_message_id,
    new_message_id,
)
from unoapi.models.cloud_api.messages.sandbox import SandboxMessage
from unoapi.models.cloud_api.messages.sender import MAX_TEXT_CHARS, UNKNOWN, Sender
from unoapi.models.cloud_api.messages.types import MESSAGES

__all__ = [
    "MAX_TEXT_CHARS", "MESSAGES", "TYPING_S", "UNKNOWN", "AudioMessage", "CaptionedMedia", "Command",
    "ContactsMessage", "DocumentMessage", "EditMessage", "ImageMessage", "InteractiveMessage", "LocationMessage",
    "MediaObject", "OutboundMessage", "Pin", "PinMessage", "PollMessage", "ReactionMessage", "SandboxMessage", "Sender",
    "SpeechMessage", "Template", "TemplateMessage", "Text", "TextMessage", "computed_message_id", "new_message_id",
]  # fmt: skip
