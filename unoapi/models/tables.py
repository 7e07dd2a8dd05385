"""Rows of tables that people make."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

MAX_COLUMNS = 100
MAX_CELL_CHARS = 8192
MAX_ROW_CHARS = 65_536
MAX_NAME_CHARS = 64
"""Of a column's name."""


class Row(NamedTuple):
    """One row: where it stands in its file, from 1, and its cells. `problem` is why it cannot be used."""

    line: int
    cells: tuple[str, ...]
    problem: str = ""


def column_name(written: str) -> str:
    """The header of a column as it is compared: capitals and digits, without accents: `Número ` gives `NUMERO`."""
    plain = unicodedata.normalize("NFKD", written[: 4 * MAX_NAME_CHARS]).encode("ascii", "ignore").decode()
    return "".join(char for char in plain.upper() if char.isalnum())[:MAX_NAME_CHARS]
