"""Child processes of the benchmarks: started with a clean environment, waited for with deadlines, always stopped."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.constants import BIN, ROOT
from unoapi.devenv.processes import OwnedProcess, start
from unoapi.settings import Settings

PYTHON = (sys.executable, "-m")
LOG = "processes.log"
FOREIGN = ("unoapi_", "bench_", "celery_", "gunicorn_", "flask_", "sentry_")


def forget_surroundings() -> None:
    """Take out of this process's environment, and so out of its children's, all that could reach other servers."""
    for name in list(os.environ):
        lower = name.lower()
        if lower in Settings.model_fields or lower.startswith(FOREIGN) or lower.endswith("_proxy"):
            del os.environ[name]
    os.environ["DOTENV_CONFIG_PATH"] = os.devnull
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"


@contextlib.contextmanager
def running(
    *commands: Sequence[str], environment: Mapping[str, str], folder: Path, checkout: Path = ROOT
) -> Iterator[list[psutil.Process]]:
    """Run commands in a checkout of the project; all of their processes are gone after the block."""
    children: list[OwnedProcess] = []
    try:
        for number, command in enumerate(commands):
            record = folder / f"bench{number}.process"
            with (folder / LOG).open("ab") as log:
                everything = {**os.environ, **environment, "PYTHONPATH": str(checkout)}
                children.append(start(command, record=record, environment=everything, folder=checkout, output=log))
        yield [psutil.Process(child.pid) for child in children]
    finally:
        for child in children:
            child.end(grace_s=10)


def log_tail(folder: Path, lines: int = 20) -> list[str]:
    """The last lines that the processes wrote."""
    log = folder / LOG
    if not log.exists():
        return []
    return [line[:300] for line in log.read_text(errors="replace").splitlines()[-lines:]]


def procfile(name: str, checkout: Path = ROOT) -> str:
    """The shell command of a process in the Procfile of a checkout."""
    for line in (checkout / "Procfile").read_text().splitlines():
        key, _, command = line.partition(": ")
        if key == name:
            return command
    raise LookupError(f"the Procfile has no {name}")


def megabytes(processes: list[psutil.Process]) -> float:
    """Resident memory of the processes and all their children."""
    family = [member for process in processes for member in (process, *process.children(recursive=True))]
    return sum(member.memory_info().rss for member in family) / 1e6


def cpu_s(processes: list[psutil.Process]) -> float:
    """Processor time of the processes and all their children so far, in seconds."""
    family = [member for process in processes for member in (process, *process.children(recursive=True))]
    return sum(times.user + times.system for member in family for times in [member.cpu_times()])


def listening(port: int) -> list[psutil.Process]:
    """The processes below this one that listen on a port."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any(socket.laddr.port == port for socket in process.net_connections("tcp") if socket.status == "LISTEN")
    ]


def own_cpu_s(processes: list[psutil.Process]) -> float:
    """Processor time of the processes themselves so far, in seconds."""
    return sum(times.user + times.system for process in processes for times in [process.cpu_times()])


def accepts(port: int) -> bool:
    """Whether a server listens on a loopback port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
