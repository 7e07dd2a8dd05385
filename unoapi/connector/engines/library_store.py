"""Looks into whatsmeow's own SQLite file, where a call into the library would abort the process or wait for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from unoapi.models.phones import user_of

if TYPE_CHECKING:
    from pathlib import Path

BUSY_S = 1.0


def has_device(path: Path, jid: str) -> bool:
    """Whether the library has this login. True when that cannot be read: the library then says what is wrong."""
    if not path.exists():
        return False
    try:
        return bool(_rows(path, "SELECT 1 FROM whatsmeow_device WHERE jid = ?", jid))
    except sqlite3.OperationalError as error:
        return "no such table" not in str(error)
    except sqlite3.DatabaseError:
        return True


def phone_of(path: Path, lid: str) -> str:
    """The digits of the phone that belongs to a LID (`111@lid`); empty when nobody has noted it."""
    try:
        rows = _rows(path, "SELECT pn FROM whatsmeow_lid_map WHERE lid = ?", user_of(lid)) if path.exists() else []
    except sqlite3.DatabaseError:
        return ""
    return user_of(str(rows[0][0])) if rows else ""


def let_readers_in(path: Path) -> None:
    """Switch the file to write-ahead logging, which stays in it: else readers and the library block each other."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S)) as file:
            file.execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError:
        return


def _rows(path: Path, statement: str, value: str) -> list[Any]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as file:
        return file.execute(statement, (value,)).fetchall()
