"""The measurement of many sessions works, in a short form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.connector import many
from tests.connector.many import measure, neighbours, phones_of

if TYPE_CHECKING:
    import pytest

    from tests.support.stack import Stack


def test_three_sessions_connect_and_send_side_by_side(uno: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MEASURED_S", 2.0)
    uno.web()

    cost = measure(uno, sessions=3, commands=30)

    assert (cost.commands, cost.left) == (30, 0)
    assert cost.share_mb < 200
    rows = neighbours(uno, phones_of(uno, 3))
    assert [row.commands for row in rows] == [40, 40, 40, 40]
    assert [row.troubles > 0 for row in rows] == [False, True, True, True]
