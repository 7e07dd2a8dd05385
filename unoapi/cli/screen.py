"""Where the command line prints."""

from __future__ import annotations

import sys

from rich.console import Console

FILE_WIDTH = 200
"""Columns when the output goes to a file or a pipe: wide enough that ids stay whole and lines can be searched."""


def screen() -> Console:
    """The terminal as it is; a pipe as a wide page."""
    return Console() if sys.stdout.isatty() else Console(width=FILE_WIDTH)
