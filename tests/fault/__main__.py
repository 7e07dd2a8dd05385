"""Break one thing at a time and count; exit code 1 when anything is lost or ends otherwise than it must."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from tests.fault.edges import (
    hostile_bodies,
    long_alarm,
    redis_full,
    redis_read_only,
    session_key_deleted,
    waiting_queue_deleted,
)
from tests.fault.endpoints import (
    endpoint_down,
    many_endpoints_down,
    name_rebinds,
    names_can_be_redirected,
    receivers_misbehave,
)
from tests.fault.infrastructure import (
    memory_alarm,
    rabbitmq_killed,
    rabbitmq_stopped,
    redis_flushed,
    redis_restarted,
    redis_stopped,
    web_killed,
    workers_killed,
)
from tests.fault.neighbour import bad_neighbour
from tests.fault.nodes import cluster, sentinel
from tests.fault.replay import replay_killed
from tests.fault.stage import SHORT, Size, Stage, staged
from tests.fault.table import Row, table
from tests.support.harness import run_parts, throw_away_servers, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rich.console import Console

    from unoapi.devenv.servers import PrivateServers

FAULTS: dict[str, Callable[[Stage], Row | list[Row]]] = {
    "workers": workers_killed,
    "web": web_killed,
    "rabbitmq-stopped": rabbitmq_stopped,
    "rabbitmq-killed": rabbitmq_killed,
    "memory-alarm": memory_alarm,
    "redis-stopped": redis_stopped,
    "redis-restarted": redis_restarted,
    "redis-flushed": redis_flushed,
    "redis-full": redis_full,
    "redis-read-only": redis_read_only,
    "key-deleted": session_key_deleted,
    "long-alarm": long_alarm,
    "waiting-queue-deleted": waiting_queue_deleted,
    "hostile-bodies": hostile_bodies,
    "neighbour": bad_neighbour,
    "receivers": receivers_misbehave,
    "outage": endpoint_down,
    "many-endpoints": many_endpoints_down,
    "replay": replay_killed,
    "cluster": cluster,
    "sentinel": sentinel,
    "rebinding": name_rebinds,
}


def run(
    size: Size,
    names: Sequence[str],
    console: Console,
    *,
    make_servers: Callable[[Path], AbstractContextManager[PrivateServers]] = throw_away_servers,
) -> list[Row]:
    """The rows of the named faults, in their own order. Ends with the first that cannot be measured."""
    rows: list[Row] = []
    with staged(size, make_servers) as stage:
        for name in timed((fault for fault in FAULTS if fault in names), console):
            if name == "rebinding" and not names_can_be_redirected():
                console.print("rebinding: left out, libnss-wrapper is not installed and cannot be")
                continue
            fault_rows, measured = measure(name, partial(FAULTS[name], stage), console)
            for row in fault_rows:
                console.print(row.in_short, highlight=False)
            rows += fault_rows
            if not measured:
                break
    return rows


def measure(name: str, fault: Callable[[], Row | list[Row]], console: Console) -> tuple[list[Row], bool]:
    """The rows of one fault and True; after an error one row with the reason, and False."""
    try:
        result = fault()
    except Exception as error:  # noqa: BLE001 (what was measured before is still worth printing)
        console.print_exception()
        why = f"not measured: {type(error).__name__}: {error}"[:300]
        return [Row(fault=name, messages=0, delivered=0, problems=[why])], False
    return result if isinstance(result, list) else [result], True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small numbers and short absences")
    return run_parts(
        parser, FAULTS, lambda short, names, console: run(SHORT if short else Size(), names, console), table
    )


if __name__ == "__main__":
    sys.exit(main())
