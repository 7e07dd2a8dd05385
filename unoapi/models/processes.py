"""The processes of an installation, as each one reports itself."""

from __future__ import annotations

import os
import socket

from pydantic import BaseModel, ConfigDict, Field

from unoapi import __version__
from unoapi.models.jobs import now_ms

REPORT_S = 15.0
"""Between two reports."""
SILENT_MS = 50_000
"""Who was not heard of for so long has ended without a word, or hangs."""


class Process(BaseModel):
    """One process. `kind` is its name in the Procfile; `busy` of its `places` have work, where it knows that.

    Times are Unix milliseconds: when it began, and when it reported itself last.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(max_length=300)
    kind: str = Field(max_length=50)
    host: str = Field(max_length=255)
    pid: int
    version: str = Field(default="", max_length=50)
    queues: tuple[str, ...] = ()
    places: int | None = None
    busy: int | None = None
    began_ms: int = 0
    seen_ms: int = 0

    @property
    def silent(self) -> bool:
        """Whether it does not report itself any more."""
        return now_ms() - self.seen_ms > SILENT_MS


def this_process(kind: str, **fields: object) -> Process:
    """This one, which begins now."""
    host, pid = socket.gethostname(), os.getpid()
    known = {"name": f"{kind}.{pid}@{host}", "kind": kind, "host": host, "pid": pid, "version": __version__}
    return Process.model_validate({**known, "began_ms": now_ms(), **fields})
