"""What the operator is told of a failure, and of many like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from unoapi.models.attempts import MAX_ERROR_CHARS

MAX_ALERT_CHARS = 3500
"""Of one alert; Telegram takes 4096, with its title."""
AlertKind = Literal["webhook.failed", "message.failed", "transcription.failed", "endpoint.down", "endpoint.up"]
Level = Literal["info", "success", "warning", "failure"]


class Alert(BaseModel):
    """One failure, or that one ended: what a callback says, without bodies. Times are Unix time in milliseconds."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="ignore")

    kind: AlertKind
    phone: str = Field(max_length=20)
    webhook_id: str = Field(default="", max_length=512)
    message_id: str = Field(default="", max_length=512)
    reason: str = Field(default="", max_length=64)
    at_ms: int = Field(ge=0)
    first_error: str = Field(default="", max_length=MAX_ERROR_CHARS)
    last_error: str = Field(default="", max_length=MAX_ERROR_CHARS)

    @property
    def group(self) -> str:
        """What those that are told together have in common."""
        return f"{self.kind}\x1f{self.phone}\x1f{self.webhook_id}\x1f{self.reason}"


@dataclass(frozen=True)
class AlertGroup:
    """Failures of one kind, of one webhook or number, with one reason: how many, the first and the last of them.

    `overflow` holds the failures of all further kinds, when there were too many kinds to keep apart.
    """

    count: int
    first: Alert
    last: Alert
    overflow: bool = False


@dataclass(frozen=True)
class Digest:
    """One alert for a channel: a line, and what it stands for."""

    title: str
    body: str
    level: Level
