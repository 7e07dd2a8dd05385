"""Runs our own commands of a Procfile as forks (`unoapi.forking`): `python -m unoapi.devenv.fork_server`.

One process loads what they share, and each command becomes a fork of it, with the name, the output and the environment
that it would have if a shell had started it. A command that takes a shell, or another program, is none of its business.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import runpy
import socket
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from unoapi import forking
from unoapi.devenv import processes

if TYPE_CHECKING:
    from collections.abc import Mapping

LOADED = (
    "celery.__main__", "celery.app.log", "celery.apps.worker", "celery.backends.base", "celery.bin.celery",
    "celery.concurrency.prefork", "celery.concurrency.thread", "celery.events.state", "celery.fixups.django",
    "celery.worker.autoscale", "celery.worker.components", "celery.worker.consumer", "celery.worker.strategy",
    "billiard.popen_fork", "billiard.sharedctypes", "encodings.idna", "encodings.latin_1", "encodings.utf_8_sig",
    "gunicorn.app.wsgiapp", "gunicorn.glogging", "kombu.matcher", "kombu.pidbox", "kombu.transport.pyamqp",
    "tasks.app", "tasks.strategy", "tornado.platform.asyncio", "unoapi.connector.router",
    "unoapi.connector.supervisor", "unoapi.web.app", "unoapi.web.gunicorn_worker",
)  # fmt: skip
"""None of them reads the environment, opens a connection or starts a thread when it is imported."""
SCRIPTS = frozenset({"celery", "gunicorn", "unoapi"})
PLAIN = re.compile(r"[A-Za-z0-9_ ${}:./,=@%+-]+")
"""What a shell does nothing with but to fill in variables and to cut at the spaces."""
VARIABLE = re.compile(
    r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([A-Za-z0-9_./:,=@%+-]*))?\}|([A-Za-z_][A-Za-z0-9_]*))"
)
RECORD = "fork-server.process"
ROOM = 4096
"""For the name of a process and for the path of its record, where Linux shows them."""
NAME = 15
"""`PR_SET_NAME` of Linux."""
PARENT_S = 5.0


def words_of(command: str, environment: Mapping[str, str], *, pid: int) -> list[str] | None:
    """The words that a shell of this process id makes of a command of ours; None for all other commands."""

    def value(variable: re.Match[str]) -> str:
        if variable[1]:
            return str(pid)
        return environment.get(variable[2] or variable[4]) or variable[3] or ""

    if not PLAIN.fullmatch(command):
        return None
    filled_in = VARIABLE.sub(value, command)
    if "$" in filled_in or not PLAIN.fullmatch(filled_in):
        return None
    words = filled_in.split()
    is_ours = words[:1] and (words[0] in SCRIPTS or (words[:2] == ["python", "-m"] and words[2:]))
    return words if is_ours else None


def server(environment: Mapping[str, str], *, folder: Path, records: Path) -> forking.ForkServer:
    """A server for commands with this environment, in this folder. It ends with this process, whatever ends that."""
    others = {name: value for name, value in environment.items() if name != processes.OWNER}
    return forking.ForkServer(
        [sys.executable, "-m", "unoapi.devenv.fork_server", " " * ROOM],
        cwd=folder,
        env={**others, processes.OWNER: f"{(records / RECORD).absolute()}".ljust(ROOM)},  # last: see `Title`
        stdin=processes.DEVNULL,
        stdout=2,
        start_new_session=True,
        preexec_fn=processes.dies_with(os.getpid()),
    )


def main(descriptor: int) -> NoReturn:
    """Load what the commands share, then serve; in each forked process, run the command."""
    supervisor, title = os.getppid(), Title()
    title.show([sys.executable, "-m", "unoapi.devenv.fork_server"], os.environ[processes.OWNER].rstrip())
    for name in LOADED:
        importlib.import_module(name)
    request, output = forking.serve(socket.socket(fileno=descriptor))
    end_with(supervisor)
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    words = words_of(request["command"], os.environ, pid=os.getpid())
    if words is None:
        raise SystemExit(f"not one of our commands: {request['command']}")
    os.environ[processes.OWNER] = request["record"]
    if words[0] == "python":
        title.show(words, request["record"])
        sys.argv = words[2:]
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        sys.exit()
    sys.argv = [str(Path(sys.prefix, "bin", words[0])), *words[1:]]
    title.show([sys.executable, *sys.argv], request["record"])
    [script] = entry_points(group="console_scripts", name=words[0])
    sys.exit(script.load()())


def end_with(supervisor: int) -> None:
    """End when the supervisor does, whatever ends it. It is the parent as soon as the process between has ended."""
    deadline = time.monotonic() + PARENT_S
    while os.getppid() != supervisor and time.monotonic() < deadline:
        time.sleep(0.001)
    processes.dies_with(supervisor)()


class Title:
    """What Linux shows as the command of this process and as its environment's owner, for `ps` and for `processes`.

    Both lie where the process was started with them, and are written over: the server was started with some room.
    """

    def __init__(self) -> None:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        command, command_end, environment, environment_end = (int(field) for field in fields[45:49])
        self._command, self._command_size = command, command_end - command
        block = ctypes.string_at(environment, environment_end - environment)
        owner = f"\0{processes.OWNER}=".encode()
        offset = (b"\0" + block).find(owner) + len(owner) - 1
        self._owner, self._owner_size = environment + offset, block.find(b"\0", offset) - offset

    def show(self, words: list[str], record: str) -> None:
        """Show these words and this record."""
        name = Path(words[0] if words[1] == "-m" else words[1]).name  # as of a script, which its first line starts
        ctypes.CDLL(None).prctl(NAME, name.encode(), 0, 0, 0)
        _fill(self._command, self._command_size, b"\0".join(os.fsencode(word) for word in words))
        _fill(self._owner, self._owner_size, os.fsencode(record))


def _fill(place: int, size: int, text: bytes) -> None:
    ctypes.memmove(place, text[: size - 1].ljust(size, b"\0"), size)


if __name__ == "__main__":
    main(int(sys.argv[2]))
