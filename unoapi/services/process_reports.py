"""Each process says that it runs, so that people see which ones there are."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from unoapi.errors import StoreUnavailable
from unoapi.models.processes import REPORT_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.processes import Process
    from unoapi.ports import Processes


class ProcessReports:
    """The reports of this process, from `start` to `end`. `busy` is how many of its places have work, if it knows."""

    def __init__(
        self, process: Process, processes: Processes, *, busy: Callable[[], int | None] = lambda: None
    ) -> None:
        self._process = process
        self._processes = processes
        self._busy = busy
        self._ended = threading.Event()

    def start(self) -> None:
        """Report it now and again, in a thread; those that ended long ago are removed once."""
        threading.Thread(target=self._run, name="process reports", daemon=True).start()

    def end(self) -> None:
        """Say that it ends."""
        self._ended.set()
        self._processes.forget(self._process.name)

    def _run(self) -> None:
        with suppress(StoreUnavailable):
            self._processes.all()
        while not self._ended.is_set():
            self._processes.report(self._process.model_copy(update={"busy": self._busy()}))
            self._ended.wait(REPORT_S)
