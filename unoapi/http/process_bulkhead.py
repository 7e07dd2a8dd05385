"""The bulkhead between the origins of fetched files, and between numbers: it shares the processes of a pool.

They know nothing of each other, so each locks a file that is named after its origin, or its number. The locks are the
kernel's: a process that ends, however it ends, releases them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from unoapi.errors import ShareUsed
from unoapi.models.endpoints import receiver_of
from unoapi.services.bulkhead import KNOWN_S, PERMIT_WAIT_MS, SEEN_S
from unoapi.services.retries import bucket_wait_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

NAMES = 1024
"""What has the same name shares; there are never more files than these, each with a lock for each process."""
LONG_S = 3.0
"""What is made of a number's file is seldom done later than this."""
LOOK_S = 0.02


class ProcessBulkhead:
    """The processes of one pool on this host.

    An origin may use all while no other has work, otherwise at most half. A number leaves one to the others that there
    were within the hour: what comes for them stands behind what waits for it.
    """

    def __init__(self, folder: Path, *, processes: int) -> None:
        self._folder = folder
        self._processes = processes

    @contextmanager
    def taken(self, url: str) -> Iterator[None]:
        """Use this process for a request to an address. Raises ShareUsed when its origin has its share already."""
        with ExitStack() as held:
            with suppress(OSError):  # a folder that cannot be written limits nobody
                if self._take(receiver_of(url).label, held) is not None:
                    raise _share_used("its server")
            yield

    @contextmanager
    def taken_for(self, phone: str) -> Iterator[None]:
        """Use this process for a number. Raises ShareUsed when its share is in use by what takes long.

        What is over in a moment may go on beside the share: whether it is, shows what the number had before.
        """
        with ExitStack() as held:
            quick = self._folder / f"{_name(phone)}.quick"
            with suppress(OSError):
                until = time.time() + LONG_S
                while (since := self._take(phone, held, known_s=KNOWN_S)) is not None:
                    if time.time() >= min(until, since + LONG_S):
                        raise _share_used("its number")
                    if quick.exists():
                        break
                    time.sleep(LOOK_S)
            began = time.time()
            try:
                yield
            finally:
                if is_long := time.time() - began >= LONG_S:
                    with suppress(OSError):
                        quick.unlink(missing_ok=True)
            if not is_long:  # what is refused at once, or has to wait elsewhere, says nothing of the others
                with suppress(OSError):
                    quick.touch()

    def _take(self, name: str, held: ExitStack, *, known_s: float = SEEN_S) -> float | None:
        """Lock one of the processes of a name. Since when (Unix time) the longest of its locks is held, if all are."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = _name(name)
        (self._folder / name).touch()
        others = (file for file in self._folder.iterdir() if file.suffix == "" and file.name != name)
        alone_s = time.time() - max((file.stat().st_mtime for file in others), default=0.0)
        since = list[float]()
        for number in range(self._share(alone_s, known_s)):
            with ExitStack() as opened:
                lock: IO[str] = opened.enter_context((self._folder / f"{name}.{number}").open("a"))
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.utime(lock.fileno())
                    held.push(opened.pop_all())
                    return None
                since.append(os.fstat(lock.fileno()).st_mtime)
        return min(since)

    def _share(self, alone_s: float, known_s: float) -> int:
        """How many processes one may use that had no other one with work beside it for so many seconds."""
        if alone_s < SEEN_S:
            return max(1, self._processes // 2)
        return max(1, self._processes - 1) if alone_s < known_s else self._processes


def _name(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return f"{int.from_bytes(digest[:4]) % NAMES}"


def _share_used(who: str) -> ShareUsed:
    wait_ms = bucket_wait_ms(PERMIT_WAIT_MS, draw=random.random())  # noqa: S311 (spreads load)
    return ShareUsed(f"{who} has its share of the processes", after_ms=wait_ms, briefly=False)
