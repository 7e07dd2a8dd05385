"""The outbox of a session, and its send log: one SQLite file, written through to the disk.

The outbox has the events that RabbitMQ has not confirmed yet (table `spool`): an event counts as received when `append`
has returned. The send log has what became of each command (table `ledger`), so that none is sent twice. Beside them
stands what answers repeat of the last messages (table `quotes`); without it they would be empty bubbles. Table `chats`
has whom the number has written with, which counts while WhatsApp refuses new chats; table `waiting` the order of the
sends that wait for another try.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unoapi.connector.engines.base import CONTRACT_EVENT, contract_event
from unoapi.models.connector.quoting import Quoted
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

MAX_ROWS = 100_000
FULL_PAUSE_S = 0.05
SEND_LOG_AGE_MS = 7 * 86_400_000
QUOTE_AGE_MS = 30 * 86_400_000
MAX_QUOTES = 50_000
RESTRICTED_UNTIL = "restricted_until"
"""The note of the time, in Unix seconds, until which WhatsApp lets the number write to nobody new."""
_TABLES = """
CREATE TABLE IF NOT EXISTS spool (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, payload BLOB NOT NULL,
                                  at_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (command_id TEXT PRIMARY KEY, state TEXT NOT NULL, tries INTEGER NOT NULL,
                                   at_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS chats (chat TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (seq INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, chat TEXT NOT NULL,
                                    due_ms INTEGER NOT NULL, lost_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS quotes (message_id TEXT PRIMARY KEY, quoted TEXT NOT NULL, at_ms INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class OutboxRow:
    """One event on its way to RabbitMQ. `seq` grows by one with each event of the session."""

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
        self._wake_up = threading.Event()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=FULL")
        self._file.executescript(_TABLES)
        self._file.execute("DELETE FROM ledger WHERE at_ms < ?", (now_ms() - SEND_LOG_AGE_MS,))
        self._file.execute("DELETE FROM quotes WHERE at_ms < ?", (now_ms() - QUOTE_AGE_MS,))
        self._file.execute(
            "DELETE FROM quotes WHERE rowid <= (SELECT rowid FROM quotes ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
            (MAX_QUOTES,),
        )
        self._file.execute(
            "DELETE FROM waiting WHERE lost_ms < ? "
            "OR command_id IN (SELECT command_id FROM ledger WHERE state IN ('sent', 'failed', 'ambiguous'))",
            (now_ms(),),
        )
        (self._rows,) = self._file.execute("SELECT count(*) FROM spool").fetchone()

    def append(self, kind: str, payload: bytes) -> int:
        """Save one event; its `seq`. Waits while the outbox is full: WhatsApp stores the messages meanwhile."""
        while self._rows >= self._max_rows:
            time.sleep(FULL_PAUSE_S)
        with self._lock:
            seq = self._insert(kind, payload)
            self._rows += 1
        self._wake_up.set()
        return seq

    def append_event(self, kind: str, data: dict[str, Any]) -> int:
        """Save one event of the contract."""
        return self.append(CONTRACT_EVENT, contract_event(kind, data))

    def oldest(self, limit: int, *, without: frozenset[int] = frozenset()) -> list[OutboxRow]:
        """The oldest events, in order, except those with a `seq` in `without`."""
        with self._lock:
            rows = self._file.execute(
                "SELECT seq, kind, payload, at_ms FROM spool WHERE seq NOT IN (SELECT value FROM json_each(?)) "
                "ORDER BY seq LIMIT ?",
                (json.dumps(list(without)), limit),
            ).fetchall()
        return [OutboxRow(*row) for row in rows]

    def remove(
        self, seqs: list[int], *, quotes: Mapping[str, Quoted] | None = None, chats: Collection[str] = ()
    ) -> None:
        """Delete events that RabbitMQ has confirmed; save what answers to them will repeat, and who wrote."""
        with self._lock:
            with self._lazily(), self._transaction():
                self._file.executemany("DELETE FROM spool WHERE seq = ?", [(seq,) for seq in seqs])
                for message_id, quoted in (quotes or {}).items():
                    self._save_quote(message_id, quoted)
                self._save_chats(chats)
            self._rows -= len(seqs)

    def wait(self, timeout_s: float) -> None:
        """Return at the next event or `wake`, or after the timeout."""
        self._wake_up.wait(timeout_s)
        self._wake_up.clear()

    def wake(self) -> None:
        """End the publisher's `wait`: an event that it left out is ready."""
        self._wake_up.set()

    def __len__(self) -> int:
        return int(self._rows)

    def state_of(self, command_id: str) -> str:
        """What the send log says of a command: new, sending, sent, failed, ambiguous, or nothing (empty)."""
        with self._lock:
            row = self._file.execute("SELECT state FROM ledger WHERE command_id = ?", (command_id,)).fetchone()
        return str(row[0]) if row else ""

    def begin(self, command_id: str) -> int:
        """Count that the work on a command begins; how often it began, this time included."""
        with self._lock, self._lazily():
            (tries,) = self._file.execute(
                "INSERT INTO ledger VALUES (?, 'new', 1, ?) ON CONFLICT (command_id) DO UPDATE SET tries = tries + 1, "
                "at_ms = excluded.at_ms RETURNING tries",
                (command_id, now_ms()),
            ).fetchone()
        return int(tries)

    def mark_sending(self, command_id: str) -> None:
        """The message may leave any moment now. After a crash in this state the outcome is unknown."""
        self._mark(command_id, "sending")

    def mark_unsent(self, command_id: str) -> None:
        """It is certain that nothing left: the command may be tried again."""
        self._mark(command_id, "new")

    def quoted(self, message_id: str) -> Quoted | None:
        """What an answer to a message repeats of it, by WhatsApp's id; none when it is not known."""
        with self._lock:
            row = self._file.execute("SELECT quoted FROM quotes WHERE message_id = ?", (message_id,)).fetchone()
        return Quoted.model_validate_json(row[0]) if row else None

    def knows(self, chats: Collection[str]) -> bool:
        """Whether the number has written with one of these chats before."""
        marks = ",".join("?" * len(chats))
        with self._lock:
            row = self._file.execute(f"SELECT 1 FROM chats WHERE chat IN ({marks}) LIMIT 1", tuple(chats)).fetchone()  # noqa: S608 (question marks only)
        return row is not None

    def note(self, name: str, value: int) -> None:
        """Save a number under a name."""
        with self._lock:
            self._file.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def noted(self, name: str) -> int:
        """The number under a name; 0 when there is none."""
        with self._lock:
            row = self._file.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def save_waiting_send(self, chat: str, command_id: str, *, due_ms: int, lost_ms: int) -> None:
        """A send waits for another try; one that waited before keeps its place. Times are Unix milliseconds."""
        with self._lock, self._lazily():
            self._file.execute(
                "INSERT INTO waiting (command_id, chat, due_ms, lost_ms) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (command_id) DO UPDATE SET due_ms = excluded.due_ms, lost_ms = excluded.lost_ms",
                (command_id, chat, due_ms, lost_ms),
            )

    def remove_waiting_send(self, command_id: str) -> None:
        """A send waits no more."""
        with self._lock, self._lazily():
            self._file.execute("DELETE FROM waiting WHERE command_id = ?", (command_id,))

    def waiting_sends(self) -> list[tuple[str, str, int, int]]:
        """The sends that wait, in their order: chat, command, when it is due, and when it is given up."""
        with self._lock:
            return self._file.execute("SELECT chat, command_id, due_ms, lost_ms FROM waiting ORDER BY seq").fetchall()

    def last_sent_ms(self) -> int:
        """When work on a command was begun or ended last, in milliseconds since the epoch; 0: never."""
        with self._lock:
            (at_ms,) = self._file.execute("SELECT max(at_ms) FROM ledger").fetchone()
        return int(at_ms or 0)

    def finish(
        self,
        command_id: str,
        result: dict[str, Any],
        *,
        quoted: Quoted | None = None,
        chats: Collection[str] = (),
    ) -> None:
        """Write a command's state and the event with its result: both or neither.

        `quoted` is of what was sent, `chats` are the addresses of the chat that it went to.
        """
        event = contract_event("send_result", result)
        with self._lock:
            with self._transaction():
                self._file.execute(
                    "INSERT INTO ledger VALUES (?, ?, 1, ?) ON CONFLICT (command_id) DO UPDATE SET "
                    "state = excluded.state, at_ms = excluded.at_ms",
                    (command_id, result["status"], now_ms()),
                )
                self._insert(CONTRACT_EVENT, event)
                if quoted is not None:
                    self._save_quote(str(result.get("edited") or result["wa_id"]), quoted)
                self._save_chats(chats)
            self._rows += 1
        self._wake_up.set()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write all of this block, or nothing. What stayed open after an error would take every later event with it."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:  # a full disk has ended it already
                self._file.execute("ROLLBACK")
            raise

    @contextmanager
    def _lazily(self) -> Iterator[None]:
        """Write what may be lost with the machine's power, though not with the process, without waiting for the disk.

        Events that were removed would be published again, with the same ids; begun work would be counted once less.
        """
        self._file.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            self._file.execute("PRAGMA synchronous=FULL")

    def _insert(self, kind: str, payload: bytes) -> int:
        cursor = self._file.execute(
            "INSERT INTO spool (kind, payload, at_ms) VALUES (?, ?, ?)", (kind, payload, now_ms())
        )
        return int(cursor.lastrowid or 0)

    def _save_quote(self, message_id: str, quoted: Quoted) -> None:
        text = quoted.model_dump_json(exclude_defaults=True)
        self._file.execute("INSERT OR REPLACE INTO quotes VALUES (?, ?, ?)", (message_id, text, now_ms()))

    def _save_chats(self, chats: Collection[str]) -> None:
        self._file.executemany("INSERT OR IGNORE INTO chats VALUES (?)", [(chat,) for chat in chats if chat])

    def _mark(self, command_id: str, state: str) -> None:
        with self._lock:
            self._file.execute(
                "UPDATE ledger SET state = ?, at_ms = ? WHERE command_id = ?", (state, now_ms(), command_id)
            )
