"""Timers: a message that goes out when nobody answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from unoapi.models.cloud_api.messages.sender import MAX_TEXT_CHARS
from unoapi.models.identity import is_user_id
from unoapi.models.phones import META_GROUP

MAX_TIMEOUT_MS = 30 * 86_400_000
MAX_NEXTS = 50
MAX_TIMERS = 10_000
"""Timers of a number that wait, stopped ones included: each stands in RabbitMQ until its time is over."""
MAX_TIMER_BYTES = 256 * 1024
Conversation = tuple[str, str]
"""A number's phone, and one of the keys of whom it talks with."""


class TimerStep(BaseModel):
    """One message of a timer. `timeout` is in milliseconds; text works, too."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)

    timeout: int = Field(ge=1, le=MAX_TIMEOUT_MS)
    type: str = Field(default="text", pattern=r"^[a-z_]{1,32}$")
    message: Annotated[
        Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS), Tag("(text)")]
        | Annotated[dict[str, Any], Tag("(object)")],
        Discriminator(lambda value: "(object)" if isinstance(value, dict) else "(text)"),
    ]

    @model_validator(mode="after")
    def _only_text_is_plain(self) -> TimerStep:
        if isinstance(self.message, str) and self.type != "text":
            raise ValueError("a message of another type than text is the object of that type")
        return self

    def send_body(self, to: str) -> dict[str, Any]:
        """The Cloud API message to send."""
        content = {"body": self.message} if isinstance(self.message, str) else self.message
        whom = {"recipient": to} if is_user_id(to) else {"to": to}
        kind = {"recipient_type": "group"} if META_GROUP.fullmatch(to) else {}
        return {"messaging_product": "whatsapp", **kind, **whom, "type": self.type, self.type: content}


class TimerRequest(TimerStep):
    """A timer as a client asks for it. `nexts` follow one after the other."""

    nexts: list[TimerStep] = Field(default=[], max_length=MAX_NEXTS)


class TimerState(BaseModel):
    """The state of a contact's timer. `direction` is `incoming` when the number wrote last."""

    model_config = ConfigDict(frozen=True)

    last_ms: int | None = None
    direction: str = ""
