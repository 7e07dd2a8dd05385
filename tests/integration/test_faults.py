"""The fault run, short, with the faults that no other test has.

Left to `make fault-test`, because shorter tests have them: workers and RabbitMQ killed, Redis flushed
(`test_crash_run`), RabbitMQ and Redis stopped (`test_outages`), the memory alarm (`test_killed_workers`), an endpoint
that is down for many retry schedules (`test_bad_neighbours`), what is lost or refuses at the edges (`edges/`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.fault.__main__ import FAULTS, measure, run
from tests.fault.endpoints import names_can_be_redirected
from tests.fault.stage import SHORT
from tests.fault.table import Row, table
from tests.support.harness import throw_away_servers

if TYPE_CHECKING:
    from unoapi.devenv.servers import PrivateServers

NAMES = ("web", "redis-restarted", "neighbour", "receivers", "rebinding")


@pytest.mark.timeout(300)
def test_what_breaks_loses_nothing_and_ends_in_its_class(servers: PrivateServers) -> None:
    """With a Redis of its own, which is started again; none of these faults is RabbitMQ's."""
    console = Console(width=160)

    rows = run(SHORT, NAMES, console, make_servers=partial(throw_away_servers, rabbit=servers.rabbit))

    console.print(table(rows))  # shown when an assertion below fails
    assert [row.fault for row in rows if not row.ok] == []
    assert sum(row.messages for row in rows) > 500
    reasons = {row.note.removeprefix("ends as ").partition(";")[0] for row in rows if row.note.startswith("ends as ")}
    assert reasons >= {"unreachable", "refused", "gone", "delivered"}
    assert ("blocked" in reasons) == names_can_be_redirected()


def test_a_row_that_does_not_add_up_is_not_fine() -> None:
    fine = Row(fault="x", messages=10, delivered=8, dead=2)

    assert fine.ok
    assert Row(fault="x", messages=10, delivered=7, dead=2).lost == 1
    for broken in (
        Row(fault="x", messages=10, delivered=7, dead=2),
        Row(fault="x", messages=10, delivered=8, dead=1, waiting=1),
        Row(fault="x", messages=10, delivered=10, problems=["ended otherwise"]),
        Row(fault="x", messages=10, delivered=10, duplicated=1),
        Row(fault="x", messages=0, delivered=0),
    ):
        assert not broken.ok


def test_a_fault_that_cannot_be_measured_is_a_broken_row_and_ends_the_run() -> None:
    def fault() -> Row:
        raise TimeoutError("3 of 10 events were accepted")

    (row,), measured = measure("x", fault, Console(quiet=True))

    assert not row.ok
    assert not measured
    assert row.problems == ["not measured: TimeoutError: 3 of 10 events were accepted"]


def test_every_fault_of_the_short_form_is_one_of_the_long_form() -> None:
    assert set(NAMES) <= FAULTS.keys()
