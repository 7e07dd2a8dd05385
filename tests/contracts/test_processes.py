"""The processes that run, as each one reported itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import MemoryProcesses
from unoapi.errors import StoreUnavailable
from unoapi.models.jobs import now_ms
from unoapi.models.processes import this_process
from unoapi.stores.processes import FORGOTTEN_MS, RedisProcesses

if TYPE_CHECKING:
    import redis

    from unoapi.ports import Processes
    from unoapi.stores.redis import RedisClient


@pytest.fixture(params=["memory", "redis"])
def processes(request: pytest.FixtureRequest) -> Processes:
    if request.param == "memory":
        return MemoryProcesses()
    return RedisProcesses(request.getfixturevalue("redis_client"), prefix="unoapi")


def names(processes: Processes) -> list[str]:
    time.sleep(0.1)  # it may be written behind
    return [process.name for process in processes.all()]


def test_a_process_is_listed_from_its_report_to_its_end(processes: Processes) -> None:
    before = now_ms()
    for kind in ("worker", "media", "media"):
        processes.report(this_process(kind, name=kind, queues=("outgoing",), places=50, busy=3))

    assert names(processes) == ["media", "worker"]
    worker = processes.all()[1]
    assert (worker.kind, worker.queues, worker.places, worker.busy) == ("worker", ("outgoing",), 50, 3)
    assert before <= worker.seen_ms <= now_ms()
    processes.forget("worker")
    assert names(processes) == ["media"]


def test_one_that_was_not_heard_of_for_an_hour_and_rubbish_are_removed(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = RedisProcesses(redis_client, prefix="unoapi")
    processes.report(this_process("old", name="old"))
    time.sleep(0.1)
    raw_redis.hset("unoapi-processes:unoapi", mapping={"rubbish": "[1"})
    monkeypatch.setattr("unoapi.stores.processes.now_ms", lambda: now_ms() + FORGOTTEN_MS + 1)

    assert processes.all() == []
    time.sleep(0.1)
    assert raw_redis.hlen("unoapi-processes:unoapi") == 0


def test_without_redis_nobody_can_be_listed_and_nobody_waits(away: Any) -> None:
    processes = RedisProcesses(away, prefix="unoapi")

    processes.report(this_process("worker"))
    processes.forget("worker")
    with pytest.raises(StoreUnavailable):
        processes.all()
