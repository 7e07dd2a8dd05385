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
        self._ban = self.path / "banned_until"

    @property
    def login(self) -> str:
        """The stored login's address; empty when there is none."""
        try:
            return self._login.read_text("utf-8").strip()
        except (OSError, ValueError):
            return ""

    @property
    def banned_until(self) -> int:
        """When WhatsApp's ban ends, in seconds since the epoch; 0: there is none."""
        try:
            return int(self._ban.read_text("utf-8"))
        except (OSError, ValueError):
            return 0

    def save_ban(self, until: int) -> None:
        """The number is banned until then; 0: it is not."""
        if until:
            self._ban.write_text(f"{until}", "utf-8")
        else:
            self._ban.unlink(missing_ok=True)

    def save_login(self, jid: str) -> None:
        """A phone has scanned the code."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._login.with_suffix(".new")
        temporary.write_text(jid, "utf-8")
        temporary.replace(self._login)

    def remove_login(self) -> None:
        """The phone has removed this device."""
        self._login.unlink(missing_ok=True)
