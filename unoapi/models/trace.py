"""The life of a message, one entry per step."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Step = Literal[
    "accepted", "queued", "sent", "status", "received", "event", "filtered", "attempt", "postponed", "delivered",
    "duplicate", "superseded", "suspected", "endpoint", "dead", "replayed", "notified", "callback", "failed",
]  # fmt: skip


class TraceEntry(BaseModel):
    """One step. `status` and `duration_ms` belong to attempts; `detail` is a safe sentence."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    step: Step
    phone: str
    message_id: str
    kind: str = ""
    webhook: str = ""
    delivery_id: str = ""
    attempt: int | None = None
    status: int | None = None
    duration_ms: int | None = None
    detail: str = Field(default="", max_length=300)
