"""Replays: events of the past that go to one webhook again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from unoapi.models.endpoints import Endpoint

if TYPE_CHECKING:
    from unoapi.models.jobs import FanOut

DEFAULT_RATE, MAX_RATE = 50, 1_000
"""Events a second."""

STANDS_MS = 900_000
"""A replay that was not heard of for so long does not go on, and another one may begin: its job is dead, or gone."""

State = Literal["running", "done", "cancelled", "failed"]


@dataclass(frozen=True)
class StoredEvent:
    """An event of the stream: at which position it stands, and when it was published, in Unix milliseconds."""

    position: int
    published_ms: int
    job: FanOut


class StreamBounds(NamedTuple):
    """When the oldest and the newest event of the stream were published, in Unix ms, and the newest one's position."""

    oldest_ms: int
    newest_ms: int
    newest: int


class Progress(BaseModel):
    """How far a replay is. The stream was read from position `begin` to `position`, and is to be until `end`.

    -1: not yet known. `retrying` are events that failed and go on as any delivery does; `skipped` are those that the
    webhook does not want, or has already. At the event after `position` it failed `failures` times in a row.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    begin: int = -1
    position: int = -1
    end: int = -1
    delivered: int = 0
    skipped: int = 0
    retrying: int = 0
    failures: int = 0

    @property
    def share(self) -> float:
        """How much is read, from 0 to 1."""
        return min(1.0, max(0.0, (self.position - self.begin) / max(1, self.end - self.begin)))

    def step(self, **fields: int) -> Progress:
        """The progress with these fields changed."""
        return self.model_copy(update=fields)


class Replay(BaseModel):
    """One replay, as operators see it. Times are Unix milliseconds; `note` says in words why it stands or ended."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(max_length=128)
    phone: str = Field(pattern=r"^[0-9]{1,20}$")
    webhook_id: str
    since_ms: int
    until_ms: int
    only_missing: bool
    rate: int
    state: State = "running"
    progress: Progress = Progress()
    updated_ms: int = 0
    note: str = Field(default="", max_length=300)
    run: str = ""

    @property
    def endpoint(self) -> Endpoint:
        """Where it goes."""
        return Endpoint(self.phone, self.webhook_id)

    def public_fields(self) -> dict[str, object]:
        """What operators see."""
        fields = self.model_dump(exclude={"run", "progress", "webhook_id"})
        counts = self.progress.model_dump(include={"delivered", "skipped", "retrying"})
        return {**fields, "webhook": self.webhook_id, **counts, "percent": round(100 * self.progress.share, 1)}
