"""A concurrency limit: how many requests may hold a thread at one time, and how many of them are one caller's."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unoapi.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

RETRY_AFTER_S = 10


class ConcurrencyLimit:
    """`of_all` requests at one time, at most `of_one` of them one caller's; `what` they do is said in errors."""

    def __init__(self, of_all: int, *, of_one: int, what: str) -> None:
        self._of_all, self._of_one, self._what = of_all, of_one, what
        self._taken = Counter[object]()
        self._lock = threading.Lock()

    def take(self, caller: Hashable) -> None:
        """Take a permit. Raises RequestError: 429 when the caller has all of its own, 503 when all are taken."""
        with self._lock:
            if self._taken[caller] >= self._of_one:
                raise self._refusal("Rate limit hit", code=130429, status=429, whose="of this caller ")
            if self._taken.total() >= self._of_all:
                raise self._refusal("Service temporarily unavailable", code=131016, status=503, whose="")
            self._taken[caller] += 1

    def give_back(self, caller: Hashable) -> None:
        """Let others have the permit."""
        with self._lock:
            self._taken[caller] -= 1
            if self._taken[caller] <= 0:
                del self._taken[caller]

    @contextmanager
    def taken(self, caller: Hashable) -> Iterator[None]:
        """A permit for as long as the block runs. Raises RequestError."""
        self.take(caller)
        try:
            yield
        finally:
            self.give_back(caller)

    def _refusal(self, title: str, *, code: int, status: int, whose: str) -> RequestError:
        details = f"Too many requests {whose}{self._what} at this moment; try again in {RETRY_AFTER_S} s."
        return RequestError(title, code=code, status=status, details=details, retry_after_s=RETRY_AFTER_S)
