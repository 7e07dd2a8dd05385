"""Group commit: many threads submit items, one thread runs them in batches, each caller waits for its own result."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

CHECK_S = 10.0


class BatchFuture(Generic[Result]):
    """The future of one result. A bare lock, because `concurrent.futures.Future` costs more than the work itself."""

    __slots__ = ("_done", "_result", "abandoned")

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._result: Result | Exception | None = None
        self.abandoned = False

    def set_result(self, result: Result | Exception) -> None:
        """Set the result, or the exception that is raised in its place; once."""
        self._result = result
        self._done.release()

    def result(self, timeout_s: float) -> Result:
        """Wait for the result. Raises its exception, or TimeoutError, after which the work is not begun any more."""
        if not self._done.acquire(timeout=max(0.0, timeout_s)):
            self.abandoned = True
            raise TimeoutError
        if isinstance(self._result, Exception):
            raise self._result
        return cast("Result", self._result)


class Batcher(Generic[Item, Result]):
    """One thread that runs `run(items)` for whatever has gathered, at most `limit` items at a time.

    `run` returns one result per item, in order; a result that is an exception is raised to that item's caller. An
    exception raised by `run` itself goes to all callers of the batch. A batch gathers for `linger_s` first: fewer and
    larger batches take less of everything. Not usable after a fork: make it in the process that uses it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        name: str,
        limit: int = 200,
        backlog: int = 10_000,
        linger_s: float = 0.0,
    ) -> None:
        self._run = run
        self._name = name
        self._limit = limit
        self._backlog = backlog
        self._linger_s = linger_s
        self._waiting: deque[tuple[Item, BatchFuture[Result]]] = deque()
        self._wake = threading.Condition()
        self._asleep = False
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> BatchFuture[Result]:
        """Add one item. Raises BufferError when more than `backlog` items wait, RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        if len(self._waiting) >= self._backlog:
            raise BufferError(f"{self._name} has more than {self._backlog} items waiting")
        future: BatchFuture[Result] = BatchFuture()
        self._waiting.append((item, future))
        if self._asleep:
            with self._wake:
                self._wake.notify()
        return future

    def close(self, timeout_s: float = 5.0) -> None:
        """Run what is waiting, then stop. Returns after `timeout_s` at the latest."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._asleep = True  # set before the check, so that no item is added unnoticed
                if not self._waiting and not self._closed:
                    self._wake.wait(CHECK_S)
                self._asleep = False
            if self._closed and not self._waiting:
                return
            if self._linger_s and self._waiting:
                time.sleep(self._linger_s)
            batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
            if batch:
                self._run_batch(batch)

    def _run_batch(self, batch: list[tuple[Item, BatchFuture[Result]]]) -> None:
        wanted = [(item, future) for item, future in batch if not future.abandoned]
        if not wanted:
            return
        results: Sequence[Result | Exception]
        try:
            results = self._run([item for item, _ in wanted])
        except Exception as error:  # noqa: BLE001 (raised to every caller of the batch)
            results = [error] * len(wanted)
        if len(results) != len(wanted):
            results = [RuntimeError(f"{self._name}: {len(results)} results of {len(wanted)} items")] * len(wanted)
        for (_, future), result in zip(wanted, results, strict=True):
            future.set_result(result)
