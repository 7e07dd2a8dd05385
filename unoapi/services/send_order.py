"""A contact's messages leave in the order in which they were accepted, as long as none is tried again by itself.

A worker that gets a message before its turn waits for the one before it, if that is about to leave, and only for a
moment: a few messages of a contact, half of the threads in all, and none of a number whose messages leave slowly: the
threads are for the others. Otherwise the message comes back, the later the more go before it. While Redis does not say
whose turn it is, each process keeps the order of what it has.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from unoapi.errors import Postponed, SendFailed
from unoapi.models.claims import Predecessor, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.jobs import MessageJob
    from unoapi.ports import SendOrder

COME_BACK_MS, LONGEST_COME_BACK_MS = 1000, 16_000
PATIENCE_S, LITTLE_PATIENCE_S = 1.0, 0.05
"""So long a message waits for one that is about to leave, and for one that waits itself."""
QUICK_S = 0.5
"""Behind a message that takes longer than this to leave no thread waits."""
SLOW_FOR_S = 2.0
"""So long after such a message no thread waits behind any of its number."""
MAX_WAITING_OF_ONE = 4
LOOK_S, LONGEST_LOOK_S = 0.005, 0.05
"""So often it looks whether one that this process does not have left: ever less often."""
WRITTEN_S = 1.0
"""What this process writes is in Redis after so long, or never."""
MAX_REMEMBERED = 1000


def place_us(job: MessageJob, *, now_us: int) -> int:
    """The place of a message in its line: when it was accepted, in microseconds.

    Never in another millisecond than `accepted_at_ms`, by which a worker decides who stands behind whom: of two
    requests at once, each message would else wait for the other one.
    """
    first_us = job.accepted_at_ms * 1000
    return min(max(now_us, first_us), first_us + 999)


class _Here(NamedTuple):
    """A message that this process has. `over` is set when its turn ends, however it ends.

    `began` is when its turn came, by the monotonic clock; none while it waits for that.
    """

    line: str
    accepted_at_ms: int
    over: threading.Event
    began: float | None = None


class _PutBack(NamedTuple):
    """A message that comes back at `back_at`, and goes before others until `until`, by the monotonic clock."""

    line: str
    accepted_at_ms: int
    back_at: float
    until: float


class OwnTurn:
    """The turn of one message, which whoever sends it asks for with its claim: the two are one question to Redis."""

    def __init__(self, turns: SendTurns, job: MessageJob, line: str) -> None:
        self._turns, self._job, self._line = turns, job, line
        self._waits_since: float | None = None
        self._look_s = LOOK_S

    def to_ask(self) -> Turn | None:
        """With what it is asked for; none for a message that stands in no line."""
        return Turn(time.time_ns() // 1000, self._turns.just_left(self._line)) if self._line else None

    @property
    def before_here(self) -> Predecessor | None:
        """The message that goes before it, as far as this process knows: while Redis does not say."""
        return self._turns.before_here(self._line, self._job.accepted_at_ms) if self._line else None

    def wait_for(self, first: Predecessor) -> None:
        """Wait a moment for the message before, then ask again. Raises Postponed when that takes too long."""
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        self._turns.wait_for(first, self._job, self._line, began=self._waits_since, look_s=self._look_s)
        self._look_s = min(2 * self._look_s, LONGEST_LOOK_S)

    def begin(self) -> None:
        """Note that the turn has come."""
        self._turns.begin(self._job)


class SendTurns:
    """The turns of the messages that this process sends."""

    def __init__(self, order: SendOrder, *, threads: int) -> None:
        self._order = order
        self._most_waiting = max(1, threads // 2)
        self._here: dict[str, _Here] = {}
        self._waiting: dict[str, int] = {}
        self._left: OrderedDict[str, dict[str, float]] = OrderedDict()  # by line: who left a moment ago, and when
        self._coming_back: OrderedDict[str, _PutBack] = OrderedDict()
        self._slow: OrderedDict[str, float] = OrderedDict()  # by phone: until when it counts as slow
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, job: MessageJob) -> Iterator[OwnTurn]:
        """Send a message when it is its turn, which is asked for within. However that ends, others learn it."""
        if not job.contact:
            yield OwnTurn(self, job, "")
            return
        line = f"{job.phone}:{job.contact}"
        with self._lock:
            self._here[job.id] = _Here(line, job.accepted_at_ms, threading.Event())
            self._coming_back.pop(job.id, None)
            self._left.get(line, {}).pop(job.id, None)
        try:
            yield OwnTurn(self, job, line)
        except Postponed as postponed:
            self._order.wait(job)
            self._expect(job, line, wait_s=postponed.after_ms / 1000)
            raise
        except SendFailed as failed:
            if failed.keeps_place:
                self._order.wait(job)
            else:
                self._leave(job, line)
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
                self._note_pace(job.phone, here)
                here.over.set()

    def begin(self, job: MessageJob) -> None:
        """Note that it is the message's turn."""
        with self._lock:
            here = self._here.get(job.id)
            if here is not None:
                self._here[job.id] = here._replace(began=time.monotonic())

    def _note_pace(self, phone: str, here: _Here) -> None:
        now = time.monotonic()
        if here.began is None or now - here.began <= QUICK_S:
            return
        with self._lock:
            self._slow[phone] = now + SLOW_FOR_S
            self._slow.move_to_end(phone)
            if len(self._slow) > MAX_REMEMBERED:
                self._slow.popitem(last=False)

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

    def just_left(self, line: str) -> tuple[str, ...]:
        """The messages of the line that left this process, and of which that may not be written yet."""
        with self._lock:
            left = self._left.get(line)
            if not left:
                return ()
            since = time.monotonic() - WRITTEN_S
            for name in [name for name, at in left.items() if at < since]:
                del left[name]
            return tuple(left)

    def wait_for(self, first: Predecessor, job: MessageJob, line: str, *, began: float, look_s: float) -> None:
        """Wait a moment for the message before. `began` is when its first wait did, by the monotonic clock.

        Raises Postponed when that takes too long.
        """
        left_s = self._wait_until(first, job.phone, began) - time.monotonic()
        if left_s <= 0 or not self._wait_for(first.message_id, line, left_s, look_s=look_s):
            turns = 1 + self._order.ahead(job) // MAX_WAITING_OF_ONE
            after_ms = min(turns * COME_BACK_MS, LONGEST_COME_BACK_MS)
            raise Postponed("an earlier message to the contact is on its way", after_ms=after_ms, jitter=False)

    def _wait_until(self, first: Predecessor, phone: str, began: float) -> float:
        """How long to wait for the message before, by the monotonic clock; `began` is when the wait did."""
        now = time.monotonic()
        if now < self._slow.get(phone, now):
            return now
        here = self._here.get(first.message_id)
        if here is not None and here.began is not None:
            return min(began + PATIENCE_S, here.began + QUICK_S)
        if here is not None or not first.waits:
            return began + PATIENCE_S
        away = self._coming_back.get(first.message_id)  # what this process has put back comes much later
        return now if away is not None and now < away.back_at else began + LITTLE_PATIENCE_S

    def before_here(self, line: str, accepted_at_ms: int) -> Predecessor | None:
        """A message that goes before, of what this process has, or has put back and sees again soon."""
        now = time.monotonic()
        with self._lock:
            for name, here in self._here.items():
                if here.line == line and here.accepted_at_ms < accepted_at_ms:
                    return Predecessor(name, waits=False)
            for name, away in self._coming_back.items():
                if away.line == line and away.accepted_at_ms < accepted_at_ms and now < away.until:
                    return Predecessor(name, waits=True)
        return None

    def _expect(self, job: MessageJob, line: str, *, wait_s: float) -> None:
        with self._lock:
            now = time.monotonic()
            self._coming_back[job.id] = _PutBack(line, job.accepted_at_ms, now + wait_s, now + 2 * wait_s)
            if len(self._coming_back) > MAX_REMEMBERED:
                self._coming_back.popitem(last=False)

    def _wait_for(self, first: str, line: str, wait_s: float, *, look_s: float) -> bool:
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
            time.sleep(min(look_s, wait_s))
            return True
        finally:
            with self._lock:
                self._waiting[line] -= 1
                if not self._waiting[line]:
                    del self._waiting[line]
