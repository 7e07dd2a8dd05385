"""The options of a session that say how it is connected and which of its messages are looked at."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic.alias_generators import to_camel


class ConnectorOptions(BaseModel):
    """Field names and meaning are the former program's, except `interactive_mode`. Times in milliseconds."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", hide_input_in_errors=True
    )

    server: str = Field(default="server_1", max_length=100)
    connection_type: Literal["qrcode", "pairing_code", "forward"] = "qrcode"
    auto_connect: bool = True
    qr_timeout_ms: int = Field(default=60_000, ge=1000, le=600_000)
    proxy_url: SecretStr = SecretStr("")
    ignore_group_messages: bool = True
    ignore_newsletter_messages: bool = True
    ignore_broadcast_statuses: bool = True
    ignore_broadcast_messages: bool = False
    ignore_own_messages: bool = True
    ignore_yourself_messages: bool = False
    read_on_receipt: bool = False
    composing_message: bool = False
    send_connection_status: bool = True
    send_reaction_as_reply: bool = False
    outgoing_messages_coex: bool = False
    reject_calls: str = Field(default="", max_length=1000)
    message_calls_webhook: str = Field(default="", max_length=1000)
    interactive_mode: Literal["text", "classic", "native"] = "text"

    @field_validator("proxy_url", "reject_calls", "message_calls_webhook", mode="before")
    @classmethod
    def _none_is_empty_text(cls, value: object) -> object:
        return "" if value is None else value

    def ignores(self, *, chat: str, phone: str, from_me: bool) -> str:
        """The name of the option that keeps a message of this chat away; empty when none does."""
        user, _, server = chat.partition("@")
        to_itself = user.partition(":")[0] == phone and server in ("", "s.whatsapp.net")
        checks: dict[str, Any] = {
            "ignoreGroupMessages": self.ignore_group_messages and server == "g.us",
            "ignoreNewsletterMessages": self.ignore_newsletter_messages and server == "newsletter",
            "ignoreBroadcastStatuses": self.ignore_broadcast_statuses and chat == "status@broadcast",
            "ignoreBroadcastMessages": self.ignore_broadcast_messages
            and server == "broadcast"
            and chat != "status@broadcast",
            "ignoreYourselfMessages": self.ignore_yourself_messages and from_me and to_itself,
            "ignoreOwnMessages": self.ignore_own_messages and from_me and not to_itself,
        }
        return next((name for name, ignored in checks.items() if ignored), "")
