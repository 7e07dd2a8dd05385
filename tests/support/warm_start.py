"""Starts programs of the product without the second that each needs to import its modules.

A server process imports them once; each program is a fork of it: a process of its own, in a session of its own, with
the environment, folder and output that it is given. It ends as any other does. Only how it begins is different, and
that is what `make crash-test`, `make demo`, the image's and the Procfile's tests do as users do.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from contextlib import nullcontext, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from unoapi.cli.main import COMMANDS, MODULES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.context import ForkServerContext, ForkServerProcess

_IMPORTED = (
    "celery.__main__", "celery.apps.worker", "celery.concurrency.prefork", "celery.concurrency.thread",
    "celery.worker.consumer", "celery.worker.strategy", "gunicorn.app.wsgiapp", "kombu.transport.pyamqp",
    "tasks.app", "unoapi.cli.main", "unoapi.connector.session_process", "unoapi.connector.supervisor",
    "unoapi.web.app", "unoapi.web.gunicorn_worker", *(f"unoapi.cli.{MODULES.get(name, name)}" for name in COMMANDS),
)  # fmt: skip
"""None of them reads the environment or starts anything when it is imported."""
_SCRIPTS = ("celery", "gunicorn", "unoapi")
_READ_BY_INTERPRETER = ("PYTHON", "LD_")
"""Variables that count when an interpreter starts: a program that has one starts as a user would start it."""
_starting = threading.Lock()
_used = False


class Program:
    """A program that was started: what of `subprocess.Popen` is needed, for both ways to start one."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        self.pid = process.pid or 0

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"{self.pid}", timeout_s)
        return self._process.exitcode

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self._process.kill()


def use() -> None:
    """Start all programs of this process in this way from now on."""
    global _used  # noqa: PLW0603 (a switch of the whole test run)
    _used = True


def start(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, output: Path, errors: Path | None = None
) -> Program | subprocess.Popen[bytes]:
    """Start a program; its output goes to the files. Without `errors` both go to `output`."""
    if _used and _is_ours(command) and not any(name.startswith(_READ_BY_INTERPRETER) for name in environment):
        arguments = (tuple(command), dict(environment), f"{folder}", f"{output}", f"{errors or ''}")
        for file in filter(None, (output, errors)):
            file.touch()  # it may be read before the program runs
        process = _context().Process(target=_run, args=arguments, daemon=True)
        with _starting:
            process.start()
        return Program(process)
    with output.open("wb") as out, errors.open("wb") if errors else nullcontext(subprocess.STDOUT) as err:
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=err, start_new_session=True)


def _is_ours(command: Sequence[str]) -> bool:
    """A console script, or `python -m` and a module."""
    name = Path(command[0]).name
    return name in _SCRIPTS or (name.startswith("python") and command[1] == "-m")


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *_IMPORTED])
    return context


def _run(command: tuple[str, ...], environment: dict[str, str], folder: str, output: str, errors: str) -> None:
    """Become the program."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None
    _redirect(output, errors)
    try:
        if Path(command[0]).name in _SCRIPTS:
            sys.argv = list(command)
            [script] = entry_points(group="console_scripts", name=Path(command[0]).name)
            sys.exit(script.load()())
        sys.argv = list(command[2:])
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a fork of this kind leaves without them


def _redirect(output: str, errors: str) -> None:
    out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    err = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if errors else out
    os.dup2(out, 1)
    os.dup2(err, 2)
    for opened in {out, err}:
        with suppress(OSError):
            os.close(opened)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (lives as long as the process)
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115 (as above)
