"""How long an audio is, without ffmpeg."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytag import TinyTag, TinyTagException

if TYPE_CHECKING:
    from pathlib import Path

FASTEST_BYTES_S = 32_000
"""Bytes of a second at 256 kbit/s: a file is at least so long, whatever its head says."""
SLOWEST_BYTES_S = 1_600
"""Bytes of a second of the slowest voice codecs: of what no head is known of."""


def seconds_of(file: Path) -> int:
    """How long it is in seconds, at least 1; of a form that is not known an upper bound. Never raises."""
    size = file.stat().st_size
    try:
        measured = TinyTag.get(file, tags=False).duration
    except (TinyTagException, OSError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError):
        measured = None
    seconds = max(measured, size / FASTEST_BYTES_S) if measured else size / SLOWEST_BYTES_S
    return max(1, round(min(seconds, 1e6)))
