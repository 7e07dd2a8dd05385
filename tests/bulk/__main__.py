"""Send a campaign while everything is killed in turn; exit code 1 when a row is lost, doubled or reported wrongly."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tests.bulk.memory import measure
from tests.bulk.run import SHORT, Size, bulk_run
from tests.support.harness import print_outcome

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bulk", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{SHORT.rows} rows, and nothing is killed")
    parser.add_argument("--memory", action="store_true", help="instead: how much memory files take, by their rows")
    options = parser.parse_args()

    def run(console: Console) -> tuple[RenderableType, bool]:
        if options.memory:
            return measure(console)
        outcome = bulk_run(SHORT if options.short else Size(), console)
        return outcome.table(), outcome.ok

    return print_outcome(run, width=110)


if __name__ == "__main__":
    sys.exit(main())
