"""Starts the processes of sessions by forking one that has loaded everything: `python -m unoapi.connector.fork_server`.

Each session's process shares the loaded program with all others, and starts in milliseconds. The server never loads a
WhatsApp library, has one thread and opens no connection: a fork of such a process is safe. It forks twice, so that the
supervisor, a subreaper, is the parent of the sessions, and gets their exit codes though the server be gone.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from unoapi.errors import describe, safe_traceback
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

log = get_logger(__name__)

SUBREAPER = 36
"""`PR_SET_CHILD_SUBREAPER` of Linux."""
ANSWER_S = 10.0
LOAD_S = 20.0
"""Less than a lease: nothing else of the supervisor goes on meanwhile."""
PRELOADED = (
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "encodings.idna",
    "google.protobuf.json_format",
    "httpx",
    "PIL.Image",
    "linkpreview",
    "segno",
    "sqlite3",
    "tqdm",
)
"""What a session's process would load for itself otherwise; what is not installed is left out."""
READY = b"ready"
MAX_REQUEST = 4096
GONE = "the fork server is gone"
"""No number: what is read of a server that has ended."""


class SessionFork:
    """A forked session: as much of `subprocess.Popen` as the supervisor needs. This process is its parent."""

    def __init__(self, pid: int, stdin: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8")

    def poll(self) -> int | None:
        """The exit code; none while it runs. A signal's number is negative."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has waited for it
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(OSError):
                    self.stdin.close()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        over = threading.Event()
        waited = 0.0
        while (code := self.poll()) is None:
            if waited >= timeout:
                raise subprocess.TimeoutExpired(f"session {self.pid}", timeout)
            over.wait(0.05)
            waited += 0.05
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkServer:
    """The supervisor's side. Raises ConnectionError when it is gone, any other OSError when there is no room."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "unoapi.connector.fork_server")) -> None:
        self._command = list(command)
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def launch(self, arguments: Sequence[str], environment: dict[str, str]) -> SessionFork:
        """Fork a session's process with these arguments, and these variables beside those that the server has."""
        connection = self._connected()
        reader, writer = os.pipe()
        try:
            request = json.dumps({"arguments": list(arguments), "environment": environment}).encode()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [reader]))]
            connection.sendmsg([request], rights)
            pid = int(connection.recv(64) or GONE)
        except (OSError, ValueError) as error:
            os.close(writer)
            self.close()  # what it answers next would be the answer to this
            raise ConnectionError(describe(error)) from error
        finally:
            os.close(reader)
        if pid <= 0:
            os.close(writer)
            raise OSError(-pid, os.strerror(-pid))
        return SessionFork(pid, writer)

    def close(self) -> None:
        """End the server. Its sessions go on."""
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
            self._server = subprocess.Popen([*self._command, str(theirs.fileno())], pass_fds=[theirs.fileno()])  # noqa: S603 (our own program)
        ours.settimeout(LOAD_S)
        if ours.recv(64) != READY:
            ours.close()
            raise ConnectionError("the fork server did not start")
        ours.settimeout(ANSWER_S)
        self._socket = ours
        log.info("fork_server_started", pid=self._server.pid)
        return ours


def adopt_orphans() -> None:
    """Be the parent of grandchildren whose parent has ended. Raises OSError where the system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no subreaper")


def serve(connection: socket.socket) -> None:
    """Fork for each request, until the supervisor is gone. Returns in each session's process, too: see `main`."""
    connection.sendall(READY)
    while True:
        request, rights, _, _ = connection.recvmsg(MAX_REQUEST, socket.CMSG_SPACE(4))
        if not request:
            os._exit(0)
        descriptors = array.array("i")
        for _, _, data in rights:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        wish: dict[str, Any] = json.loads(request)
        _fork(connection, descriptors[0], wish)
        os.close(descriptors[0])


def _fork(connection: socket.socket, stdin: int, wish: dict[str, Any]) -> None:
    """Fork twice: the first child ends at once, so that the supervisor becomes the parent of the second.

    Answered is only then: before, the supervisor could not wait for the session, and would take it for ended.
    """
    reader, writer = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        connection.sendall(f"-{error.errno}".encode())
        return
    if middle:
        os.close(writer)
        os.waitpid(middle, 0)
        connection.sendall(os.read(reader, 64))
        os.close(reader)
        return
    try:
        pid = os.fork()
    except OSError as error:
        os.write(writer, f"-{error.errno}".encode())
        os._exit(1)
    if pid:
        os.write(writer, f"{pid}".encode())
        os._exit(0)
    code = 1
    try:
        connection.close()
        os.close(reader)
        os.close(writer)
        os.dup2(stdin, 0)
        os.close(stdin)
        os.environ.update(wish["environment"])
        random.seed()
        from unoapi.connector import session_process  # noqa: PLC0415 (loaded before the fork)

        code = session_process.main(wish["arguments"])
    except Exception as error:  # noqa: BLE001 (the process ends here in any case)
        log.error("session_not_run", error=describe(error), traceback=safe_traceback(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main(descriptor: int) -> None:
    """Load the program, then serve."""
    from unoapi.bootstrap import unoapi  # noqa: PLC0415 (what is loaded here is shared by all)
    from unoapi.connector import session_process  # noqa: PLC0415

    session_process.silence_the_library()  # before the log is bound to the output: it stays open to it
    os.environ["UNOAPI_OTLP_ENDPOINT"] = ""  # sessions make no spans, and the exporter's thread forbids every fork
    unoapi()
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threading.active_count() > 1:
        raise SystemExit("a process with threads must not be forked")
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=descriptor))


if __name__ == "__main__":
    main(int(sys.argv[1]))
