"""Attack a whole installation and count; exit code 1 when somebody got in, got hold of something, or harmed others."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from rich.table import Table

from tests.attack.honest import Honest
from tests.attack.parts import PARTS, SHORT, Row, Size, harmless_load
from tests.attack.stage import staged
from tests.support.harness import run_parts, throw_away_servers, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rich.console import Console

    from unoapi.devenv.servers import PrivateServers


def run(
    size: Size,
    names: Sequence[str],
    console: Console,
    *,
    make_servers: Callable[[Path], AbstractContextManager[PrivateServers]] = throw_away_servers,
) -> list[Row]:
    """The rows of the named parts, in their own order."""
    with staged(make_servers) as stage:
        with Honest(stage.uno.url, stage.honest) as alone:
            time.sleep(size.alone_s)
        with Honest(stage.uno.url, stage.honest) as beside, harmless_load(stage):
            time.sleep(size.alone_s)
        console.print(f"alone: {alone}\nbeside harmless load: {beside}", highlight=False)
        return [
            measure(name, partial(PARTS[name], stage, size, beside.median_ms), console)
            for name in timed((part for part in PARTS if part in names), console)
        ]


def measure(name: str, part: Callable[[], Row], console: Console) -> Row:
    """The row of one part; after an error one with the reason: what the others found is still worth printing."""
    try:
        return part()
    except Exception as error:  # noqa: BLE001 (see above)
        console.print_exception()
        return Row(name, problems=[f"not measured: {type(error).__name__}: {error}"[:300]])


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="Attack run", title_justify="left")
    shown.add_column("part")
    shown.add_column("tried", justify="right")
    shown.add_column("result")
    for row in rows:
        result = row.note if row.ok else "\n".join(["BROKEN", *row.problems, row.note])
        shown.add_row(row.part, f"{row.tried:,}", result.replace("[", r"\["))
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one hostile value a field, and fewer connections")
    return run_parts(
        parser, PARTS, lambda short, names, console: run(SHORT if short else Size(), names, console), table
    )


if __name__ == "__main__":
    sys.exit(main())
