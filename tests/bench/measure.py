"""Figures, rounds and rows: how one number comes out of many runs."""

import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = dict[str, float]
Run = Callable[[], Figures]
"""One measurement from a clean start; it may be repeated."""

SKIPPED = 0.1  # of every run: start-up, first connections, cold caches
console = Console(width=None if sys.stdout.isatty() else 110)


def rate(times: Iterable[float]) -> float:
    """Arrivals per second, without the first tenth."""
    ordered = sorted(times)
    ordered = ordered[int(len(ordered) * SKIPPED) :]
    return (len(ordered) - 1) / (ordered[-1] - ordered[0])


def percentiles(waits: Iterable[float]) -> Figures:
    """Median and 95th percentile in milliseconds of waits in seconds, given in the order they came."""
    milliseconds = [wait * 1000 for wait in waits]
    cuts = statistics.quantiles(milliseconds[int(len(milliseconds) * SKIPPED) :], n=20)
    return {"p50_ms": cuts[9], "p95_ms": cuts[18]}


@dataclass(frozen=True)
class Rounds:
    """The figures of all contenders in all rounds."""

    figures: list[dict[str, Figures]]

    def median(self, contender: str, figure: str) -> float:
        return statistics.median(one[contender][figure] for one in self.figures)

    def ratios(self, ours: str, baseline: str, figure: str) -> list[float]:
        """The ratio within each round: a slow minute of the machine slows both."""
        return [_divided(one[ours][figure], one[baseline][figure]) for one in self.figures]

    def ratio(self, ours: str, baseline: str, figure: str) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios(ours, baseline, figure))


def _divided(ours: float, baseline: float) -> float:
    return ours / baseline if baseline else math.nan  # a quick run may take less processor time than the system counts


def interleaved(runs: Mapping[str, Run], rounds: int) -> Rounds:
    """Let all contenders run in each round, in the opposite order every second time."""
    results: list[dict[str, Figures]] = []
    for number in range(rounds):
        order = list(runs) if number % 2 == 0 else list(runs)[::-1]
        results.append({})
        for name in order:
            results[-1][name] = runs[name]()
            shown = ", ".join(f"{figure} {value:,.1f}" for figure, value in results[-1][name].items())
            console.print(f"  round {number + 1} of {rounds}, {name}: {shown}", highlight=False)
    return Rounds(results)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: our figure, the baseline, and the bar for the ratio of the two."""

    name: str
    ours: float
    baseline: float
    ratio: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ok(self) -> bool:
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )

    @property
    def bar(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else "-"


def compared(name: str, rounds: Rounds, ours: str, baseline: str, figure: str, **bars: Any) -> Row:
    """A row from the rounds of two contenders."""
    return Row(
        name=name,
        ours=rounds.median(ours, figure),
        baseline=rounds.median(baseline, figure),
        ratio=rounds.ratio(ours, baseline, figure),
        **bars,
    )


def compared_pairs(
    name: str, rounds: Rounds, ours: tuple[str, str], baseline: tuple[str, str], figure: str, **bars: Any
) -> Row:
    """A row from the rounds of two pairs of contenders: what is compared is the ratio of the two of each."""
    our_ratios, baseline_ratios = rounds.ratios(*ours, figure), rounds.ratios(*baseline, figure)
    return Row(
        name=name,
        ours=statistics.median(our_ratios),
        baseline=statistics.median(baseline_ratios),
        ratio=statistics.median(map(_divided, our_ratios, baseline_ratios)),
        **bars,
    )


def _shown(figure: float) -> str:
    return f"{figure:,.1f}" if abs(figure) >= 10 else f"{figure:.2f}"  # a ratio is nothing with one digit


def table(rows: Iterable[Row]) -> Table:
    result = Table(title="Benchmarks", caption="Medians of all rounds; a ratio is the median of the rounds' ratios.")
    result.add_column("name")
    for column in ("ours", "baseline", "ratio", "bar"):
        result.add_column(column, justify="right")
    result.add_column("ok")
    for row in rows:
        result.add_row(
            row.name,
            _shown(row.ours),
            _shown(row.baseline),
            f"{row.ratio:.2f}",
            row.bar,
            "[green]yes[/]" if row.ok else "[red]no[/]",
        )
    return result
