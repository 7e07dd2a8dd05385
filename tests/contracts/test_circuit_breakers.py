"""Breakers: five different failures open one, one probe at a time, a success closes it; also without Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE
from unoapi.models.endpoints import Endpoint, EndpointChange, Permit
from unoapi.services.retries import bucket_wait_ms
from unoapi.stores.circuit_breakers import RedisBreakers
from unoapi.stores.deliveries import RedisDeliveries
from unoapi.stores.traces import RedisTraces

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

PAUSE_MS = 200


class Worker:
    """One process: it reads the state together with the done-key, as the product does."""

    def __init__(self, redis_client: RedisClient) -> None:
        self.deliveries = RedisDeliveries(redis_client, RedisTraces(redis_client, ttl_s=60), done_ttl_s=60)
        self.breakers = RedisBreakers(
            redis_client, failures=5, pause_ms=PAUSE_MS, spread=lambda wait_ms: bucket_wait_ms(wait_ms, draw=0.5)
        )

    def permit(self, delivery_id: str, webhook_id: str = "a") -> Permit:
        state = self.deliveries.state(delivery_id, Endpoint(PHONE, webhook_id)).breaker
        if state is not None:
            self.breakers.seen(Endpoint(PHONE, webhook_id), state=state)
        return self.breakers.permit(delivery_id, Endpoint(PHONE, webhook_id), state=state, deadline_ms=100)

    def fail(self, delivery_id: str) -> tuple[bool, EndpointChange | None]:
        return self.breakers.failed(delivery_id, Endpoint(PHONE, "a"))

    def succeed(self) -> EndpointChange | None:
        changes: list[EndpointChange] = []
        self.breakers.succeeded(Endpoint(PHONE, "a"), notify=changes.append)
        time.sleep(0.1)  # it may be written behind
        return changes[0] if changes else None


@pytest.fixture(params=["redis", "redis away"])
def worker(request: pytest.FixtureRequest) -> Worker:
    return Worker(request.getfixturevalue("redis_client" if request.param == "redis" else "away"))


def open_it(worker: Worker) -> EndpointChange:
    outcomes = [worker.fail(f"d-{number}") for number in range(5)]
    assert [down for down, _ in outcomes] == [False] * 4 + [True]
    change = outcomes[-1][1]
    assert change is not None
    return change


def test_five_different_failures_open_it_and_the_next_says_nothing_new(worker: Worker) -> None:
    change = open_it(worker)

    assert change.down
    assert worker.fail("d-9") == (True, None)
    assert worker.permit("d-9").wait_ms > 0
    assert worker.permit("d-9", webhook_id="b") == Permit()


def test_one_delivery_that_always_fails_opens_nothing(worker: Worker) -> None:
    assert [worker.fail("d-1")[0] for _ in range(20)] == [False] * 20
    assert worker.permit("d-2") == Permit()


def test_a_success_between_begins_the_count_again(worker: Worker) -> None:
    for number in range(4):
        worker.fail(f"d-{number}")
    worker.succeed()

    assert worker.fail("d-5") == (False, None)


def test_one_probe_at_a_time_by_different_deliveries_with_growing_pauses(worker: Worker) -> None:
    open_it(worker)
    time.sleep(PAUSE_MS / 1000 + 0.05)

    first = worker.permit("d-1")
    second = worker.permit("d-2")
    worker.fail("d-1")
    time.sleep(2 * PAUSE_MS / 1000 + 0.05)
    same = worker.permit("d-1")
    other = worker.permit("d-2")

    assert first.probe
    assert not first.wait_ms
    assert second.wait_ms
    assert same.wait_ms
    assert other.probe


def test_a_failed_probe_does_not_hold_the_next_one_for_its_whole_deadline(worker: Worker) -> None:
    open_it(worker)
    time.sleep(PAUSE_MS / 1000 + 0.05)
    state = worker.deliveries.state("d-1", Endpoint(PHONE, "a")).breaker
    probe = worker.breakers.permit("d-1", Endpoint(PHONE, "a"), state=state, deadline_ms=60_000)

    worker.fail("d-1")
    time.sleep(2 * PAUSE_MS / 1000 + 0.05)

    assert probe.probe
    assert worker.permit("d-2").probe


def test_the_only_delivery_that_waits_probes_again(worker: Worker) -> None:
    open_it(worker)
    time.sleep(PAUSE_MS * 2 / 1000 + 0.05)

    assert worker.permit("d-4").probe  # the one that opened it


def test_a_success_closes_it_and_says_so_once(worker: Worker) -> None:
    down = open_it(worker)

    up = worker.succeed()

    assert up == EndpointChange(down=False, since_ms=down.since_ms)
    assert worker.succeed() is None
    assert worker.permit("d-1") == Permit()


def test_all_workers_know_and_one_of_them_probes(redis_client: RedisClient) -> None:
    first, second = Worker(redis_client), Worker(redis_client)
    open_it(first)

    waits = second.permit("d-8").wait_ms
    time.sleep(PAUSE_MS / 1000 + 0.05)
    permits = [first.permit("d-7"), second.permit("d-8")]

    assert waits
    assert [permit.probe for permit in permits] == [True, False]
    assert second.succeed() is not None
    assert first.succeed() is None


def test_any_success_closes_it_also_one_that_began_before_it_opened(redis_client: RedisClient) -> None:
    first, second = Worker(redis_client), Worker(redis_client)
    assert second.permit("d-8") == Permit()
    down = open_it(first)

    up = second.succeed()

    assert up == EndpointChange(down=False, since_ms=down.since_ms)
    assert second.permit("d-9") == Permit()
    assert first.succeed() is None


def test_deliveries_come_back_on_a_ramp_and_not_as_a_flood(redis_client: RedisClient) -> None:
    worker = Worker(redis_client)
    open_it(worker)
    worker.succeed()

    permits = [worker.permit(f"d-{number}") for number in range(100)]

    assert 10 <= sum(not permit.wait_ms for permit in permits) <= 40
