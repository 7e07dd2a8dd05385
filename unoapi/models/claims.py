"""Who may send a message or make a request, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unoapi.models.receipts import Receipt


@dataclass(frozen=True)
class Predecessor:
    """A message to the same contact that goes before another one. `waits`: for its phone or its files, or to come back.

    Otherwise some process is just about to send it.
    """

    message_id: str
    waits: bool


@dataclass(frozen=True)
class Turn:
    """With what a message asks whether it is its turn: the time, in microseconds, and what the asker knows.

    Those in `gone` have left, though that may not be written yet.
    """

    now_us: int
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """The right to send one message.

    Exactly one is set: `free` (send it), `receipt` (it was sent: publish its statuses again),
    `busy_ms` (another worker sends it for so long), `lost` (a worker died while it was at it: nobody knows),
    `before` (another one goes first: nothing was claimed).
    `unheard`: that it goes first is not what Redis answered, so Redis may have claimed the message all the same.
    """

    free: bool = False
    receipt: Receipt | None = None
    busy_ms: int = 0
    lost: bool = False
    before: Predecessor | None = None
    unheard: bool = False


@dataclass(frozen=True)
class KeyState:
    """The state of an idempotency key.

    Nothing set: it was free. `taken`: by a request that is not accepted yet, or whose process died.
    """

    taken: bool = False
    accepted: bool = False
    other_body: bool = False
