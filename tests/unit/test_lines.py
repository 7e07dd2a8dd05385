"""The lines of messages to one contact, in one worker process."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.lines import MOST_OF_ONE, Lines, line_of

clock = itertools.count(1)


class Pool:
    """Threads that begin when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, ...]] = []
        self.stopped = False

    def submit(self, *work: Any) -> None:
        if self.stopped:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.waiting.append(work)

    def run_next(self) -> None:
        call, *given = self.waiting.pop(0)
        call(*given)


def message(name: str, done: list[str], error: BaseException | None = None) -> Any:
    def run() -> None:
        done.append(name)
        if error is not None:
            raise error

    run.id = name  # type: ignore[attr-defined]
    return run


def test_a_message_begins_when_the_one_before_it_is_done_and_no_thread_waits() -> None:
    pool, done = Pool(), list[str]()
    lines = Lines(pool.submit, most=10)

    for name in ("a1", "a2", "b1", "a3"):
        lines.run(message(name, done), name[0], next(clock))

    assert len(pool.waiting) == 2, "one of each line"
    while pool.waiting:
        pool.run_next()
    assert done == ["a1", "b1", "a2", "a3"]
    lines.run(message("a4", done), "a", next(clock))
    assert len(pool.waiting) == 1, "the line has been forgotten"


def test_few_messages_stand_in_a_line_and_in_all_lines_together() -> None:
    pool, done = Pool(), list[str]()
    lines = Lines(pool.submit, most=MOST_OF_ONE + 1)

    for number in range(MOST_OF_ONE + 3):
        lines.run(message(f"a{number}", done), "a", next(clock))
    assert len(pool.waiting) == 3, "the first one, and those for which there is no room"
    for number in range(4):
        lines.run(message(f"b{number}", done), "b", next(clock))

    assert len(pool.waiting) == 3 + 3, "of the second line one more stands"
    while pool.waiting:
        pool.run_next()
    assert sorted(done) == sorted([*(f"a{number}" for number in range(MOST_OF_ONE + 3)), "b0", "b1", "b2", "b3"])


def test_what_was_accepted_before_one_that_came_earlier_runs_at_once() -> None:
    """The first one waits for it: behind it, it would wait for ever."""
    pool, done = Pool(), list[str]()
    lines = Lines(pool.submit, most=10)

    for name, accepted_at_ms in (("2", 200), ("5", 500), ("1", 100), ("4", 400), ("5 too", 500), ("6", 600)):
        lines.run(message(name, done), "a", accepted_at_ms)

    assert len(pool.waiting) == 4
    while pool.waiting:
        pool.run_next()
    assert done == ["2", "1", "4", "5 too", "5", "6"]


@settings(deadline=None, max_examples=50)
@given(
    arrivals=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 6), st.booleans()), max_size=25),
    begun_between=st.lists(st.integers(0, 2), min_size=25, max_size=25),
)
def test_in_whatever_order_they_come_each_message_runs_once_and_no_line_is_left(
    arrivals: list[tuple[str, int, bool]], begun_between: list[int]
) -> None:
    pool, done = Pool(), list[str]()
    lines = Lines(pool.submit, most=MOST_OF_ONE + 1)

    def run_next() -> None:
        with suppress(OSError):
            pool.run_next()

    for number, (name, accepted_at_ms, fails) in enumerate(arrivals):
        error = OSError() if fails else None
        lines.run(message(f"{number}", done, error), name, accepted_at_ms)
        for _ in range(min(begun_between[number], len(pool.waiting))):
            run_next()
    while pool.waiting:
        run_next()

    assert sorted(done, key=int) == [f"{number}" for number in range(len(arrivals))]
    assert lines._lines == {}
    assert lines._standing == 0


def test_the_line_goes_on_whatever_a_message_raises() -> None:
    pool, done = Pool(), list[str]()
    lines = Lines(pool.submit, most=10)
    lines.run(message("1", done, SystemExit(1)), "a", next(clock))
    lines.run(message("2", done), "a", next(clock))

    with pytest.raises(SystemExit):
        pool.run_next()
    pool.run_next()

    assert done == ["1", "2"]


def test_what_stands_when_the_pool_shuts_down_is_left_to_rabbitmq() -> None:
    pool, done = Pool(), list[str]()
    lines = Lines(pool.submit, most=10)
    lines.run(message("1", done), "a", next(clock))
    lines.run(message("2", done), "a", next(clock))
    pool.stopped = True

    pool.run_next()

    assert done == ["1"]


def test_many_threads_keep_the_order_of_each_line() -> None:
    done: dict[str, list[int]] = {f"{line}": [] for line in range(20)}
    begun = threading.Semaphore(60)  # as many as the prefetch window lets in
    under_way: set[str] = set()

    def run_of(line: str, number: int) -> Any:
        def run() -> None:
            assert line not in under_way
            under_way.add(line)
            done[line].append(number)
            under_way.remove(line)
            begun.release()

        return run

    with ThreadPoolExecutor(20) as pool:
        lines = Lines(pool.submit, most=1000)
        for number in range(50):
            for line in done:
                begun.acquire()
                lines.run(run_of(line, number), line, next(clock))
        for _ in range(60):
            begun.acquire()

    assert all(numbers == list(range(50)) for numbers in done.values())


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (({"phone": "55", "contact": "11", "accepted_at_ms": 7},), ("55:11", 7)),
        (({"phone": "55", "contact": "11", "accepted_at_ms": "7"},), None),
        (({"phone": "55", "contact": "", "accepted_at_ms": 7},), None),
        (({"phone": "55"},), None),
        (("text",), None),
        ((), None),
    ],
)
def test_the_line_of_a_message(given: tuple[Any, ...], line: tuple[str, int] | None) -> None:
    run: Any = SimpleNamespace(read_arguments=lambda: given)

    assert line_of(run) == line
