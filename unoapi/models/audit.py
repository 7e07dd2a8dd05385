"""What people changed: who, what and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from unoapi.models.jobs import now_ms

OPERATOR, SESSION = "operator", "session"
MAX_CHARS = 200


class AuditEntry(BaseModel):
    """One change. `who` is `operator`, the number whose token was used, or `session` where the number is not known.

    `what` is a word such as `admin.replay`. `detail` is a safe sentence: ids and counts, never a token or a body.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    at_ms: int = Field(default_factory=now_ms, ge=0)
    who: str = Field(max_length=20)
    what: str = Field(max_length=64)
    phone: str = Field(default="", max_length=20)
    detail: str = Field(default="", max_length=MAX_CHARS)
    address: str = Field(default="", max_length=64)

    def as_json(self) -> dict[str, Any]:
        """What the API answers."""
        at = datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return {"at": at, **self.model_dump()}
