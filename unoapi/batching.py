"""Group commit: many threads hand in work, one thread does it in batches, each caller waits for its own result."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """One thread that runs `run(items)` for whatever has gathered, at most `limit` items at a time.

    `run` returns one result per item, in order; a result that is an exception is raised to that item's caller. An
    exception raised by `run` itself goes to all callers of the batch. `idle` is called about once a second while there
    is nothing to do. Not usable after a fork: make it in the process that uses it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        name: str,
        limit: int = 200,
        backlog: int = 10_000,
        idle: Callable[[], None] | None = None,
    ) -> None:
        self._run = run
        self._name = name
        self._limit = limit
        self._backlog = backlog
        self._idle = idle
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> Future[Result]:
        """Hand in one item. Raises BufferError when more than `backlog` items wait, RuntimeError after `close`."""
        future: Future[Result] = Future()
        with self._wake:
            if self._closed:
                raise RuntimeError(f"{self._name} is closed")
            if len(self._waiting) >= self._backlog:
                raise BufferError(f"{self._name} has more than {self._backlog} items waiting")
            self._waiting.append((item, future))
            self._wake.notify()
        return future

    def close(self, timeout_s: float = 5.0) -> None:
        """Do what is waiting, then stop. Returns after `timeout_s` at the latest."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        last_idle = time.monotonic()
        while True:
            with self._wake:
                if not self._waiting and not self._closed:
                    self._wake.wait(1.0)
                if self._closed and not self._waiting:
                    return
                batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
            if batch:
                self._serve(batch)
            if self._idle is not None and time.monotonic() - last_idle >= 1.0:
                last_idle = time.monotonic()
                self._idle()

    def _serve(self, batch: list[tuple[Item, Future[Result]]]) -> None:
        # A caller that no longer waits has cancelled: its item is not done any more.
        live = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
        if not live:
            return
        results: Sequence[Result | Exception]
        try:
            results = self._run([item for item, _ in live])
        except Exception as error:  # noqa: BLE001 (told to every caller of the batch)
            results = [error] * len(live)
        for (_, future), result in zip(live, results, strict=True):
            try:
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            except InvalidStateError:  # pragma: no cover (a caller cannot cancel a running future)
                continue
