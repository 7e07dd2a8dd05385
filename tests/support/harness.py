"""What the long runs share: servers of their own, a clean end on a signal, and waiting until no work is left."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import psutil
from rich.console import Console

from tests.support.constants import ROOT
from unoapi.devenv.packages import RABBITMQ, REDIS
from unoapi.devenv.servers import PrivateServers, RabbitNode, find_or_install

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

    from tests.support.stack import Stack

AnyRow = TypeVar("AnyRow", bound="Measured")
POLL_S = 0.25
EMPTY_READS = 4
"""So many reads in a row must find all queues empty: between two queues a job is on none."""


class SharedRabbit(RabbitNode):
    """The RabbitMQ of all test processes of a run: the first that needs it starts it, and it ends with that process."""

    @property
    def pid(self) -> int:
        """The process id of the server, also in a process that has not started it."""
        return int((self.folder / "rabbitmq.process").read_text("ascii").split()[0])

    def join(self) -> None:
        """Start it unless another process of the run has done so. Raises ConfigurationError."""
        started = self.folder / "started"
        with self.folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if started.exists():
                self._ports = json.loads((self.folder / "ports.json").read_text("ascii"))
                return
            find_or_install(RABBITMQ)
            self.start()
            self.wait_ready()
            started.touch()


@contextmanager
def throw_away_servers(
    folder: Path, *, rabbit: RabbitNode | None = None, durable: bool = True
) -> Iterator[PrivateServers]:
    """Servers that may be broken. Killed at the end, because their data is not needed again.

    A `rabbit` that runs already is used and left as it is: it may not be broken.
    """
    servers = PrivateServers(folder, wanted=(REDIS,) if rabbit else (RABBITMQ, REDIS), durable=durable)
    servers.rabbit = rabbit or servers.rabbit
    try:
        servers.start()
        yield servers
    finally:
        servers.kill()
        servers.stop()


def end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM raise, so that everything is stopped on the way out.

    Ctrl-C is set, too: whoever started this program may have it ignore SIGINT.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def print_outcome(run: Callable[[Console], tuple[RenderableType, bool]], *, width: int) -> int:
    """Run, and print the table that comes back. The exit code: 0 when all is well, 130 after Ctrl-C, otherwise 1.

    `width` counts characters; a terminal has its own.
    """
    console = Console(width=None if sys.stdout.isatty() else width)
    end_on_signals()
    try:
        table, ok = run(console)
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    console.print(table)
    return 0 if ok else 1


class Measured(Protocol):
    """A row of a table that says whether its part ended as it must."""

    @property
    def ok(self) -> bool: ...


def timed(names: Iterable[str], console: Console) -> Iterator[str]:
    """The names of the parts, one after the other; how long each took is printed when it is over."""
    for name in names:
        began = time.monotonic()
        try:
            yield name
        finally:
            console.print(f"{name}: {time.monotonic() - began:.0f} s", highlight=False)


def run_parts(
    parser: argparse.ArgumentParser,
    parts: Iterable[str],
    run: Callable[[bool, Sequence[str], Console], Sequence[AnyRow]],
    table: Callable[[Sequence[AnyRow]], Table],
) -> int:
    """Run the parts that the command line names, or all; `run` gets whether in short. Returns the exit code."""
    parser.add_argument("--only", action="append", choices=list(parts), help="only this one; can be repeated")
    options = parser.parse_args()

    def measure(console: Console) -> tuple[RenderableType, bool]:
        rows = run(options.short, options.only or list(parts), console)
        return table(rows), bool(rows) and all(row.ok for row in rows)

    return print_outcome(measure, width=180)


def checkout(commit: str, folder: Path) -> Path:
    """Write the files of a commit to a new folder, compiled. They run with this one's packages, by `PYTHONPATH`."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True, timeout=60)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True, timeout=60)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "unoapi", "tasks"], cwd=folder, check=True, timeout=120)
    return folder


def drain(uno: Stack, *, within_s: float, done: Callable[[], bool] = lambda: True) -> int:
    """Wait until `done` and all queues but the dead one are empty. Returns how many are left after `within_s`."""
    deadline = time.monotonic() + within_s
    empty_reads = 0
    while empty_reads < EMPTY_READS and time.monotonic() < deadline:
        time.sleep(POLL_S)
        empty_reads = empty_reads + 1 if done() and uno.unfinished() == 0 else 0
    return uno.unfinished()


def processes_of(folder: Path) -> list[str]:
    """Every process whose command line, environment or working folder mentions the folder."""
    lines = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values(), process.cwd()]
            name, zombie = process.name(), process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if process.pid != os.getpid() and not zombie and any(str(folder) in word for word in words):
            lines.append(f"{process.pid} {name}")
    return lines
