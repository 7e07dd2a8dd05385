"""Many threads submit items, one runs them, each gets its own result."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from unoapi.stores.batching import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence


class Blocked:
    """Work that waits until it may go on."""

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
        results = list(threads.map(lambda item: batcher.submit(item).result(10), range(2000)))

    assert results == [item * 2 for item in range(2000)]
    batcher.close()


def test_what_gathers_while_a_batch_runs_is_done_together_in_order_and_within_the_limit() -> None:
    blocked = Blocked()
    batcher = Batcher(blocked.run, name="test", limit=3)

    batcher.submit(0)
    blocked.begun.wait(10)
    futures = [batcher.submit(item) for item in range(1, 6)]
    blocked.may_go_on.set()

    assert [future.result(10) for future in futures] == [2, 4, 6, 8, 10]
    assert blocked.batches == [[0], [1, 2, 3], [4, 5]]
    batcher.close()


def test_an_error_of_one_item_is_raised_to_its_caller_alone() -> None:
    may_go_on = threading.Event()

    def refuse_odd(items: Sequence[int]) -> list[int | Exception]:
        may_go_on.wait(10)
        return [ValueError(item) if item % 2 else item for item in items]

    batcher = Batcher(refuse_odd, name="test")
    futures = [batcher.submit(item) for item in range(4)]
    may_go_on.set()

    assert [futures[0].result(10), futures[2].result(10)] == [0, 2]
    for odd in (1, 3):
        with pytest.raises(ValueError, match=str(odd)):
            futures[odd].result(10)
    batcher.close()


def test_an_error_of_the_whole_batch_is_raised_to_all_and_the_next_batch_runs() -> None:
    def fail_for_one(items: Sequence[int]) -> list[int | Exception]:
        if 1 in items:
            raise OSError("gone")
        return list(items)

    batcher = Batcher(fail_for_one, name="test")

    with pytest.raises(OSError, match="gone"):
        batcher.submit(1).result(10)
    assert batcher.submit(2).result(10) == 2
    batcher.close()


def test_more_than_the_backlog_is_refused_at_once() -> None:
    blocked = Blocked()
    batcher = Batcher(blocked.run, name="test", backlog=2)
    first = batcher.submit(0)
    blocked.begun.wait(10)
    waiting = [batcher.submit(item) for item in (1, 2)]

    with pytest.raises(BufferError):
        batcher.submit(3)

    blocked.may_go_on.set()
    assert [future.result(10) for future in (first, *waiting)] == [0, 2, 4]
    assert batcher.submit(4).result(10) == 8
    batcher.close()


def test_a_caller_that_no_longer_waits_has_its_item_left_undone() -> None:
    blocked = Blocked()
    batcher = Batcher(blocked.run, name="test")
    batcher.submit(0)
    blocked.begun.wait(10)
    impatient, patient = batcher.submit(1), batcher.submit(2)

    with pytest.raises(TimeoutError):
        impatient.result(0.01)
    blocked.may_go_on.set()

    assert patient.result(10) == 4
    assert blocked.batches == [[0], [2]]
    batcher.close()


def test_closing_does_what_is_waiting_and_takes_nothing_new() -> None:
    blocked = Blocked()
    batcher = Batcher(blocked.run, name="test")
    batcher.submit(0)
    blocked.begun.wait(10)
    waiting = batcher.submit(1)
    blocked.may_go_on.set()

    batcher.close()

    assert waiting.result(0) == 2
    with pytest.raises(RuntimeError):
        batcher.submit(2)


def test_closing_ends_in_time_though_the_work_hangs() -> None:
    blocked = Blocked()
    batcher = Batcher(blocked.run, name="test")
    batcher.submit(0)
    blocked.begun.wait(10)

    start = time.monotonic()
    batcher.close(timeout_s=0.1)

    assert time.monotonic() - start < 2
    blocked.may_go_on.set()


def test_an_item_submitted_after_a_pause_is_done_at_once() -> None:
    batcher = Batcher(double, name="test")
    batcher.submit(1).result(10)
    time.sleep(0.05)

    start = time.monotonic()
    batcher.submit(2).result(10)

    assert time.monotonic() - start < 0.5
    batcher.close()
