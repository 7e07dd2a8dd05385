"""Kill workers, RabbitMQ and Redis's data in the middle of work; exit code 1 when events are lost or doubled."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from rich.console import Console

from tests.crash.run import SMALL, Size, crash_run
from tests.support.harness import end_on_signals


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--small", action="store_true", help=f"{SMALL.events} events, as the test does it")
    parser.add_argument("--events", type=int, default=0, help="how many events")
    options = parser.parse_args()
    size = SMALL if options.small else Size()
    if options.events:
        size = replace(size, events=options.events)
    console = Console(width=None if sys.stdout.isatty() else 110)
    end_on_signals()
    try:
        outcome = crash_run(size, console)
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    console.print(outcome.table())
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main())
