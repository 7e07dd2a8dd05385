"""What a simulated contact writes."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from unoapi.models.cloud_api.messages.sender import sender_of
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

    @model_validator(mode="before")
    @classmethod
    def _user_of_events(cls, value: Any) -> Any:
        """A user id, or a LID, in `from` is the `from_user_id`: who has no phone is named so elsewhere."""
        written = value.get("from") if isinstance(value, dict) else None
        user_id = Identity.of(written.strip()).user_id if isinstance(written, str) else ""
        return {**value, "from": "", "from_user_id": value.get("from_user_id") or user_id} if user_id else value

    @field_validator("sender", mode="before")
    @classmethod
    def _plain_sender(cls, value: object, info: ValidationInfo) -> object:
        value = figures(value)
        if not isinstance(value, str) or not value:
            return value
        address = read_address(value, own=sender_of(info).phone)
        if "@" in address:
            raise ValueError("must be somebody's phone or user id; a group is named in `group_id`")
        return address

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
