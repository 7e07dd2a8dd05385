"""Breakers: five different failures open one, one probe at a time, a success closes it; also without Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE
from tests.support.stack import eventually
from unoapi.models.endpoints import Endpoint, EndpointChange, Permit
from unoapi.models.jobs import now_ms
from unoapi.services.endpoints import in_state
from unoapi.services.retries import bucket_wait_ms
from unoapi.stores.circuit_breakers import RedisBreakers, breaker_key
from unoapi.stores.deliveries import RedisDeliveries
from unoapi.stores.traces import RedisTraces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from unoapi.stores.redis import RedisClient

PAUSE_MS = 200
FAILING_MS = 100


class Worker:
    """One process: it reads the state together with the done-key, as the product does."""

    def __init__(self, redis_client: RedisClient) -> None:
        self.deliveries = RedisDeliveries(redis_client, RedisTraces(redis_client, ttl_s=60), done_ttl_s=60)
        self.breakers = RedisBreakers(
            redis_client,
            failures=5,
            spread=lambda wait_ms: bucket_wait_ms(wait_ms, draw=0.5),
            failing_ms=FAILING_MS,
            shortest_pause_ms=PAUSE_MS,
        )

    def permit(
        self,
        delivery_id: str,
        webhook_id: str = "a",
        *,
        accepted_at_ms: int = 0,
        may_probe: bool = True,
        deadline_ms: int = 100,
    ) -> Permit:
        state = self.deliveries.state(delivery_id, Endpoint(PHONE, webhook_id)).breaker
        if state is not None:
            self.breakers.seen(Endpoint(PHONE, webhook_id), state=state)
        return self.breakers.permit(
            delivery_id,
            Endpoint(PHONE, webhook_id),
            state=state,
            deadline_ms=deadline_ms,
            accepted_at_ms=accepted_at_ms,
            may_probe=may_probe,
        )

    def fail(self, delivery_id: str, *, took_ms: int = 1) -> tuple[bool, EndpointChange | None]:
        return self.breakers.failed(delivery_id, Endpoint(PHONE, "a"), took_ms=took_ms)

    def succeed(self) -> EndpointChange | None:
        changes: list[EndpointChange] = []
        self.breakers.succeeded([Endpoint(PHONE, "a")], notify=lambda _, change: changes.append(change))
        time.sleep(0.1)  # it may be written behind
        return changes[0] if changes else None


@pytest.fixture(params=["redis", "redis away"])
def worker(request: pytest.FixtureRequest) -> Worker:
    return Worker(request.getfixturevalue("redis_client" if request.param == "redis" else "away"))


def open_it(worker: Worker) -> EndpointChange:
    for number in range(4):
        assert worker.fail(f"d-{number}") == (False, None)
    time.sleep(FAILING_MS / 1000 + 0.02)
    down, change = worker.fail("d-4")
    assert down
    assert change is not None
    return change


def test_five_different_failures_open_it_and_the_next_says_nothing_new(worker: Worker) -> None:
    change = open_it(worker)

    assert change.down
    assert worker.fail("d-9") == (True, None)
    assert worker.permit("d-9").wait_ms > 0
    assert worker.permit("d-9", webhook_id="b") == Permit()


def test_one_that_a_person_resumes_is_probed_at_once_and_told_to_be_back(redis_client: RedisClient) -> None:
    worker = Worker(redis_client)
    open_it(worker)
    assert worker.permit("d-9").wait_ms > 0

    assert worker.deliveries.resume(Endpoint(PHONE, "a"))

    assert worker.permit("d-9") == Permit(probe=True)
    assert worker.permit("d-10").wait_ms > 0, "one at a time, as before"
    change = worker.succeed()
    assert change is not None
    assert not change.down
    assert not worker.deliveries.resume(Endpoint(PHONE, "a"))


def test_one_that_a_person_resumes_too_early_is_still_the_same_outage(redis_client: RedisClient) -> None:
    worker = Worker(redis_client)
    open_it(worker)
    worker.deliveries.resume(Endpoint(PHONE, "a"))
    worker.permit("d-9")

    assert worker.fail("d-9") == (True, None)
    assert worker.permit("d-10").wait_ms > 0


def test_one_delivery_that_always_fails_opens_nothing(worker: Worker) -> None:
    assert [worker.fail("d-1")[0] for _ in range(20)] == [False] * 20
    assert worker.permit("d-2") == Permit()


def test_a_success_between_begins_the_count_again(worker: Worker) -> None:
    for number in range(4):
        worker.fail(f"d-{number}")
    worker.succeed()

    assert worker.fail("d-5") == (False, None)


def test_successes_of_many_endpoints_close_and_forget_each_and_say_so_of_the_one_that_was_down(
    redis_client: RedisClient,
) -> None:
    worker, another = Worker(redis_client), Worker(redis_client)
    down, failing, healthy = (Endpoint(PHONE, webhook_id) for webhook_id in ("a", "b", "c"))
    for number in range(4):
        another.breakers.failed(f"b-{number}", failing, took_ms=1)
    open_it(another)
    changes: list[tuple[Endpoint, EndpointChange]] = []

    worker.breakers.succeeded([healthy, failing, down], notify=lambda *change: changes.append(change))

    eventually(lambda: changes, what="the change")
    assert [(endpoint, change.down) for endpoint, change in changes] == [(down, False)]
    assert another.breakers.failed("b-5", failing, took_ms=1) == (False, None)
    assert worker.breakers.count_open() == 0


def test_many_failures_at_once_open_nothing_and_wait(worker: Worker) -> None:
    outcomes = [worker.fail(f"d-{number}") for number in range(20)]

    assert outcomes == [(False, None)] * 4 + [(True, None)] * 16
    assert worker.permit("d-9") == Permit()


def test_a_receiver_that_fails_for_a_part_of_its_messages_is_never_down(worker: Worker) -> None:
    for number in range(12):
        assert worker.fail(f"d-{number}") == (False, None)
        if number % 4 == 3:
            worker.succeed()

    assert worker.permit("d-20") == Permit()


def test_the_pause_between_probes_is_twenty_times_what_the_last_one_cost(worker: Worker) -> None:
    open_it(worker)
    time.sleep(PAUSE_MS / 1000 + 0.05)
    assert worker.permit("d-1").probe
    worker.fail("d-1", took_ms=3 * PAUSE_MS // 20)

    time.sleep(1.5 * PAUSE_MS / 1000)
    assert not worker.permit("d-2").probe
    time.sleep(2 * PAUSE_MS / 1000)
    assert worker.permit("d-2").probe


def test_nobody_waits_for_the_deadline_of_a_probe_that_may_succeed_at_any_moment(worker: Worker) -> None:
    open_it(worker)
    time.sleep(PAUSE_MS / 1000 + 0.05)
    assert worker.permit("d-1", deadline_ms=60_000).probe

    assert 0 < worker.permit("d-2", deadline_ms=60_000).wait_ms <= 2000


@pytest.fixture
def full(raw_redis: redis.Redis) -> Iterator[Callable[[bool], object]]:
    """Redis answers; with True it takes no writes."""
    yield lambda refusing: raw_redis.config_set("maxmemory", "1" if refusing else "0")
    raw_redis.config_set("maxmemory", "0")


def test_a_breaker_opens_and_holds_while_redis_refuses_writes(
    redis_client: RedisClient, full: Callable[[bool], object]
) -> None:
    """Of 200 failing deliveries 80 used up attempts, and it was said twenty times that the endpoint is down."""
    worker = Worker(redis_client)
    full(True)
    open_it(worker)

    began = time.monotonic()
    names = [f"w-{number}" for number in range(100)]
    outcomes = [worker.fail(name) for name in names if not worker.permit(name).wait_ms]
    pauses = (time.monotonic() - began) * 1000 / PAUSE_MS

    assert len(outcomes) <= 1 + pauses, "nothing but probes"
    assert set(outcomes) <= {(True, None)}
    time.sleep(PAUSE_MS / 1000 + 0.05)
    assert [worker.permit(f"p-{number}").probe for number in range(3)] == [True, False, False]


def test_an_endpoint_that_went_down_before_redis_was_full_is_probed_and_comes_back(
    redis_client: RedisClient, full: Callable[[bool], object]
) -> None:
    worker = Worker(redis_client)
    open_it(worker)
    full(True)
    time.sleep(PAUSE_MS / 1000 + 0.05)

    assert worker.permit("w-1").probe
    change = worker.succeed()

    assert change is not None
    assert not change.down
    assert worker.permit("new", accepted_at_ms=now_ms() + 1) == Permit()
    full(False)
    assert worker.succeed() is None, "that it is up is said once"
    assert Worker(redis_client).permit("new", accepted_at_ms=now_ms() + 1) == Permit()


def test_nobody_probes_without_a_thread_for_it(worker: Worker) -> None:
    open_it(worker)
    time.sleep(PAUSE_MS / 1000 + 0.05)

    assert worker.permit("d-1", may_probe=False).wait_ms
    assert worker.permit("d-1").probe


def test_the_failures_that_the_version_before_counted_are_no_hindrance(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    raw_redis.sadd(f"unoapi-failing:{PHONE}:a", "d-0", "d-1", "d-2", "d-3")
    worker = Worker(redis_client)

    open_it(worker)

    assert worker.permit("d-9").wait_ms


def test_one_probe_at_a_time_by_different_deliveries(worker: Worker) -> None:
    open_it(worker)
    time.sleep(PAUSE_MS / 1000 + 0.05)

    first = worker.permit("d-1")
    second = worker.permit("d-2")
    worker.fail("d-1")
    time.sleep(1.5 * PAUSE_MS / 1000)
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
    probe = worker.permit("d-1", deadline_ms=60_000)

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


def test_what_waited_comes_back_on_a_ramp_and_what_is_new_at_once(redis_client: RedisClient) -> None:
    worker = Worker(redis_client)
    open_it(worker)
    worker.succeed()
    closed_ms = now_ms()

    permits = [worker.permit(f"d-{number}", accepted_at_ms=closed_ms - 1000) for number in range(150)]
    new = [worker.permit(f"d-{number}", accepted_at_ms=closed_ms + 1) for number in range(150, 170)]

    assert 100 <= sum(not permit.wait_ms for permit in permits) < 150
    assert new == [Permit()] * 20


def test_who_went_down_is_found_among_others(redis_client: RedisClient) -> None:
    worker = Worker(redis_client)
    endpoints = [Endpoint(PHONE, name) for name in ("b", "a", "c")]

    before = worker.breakers.went_down(endpoints)
    open_it(worker)

    assert (before, worker.breakers.went_down(endpoints)) == ([], [Endpoint(PHONE, "a")])
    assert list(in_state("down", endpoints, deliveries=worker.deliveries, breakers=worker.breakers)) == [endpoints[1]]
    worker.deliveries.suspend(endpoints[1], pause_ms=60_000)
    assert list(in_state("paused", endpoints, deliveries=worker.deliveries, breakers=worker.breakers)) == [endpoints[1]]
    opened = in_state("open", endpoints, deliveries=worker.deliveries, breakers=worker.breakers)
    assert list(opened) == [endpoints[0], endpoints[2]]


def test_what_redis_calls_up_again_is_up_here_too_when_redis_goes_away(
    redis_client: RedisClient, away: RedisClient
) -> None:
    endpoint = Endpoint(PHONE, "a")
    one, other = Worker(redis_client), Worker(redis_client)
    open_it(one)
    other.succeed()
    redis_client.call(("DEL", breaker_key(endpoint)))  # the time after the outage is over

    one.permit("d-8")
    one.breakers._redis = away
    permit = one.breakers.permit("d-9", endpoint, state=None, deadline_ms=100, accepted_at_ms=0, may_probe=False)

    assert permit == Permit()
