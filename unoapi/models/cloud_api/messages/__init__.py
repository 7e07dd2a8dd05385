"""What an API client sends, checked at the door with the Cloud API's limits."""

from unoapi.models.cloud_api.messages.marks import Command
from unoapi.models.cloud_api.messages.outbound import OutboundMessage, computed_message_id, new_message_id, recipient_of
from unoapi.models.cloud_api.messages.sandbox import SandboxMessage
from unoapi.models.cloud_api.messages.types import MESSAGES, parse_message

__all__ = [
    "MESSAGES",
    "Command",
    "OutboundMessage",
    "SandboxMessage",
    "computed_message_id",
    "new_message_id",
    "parse_message",
    "recipient_of",
]
