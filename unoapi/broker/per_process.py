"""One thing of each process, made at its first use: what a parent has, its sockets and threads, is not its child's."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Makes it with `make`, once in each process."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[int, T] | None = None  # by which process

    def get(self) -> T:
        """What this process has; it is made now if need be."""
        made = self._made
        if made is None or made[0] != os.getpid():
            with self._lock:
                made = self._made
                if made is None or made[0] != os.getpid():
                    made = self._made = (os.getpid(), self._make())
        return made[1]

    def made(self) -> T | None:
        """What this process has made, if it has."""
        made = self._made
        return made[1] if made is not None and made[0] == os.getpid() else None

    def take(self) -> T | None:
        """The same for the last time: the next `get` makes another one."""
        with self._lock:
            taken, self._made = self.made(), None
        return taken
