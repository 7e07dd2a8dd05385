"""The request bin: shows what a webhook gets to a developer who has no receiver."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

BIN_URL = "https://bin.invalid/"
"""The address of a webhook whose requests are kept here and go nowhere. No name under `.invalid` is ever given out."""
BIN_WEBHOOK = "console-bin"
"""The id of such a webhook where we make one."""
HIDDEN = "***"


class BinnedRequest(BaseModel):
    """A request that was kept. `seq` grows from one to the next; a body that was too long is cut."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    seq: int
    webhook: str
    headers: dict[str, str]
    body: str

    def as_json(self) -> dict[str, Any]:
        """What the API answers."""
        at = datetime.fromtimestamp(self.seq / 1_000_000, UTC).isoformat(timespec="milliseconds")
        return {**self.model_dump(), "at": at}
