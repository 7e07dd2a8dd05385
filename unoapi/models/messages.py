"""What an API client sends, checked at the door with the Cloud API's limits."""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

PUNCTUATION = re.compile(r"[\s()+.-]")
MIN_DIGITS, MAX_DIGITS = 5, 20
GROUP = re.compile(r"[\w.-]{1,64}@(g\.us|lid|newsletter|s\.whatsapp\.net)", re.ASCII)

MESSAGE_TYPES = frozenset(
    {
        "text", "image", "video", "audio", "document", "sticker", "location", "contacts", "reaction", "interactive",
        "template",
    }
)  # fmt: skip
"""All types of the Cloud API that this gateway will take."""

CheckedType = Literal["text"]


class Text(BaseModel):
    """The object of a text message."""

    model_config = ConfigDict(hide_input_in_errors=True)

    body: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    preview_url: bool = False


class OutboundMessage(BaseModel):
    """A message as a client posts it. Unknown fields are kept and ignored."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    messaging_product: Literal["whatsapp"]
    to: str = Field(min_length=1, max_length=128)
    type: CheckedType = "text"
    text: Text

    @field_validator("to", mode="before")
    @classmethod
    def _plain_recipient(cls, value: object) -> object:
        """Digits of a phone, or the address of a group. Clients write "+55 11 9…" too."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            return value
        if GROUP.fullmatch(value):
            return value
        digits = PUNCTUATION.sub("", value)
        if not digits.isascii() or not digits.isdigit() or not MIN_DIGITS <= len(digits) <= MAX_DIGITS:
            raise ValueError("must be a phone number in international form, digits only, or the address of a group")
        return digits


def new_message_id() -> str:
    """A message id in WhatsApp's form, safe in a path."""
    return f"wamid.{secrets.token_hex(16).upper()}"


class SandboxProfile(BaseModel):
    """Who a simulated contact says to be."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str = Field(default="", max_length=200)


class SandboxMessage(BaseModel):
    """A simulated contact writes: any message type, its object beside it as in a received message."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, populate_by_name=True)

    sender: str = Field(alias="from", pattern=r"^[0-9]{5,20}$")
    profile: SandboxProfile = SandboxProfile()
    type: str = Field(pattern=r"^[a-z_]{1,32}$")
    id: str | None = Field(default=None, min_length=1, max_length=512, pattern=r"^[\x21-\x7e]+$")
    timestamp: str | int | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The received message without our own fields."""
        return {"from": self.sender, "type": self.type, **(self.model_extra or {})}
