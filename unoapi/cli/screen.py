"""Where the command line prints."""

from __future__ import annotations

import os
import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

FILE_WIDTH = 200
"""Columns when the output goes to a file or a pipe: wide enough that ids stay whole and lines can be searched."""


def screen() -> Console:
    """The terminal as it is, or as COLUMNS says; a pipe as a wide page."""
    return Console() if sys.stdout.isatty() or os.environ.get("COLUMNS") else Console(width=FILE_WIDTH)


WIDE = 120
"""Columns from which a dead letter fits into one line."""


def is_wide() -> bool:
    """Whether tables may have all their columns."""
    return screen().width >= WIDE


def plain_table(*columns: str) -> Table:
    """A table of columns without boxes, which `awk` and `cut` can read; what is too long goes on below."""
    table = Table(box=SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def shown(text: str) -> Text:
    """What others wrote, as it is: no markup, and nothing that a terminal obeys."""
    return Text("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text))
