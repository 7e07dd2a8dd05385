"""One row per fault, and the table of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.receiver import Tallies

DUPLICATES_BELOW = 0.05
"""Of the messages of one row; a kill costs at most what was on its way at that moment."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of the messages that were accepted around one fault.

    `recovered_s` is the time from the end of the fault until everything that was accepted by then had arrived, and
    something that was accepted later.
    `problems` are the expectations of this fault that were not met.
    """

    fault: str
    messages: int
    delivered: int
    duplicated: int = 0
    dead: int = 0
    waiting: int = 0
    recovered_s: float | None = None
    note: str = ""
    problems: Sequence[str] = ()

    @property
    def lost(self) -> int:
        """Accepted, and now nowhere."""
        return self.messages - self.delivered - self.dead - self.waiting

    @property
    def ok(self) -> bool:
        few = self.duplicated <= DUPLICATES_BELOW * self.messages
        return self.messages > 0 and self.lost == 0 and self.waiting == 0 and few and not self.problems

    @property
    def in_short(self) -> str:
        """A line, for who ends the run before its table."""
        counts = f"{self.messages:,} accepted, lost {self.lost}, copies {self.duplicated}, dead {self.dead}"
        broken = "" if self.ok else "; ".join([f", waiting {self.waiting}: BROKEN", *self.problems])
        return f"  {self.fault}: {counts}{broken}"


def duplicates(tallies: Tallies) -> int:
    """2xx answers beyond the first of each id."""
    return sum(max(0, answered - 1) for _, answered in tallies.values())


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="Fault run: accepted = delivered + dead + waiting", title_justify="left")
    shown.add_column("fault")
    for name in ("messages", "lost", "duplicated", "dead", "waiting", "recovered"):
        shown.add_column(name, justify="right")
    shown.add_column("note")
    for row in rows:
        numbers = (row.messages, row.lost, row.duplicated, row.dead, row.waiting)
        recovered = "" if row.recovered_s is None else f"{row.recovered_s:.1f} s"
        note = row.note if row.ok else "; ".join([f"[red]BROKEN[/] {row.note}".strip(), *row.problems])
        shown.add_row(row.fault, *(f"{number:,}" for number in numbers), recovered, note)
    return shown
