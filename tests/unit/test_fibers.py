"""Many waits in one thread: each goes on with what it waited for, and nothing that goes wrong stays unseen."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import structlog

import unoapi.services.fibers
from tests.support.fibers import fiber_loop, in_fiber
from tests.support.stack import eventually
from unoapi.services.fibers import FiberLoop, Wait, current_loop, in_thread
from unoapi.stores.batching import Batcher
from unoapi.telemetry.logging import bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@pytest.fixture
def loop() -> Iterator[FiberLoop]:
    with fiber_loop() as made:
        yield made


def pause(loop: FiberLoop, seconds: float) -> None:
    """Wait for nothing but the deadline."""
    loop.wait(Wait(loop, seconds))


def test_waits_of_many_fibers_pass_at_the_same_time_in_one_thread(loop: FiberLoop) -> None:
    threads: list[int] = []
    begun = time.monotonic()

    def work() -> None:
        pause(loop, 0.2)
        threads.append(threading.get_ident())

    for _ in range(500):
        loop.submit(work)
    eventually(lambda: len(threads) == 500, within_s=5)

    assert time.monotonic() - begun < 2.0
    assert len(set(threads)) == 1
    eventually(lambda: loop.is_idle)


def test_a_wait_ends_when_another_thread_ends_it_and_only_once(loop: FiberLoop) -> None:
    went_on: list[int] = []

    def work() -> None:
        wait = Wait(loop, 10)
        for _ in range(2):
            threading.Timer(0.05, wait.end).start()
        loop.wait(wait)
        went_on.append(1)
        pause(loop, 0.2)
        went_on.append(2)

    begun = time.monotonic()
    in_fiber(loop, work)

    assert went_on == [1, 2]
    assert time.monotonic() - begun >= 0.2


def test_a_fiber_gets_its_own_result_of_a_batch(loop: FiberLoop) -> None:
    batches: list[int] = []

    def double(items: Sequence[int]) -> list[int | Exception]:
        batches.append(len(items))
        return [ValueError("odd") if item % 2 else item * 2 for item in items]

    batcher, results = Batcher(double, name="test", linger_s=0.05), dict[int, object]()

    def work(number: int) -> None:
        try:
            results[number] = batcher.submit(number).result(5)
        except ValueError as error:
            results[number] = f"{error}"

    for number in range(100):
        loop.submit(lambda number=number: work(number))  # type: ignore[misc]
    eventually(lambda: len(results) == 100)
    batcher.close()

    assert results == {number: "odd" if number % 2 else number * 2 for number in range(100)}
    assert len(batches) < 10


def test_a_fiber_waits_no_longer_for_a_result_than_it_wants(loop: FiberLoop) -> None:
    may_go_on = threading.Event()

    def block(items: Sequence[int]) -> list[int | Exception]:
        may_go_on.wait(10)
        return list(items)

    batcher: Batcher[int, int] = Batcher(block, name="test")
    begun = time.monotonic()

    with pytest.raises(TimeoutError):
        in_fiber(loop, lambda: batcher.submit(1).result(0.1))

    assert 0.1 <= time.monotonic() - begun < 1.0
    may_go_on.set()
    batcher.close()


def test_what_holds_its_thread_up_is_done_in_another_one_while_others_go_on(loop: FiberLoop) -> None:
    steps: list[str] = []

    def slow() -> int:
        time.sleep(0.3)
        steps.append("slow")
        return threading.get_ident()

    def other() -> None:
        pause(loop, 0.05)
        steps.append("other")

    loop.submit(other)
    elsewhere = in_fiber(loop, lambda: in_thread(slow))

    assert steps == ["other", "slow"]
    assert elsewhere not in (in_fiber(loop, threading.get_ident), threading.get_ident())


def test_an_error_in_the_other_thread_is_the_fibers(loop: FiberLoop) -> None:
    def fail() -> None:
        raise LookupError("of the other thread")

    with pytest.raises(LookupError, match="of the other thread"):
        in_fiber(loop, lambda: in_thread(fail))


def test_outside_of_a_fiber_nothing_is_different(loop: FiberLoop) -> None:
    assert current_loop() is None
    assert in_thread(threading.get_ident) == threading.get_ident()
    assert in_fiber(loop, current_loop) is loop


def test_what_is_bound_to_the_lines_of_one_fiber_is_in_no_line_of_another(loop: FiberLoop) -> None:
    seen: dict[str, object] = {}

    def work(name: str) -> None:
        with bound(message_id=name):
            pause(loop, 0.05)
            seen[name] = structlog.contextvars.get_contextvars()
            seen[f"{name}, in a thread"] = in_thread(structlog.contextvars.get_contextvars)
        seen[f"{name}, after"] = structlog.contextvars.get_contextvars()

    for name in ("a", "b"):
        loop.submit(lambda name=name: work(name))  # type: ignore[misc]
    eventually(lambda: len(seen) == 6)

    for name in ("a", "b"):
        assert seen[name] == seen[f"{name}, in a thread"] == {"message_id": name}
        assert seen[f"{name}, after"] == {}


def test_a_socket_is_heard_until_it_is_watched_no_more(loop: FiberLoop) -> None:
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []

    def work() -> None:
        wait = Wait(loop, 5)

        def hear(*_: object) -> None:
            heard.append(ours.recv(10))
            wait.go_on()

        loop.watch(ours.fileno(), selectors.EVENT_READ, hear)
        loop.wait(wait)
        loop.watch(ours.fileno(), 0)
        loop.watch(ours.fileno(), 0)

    theirs.send(b"one")
    in_fiber(loop, work)
    theirs.send(b"two")
    in_fiber(loop, pause, loop, 0.05)

    assert heard == [b"one"]
    ours.close()
    theirs.close()


def test_a_function_that_raises_ends_the_loop_and_is_told_as_the_reason() -> None:
    ends: list[BaseException | None] = []
    error = SystemExit(3)

    def fail() -> None:
        raise error

    loop = FiberLoop("test", on_end=ends.append)
    loop.submit(fail)

    eventually(lambda: ends == [error], within_s=5)
    loop.close()


def test_a_loop_that_is_stuck_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unoapi.services.fibers, "PATIENCE_S", 1)
    ends: list[BaseException | None] = []
    may_go_on = threading.Event()
    loop = FiberLoop("test", on_end=ends.append)

    loop.submit(lambda: may_go_on.wait(10))

    eventually(lambda: ends == [None], within_s=5)
    may_go_on.set()
    loop.close()


def test_a_loop_with_nothing_to_do_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unoapi.services.fibers, "PATIENCE_S", 2)

    with fiber_loop():
        time.sleep(3.5)
