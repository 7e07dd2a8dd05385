"""The bulkhead between receivers: one that is slow or greedy leaves threads to the others."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unoapi.errors import Postponed
from unoapi.models.endpoints import receiver_of
from unoapi.services.retries import bucket_wait_ms

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from unoapi.models.endpoints import Endpoint, Origin

SEEN_S = 5.0
"""For so long after a request an endpoint or an origin still counts as one that has work."""
PERMIT_WAIT_MS = 2000


class Bulkhead:
    """The threads of one process, shared between endpoints, and between the origins (scheme, host, port) behind them.

    One of either may use all of them while no other has work, otherwise at most half. It counts in the memory of this
    process, so that a crash leaves nothing behind.
    """

    def __init__(self, threads: int) -> None:
        self._half = max(1, threads // 2)
        self._tenth = max(1, threads // 10)
        self._quarter = max(1, threads // 4)
        self._endpoints, self._origins, self._probed = _Account(), _Account(), _Account()
        self._probes = self._releases = 0
        self._lock = threading.Lock()
        self._probe_ended = threading.Condition(self._lock)

    @contextmanager
    def taken(self, url: str, endpoint: Endpoint | None = None) -> Iterator[None]:
        """Use one thread for a request to an address. Raises Postponed when its share is in use already.

        An empty address takes none.
        """
        with self._lock:
            accounts: list[tuple[_Account, Hashable]] = [(self._origins, receiver_of(url).label)] if url else []
            if endpoint is not None:
                accounts.append((self._endpoints, endpoint))
            now = time.monotonic()
            over = [
                name for account, name in accounts if account.note_work(name, now) and account.busy(name) >= self._half
            ]
            if over:
                wait_ms = bucket_wait_ms(PERMIT_WAIT_MS, draw=random.random())  # noqa: S311 (spreads load)
                raise Postponed("its receiver has its share of the threads", after_ms=wait_ms, jitter=False)
            for account, name in accounts:
                account.take(name)
        try:
            yield
        finally:
            with self._lock:
                for account, name in accounts:
                    account.give_back(name)

    @property
    def may_probe(self) -> bool:
        """Whether one more probe of an endpoint that is down leaves nine tenths of the threads to the others."""
        return self._probes < self._tenth

    @contextmanager
    def probing(self, probe: bool) -> Iterator[None]:
        """Count a request that is a probe."""
        with self._lock:
            self._probes += probe
        try:
            yield
        finally:
            self._end_probe(probe)

    def _end_probe(self, probe: bool) -> None:
        with self._lock:
            self._probes -= probe
            self._probe_ended.notify()

    @contextmanager
    def place_to_probe(self, receiver: Origin | None = None, *, wait_s: float = 0.0) -> Iterator[bool]:
        """Probe an endpoint if one may, or may within so many seconds. Whether so.

        Half of the places are for endpoints of receivers that have none: a thousand that hang would take them all. That
        cannot be with one place, or where the receiver is not known.
        """
        with self._lock:
            may = self._probe_ended.wait_for(lambda: self.may_probe and self._leaves_places(receiver), wait_s)
            self._probes += may
            if may and receiver is not None:
                self._probed.take(receiver)
        try:
            yield may
        finally:
            with self._lock:
                if may and receiver is not None:
                    self._probed.give_back(receiver)
            self._end_probe(may)

    def _leaves_places(self, receiver: Origin | None) -> bool:
        return receiver is None or not self._probed.busy(receiver) or self._probes < self._tenth // 2

    @contextmanager
    def releasing(self) -> Iterator[bool]:
        """Release an endpoint's queue, if that leaves three quarters of the threads to everything else. Whether so."""
        with self._lock:
            may = self._releases < self._quarter
            self._releases += may
        try:
            yield may
        finally:
            with self._lock:
                self._releases -= may


class _Account:
    """Who uses how many threads, and who had work lately. What each call does is the same however many there are."""

    def __init__(self) -> None:
        self._busy: dict[Hashable, int] = {}
        self._last: Hashable = None
        self._last_at = self._other_at = float("-inf")
        """When the last one had work, and any other one before it (`time.monotonic`)."""

    def note_work(self, name: Hashable, now: float) -> bool:
        """Note that a name has work now (`time.monotonic`). Whether another one has some, too."""
        if name != self._last:
            self._last, self._other_at = name, self._last_at
        self._last_at = now
        return now - self._other_at < SEEN_S or len(self._busy) > (name in self._busy)

    def busy(self, name: Hashable) -> int:
        return self._busy.get(name, 0)

    def take(self, name: Hashable) -> None:
        self._busy[name] = self.busy(name) + 1

    def give_back(self, name: Hashable) -> None:
        self._busy[name] -= 1
        if not self._busy[name]:
            del self._busy[name]
