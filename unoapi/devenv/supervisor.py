"""Runs the commands of a Procfile in the foreground, and restarts those that end.

Code 78 (EX_CONFIG) means that a process found its settings wrong. Starting it again would only bury its message, so
everything stops and the message is the last thing to be read.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from unoapi.devenv import fork_server, processes
from unoapi.devenv.fork_server import words_of
from unoapi.errors import EX_CONFIG, describe
from unoapi.forking import ForkedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from unoapi.forking import ForkServer

RECORDS = Path(".run", "processes")
_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(\S.*)$")
_LINE_LIMIT = 65_536
_POLL_S = 0.1
_DRAIN_S = 2.0
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red")


def parse_procfile(text: str) -> dict[str, str]:
    """Read the commands of a Procfile, by name. Lines that are not `name: command` are ignored."""
    matches = (_LINE.match(line.strip()) for line in text.splitlines())
    return {match[1]: match[2] for match in matches if match}


def take_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on Ctrl-C, on SIGTERM, and when the terminal goes away (unless nohup asked to ignore that)."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, on_signal)


@dataclass(frozen=True)
class RestartPolicy:
    """When a process that ended is started again, and how long it may take to end; all in seconds.

    `pauses_s` are the waits before the first, second, … new start. A process that ran for `steady_s` begins again with
    the first wait. `grace_s` is the time between SIGTERM and SIGKILL.
    """

    grace_s: float = 30
    pauses_s: tuple[float, ...] = (1, 2, 4, 8, 16, 30)
    steady_s: float = 60


class PrefixedOutput:
    """Writes the lines of many processes to one output: each line whole, with the process's name in front."""

    def __init__(self, output: IO[str], names: Sequence[str]) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._width = max((len(name) for name in names), default=0)
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}

    def line(self, name: str, text: str) -> None:
        """Write one line of a process."""
        prefix = f"{name.ljust(self._width)} | "
        if self._output.isatty():
            prefix = click.style(prefix, fg=self._colours.get(name))
        self.write(f"{prefix}{text}\n")

    def write(self, text: str) -> None:
        """Write text as it is. A closed output is no error: a reader who left must not stop the processes."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._output.write(text)
            self._output.flush()


class _Child:
    """One line of the Procfile: its process, and when to start it again."""

    def __init__(self, name: str, launch: Callable[[str], processes.OwnedProcess], output: PrefixedOutput) -> None:
        self.name = name
        self.process: processes.OwnedProcess | None = None
        self.restart_at = 0.0
        self._launch = launch
        self._output = output
        self._copier: threading.Thread | None = None
        self._started = 0.0
        self._restarts = 0

    def start(self) -> None:
        self._started = time.monotonic()
        self.process = self._launch(self.name)
        self._copier = threading.Thread(target=self._copy, args=(self.process.output,), daemon=True)
        self._copier.start()

    def exit_code(self) -> int | None:
        """Give the exit code of a process that ended; None while it runs or waits to be started again."""
        return None if self.process is None else self.process.popen.poll()

    def clear(self) -> None:
        """End what is left of the process's tree, and print its last lines."""
        if self.process is not None:
            self.process.clear()
            self.process = None
        if self._copier is not None:
            self._copier.join(_DRAIN_S)

    def schedule_restart(self, code: int, policy: RestartPolicy) -> None:
        """Choose when to start again, and print it."""
        lived = time.monotonic() - self._started
        self._restarts = 1 if lived >= policy.steady_s else self._restarts + 1
        pause = policy.pauses_s[min(self._restarts, len(policy.pauses_s)) - 1]
        self.restart_at = time.monotonic() + pause
        self._output.line(self.name, f"*** {_describe(code)} after {lived:.0f} s; starts again in {pause:g} s ***")

    def _copy(self, source: IO[bytes]) -> None:
        with source:
            while line := source.readline(_LINE_LIMIT):
                self._output.line(self.name, line.decode("utf-8", "replace").rstrip("\r\n"))


