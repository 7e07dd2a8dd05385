"""Many threads hand in work, one does it, each gets its own result."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.stack import eventually
from unoapi.stores.batching import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence


class Held:
    """Work that stands still until it may go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.batches: list[list[int]] = []

    def run(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.begun.set()
        self.may_go_on.wait(10)
        return [item * 2 for item in items]


def double(items: Sequence[int]) -> list[int | Exception]:
    return [item * 2 for item in items]


def test_each_caller_gets_its_own_result() -> None:
    batcher = Batcher(double, name="test")

    with ThreadPoolExecutor(32) as threads:
        results = list(threads.map(lambda item: batcher.submit(item).wait(10), range(2000)))

    assert results == [item * 2 for item in range(2000)]
    batcher.close()


def test_what_gathers_while_a_batch_runs_is_done_together_in_order_and_within_the_limit() -> None:
    held = Held()
    batcher = Batcher(held.run, name="test", limit=3)

    batcher.submit(0)
    held.begun.wait(10)
    tickets = [batcher.submit(item) for item in range(1, 6)]
    held.may_go_on.set()

    assert [ticket.wait(10) for ticket in tickets] == [2, 4, 6, 8, 10]
    assert held.batches == [[0], [1, 2, 3], [4, 5]]
    batcher.close()


def test_an_error_of_one_item_is_raised_to_its_caller_alone() -> None:
    held = threading.Event()

    def refuse_odd(items: Sequence[int]) -> list[int | Exception]:
        held.wait(10)
        return [ValueError(item) if item % 2 else item for item in items]

    batcher = Batcher(refuse_odd, name="test")
    tickets = [batcher.submit(item) for item in range(4)]
    held.set()

    assert [tickets[0].wait(10), tickets[2].wait(10)] == [0, 2]
    for odd in (1, 3):
        with pytest.raises(ValueError, match=str(odd)):
            tickets[odd].wait(10)
    batcher.close()


def test_an_error_of_the_whole_batch_is_raised_to_all_and_the_next_batch_runs() -> None:
    def fail_for_one(items: Sequence[int]) -> list[int | Exception]:
        if 1 in items:
            raise OSError("gone")
        return list(items)

    batcher = Batcher(fail_for_one, name="test")

    with pytest.raises(OSError, match="gone"):
        batcher.submit(1).wait(10)
    assert batcher.submit(2).wait(10) == 2
    batcher.close()


def test_more_than_the_backlog_is_refused_at_once() -> None:
    held = Held()
    batcher = Batcher(held.run, name="test", backlog=2)
    first = batcher.submit(0)
    held.begun.wait(10)
    waiting = [batcher.submit(item) for item in (1, 2)]

    with pytest.raises(BufferError):
        batcher.submit(3)

    held.may_go_on.set()
    assert [ticket.wait(10) for ticket in (first, *waiting)] == [0, 2, 4]
    assert batcher.submit(4).wait(10) == 8
    batcher.close()


def test_a_caller_that_no_longer_waits_has_its_item_left_undone() -> None:
    held = Held()
    batcher = Batcher(held.run, name="test")
    batcher.submit(0)
    held.begun.wait(10)
    impatient, patient = batcher.submit(1), batcher.submit(2)

    with pytest.raises(TimeoutError):
        impatient.wait(0.01)
    held.may_go_on.set()

    assert patient.wait(10) == 4
    assert held.batches == [[0], [2]]
    batcher.close()


def test_closing_does_what_is_waiting_and_takes_nothing_new() -> None:
    held = Held()
    batcher = Batcher(held.run, name="test")
    batcher.submit(0)
    held.begun.wait(10)
    waiting = batcher.submit(1)
    held.may_go_on.set()

    batcher.close()

    assert waiting.wait(0) == 2
    with pytest.raises(RuntimeError):
        batcher.submit(2)


def test_closing_ends_in_time_though_the_work_hangs() -> None:
    held = Held()
    batcher = Batcher(held.run, name="test")
    batcher.submit(0)
    held.begun.wait(10)

    start = time.monotonic()
    batcher.close(timeout_s=0.1)

    assert time.monotonic() - start < 2
    held.may_go_on.set()


def test_an_item_handed_in_after_a_pause_is_done_at_once() -> None:
    batcher = Batcher(double, name="test")
    batcher.submit(1).wait(10)
    time.sleep(0.05)

    start = time.monotonic()
    batcher.submit(2).wait(10)

    assert time.monotonic() - start < 0.5
    batcher.close()


def test_idle_work_is_done_about_once_a_second() -> None:
    beats: list[float] = []
    batcher = Batcher(double, name="test", idle=lambda: beats.append(time.monotonic()))

    eventually(lambda: len(beats) >= 2, within_s=5)

    assert 0.9 <= beats[1] - beats[0] < 2.5
    batcher.close()
