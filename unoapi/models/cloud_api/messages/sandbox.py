"""What a simulated contact writes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from unoapi.models.phones import read_address


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

    @field_validator("sender", mode="before")
    @classmethod
    def _plain_sender(cls, value: object) -> object:
        return read_address(value) if isinstance(value, str) else value

    @property
    def message(self) -> dict[str, Any]:
        """The received message without our own fields."""
        return {"from": self.sender, "type": self.type, **(self.model_extra or {})}
