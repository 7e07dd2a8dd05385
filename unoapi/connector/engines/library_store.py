"""Looks into whatsmeow's own SQLite file, where a call into the library would abort the process or wait for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from unoapi.models.phones import LID, USER, user_of, without_device

if TYPE_CHECKING:
    from pathlib import Path

BUSY_S = 1.0
MAX_SECRETS = 20


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


def names_of(path: Path, jid: str) -> tuple[str, ...]:
    """The addresses of a person, without a device: the one that is given first, then its LID or phone as noted."""
    user, _, server = without_device(jid).partition("@")
    other = USER if server == LID else LID
    statement = (
        "SELECT lid, pn FROM whatsmeow_lid_map WHERE lid = ? OR pn = ? UNION SELECT lid, jid FROM whatsmeow_device"
    )
    try:
        rows = _rows(path, statement, user, user) if path.exists() else []
    except sqlite3.DatabaseError:
        rows = []
    mine, others = (0, 1) if server == LID else (1, 0)
    known = {user_of(str(row[others] or "")) for row in rows if user_of(str(row[mine] or "")) == user} - {""}
    return (f"{user}@{server}", *(f"{name}@{other}" for name in sorted(known)))


def secrets_of(path: Path, message_id: str, *, chats: tuple[str, ...]) -> list[tuple[bytes, str]]:
    """The secrets of the messages with an id in one of these chats, each with who wrote it."""
    marks = ",".join("?" * len(chats))
    own = "our_jid IN (SELECT jid FROM whatsmeow_device)"
    where = f"{own} AND chat_jid IN ({marks}) AND message_id = ? LIMIT {MAX_SECRETS}"
    statement = f"SELECT key, sender_jid FROM whatsmeow_message_secrets WHERE {where}"  # noqa: S608 (question marks only)
    try:
        rows = _rows(path, statement, *chats, message_id) if path.exists() else []
    except sqlite3.DatabaseError:
        return []
    return [(bytes(key), str(sender)) for key, sender in rows]


def let_readers_in(path: Path) -> None:
    """Switch the file to write-ahead logging, which stays in it: else readers and the library block each other."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S)) as file:
            file.execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError:
        return


def _rows(path: Path, statement: str, *values: str) -> list[Any]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as file:
        return file.execute(statement, values).fetchall()