class Supervisor:
    """Runs commands until `stop` is called, or until one of them ends with the code for wrong settings.

    Our own commands are forks of one process that has loaded what they share: see `fork_server`. What runs is recorded
    in `.run/processes` under `folder`, so that the next run can end what a killed one left.
    """

    def __init__(
        self,
        commands: Mapping[str, str],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        output: IO[str] | None = None,
        policy: RestartPolicy | None = None,
    ) -> None:
        self.output = PrefixedOutput(output or sys.stdout, list(commands))
        self._commands = commands
        self._folder = folder
        self._records = folder / RECORDS
        self._environment = os.environ if environment is None else environment
        self._policy = policy or RestartPolicy()
        self._forks: ForkServer | None = fork_server.server(self._environment, folder=folder, records=self._records)
        self._children = [_Child(name, self._launch, self.output) for name in commands]
        self._stopping = self._hurrying = False

    def stop(self) -> None:
        """Make `run` end soon, a second time at once. May be called by a signal handler: it only sets flags."""
        self._hurrying = self._stopping
        self._stopping = True

    def run(self) -> int:
        """Run until stopped. Returns 0, or 78 when a process ended with that code. Nothing is left running."""
        processes.sweep(self._records)
        try:
            while not self._stopping:
                for child in self._children:
                    if self._supervise(child) == EX_CONFIG:
                        return EX_CONFIG
                time.sleep(_POLL_S)
            return 0
        finally:
            self._end_all()

    def _supervise(self, child: _Child) -> int | None:
        code = child.exit_code()
        if code is not None:
            child.clear()
            if code == EX_CONFIG:
                self.output.line(child.name, "*** ended with code 78: its settings are wrong, so everything stops ***")
                return code
            child.schedule_restart(code, self._policy)
        elif child.process is None and time.monotonic() >= child.restart_at and not self._stopping:
            child.start()
        return code

    def _launch(self, name: str) -> processes.OwnedProcess:
        return self._fork(name) or self._start_anew(name)

    def _fork(self, name: str) -> processes.OwnedProcess | None:
        """Start one of our own commands as a fork of what has loaded it; none where that cannot be."""
        command = self._commands[name]
        if self._forks is None or words_of(command, self._environment, pid=0) is None:
            return None
        record = (self._records / f"{name}.process").absolute()
        record.parent.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        output = os.fdopen(reader, "rb")
        try:
            pid = self._forks.fork({"command": command, "record": f"{record}"}, writer)
        except (OSError, AttributeError) as error:  # AttributeError: a system without subreapers
            output.close()
            self._forks.close()
            self._forks = None
            self.output.line(name, f"*** cannot be forked, and is started anew instead: {describe(error)} ***")
            return None
        finally:
            os.close(writer)
        return processes.OwnedProcess(ForkedProcess(pid), record, output=output)

    def _start_anew(self, name: str) -> processes.OwnedProcess:
        return processes.start(
            ["/bin/sh", "-c", f"exec {self._commands[name]}"],
            record=self._records / f"{name}.process",
            environment=self._environment,
            folder=self._folder,
            output=processes.PIPE,
        )

    def _end_all(self) -> None:
        """Send SIGTERM to all at once, so that they share one `grace_s`."""
        running = [child for child in self._children if child.process is not None]
        if running and self._stopping:
            self.output.write("\nStopping: what is in hand is finished first. A second Ctrl-C stops at once.\n")
        for child in running:
            if child.process is not None:
                child.process.popen.terminate()
        deadline = time.monotonic() + self._policy.grace_s
        while any(child.exit_code() is None for child in running) and time.monotonic() < deadline:
            if self._hurrying:
                break
            time.sleep(_POLL_S)
        for child in running:
            if child.exit_code() is None:
                late = "killed" if self._hurrying else f"did not end within {self._policy.grace_s:g} s: killed"
                self.output.line(child.name, f"*** {late} ***")
            child.clear()
        if self._forks is not None:
            self._forks.close()


def _describe(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
