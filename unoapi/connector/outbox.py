"""What must survive the process: events that RabbitMQ has not confirmed yet, and what became of each command.

One SQLite file per session, written through to the disk: an event counts as received when `append` has returned.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unoapi.connector.engines.base import TOLD
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from pathlib import Path

MAX_ROWS = 100_000
FULL_PAUSE_S = 0.05
KEEP_LEDGER_MS = 7 * 86_400_000
_TABLES = """
CREATE TABLE IF NOT EXISTS spool (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, payload BLOB NOT NULL,
                                  at_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (command_id TEXT PRIMARY KEY, state TEXT NOT NULL, tries INTEGER NOT NULL,
                                   at_ms INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """One event on its way to RabbitMQ."""

    seq: int
    kind: str
    payload: bytes
    at_ms: int


class Outbox:
    """The file of one session. Any thread may use it."""

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._max_rows = max_rows
        self._news = threading.Event()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=FULL")
        self._file.executescript(_TABLES)
        self._file.execute("DELETE FROM ledger WHERE at_ms < ?", (now_ms() - KEEP_LEDGER_MS,))
        (self._rows,) = self._file.execute("SELECT count(*) FROM spool").fetchone()

    def append(self, kind: str, payload: bytes) -> int:
        """Keep one event; its number. Waits while the spool is full: WhatsApp then keeps the messages for us."""
        while self._rows >= self._max_rows:
            time.sleep(FULL_PAUSE_S)
        with self._lock:
            seq = self._insert(kind, payload)
        self._news.set()
        return seq

    def tell(self, kind: str, data: dict[str, Any]) -> int:
        """Keep one event in the contract's words."""
        return self.append(TOLD, json.dumps({"type": kind, "data": data}).encode())

    def head(self, limit: int, *, without: frozenset[int] = frozenset()) -> list[Row]:
        """The oldest events, except those that somebody works at."""
        with self._lock:
            found = self._file.execute(
                "SELECT seq, kind, payload, at_ms FROM spool ORDER BY seq LIMIT ?", (limit + len(without),)
            ).fetchall()
        return [Row(*each) for each in found if each[0] not in without][:limit]

    def remove(self, seqs: list[int]) -> None:
        """Forget events that RabbitMQ has confirmed."""
        with self._lock:
            self._file.execute("BEGIN")
            self._file.executemany("DELETE FROM spool WHERE seq = ?", [(seq,) for seq in seqs])
            self._file.execute("COMMIT")
            self._rows -= len(seqs)

    def wait(self, timeout_s: float) -> None:
        """Until there is something new."""
        self._news.wait(timeout_s)
        self._news.clear()

    def wake(self) -> None:
        """Somebody has something for the publisher."""
        self._news.set()

    def __len__(self) -> int:
        return int(self._rows)

    def state_of(self, command_id: str) -> str:
        """What became of a command: new, sending, sent, failed or ambiguous; empty for an unknown one."""
        with self._lock:
            found = self._file.execute("SELECT state FROM ledger WHERE command_id = ?", (command_id,)).fetchone()
        return str(found[0]) if found else ""

    def begin(self, command_id: str) -> int:
        """Note that a command is looked at; how often it was, this time included."""
        with self._lock:
            (tries,) = self._file.execute(
                "INSERT INTO ledger VALUES (?, 'new', 1, ?) ON CONFLICT (command_id) DO UPDATE SET tries = tries + 1, "
                "at_ms = excluded.at_ms RETURNING tries",
                (command_id, now_ms()),
            ).fetchone()
        return int(tries)

    def mark_sending(self, command_id: str) -> None:
        """From here on a crash means that nobody knows."""
        self._mark(command_id, "sending")

    def mark_new(self, command_id: str) -> None:
        """It is certain that nothing left: it may be tried again."""
        self._mark(command_id, "new")

    def finish(self, command_id: str, result: dict[str, Any]) -> None:
        """What became of a command, and the event that tells it: both or neither."""
        told = json.dumps({"type": "send_result", "data": result}).encode()
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                self._file.execute(
                    "INSERT INTO ledger VALUES (?, ?, 1, ?) ON CONFLICT (command_id) DO UPDATE SET "
                    "state = excluded.state, at_ms = excluded.at_ms",
                    (command_id, result["status"], now_ms()),
                )
                self._insert(TOLD, told)
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")
        self._news.set()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _insert(self, kind: str, payload: bytes) -> int:
        cursor = self._file.execute(
            "INSERT INTO spool (kind, payload, at_ms) VALUES (?, ?, ?)", (kind, payload, now_ms())
        )
        self._rows += 1
        return int(cursor.lastrowid or 0)

    def _mark(self, command_id: str, state: str) -> None:
        with self._lock:
            self._file.execute(
                "UPDATE ledger SET state = ?, at_ms = ? WHERE command_id = ?", (state, now_ms(), command_id)
            )
