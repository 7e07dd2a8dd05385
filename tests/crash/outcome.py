"""What a crash run counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.receiver import Tallies

COPIES_A_KILL = 5
"""What had arrived and was not acknowledged yet: at this rate few of the fifty that a worker may have under way."""


@dataclass(frozen=True)
class Fault:
    """What was broken, and when, in seconds after the first event."""

    at_s: float
    what: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The numbers of one run. Lost is what was accepted and neither arrived nor is a dead letter."""

    accepted: frozenset[str]
    keys: Tallies
    dead: frozenset[str]
    left_in_queues: int
    refusals: Mapping[str, int]
    slowest_request_s: float
    faults: Sequence[Fault]
    posting_s: float
    seconds: float

    @property
    def received(self) -> frozenset[str]:
        """Ids that were answered with 2xx at least once."""
        return frozenset(key for key, (_, answered) in self.keys.items() if answered)

    @property
    def lost(self) -> frozenset[str]:
        return self.accepted - self.received - self.dead

    @property
    def duplicates(self) -> int:
        """2xx answers beyond the first of each id. Requests that failed by plan are none."""
        return sum(max(0, answered - 1) for _, answered in self.keys.values())

    @property
    def most_duplicates(self) -> int:
        """As many as the kills may make."""
        return COPIES_A_KILL * sum("SIGKILL" in fault.what for fault in self.faults)

    @property
    def planned_failures(self) -> int:
        return sum(requests - answered for requests, answered in self.keys.values())

    @property
    def ok(self) -> bool:
        few = self.duplicates <= self.most_duplicates
        return bool(self.accepted) and not self.lost and not self.left_in_queues and few

    def table(self) -> Group:
        faults = Table("at", "fault", title="Faults", title_justify="left")
        for fault in self.faults:
            faults.add_row(f"{fault.at_s:.1f} s", fault.what)
        counts = Table("count", "events", "bar", title="Crash run", title_justify="left")
        share = self.duplicates / len(self.accepted) if self.accepted else 0.0
        refused = ", ".join(f"{number} x {answer}" for answer, number in sorted(self.refusals.items())) or "none"
        for name, number, bar in (
            ("accepted (answered 200)", f"{len(self.accepted):,}", ""),
            ("received, distinct", f"{len(self.received):,}", ""),
            ("dead", f"{len(self.dead):,}", ""),
            ("lost: accepted and nowhere", f"{len(self.lost):,}", "0"),
            ("duplicates: 2xx beyond the first", f"{self.duplicates:,} ({share:.2%})", f"{self.most_duplicates}"),
            ("left in queues", f"{self.left_in_queues:,}", "0"),
            ("requests answered with an error by plan", f"{self.planned_failures:,}", ""),
            ("refused requests, repeated by the clients", refused, ""),
            ("slowest request of a client", f"{self.slowest_request_s:.1f} s", ""),
            ("seconds: posting, all", f"{self.posting_s:.1f}, {self.seconds:.1f}", ""),
        ):
            counts.add_row(name, number, bar)
        counts.add_row("[bold]verdict", "[green]passed[/]" if self.ok else "[red]BROKEN[/]", "")
        return Group(faults, counts)
