"""Processes that are forks of one that has loaded their program: they share it, and start in milliseconds.

A fork server loads, has one thread and opens no connection: a fork of such a process is safe. It forks twice, so that
whoever asked it, a subreaper, is the parent of the new process, and gets its exit code though the server be gone.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from unoapi.errors import describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SUBREAPER = 36
"""`PR_SET_CHILD_SUBREAPER` of Linux."""
ANSWER_S = 10.0
LOAD_S = 20.0
"""Less than a lease of a session: nothing else of a supervisor goes on meanwhile."""
READY = b"ready"
MAX_REQUEST = 16_384
GONE = "the fork server is gone"
"""No number: what is read of a server that has ended."""


class ForkedProcess:
    """A forked process: as much of `subprocess.Popen` as a supervisor needs. This process is its parent."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code; none while it runs. A signal's number is negative."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has waited for it
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        over = threading.Event()
        waited = 0.0
        while (code := self.poll()) is None:
            if waited >= timeout:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            over.wait(0.05)
            waited += 0.05
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkServer:
    """The supervisor's side. `options` are those of `subprocess.Popen`, for the server and so for what it forks."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self._command = list(command)
        self._options = options
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> int:
        """Start it unless it runs; the process id. Raises ConnectionError; OSError on a system without subreapers."""
        self._connected()
        assert self._server is not None  # noqa: S101 (connected)
        return self._server.pid

    def fork(self, request: Mapping[str, Any], descriptor: int) -> int:
        """Fork a process that gets this request and this file; its process id.

        Raises ConnectionError when the server is gone or the request too long, any other OSError when there is no room.
        """
        connection = self._connected()
        try:
            message = json.dumps(request).encode()
            if len(message) > MAX_REQUEST:
                raise ConnectionError("the request is too long")
            connection.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
            pid = int(connection.recv(64) or GONE)
        except (OSError, ValueError) as error:
            self.close()  # what it answers next would be the answer to this
            raise ConnectionError(describe(error)) from error
        if pid <= 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def close(self) -> None:
        """End the server. What it forked goes on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def _connected(self) -> socket.socket:
        if self._server is not None and self._server.poll() is None and self._socket is not None:
            return self._socket
        self.close()
        adopt_orphans()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [*self._command, str(theirs.fileno())]
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], **self._options)  # noqa: S603 (our own program)
        ours.settimeout(LOAD_S)
        try:
            if ours.recv(64) != READY:
                raise ConnectionError("the fork server did not start")
        except OSError as error:
            ours.close()
            self.close()
            raise ConnectionError(describe(error)) from error
        ours.settimeout(ANSWER_S)
        self._socket = ours
        return ours


def adopt_orphans() -> None:
    """Be the parent of grandchildren whose parent has ended. Raises OSError where the system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no subreaper")


def serve(connection: socket.socket) -> tuple[dict[str, Any], int]:
    """Fork for each request, until the supervisor is gone. Returns in each forked process: its request and its file."""
    if threading.active_count() > 1:
        raise SystemExit("a process with threads must not be forked")
    gc.collect()
    gc.freeze()
    connection.sendall(READY)
    while True:
        request, rights, _, _ = connection.recvmsg(MAX_REQUEST, socket.CMSG_SPACE(4))
        if not request:
            os._exit(0)
        descriptors = array.array("i")
        for _, _, data in rights:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        if _forked(connection):
            connection.close()
            return json.loads(request), descriptors[0]
        os.close(descriptors[0])


def _forked(connection: socket.socket) -> bool:
    """Fork twice, and return true in the second child. The first ends at once, so that the supervisor is the parent.

    Answered is only then: before, the supervisor could not wait for the process, and would take it for ended.
    """
    reader, writer = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        connection.sendall(f"-{error.errno}".encode())
        return False
    if middle:
        os.close(writer)
        os.waitpid(middle, 0)
        connection.sendall(os.read(reader, 64))
        os.close(reader)
        return False
    try:
        pid = os.fork()
    except OSError as error:
        os.write(writer, f"-{error.errno}".encode())
        os._exit(1)
    if pid:
        os.write(writer, f"{pid}".encode())
        os._exit(0)
    os.close(reader)
    os.close(writer)
    return True
