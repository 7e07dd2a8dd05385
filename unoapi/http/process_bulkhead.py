"""The bulkhead between the origins of fetched files: it shares the processes of a pool.

They know nothing of each other, so each fetch locks a file that is named after its origin. The locks are the kernel's:
a process that ends, however it ends, releases them.
"""

from __future__ import annotations

import fcntl
import hashlib
import random
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from unoapi.errors import Postponed
from unoapi.models.endpoints import receiver_of
from unoapi.services.bulkhead import PERMIT_WAIT_MS, SEEN_S
from unoapi.services.retries import bucket_wait_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = 1024
"""Origins of the same name share; there are never more files than these, each with a lock for each process."""


class ProcessBulkhead:
    """The processes of one pool on this host. An origin may use all while no other has work, otherwise at most half."""

    def __init__(self, folder: Path, *, processes: int) -> None:
        self._folder = folder
        self._processes = processes

    @contextmanager
    def taken(self, url: str) -> Iterator[None]:
        """Use this process for a request to an address. Raises Postponed when its origin has its share already."""
        with ExitStack() as held:
            with suppress(OSError):  # a folder that cannot be written limits nobody
                if not self._take(receiver_of(url).label, held):
                    wait_ms = bucket_wait_ms(PERMIT_WAIT_MS, draw=random.random())  # noqa: S311 (spreads load)
                    raise Postponed("its server has its share of the processes", after_ms=wait_ms, jitter=False)
            yield

    def _take(self, origin: str, held: ExitStack) -> bool:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest = hashlib.sha256(origin.encode("utf-8", "surrogatepass")).digest()
        name = f"{int.from_bytes(digest[:4]) % NAMES}"
        (self._folder / name).touch()
        since = time.time() - SEEN_S
        others = any(
            file.suffix == "" and file.name != name and file.stat().st_mtime > since for file in self._folder.iterdir()
        )
        for number in range(max(1, self._processes // 2) if others else self._processes):
            lock = held.enter_context((self._folder / f"{name}.{number}").open("a"))
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        return False
