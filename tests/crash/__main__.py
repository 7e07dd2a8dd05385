"""Kill workers, RabbitMQ and Redis's data in the middle of work; exit code 1 when events are lost or doubled."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.crash.run import SMALL, Size, crash_run
from tests.support.harness import print_outcome

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--small", action="store_true", help=f"{SMALL.events} events, as the test does it")
    parser.add_argument("--events", type=int, default=0, help="how many events")
    options = parser.parse_args()
    size = SMALL if options.small else Size()
    if options.events:
        size = replace(size, events=options.events)

    def run(console: Console) -> tuple[RenderableType, bool]:
        outcome = crash_run(size, console)
        return outcome.table(), outcome.ok

    return print_outcome(run, width=110)


if __name__ == "__main__":
    sys.exit(main())
