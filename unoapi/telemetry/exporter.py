"""The numbers of all processes of a host, told by one of them.

Processes that are given the same port count in one folder, each in files of its own slot. One of them listens; when it
ends another takes its place. So it does not matter how many web processes or pool children there are, and processes
that share a host need no ports of their own. A slot outlives its process and goes to the next one, so that counts
never go backwards and the folder does not grow; when all have ended, the next to come begins anew.

All locks are the kernel's: who dies, however it dies, holds none.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
import threading
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
"""For so long one reader may keep the listener to itself."""
MAX_SLOTS = 4096


class ProcessRegistry:
    """The processes that count together. One object per process, made before anything is counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: list[IO[str]] = []
        self._slot_file: IO[str] | None = None
        self._slot = 0
        self._pid = 0

    def join(self) -> None:
        """Count here from now on. Raises ConfigurationError when the folder is not ours alone."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        found = self.folder.lstat()
        if found.st_uid != os.getuid() or not self.folder.is_dir() or self.folder.is_symlink() or found.st_mode & 0o077:
            raise ConfigurationError(f"{self.folder} belongs to somebody else: remove it, or set TMPDIR")
        everybody = (self.folder / "everybody.lock").open("a")
        if _locked(everybody, fcntl.LOCK_EX):
            for left in self.folder.glob("*.db"):
                left.unlink(missing_ok=True)
        fcntl.flock(everybody, fcntl.LOCK_SH)
        self._held.append(everybody)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        values.ValueClass = values.MultiProcessValue(self.slot)  # type: ignore[no-untyped-call]

    def slot(self) -> int:
        """The number that no other living process has; another one after a fork."""
        if self._pid != os.getpid():
            self._take_slot()
        return self._slot

    def register(self, name: str) -> None:
        """Let others see that a process of this kind lives."""
        signed = (self.folder / f"{name}.lock").open("a")
        fcntl.flock(signed, fcntl.LOCK_SH)
        self._held.append(signed)

    def has(self, name: str) -> bool:
        """Whether a process of this kind lives."""
        with (self.folder / f"{name}.lock").open("a") as probe:
            return not _locked(probe, fcntl.LOCK_EX)

    def forget_the_dead(self) -> None:
        """Remove what only the living may claim."""
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
        for left in self.folder.glob(f"gauge_*_{slot}.db"):
            left.unlink(missing_ok=True)


class _Together(Collector):
    """The counts of the whole group."""

    def __init__(self, group: ProcessRegistry) -> None:
        self._group = group
        # It does not say what it has before it is asked: what others count is not known yet.
        self._files: Any = MultiProcessCollector(None, path=str(group.folder))  # type: ignore[no-untyped-call]

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that the registry does not ask now."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Read the files."""
        self._group.forget_the_dead()
        found: Iterable[Metric] = self._files.collect()
        return found


class _Server(WSGIServer):
    """Asks nobody for the host's name, which may take long."""

    timeout = 0.5

    def server_bind(self) -> None:
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the base's signature)
        log.warning("metrics_not_read")


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, *_: Any) -> None:
        """Say nothing of reads."""


class Listener:
    """Answers for the group as soon as nobody else does. `more` is asked at each read."""

    def __init__(self, group: ProcessRegistry, *, host: str, port: int, more: Iterable[Collector] = ()) -> None:
        registry = CollectorRegistry()
        for collector in (_Together(group), *more):
            registry.register(collector)
        self._app = make_wsgi_app(registry)
        self._group = group
        self._where = (host.strip("[]"), port)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()

    def _run(self) -> None:
        with (self._group.folder / "listener.lock").open("a") as turn:
            while not _locked(turn, fcntl.LOCK_EX):
                if self._stopped.wait(TRY_S):
                    return
            self._listen()

    def _listen(self) -> None:
        told = False
        kind = type("_Server6", (_Server,), {"address_family": 10}) if ":" in self._where[0] else _Server
        while not self._stopped.is_set():
            try:
                server = kind(self._where, _Handler)
            except OSError as error:
                if not told:
                    log.error(
                        "metrics_port_not_free", port=self._where[1], error=f"{error}", hint="UNOAPI_METRICS_PORT"
                    )
                    told = True
                self._stopped.wait(TRY_S)
                continue
            log.info("metrics_listening", port=self._where[1])
            with server:
                server.set_app(self._app)
                while not self._stopped.is_set():
                    server.handle_request()


def group_folder(port: int, *, installation: str) -> Path:
    """Where the processes of one user, port and installation meet."""
    return Path(tempfile.gettempdir()) / f"unoapi-metrics-{os.getuid()}-{port}-{installation}"


def _locked(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
