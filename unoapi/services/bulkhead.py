"""The bulkhead between endpoints: one that is slow or greedy leaves threads to the others."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unoapi.errors import Postponed
from unoapi.services.retries import bucket_wait_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.endpoints import Endpoint

SEEN_S = 5.0
"""For so long after a post an endpoint still counts as one that has work."""
PERMIT_WAIT_MS = 2000


class Bulkhead:
    """The threads of one process, shared between endpoints.

    One endpoint may use all of them while no other has work, otherwise at most half. It counts in the memory of this
    process, so that a crash leaves nothing behind.
    """

    def __init__(self, threads: int) -> None:
        self._half = max(1, threads // 2)
        self._busy: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, endpoint: Endpoint) -> Iterator[None]:
        """Use one thread for an endpoint. Raises Postponed when it uses its share already."""
        name = endpoint.key
        with self._lock:
            now = time.monotonic()
            self._seen.pop(name, None)
            self._seen[name] = now  # at the end: the first ones are those that were seen longest ago
            while now - self._seen[oldest := next(iter(self._seen))] >= SEEN_S:
                del self._seen[oldest]
            busy = self._busy.get(name, 0)
            others = len(self._seen) > 1 or len(self._busy.keys() - {name}) > 0
            if busy >= self._half and others:
                wait_ms = bucket_wait_ms(PERMIT_WAIT_MS, draw=random.random())  # noqa: S311 (spreads load)
                raise Postponed("the endpoint has its share of the threads", after_ms=wait_ms, jitter=False)
            self._busy[name] = busy + 1
        try:
            yield
        finally:
            with self._lock:
                self._busy[name] -= 1
                if not self._busy[name]:
                    del self._busy[name]
