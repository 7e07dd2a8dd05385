"""What a simulated contact writes."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from unoapi.models.identity import Identity
from unoapi.models.phones import read_address
from unoapi.models.text import figures


class SandboxProfile(BaseModel):
    """Who a simulated contact says to be. What else Meta has of a profile, as `username`, stands in the event, too."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    name: str = Field(default="", max_length=200)


class SandboxMessage(BaseModel):
    """A simulated contact writes: any message type, its object beside it as in a received message."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, populate_by_name=True)

    sender: str = Field(default="", alias="from", pattern=r"^([0-9]{5,20})?$")
    from_user_id: str = Field(default="", pattern=r"^([A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}|[0-9]{1,20}@lid)?$")
    profile: SandboxProfile = SandboxProfile()
    type: str = Field(pattern=r"^[a-z_]{1,32}$")
    id: str | None = Field(default=None, min_length=1, max_length=512, pattern=r"^[\x21-\x7e]+$")
    timestamp: str | int | None = None

    @field_validator("sender", mode="before")
    @classmethod
    def _plain_sender(cls, value: object) -> object:
        value = figures(value)
        return read_address(value) if isinstance(value, str) and value else value

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if not self.identity:
            raise PydanticCustomError("missing", "from: is missing, and so is from_user_id")
        return self

    @property
    def identity(self) -> Identity:
        """Who writes: a phone, or a user id of somebody whose phone is not known."""
        return Identity(self.sender, self.from_user_id)

    @property
    def contact(self) -> dict[str, Any]:
        """The one who writes, as an event names the contact."""
        named = self.identity.as_contact(self.profile.name)
        return {**named, "profile": {**named["profile"], **(self.profile.model_extra or {})}}

    @property
    def message(self) -> dict[str, Any]:
        """The received message without our own fields."""
        return {**self.identity.as_sender(), "type": self.type, **(self.model_extra or {})}
