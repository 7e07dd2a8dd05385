"""Processes that this program starts, records and ends, without ever touching others.

Each runs in a session of its own, so that Ctrl-C does not end it out of order. Its process id and start time are
written to a record, and the record's path stands in its environment, which its children inherit. Both are needed to end
what a killed run left behind without ever hitting a stranger who got the same process id later.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from unoapi.forking import ForkedProcess

OWNER = "UNOAPI_OWNER"
PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
_PR_SET_PDEATHSIG = 1
_POLL_S = 0.05
_KILL_ROUNDS = 100
_ORPHANS_GRACE_S = 2.0  # for children of an ended process to end by themselves


@dataclass(frozen=True)
class Identity:
    """A process id together with its start time (clock ticks since boot): unlike the id alone, never used again."""

    pid: int
    started: int


class OwnedProcess:
    """One running process, the head of a tree of processes that ends with it."""

    def __init__(
        self, popen: subprocess.Popen[bytes] | ForkedProcess, record: Path, *, output: IO[bytes] | None = None
    ) -> None:
        self.popen = popen
        self.output = output
        self._record = record
        if (started := identity(popen.pid)) is not None:
            write_private(record, f"{started.pid} {started.started}\n")

    @property
    def pid(self) -> int:
        """The process id of the command itself."""
        return self.popen.pid

    def end(self, *, grace_s: float) -> None:
        """Send SIGTERM to the process; after `grace_s` seconds kill what is left of its tree.

        Only the head gets it: it ends the children of a pool in order, and SIGTERM would cut their tasks short.
        """
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(grace_s)
        self.clear()

    def kill(self) -> None:
        """Kill the whole tree with SIGKILL, at once."""
        _kill_tree(self._identity, self._record, reap=self.popen.poll)
        _reap_session(self.pid)
        self._record.unlink(missing_ok=True)

    def clear(self) -> None:
        """Kill what is left of the tree, two seconds after the head ended: children may end by themselves."""
        if self.popen.poll() is not None:
            deadline = time.monotonic() + _ORPHANS_GRACE_S
            while _tree(self._identity, self._record) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        self.kill()

    @property
    def _identity(self) -> Identity | None:
        return identity(self.pid) if self.popen.poll() is None else None


class FolderLock:
    """Lets one run at a time use a folder. The kernel releases it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Lock the folder. Raises ConfigurationError when another run has locked it."""
        if self._file is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = (self._folder / "lock").open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read(20).decode(errors="replace")
            file.close()
            stop = f"stop it first: kill {holder}" if holder.isdigit() else "stop it first"
            raise ConfigurationError(f"another run uses {self._folder}: {stop}") from error
        file.truncate(0)
        file.write(b"%d" % os.getpid())
        file.flush()
        self._file = file

    def release(self) -> None:
        """Unlock the folder."""
        if self._file is not None:
            self._file.close()
            self._file = None


def start(
    command: Sequence[str], *, record: Path, environment: Mapping[str, str], folder: Path, output: int | IO[bytes]
) -> OwnedProcess:
    """Start `command` in a session of its own, with `output` as its standard output and error.

    From the main thread it also dies with us, whatever kills us. (The kernel means the thread that started it, so a
    process started by a thread that ends would end too early.)
    """
    record = record.absolute()
    record.parent.mkdir(parents=True, exist_ok=True)
    popen = subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, OWNER: str(record)},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=dies_with(os.getpid()) if threading.current_thread() is threading.main_thread() else None,  # noqa: PLW1509 (two system calls, nothing that takes a lock)
    )
    return OwnedProcess(popen, record, output=popen.stdout)


def sweep(folder: Path) -> int:
    """Kill what an earlier run that was killed itself left behind, by the records in `folder`. Returns how many."""
    ended = 0
    for record in sorted(folder.absolute().glob("*.process")):
        try:
            pid, started = (int(word) for word in record.read_text("ascii").split())
            recorded: Identity | None = Identity(pid, started)
        except ValueError:  # cut off while it was written; the children still carry the record's path
            recorded = None
        if recorded is not None and identity(recorded.pid) != recorded:
            recorded = None
        ended += _kill_tree(recorded, record)
        record.unlink(missing_ok=True)
    return ended


def identity(pid: int) -> Identity | None:
    """Identify the process that has this id now; None if there is none, or only a zombie."""
    fields = _stat(pid)
    return None if not fields or fields[0] in "ZX" else Identity(pid, int(fields[19]))


def _stat(pid: int) -> list[str]:
    """What Linux knows of a process, from its state on; nothing if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _tree(head: Identity | None, record: Path) -> set[Identity]:
    """Find the head and all processes with the record's path in their environment, also in sessions of their own."""
    mark = f"{OWNER}={record}".encode()
    members = {head} if head is not None else set()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        member = identity(int(entry.name))
        try:
            marked = mark in Path(entry.path, "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if member is not None and marked:
            members.add(member)
    return members


def _kill_tree(head: Identity | None, record: Path, reap: Callable[[], object] = lambda: None) -> int:
    """Kill until no process is left: a fork between listing and killing is found by the next listing."""
    killed: set[Identity] = set()
    for _ in range(_KILL_ROUNDS):
        reap()
        members = _tree(head if head is not None and identity(head.pid) == head else None, record)
        if not members:
            break
        for member in members:
            if identity(member.pid) == member:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(member.pid, signal.SIGKILL)
        killed |= members
        time.sleep(_POLL_S)
    reap()
    return len(killed)


def _reap_session(head: int) -> None:
    """Wait for what has ended of this process's session: its orphans are ours, if we are a subreaper."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _stat(int(entry.name))[:4:3] == ["Z", str(head)]:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(entry.name), os.WNOHANG)


def dies_with(parent: int) -> Callable[[], None]:
    """What lets a process end when its parent does, whatever ends that; called in the process, after the fork."""
    libc = ctypes.CDLL(None, use_errno=True)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return before_exec


def write_private(path: Path, text: str) -> None:
    """Replace a file, readable by its owner only, in one step."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
