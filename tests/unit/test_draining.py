"""A worker that stops and still has tasks: what ended meanwhile is acknowledged at once, and heartbeats go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from celery import concurrency
from kombu.asynchronous import Hub, set_event_loop

from unoapi.broker.celery import DrainingPool

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_S = 0.8


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Celery's loop, which does not run any more."""
    made = Hub()
    set_event_loop(made)
    yield made
    made.close()
    set_event_loop(None)


def test_a_draining_worker_acknowledges_and_sends_heartbeats(hub: Hub) -> None:
    events: list[str] = []

    def task(name: str, seconds: float) -> None:
        time.sleep(seconds)
        events.append(f"{name} ended")
        hub.call_soon(events.append, f"{name} acknowledged")

    pool = DrainingPool(limit=2)
    pool.start()
    for name, seconds in (("long", LONG_S), ("short", LONG_S / 4)):
        pool.executor.submit(task, name, seconds)
    hub.timer.call_repeatedly(LONG_S / 10, events.append, ("heartbeat",))

    pool.stop()

    assert [event for event in events if event != "heartbeat"] == [
        "short ended",
        "short acknowledged",
        "long ended",
        "long acknowledged",
    ]
    assert events[events.index("short acknowledged") : events.index("long ended")].count("heartbeat") > 1


@pytest.mark.usefixtures("hub")
def test_a_worker_that_stops_begins_nothing_new() -> None:
    begun: list[int] = []

    def task(number: int) -> None:
        begun.append(number)
        time.sleep(LONG_S / 4)

    pool = DrainingPool(limit=1)
    pool.start()
    for number in range(2):
        pool.executor.submit(task, number)
    time.sleep(LONG_S / 8)

    pool.stop()

    assert begun == [0]


def test_the_pool_of_threads_is_the_one_that_drains() -> None:
    assert concurrency.get_implementation("threads") is DrainingPool
