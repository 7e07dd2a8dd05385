"""The options of a session that say how it is connected and which of its messages are ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from unoapi.models.identity import is_same_phone
from unoapi.models.options import Options
from unoapi.models.phones import without_device
from unoapi.models.text import credential


class ConnectorOptions(Options):
    """`server` is the connector that runs the session; `interactive_mode` how lists and buttons are sent."""

    server: Annotated[str, BeforeValidator(credential)] = Field(default="server_1", max_length=100)
    interactive_mode: Literal["text", "classic", "native"] = "text"

    def ignores(self, *, chat: str, phone: str, from_me: bool) -> str:
        """The name of the option for which a message of this chat is ignored; empty when none is."""
        user, _, server = without_device(chat).partition("@")
        to_itself = server in ("", "s.whatsapp.net") and is_same_phone(user, phone)
        status = chat == "status@broadcast"
        checks = {
            "ignoreGroupMessages": self.ignore_group_messages and server == "g.us",
            "ignoreNewsletterMessages": self.ignore_newsletter_messages and server == "newsletter",
            "ignoreBroadcastStatuses": self.ignore_broadcast_statuses and status,
            "ignoreBroadcastMessages": self.ignore_broadcast_messages and server == "broadcast" and not status,
            "ignoreYourselfMessages": self.ignore_yourself_messages and from_me and to_itself,
            "ignoreOwnMessages": self.ignore_own_messages and from_me and not to_itself,
        }
        return next((name for name, ignored in checks.items() if ignored), "")
