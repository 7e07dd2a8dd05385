"""What all messages have in common: for whom, in answer to what, and the client's own mark."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, PrivateAttr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from unoapi.models.cloud_api.as_sent import AsSent, ClientPart, Product
from unoapi.models.cloud_api.messages.sender import sender_of
from unoapi.models.identity import is_user_id
from unoapi.models.phones import (
    CHAT_ID,
    GROUP,
    GROUP_OF_Z_API,
    LID,
    META_GROUP,
    is_valid,
    read_address,
    with_ninth_digit,
)
from unoapi.models.text import figures

USER_ID = r"^[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}$"
"""A business-scoped user id: what stands for a contact whose phone is not known."""


class Context(ClientPart):
    """The message that is answered."""

    message_id: str | None = Field(default=None, validation_alias=AliasChoices("message_id", "id"), max_length=512)

    @property
    def quoted_id(self) -> str:
        """The id of that message, in whichever of both fields it stands; empty when it stands in none."""
        return self.message_id or str(getattr(self, "id", None) or "")


class OutboundMessage(AsSent):
    """A message as a client posts it.

    `to` is the address to send to: a phone of digits only, with the ninth one of Brazilian mobiles, or a chat's.
    """

    type: str
    messaging_product: Product = "whatsapp"
    recipient_type: Literal["individual", "group"] = "individual"
    to: str | None = Field(default=None, max_length=128, description="Digits of a phone, or the address of a chat.")
    recipient: str | None = Field(default=None, pattern=USER_ID, description="Instead of `to`: the contact's user id.")
    context: Context | None = None
    biz_opaque_callback_data: str | None = Field(
        default=None, max_length=512, coerce_numbers_to_str=True, description="Comes back in statuses."
    )
    ttl: int | None = Field(default=None, ge=0, description="Seconds until the message disappears.")

    _marketing: bool = PrivateAttr(default=False)

    @property
    def marketing(self) -> bool:
        """Whether it goes to Meta's path of marketing messages: billing and delivery differ there."""
        return self._marketing

    def as_marketing(self) -> Self:
        """This message for that path."""
        self._marketing = True
        return self

    @model_validator(mode="before")
    @classmethod
    def _recipient_of_events(cls, value: Any) -> Any:
        """Clients send our own `user_id` back as `recipient`, mostly beside `to`: digits there are a phone.

        As Meta does, the phone is taken when there are both. Who answers to `from` alone writes a user id as `to`.
        """
        if not isinstance(value, dict):
            return value
        to, recipient = _plain(value.get("to")), _plain(value.get("recipient"))
        if _is_user_id(to):
            to, recipient = None, recipient or to
        elif "recipient" not in value:
            return value
        if recipient in (None, "") or _is_user_id(recipient):
            return {**value, "to": to or None, "recipient": recipient or None}
        return {**value, "to": to or recipient, "recipient": None}

    @field_validator("recipient_type", mode="before")
    @classmethod
    def _one_by_default(cls, value: object) -> object:
        """Clients that fill in every field send an empty one."""
        return value.lower() if isinstance(value, str) and value else value or "individual"

    @field_validator("to", mode="before")
    @classmethod
    def _plain_recipient(cls, value: object, info: ValidationInfo) -> object:
        """Digits of a phone, or the address of a chat, out of what people write: "+55 (11) 9…", "…@c.us"."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # out of a table that takes it for an amount
        value = figures(value)
        if not isinstance(value, str):
            return value
        sender = sender_of(info)
        if info.data.get("recipient_type") == "group":
            value = value.strip()
            is_phone = is_valid(with_ninth_digit(value))  # which is somebody's, and no group's
            if CHAT_ID.fullmatch(value) and not is_phone:
                return f"{value}@{GROUP}"
            if GROUP_OF_Z_API.fullmatch(value):
                return read_address(value)
            if META_GROUP.fullmatch(value) and not sender.at_meta:
                raise ValueError("only a number at Meta can send to a group of Meta's")
            if META_GROUP.fullmatch(value):
                return value
        return read_address(value, own=sender.phone)

    @model_validator(mode="after")
    def _has_a_recipient(self) -> Self:
        if self.to is None and self.recipient is None:
            raise PydanticCustomError("missing", "to: is missing")
        return self

    @model_validator(mode="after")
    def _of_a_person(self) -> Self:
        """A LID, a user id and what was read as a phone are a person's, whatever a client says that it is."""
        if self.to is None or self.to.endswith(f"@{LID}") or self.to.isdigit():
            self.recipient_type = "individual"
        return self

    @property
    def addressee(self) -> str:
        """For whom the message is: a phone, a chat or a user id."""
        return self.to or self.recipient or ""

    def to_wire(self) -> dict[str, Any]:
        """The message as it goes to others: what the client sent, with its type and the address that was made out."""
        wire = {**super().to_wire(), "messaging_product": "whatsapp", "type": self.type}
        if "recipient_type" in wire:
            wire["recipient_type"] = self.recipient_type
        if self.biz_opaque_callback_data is not None:
            wire["biz_opaque_callback_data"] = self.biz_opaque_callback_data
        addresses = {"to": self.to, "recipient": self.recipient}
        others = {name: value for name, value in wire.items() if name not in addresses}
        return {**others, **{name: address for name, address in addresses.items() if address is not None}}


def _plain(written: Any) -> Any:
    return written.strip() if isinstance(written, str) else written


def _is_user_id(written: Any) -> bool:
    return isinstance(written, str) and is_user_id(written)


def new_message_id() -> str:
    """A message id in WhatsApp's form, safe in a path."""
    return f"wamid.{secrets.token_hex(16).upper()}"


def computed_message_id(phone: str, key: str) -> str:
    """The message id of an idempotency key: the same key of the same phone gives the same message."""
    digest = hashlib.sha256(f"{phone}\x1f{key}".encode()).hexdigest()
    return f"wamid.{digest[:32].upper()}"
