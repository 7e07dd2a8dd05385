"""The folder of a session, with what must survive its process: its login, its outbox, its library's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SessionFolder:
    """The folder of one session. Nothing is made before it is needed."""

    def __init__(self, store: Path, phone: str) -> None:
        self.path = store.absolute() / phone
        self.outbox = self.path / "spool.db"
        self.library = self.path / "whatsapp.db"
        self._login = self.path / "login"

    @property
    def login(self) -> str:
        """The stored login's address; empty when there is none."""
        try:
            return self._login.read_text("utf-8").strip()
        except OSError:
            return ""

    def save_login(self, jid: str) -> None:
        """A phone has scanned the code."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._login.with_suffix(".new")
        temporary.write_text(jid, "utf-8")
        temporary.replace(self._login)

    def remove_login(self) -> None:
        """The phone has removed this device."""
        self._login.unlink(missing_ok=True)
