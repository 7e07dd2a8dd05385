"""Exports the metrics of all processes of a host through one of them.

Processes with the same port write to one folder, each to the files of its own slot. One of them listens; when it ends,
another one takes over. So the number of web processes and pool children does not matter, and processes that share a
host need no ports of their own. A slot outlives its process and is reused by a later one, so that counts never go
backwards and the folder does not grow. When all processes have ended, the next one starts with an empty folder.

All locks are the kernel's: a process that ends, however it ends, releases them.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from socketserver import TCPServer
from typing import IO, TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from unoapi.errors import ConfigurationError
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

log = get_logger(__name__)

TRY_S = 1.0
REQUEST_S = 5.0
"""The longest time that one reader may occupy the listener."""
REST_S = 0.5
MAX_SLOTS = 4096


class ProcessRegistry:
    """The processes that write their metrics to one folder. One object per process, made before anything is counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: list[IO[str]] = []
        self._slot_file: IO[str] | None = None
        self._slot = 0
        self._pid = 0

    def join(self) -> None:
        """Write this process's metrics here. Raises ConfigurationError when another user may write to the folder."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        status = self.folder.lstat()
        is_folder = self.folder.is_dir() and not self.folder.is_symlink()
        if status.st_uid != os.getuid() or not is_folder or status.st_mode & 0o077:
            raise ConfigurationError(f"{self.folder} belongs to another user: remove it, or set TMPDIR")
        members = (self.folder / "everybody.lock").open("a")
        if _locked(members, fcntl.LOCK_EX):  # this is the first one
            for file in self.folder.glob("*.db"):
                file.unlink(missing_ok=True)
        fcntl.flock(members, fcntl.LOCK_SH)
        self._locks.append(members)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        values.ValueClass = values.MultiProcessValue(self.slot)  # type: ignore[no-untyped-call]

    def slot(self) -> int:
        """A number that no other running process has; a fork gets a number of its own."""
        if self._pid != os.getpid():
            self._take_slot()
        return self._slot

    def register(self, name: str) -> None:
        """Show the other processes that one of this kind runs."""
        file = (self.folder / f"{name}.lock").open("a")
        fcntl.flock(file, fcntl.LOCK_SH)
        self._locks.append(file)

    def has(self, name: str) -> bool:
        """Whether a process of this kind runs."""
        with (self.folder / f"{name}.lock").open("a") as probe:
            return not _locked(probe, fcntl.LOCK_EX)

    def clear_ended(self) -> None:
        """Remove the gauges of processes that have ended; their counts stay."""
        for path in self.folder.glob("slot-*.lock"):
            with path.open("a") as probe:
                if _locked(probe, fcntl.LOCK_EX):
                    self._clear_gauges(path.stem.removeprefix("slot-"))

    def _take_slot(self) -> None:
        self._pid = os.getpid()
        for number in itertools.islice(itertools.count(), MAX_SLOTS):
            file = (self.folder / f"slot-{number}.lock").open("a")
            if _locked(file, fcntl.LOCK_EX):
                self._clear_gauges(str(number))
                self._slot, self._slot_file = number, file  # a parent's lock stays with the parent
                return
            file.close()
        raise ConfigurationError(f"more than {MAX_SLOTS} processes count in {self.folder}")

    def _clear_gauges(self, slot: str) -> None:
        for file in self.folder.glob(f"gauge_*_{slot}.db"):
            file.unlink(missing_ok=True)


class _AllProcesses(Collector):
    """The metrics of all processes of a registry."""

    def __init__(self, processes: ProcessRegistry) -> None:
        self._processes = processes
        self._files: Any = MultiProcessCollector(None, path=str(processes.folder))  # type: ignore[no-untyped-call]

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what the other processes count is not known before a read."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Read the files of all slots."""
        self._processes.clear_ended()
        metrics: Iterable[Metric] = self._files.collect()
        return metrics


class _Server(WSGIServer):
    """Does not look the host's name up, which may take long."""

    timeout = 0.5

    def get_request(self) -> Any:
        """The next connection. Without a file for it the listener rests: the connection goes on waiting."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(REST_S)
            raise

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer one reader, and end its connection when the time is up: a byte now and then is no reason to wait."""
        deadline = threading.Timer(REQUEST_S, partial(_end, request))
        deadline.daemon = True
        deadline.start()
        try:
            super().finish_request(request, client_address)
        finally:
            deadline.cancel()

    def server_bind(self) -> None:
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the base's signature)
        log.warning("metrics_not_read")


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, *_: Any) -> None:
        """Log no reads."""


class Listener:
    """Answers for all processes of a registry as soon as no other one does. `more` is collected at each read."""

    def __init__(self, processes: ProcessRegistry, *, host: str, port: int, more: Iterable[Collector] = ()) -> None:
        registry = CollectorRegistry()
        for collector in (_AllProcesses(processes), *more):
            registry.register(collector)
        self._app = make_wsgi_app(registry)
        self._processes = processes
        self._address = (host.strip("[]"), port)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Start a thread that waits for its turn and then listens."""
        self._thread.start()

    def stop(self) -> None:
        """Make the thread end within a second."""
        self._stopped.set()

    def _run(self) -> None:
        with (self._processes.folder / "listener.lock").open("a") as lock:
            while not _locked(lock, fcntl.LOCK_EX):
                if self._stopped.wait(TRY_S):
                    return
            self._listen()

    def _listen(self) -> None:
        logged = False
        kind = type("_Server6", (_Server,), {"address_family": 10}) if ":" in self._address[0] else _Server
        while not self._stopped.is_set():
            try:
                server = kind(self._address, _Handler)
            except OSError as error:
                if not logged:
                    log.error(
                        "metrics_port_not_free", port=self._address[1], error=f"{error}", hint="UNOAPI_METRICS_PORT"
                    )
                    logged = True
                self._stopped.wait(TRY_S)
                continue
            log.info("metrics_listening", port=self._address[1])
            with server:
                server.set_app(self._app)
                while not self._stopped.is_set():
                    server.handle_request()


def registry_folder(port: int, *, installation: str) -> Path:
    """The folder that the processes of one user, port and installation share."""
    return Path(tempfile.gettempdir()) / f"unoapi-metrics-{os.getuid()}-{port}-{installation}"


def _locked(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
