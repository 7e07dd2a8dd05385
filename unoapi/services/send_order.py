"""A contact's messages leave in the order in which they were accepted, as long as none is tried again.

A worker that gets a message before its turn waits for the one before it, if that is under way in the same process, and
only for a moment: a few messages of a contact, and half of the threads in all. Otherwise the message comes back,
the later the more go before it. While Redis does not say whose turn it is, each process keeps the order of what it has.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from unoapi.errors import Postponed, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.jobs import MessageJob
    from unoapi.ports import SendOrder

COME_BACK_MS, LONGEST_COME_BACK_MS = 1000, 16_000
PATIENCE_S = 1.0
MAX_WAITING_OF_ONE = 4
OTHER_PROCESS_S = 0.05
LOOK_S = 0.005
"""So long a message waits for one that another process may just be sending, and so often it looks."""
WRITTEN_S = 1.0
"""What this process writes is in Redis after so long, or never."""
MAX_REMEMBERED = 1000


class _Here(NamedTuple):
    """A message that this process sends. `over` is set when its turn ends, however it ends."""

    line: str
    accepted_at_ms: int
    over: threading.Event


class SendTurns:
    """The turns of the messages that this process sends."""

    def __init__(self, order: SendOrder, *, threads: int) -> None:
        self._order = order
        self._most_waiting = max(1, threads // 2)
        self._here: dict[str, _Here] = {}
        self._waiting: dict[str, int] = {}
        self._left: OrderedDict[str, dict[str, float]] = OrderedDict()  # by line: who left a moment ago, and when
        self._coming_back: OrderedDict[str, tuple[str, int, float]] = OrderedDict()  # line, accepted at, until
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, job: MessageJob) -> Iterator[None]:
        """Send a message when it is its turn. Raises Postponed when that takes too long."""
        if not job.contact:
            yield
            return
        line = f"{job.phone}:{job.contact}"
        with self._lock:
            self._here[job.id] = _Here(line, job.accepted_at_ms, threading.Event())
            self._coming_back.pop(job.id, None)
            self._left.get(line, {}).pop(job.id, None)
        try:
            self._await_turn(job, line)
            yield
        except Postponed as postponed:
            self._order.wait(job)
            self._expect(job, line, wait_s=2 * postponed.after_ms / 1000)
            raise
        except BaseException:
            self._leave(job, line)
            raise
        else:
            self._leave(job, line)
        finally:
            with self._lock:
                here = self._here.pop(job.id, None)
            if here is not None:
                here.over.set()

    def _leave(self, job: MessageJob, line: str) -> None:
        with self._lock:
            self._left.setdefault(line, {})[job.id] = time.monotonic()
            self._left.move_to_end(line)
            if len(self._left) > MAX_REMEMBERED:
                self._left.popitem(last=False)
        self._order.leave(job, on_written=partial(self._forget, job.id, line))

    def _forget(self, name: str, line: str) -> None:
        """Redis knows that the message has left."""
        with self._lock:
            left = self._left.get(line, {})
            left.pop(name, None)
            if not left:
                self._left.pop(line, None)

    def _just_left(self, line: str) -> list[str]:
        """The messages of the line that left this process, and of which that may not be written yet."""
        with self._lock:
            left = self._left.get(line)
            if not left:
                return []
            since = time.monotonic() - WRITTEN_S
            for name in [name for name, at in left.items() if at < since]:
                del left[name]
            return list(left)

    def _await_turn(self, job: MessageJob, line: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        elsewhere = 0.0
        while first := self._first(job, line):
            now = time.monotonic()
            if first not in self._here:
                elsewhere = elsewhere or now + OTHER_PROCESS_S
            until = min(deadline, elsewhere or deadline)
            if now >= until or not self._wait_for(first, line, until - now):
                turns = 1 + self._order.ahead(job) // MAX_WAITING_OF_ONE
                after_ms = min(turns * COME_BACK_MS, LONGEST_COME_BACK_MS)
                raise Postponed("an earlier message to the contact is on its way", after_ms=after_ms, jitter=False)

    def _first(self, job: MessageJob, line: str) -> str:
        """The id of the message that goes before this one; empty when it is its turn, as far as anybody knows."""
        try:
            return self._order.first(job, now_us=time.time_ns() // 1000, gone=self._just_left(line))
        except StoreUnavailable:
            return self._first_here(line, job.accepted_at_ms)

    def _first_here(self, line: str, accepted_at_ms: int) -> str:
        """The same, of what this process has, or has put back and sees again soon."""
        now = time.monotonic()
        with self._lock:
            for name, here in self._here.items():
                if here.line == line and here.accepted_at_ms < accepted_at_ms:
                    return name
            for name, (its_line, its_time, until) in self._coming_back.items():
                if its_line == line and its_time < accepted_at_ms and now < until:
                    return name
        return ""

    def _expect(self, job: MessageJob, line: str, *, wait_s: float) -> None:
        with self._lock:
            self._coming_back[job.id] = (line, job.accepted_at_ms, time.monotonic() + wait_s)
            if len(self._coming_back) > MAX_REMEMBERED:
                self._coming_back.popitem(last=False)

    def _wait_for(self, first: str, line: str, wait_s: float) -> bool:
        """Wait at most so long for a message, if this process has it. Whether to look again: not too many wait."""
        with self._lock:
            waiting = self._waiting.get(line, 0)
            if waiting >= MAX_WAITING_OF_ONE or sum(self._waiting.values()) >= self._most_waiting:
                return False
            self._waiting[line] = waiting + 1
            here = self._here.get(first)
        try:
            if here is not None:
                return here.over.wait(wait_s)
            time.sleep(min(LOOK_S, wait_s))
            return True
        finally:
            with self._lock:
                self._waiting[line] -= 1
                if not self._waiting[line]:
                    del self._waiting[line]
