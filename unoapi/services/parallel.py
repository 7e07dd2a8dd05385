"""Several things at the same time, and no longer than until a deadline."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def run_all(tasks: Sequence[Callable[[], T]], *, within_s: float) -> list[T | Exception | None]:
    """The result of each task, in their order: its error if it raised one, none if it has not ended in time.

    A thread for each. Nobody waits for one that is late, not even the program's end: a resolver may keep it for long.
    """
    deadline = time.monotonic() + within_s
    running = [_Running(task) for task in tasks]
    return [task.outcome(deadline) for task in running]


class _Running(Generic[T]):
    def __init__(self, task: Callable[[], T]) -> None:
        self._outcome: T | Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(task,), daemon=True)
        self._thread.start()

    def _run(self, task: Callable[[], T]) -> None:
        try:
            self._outcome = task()
        except Exception as error:  # noqa: BLE001 (one that fails must not keep the others from ending)
            self._outcome = error

    def outcome(self, deadline: float) -> T | Exception | None:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return self._outcome
