"""Numbers that are stored again from a backup."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import Mock

from tests.support.fakes import PHONE, MemorySessions
from unoapi.services.session_backup import SavedSession, SessionBackup, restore

if TYPE_CHECKING:
    from collections.abc import Iterator


class RegisteredMeanwhile(MemorySessions):
    """A number that another program registers while the turn to change it is waited for."""

    @contextmanager
    def changing(self, phone: str) -> Iterator[None]:
        self.save(phone, {"label": "registered"})
        yield


def test_a_number_that_is_registered_while_a_backup_is_restored_stays_as_it_is() -> None:
    sessions = RegisteredMeanwhile()
    backup = SessionBackup(sessions={PHONE: SavedSession(config={"label": "saved"})})

    outcomes = list(restore(backup, sessions=sessions, templates=Mock(), overwrite=False))

    assert outcomes == [(PHONE, "there", "")]
    assert sessions.config(PHONE) == {"label": "registered"}
