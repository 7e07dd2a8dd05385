"""What a provider answers to a send: the statuses that it knows already."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from unoapi.models.jobs import now_ms


class StatusUpdate(BaseModel):
    """One status of a sent message, `after_ms` milliseconds after the send."""

    model_config = ConfigDict(frozen=True)

    status: Literal["sent", "delivered", "read", "played", "failed"]
    after_ms: int = Field(default=0, ge=0)
    error: dict[str, Any] | None = None


class Receipt(BaseModel):
    """The outcome of one send. Statuses that come later, from the connector or from Meta, are not in it.

    `recipient` is the address that it went to, `user_id` what the provider calls the same person besides.
    """

    model_config = ConfigDict(frozen=True)

    recipient: str
    user_id: str = ""
    at_ms: int = Field(default_factory=now_ms)
    statuses: tuple[StatusUpdate, ...] = ()

    def packed(self) -> dict[str, Any]:
        """The receipt as JSON without what is a default, to be stored with each message."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"at_ms": self.at_ms}
