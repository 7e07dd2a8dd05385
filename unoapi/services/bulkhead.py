"""The bulkhead between receivers: one that is slow or greedy leaves threads to the others."""

from __future__ import annotations

import math
import random
import threading
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from unoapi.errors import ShareUsed
from unoapi.models.endpoints import receiver_of
from unoapi.services.retries import bucket_wait_ms

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from unoapi.models.endpoints import Endpoint, Origin

SEEN_S = 5.0
"""For so long after a request a number, an endpoint or an origin still counts as one that has work."""
KNOWN_S = 3600.0
"""For so long it counts as one that may have work again: what comes for it finds a thread."""
SLOW_S = 1.0
"""Who is alone and has not answered for so long is slow: nothing more waits in the process for its answer."""
QUICK_PER_S = 1000
"""Whose share answers so many a second keeps the others waiting no longer than it takes to put its messages off."""
PERMIT_WAIT_MS = 2000


class Bulkhead:
    """The threads of one process, shared between numbers, their endpoints, and the origins (scheme, host, port) behind.

    One of each may use at most half of them while another has work, a number a tenth less, so that others get to the
    same origin; else all but a tenth, which wait for the others there were within the hour; and all where it has always
    been alone. It counts in the memory of this process, so that a crash leaves nothing behind.
    """

    def __init__(self, threads: int) -> None:
        self.share_out(threads)
        self._numbers, self._endpoints, self._origins, self._probed = _Account(), _Account(), _Account(), _Account()
        self._probes = self._releases = 0
        self._lock = threading.Lock()
        self._probe_ended = threading.Condition(self._lock)

    def share_out(self, threads: int) -> None:
        """Share so many threads: as many as the process has in truth, whatever the settings say."""
        self._half = max(1, threads // 2)
        self._of_number = max(1, threads // 2 - threads // 10)
        self._tenth = max(1, threads // 10)
        self._most = max(1, threads - self._tenth)
        self._quarter = max(1, threads // 4)

    @contextmanager
    def taken(self, url: str, endpoint: Endpoint | None = None, *, phone: str = "") -> Iterator[None]:
        """Use one thread for a request to an address, for a number. Raises ShareUsed when its share is in use already.

        An empty address takes none; who has an endpoint need not name its number.
        """
        number = phone if endpoint is None else endpoint.phone
        ticket = object()
        with self._lock:
            accounts: list[tuple[_Account, Hashable]] = [(self._origins, receiver_of(url).label)] if url else []
            if endpoint is not None:
                accounts.append((self._endpoints, endpoint))
            if number and accounts:
                accounts.append((self._numbers, number))
            now = time.monotonic()
            over = []
            for account, name in accounts:
                alone_s = account.note_work(name, now)
                shared = self._of_number if account is self._numbers else self._half
                if account.busy(name) >= self._limit(alone_s, shared=shared):
                    within_s = SLOW_S if alone_s >= SEEN_S else shared / QUICK_PER_S
                    over.append(account.is_quick(name, now, within_s=within_s))
            if over:
                wait_ms = bucket_wait_ms(PERMIT_WAIT_MS, draw=random.random())  # noqa: S311 (spreads load)
                raise ShareUsed(
                    "its receiver, or its number, has its share of the threads", after_ms=wait_ms, briefly=all(over)
                )
            for account, name in accounts:
                account.take(name, ticket, now)
        try:
            yield
        finally:
            with self._lock:
                for account, name in accounts:
                    account.give_back(name, ticket)

    def _limit(self, alone_s: float, *, shared: int) -> float:
        """How many threads one may use that had no other one with work beside it for so many seconds."""
        return shared if alone_s < SEEN_S else self._most if alone_s < KNOWN_S else math.inf

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
            ticket = object()
            if may and receiver is not None:
                self._probed.take(receiver, ticket, time.monotonic())
        try:
            yield may
        finally:
            with self._lock:
                if may and receiver is not None:
                    self._probed.give_back(receiver, ticket)
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
        self._busy: dict[Hashable, dict[object, float]] = {}
        """For each thread that a name uses, since when (`time.monotonic`), the longest first."""
        self._last: Hashable = None
        self._last_at = self._other_at = float("-inf")
        """When the last one had work, and any other one before it (`time.monotonic`)."""

    def note_work(self, name: Hashable, now: float) -> float:
        """Note that a name has work now (`time.monotonic`). For how many seconds no other one had some."""
        if name != self._last:
            self._last, self._other_at = name, self._last_at
        self._last_at = now
        return 0.0 if len(self._busy) > (name in self._busy) else now - self._other_at

    def busy(self, name: Hashable) -> int:
        return len(self._busy.get(name, ()))

    def is_quick(self, name: Hashable, now: float, *, within_s: float) -> bool:
        """Whether it is not known to be slow: nothing has waited longer for its answer."""
        return all(now - since < within_s for since in islice(self._busy.get(name, {}).values(), 1))

    def take(self, name: Hashable, ticket: object, now: float) -> None:
        self._busy.setdefault(name, {})[ticket] = now

    def give_back(self, name: Hashable, ticket: object) -> None:
        del self._busy[name][ticket]
        if not self._busy[name]:
            del self._busy[name]
