"""Functions run in fibers, for tests that wait for what becomes of them."""

from __future__ import annotations

import queue
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from unoapi.services.fibers import FiberLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")


@contextmanager
def fiber_loop() -> Iterator[FiberLoop]:
    """A loop that ends with the block; an error that ends it before fails the test."""
    ends: list[BaseException | None] = []
    loop = FiberLoop("test fibers", on_end=ends.append)
    try:
        yield loop
    finally:
        loop.close()
    assert ends == []


def in_fiber(loop: FiberLoop, function: Callable[..., Result], *args: Any, **options: Any) -> Result:
    """Call a function in a fiber, and wait for what comes of it. Raises what it raises."""
    outcome: queue.SimpleQueue[tuple[list[Result], BaseException | None]] = queue.SimpleQueue()

    def call() -> None:
        try:
            outcome.put(([function(*args, **options)], None))
        except Exception as error:  # noqa: BLE001 (raised by the caller)
            outcome.put(([], error))

    loop.submit(call)
    results, error = outcome.get(timeout=30)
    if error is not None:
        raise error
    return results[0]
