"""A contact's messages leave in the order in which they were accepted, as long as none is tried again.

A worker that gets a message before its turn waits for the one before it, if that is under way in the same process, and
only for a moment: a few messages of a contact, and a quarter of the threads in all. Otherwise the message comes back,
the later the more go before it. While Redis does not say whose turn it is, each process keeps the order of what it has.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unoapi.errors import Postponed, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.jobs import MessageJob
    from unoapi.ports import SendOrder

COME_BACK_MS, LONGEST_COME_BACK_MS = 1000, 16_000
PATIENCE_S = 1.0
MAX_WAITING_OF_ONE = 4
OTHER_PROCESS_S = 0.05
"""So long a message waits for one that another process may just be sending."""
WRITTEN_S = 0.005
"""What this process writes reaches Redis about so long afterwards."""
MAX_REMEMBERED = 1000


class SendTurns:
    """The turns of the messages that this process sends."""

    def __init__(self, order: SendOrder, *, threads: int) -> None:
        self._order = order
        self._most_waiting = max(1, threads // 4)
        self._here: dict[str, tuple[str, int]] = {}  # line, accepted at
        self._waiting: dict[str, int] = {}
        self._left: deque[str] = deque(maxlen=MAX_REMEMBERED)
        self._coming_back: OrderedDict[str, tuple[str, int, float]] = OrderedDict()  # line, accepted at, until
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, job: MessageJob) -> Iterator[None]:
        """Send a message when it is its turn. Raises Postponed when that takes too long."""
        if not job.contact:
            yield
            return
        line = f"{job.phone}:{job.contact}"
        with self._changed:
            self._here[job.id] = (line, job.accepted_at_ms)
            self._coming_back.pop(job.id, None)
        try:
            self._await_turn(job, line)
            yield
        except Postponed as postponed:
            self._order.wait(job)
            self._expect(job, line, wait_s=2 * postponed.after_ms / 1000)
            raise
        except BaseException:
            self._leave(job)
            raise
        else:
            self._leave(job)
        finally:
            with self._changed:
                self._here.pop(job.id, None)
                self._changed.notify_all()

    def _leave(self, job: MessageJob) -> None:
        self._order.leave(job)
        self._left.append(job.id)

    def _await_turn(self, job: MessageJob, line: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        elsewhere = 0.0
        while first := self._first(job, line):
            now = time.monotonic()
            if first not in self._here and first not in self._left:
                elsewhere = elsewhere or now + OTHER_PROCESS_S
            until = min(deadline, elsewhere or deadline)
            if now >= until or not self._wait_for(first, line, until - now):
                turns = 1 + self._order.ahead(job) // MAX_WAITING_OF_ONE
                after_ms = min(turns * COME_BACK_MS, LONGEST_COME_BACK_MS)
                raise Postponed("an earlier message to the contact is on its way", after_ms=after_ms, jitter=False)

    def _first(self, job: MessageJob, line: str) -> str:
        """The id of the message that goes before this one; empty when it is its turn, as far as anybody knows."""
        try:
            return self._order.first(job, now_us=time.time_ns() // 1000)
        except StoreUnavailable:
            return self._first_here(line, job.accepted_at_ms)

    def _first_here(self, line: str, accepted_at_ms: int) -> str:
        """The same, of what this process has, or has put back and sees again soon."""
        now = time.monotonic()
        with self._changed:
            for name, (its_line, its_time) in self._here.items():
                if its_line == line and its_time < accepted_at_ms:
                    return name
            for name, (its_line, its_time, until) in self._coming_back.items():
                if its_line == line and its_time < accepted_at_ms and now < until:
                    return name
        return ""

    def _expect(self, job: MessageJob, line: str, *, wait_s: float) -> None:
        with self._changed:
            self._coming_back[job.id] = (line, job.accepted_at_ms, time.monotonic() + wait_s)
            if len(self._coming_back) > MAX_REMEMBERED:
                self._coming_back.popitem(last=False)

    def _wait_for(self, first: str, line: str, wait_s: float) -> bool:
        """Wait at most so long for a message, if this process has it. Whether to look again: not too many wait."""
        with self._changed:
            waiting = self._waiting.get(line, 0)
            if waiting >= MAX_WAITING_OF_ONE or sum(self._waiting.values()) >= self._most_waiting:
                return False
            self._waiting[line] = waiting + 1
            try:
                if first in self._here:
                    return self._changed.wait_for(lambda: first not in self._here, wait_s)
                self._changed.wait(WRITTEN_S)
                return True
            finally:
                self._waiting[line] -= 1
                if not self._waiting[line]:
                    del self._waiting[line]
