"""A command on a message that is there already: mark it as read, show typing, delete it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from unoapi.models.cloud_api.as_sent import AsSent, ClientPart, Product

TYPING_S = 25
"""So long a contact sees at most that an answer is being written. An indicator that is later says what is not so."""


class TypingIndicator(ClientPart):
    """What the contact sees for up to `TYPING_S`."""

    type: Literal["text"] = "text"


class Command(AsSent):
    """Mark a received message as read, show that an answer is being written, or delete a message for everybody."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X"}]},
    )

    messaging_product: Product = "whatsapp"
    status: Literal["read", "deleted"] | None = None
    message_id: str | None = Field(default=None, min_length=1, max_length=512, coerce_numbers_to_str=True)
    typing_indicator: TypingIndicator | None = None
    to: str | None = Field(default=None, max_length=128)

    def without_typing(self) -> Self:
        """The same without its indicator. Only for a command that says more."""
        document = {name: part for name, part in self.to_wire().items() if name != "typing_indicator"}
        return self.model_validate(document)

    @model_validator(mode="after")
    def _names_a_message(self) -> Self:
        if self.message_id is None:
            raise PydanticCustomError("missing", "message_id: is missing")
        if self.status is None and self.typing_indicator is None:
            raise PydanticCustomError("missing", "status: is missing")
        return self
