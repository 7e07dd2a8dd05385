"""The measurement of many sessions works, in a short form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.connector.many import measure

if TYPE_CHECKING:
    from tests.support.stack import Stack


def test_three_sessions_connect_and_send_side_by_side(uno: Stack) -> None:
    uno.web()
    uno.worker()

    cost = measure(uno, sessions=3, commands=30)

    assert (cost.commands, cost.left) == (30, 0)
    assert cost.share_mb < 200
