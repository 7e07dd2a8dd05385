"""Deliveries: one that is done is not posted again, and an endpoint that asked for a pause gets it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryDeliveries
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.endpoints import DeliveryState, Endpoint
from unoapi.models.trace import TraceEntry
from unoapi.stores.deliveries import RedisDeliveries
from unoapi.stores.traces import RedisTraces

if TYPE_CHECKING:
    import redis

    from unoapi.ports import Deliveries
    from unoapi.stores.redis import RedisClient

ENTRY = TraceEntry(step="delivered", phone=PHONE, message_id="wamid.1", delivery_id="d-1", status=200)


def redis_deliveries(redis_client: RedisClient) -> RedisDeliveries:
    return RedisDeliveries(redis_client, RedisTraces(redis_client, ttl_s=60), done_ttl_s=60)


@pytest.fixture(params=["memory", "redis", "redis away"])
def deliveries(request: pytest.FixtureRequest) -> Deliveries:
    if request.param == "memory":
        return MemoryDeliveries()
    return redis_deliveries(request.getfixturevalue("redis_client" if request.param == "redis" else "away"))


def state(deliveries: Deliveries, delivery_id: str = "d-1", webhook_id: str = "a", phone: str = PHONE) -> DeliveryState:
    return deliveries.state(delivery_id, Endpoint(phone, webhook_id))


def test_nothing_is_known_of_a_new_delivery(deliveries: Deliveries) -> None:
    assert state(deliveries) == DeliveryState()


def test_a_finished_delivery_is_done(deliveries: Deliveries) -> None:
    deliveries.finish("d-1", ENTRY)

    assert state(deliveries).done
    assert not state(deliveries, "d-2").done


def test_what_another_process_waits_for_is_known_to_it_at_once(redis_client: RedisClient) -> None:
    for here, there in ((redis_deliveries(redis_client), redis_deliveries(redis_client)), (MemoryDeliveries(),) * 2):
        here.note_done("d-1")

        assert there.is_done("d-1")
        assert state(there).done


def test_without_redis_nobody_waits_long_for_the_note(away: RedisClient) -> None:
    began = time.monotonic()

    redis_deliveries(away).note_done("d-1")

    assert time.monotonic() - began < 1


def test_a_person_sees_whether_a_delivery_is_done(request: pytest.FixtureRequest) -> None:
    redis: Deliveries = redis_deliveries(request.getfixturevalue("redis_client"))
    for deliveries in (MemoryDeliveries(), redis):
        deliveries.finish("d-1", ENTRY)

        assert eventually(lambda deliveries=deliveries: deliveries.is_done("d-1"))  # type: ignore[misc]
        assert not deliveries.is_done("d-2")


def test_a_delivery_that_the_version_before_finished_is_done(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    delivery_id = "5c3ee5b8-5bd6-4a77-9a39-3f8a0b5a7d11"
    raw_redis.set(f"unoapi-done:{delivery_id}", "1")
    deliveries = redis_deliveries(redis_client)

    assert state(deliveries, delivery_id).done
    assert deliveries.is_done(delivery_id)


def test_a_pause_is_for_one_endpoint_of_one_session(deliveries: Deliveries) -> None:
    deliveries.pause(Endpoint(PHONE, "a"), pause_ms=60_000)

    assert eventually(lambda: 50_000 < state(deliveries).paused_ms <= 60_000)
    assert 50_000 < state(deliveries, "d-2").paused_ms <= 60_000
    assert state(deliveries, webhook_id="b").paused_ms == 0
    assert state(deliveries, phone="5521977776666").paused_ms == 0


def test_a_pause_counts_from_the_next_attempt_on(deliveries: Deliveries) -> None:
    """What is on its way to Redis let 20 to 50 more attempts through after each 429."""
    state(deliveries)  # the connection is there

    deliveries.pause(Endpoint(PHONE, "a"), pause_ms=60_000)

    assert state(deliveries, "d-2").paused_ms > 50_000


def test_a_pause_that_a_person_ended_elsewhere_ends_here(redis_client: RedisClient) -> None:
    here, there = redis_deliveries(redis_client), redis_deliveries(redis_client)
    here.pause(Endpoint(PHONE, "a"), pause_ms=60_000)
    eventually(lambda: state(there).paused_ms)

    there.resume(Endpoint(PHONE, "a"))

    assert eventually(lambda: state(here).paused_ms == 0, within_s=5)


def test_a_pause_ends(deliveries: Deliveries) -> None:
    deliveries.pause(Endpoint(PHONE, "a"), pause_ms=100)
    time.sleep(0.15)

    assert state(deliveries).paused_ms == 0


def test_all_processes_know_what_one_has_done(redis_client: RedisClient) -> None:
    first, second = redis_deliveries(redis_client), redis_deliveries(redis_client)

    first.finish("d-1", ENTRY)
    first.pause(Endpoint(PHONE, "a"), pause_ms=60_000)

    assert eventually(lambda: state(second).done)
    assert eventually(lambda: state(second, "d-2").paused_ms > 50_000)
    assert second.is_done("d-1")
    assert not second.is_done("d-2")


def test_the_end_of_a_delivery_is_in_its_trace(redis_client: RedisClient) -> None:
    redis_deliveries(redis_client).finish("d-1", ENTRY)

    traces = RedisTraces(redis_client, ttl_s=60)
    assert eventually(lambda: [entry.step for entry in traces.read(PHONE, "wamid.1")] == ["delivered"])


def test_every_key_expires(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    deliveries = redis_deliveries(redis_client)

    deliveries.finish("d-1", ENTRY)
    deliveries.pause(Endpoint(PHONE, "a"), pause_ms=30_000)

    keys = eventually(lambda: len(keys := raw_redis.keys("*")) >= 3 and keys)
    assert all(0 < raw_redis.ttl(key) <= 60 for key in keys)


def test_without_redis_nobody_can_say_what_another_process_did(away: RedisClient) -> None:
    with pytest.raises(StoreUnavailable):
        redis_deliveries(away).is_done("d-1")


def test_the_memory_of_a_process_is_bounded(away: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unoapi.stores.deliveries.MAX_REMEMBERED", 10)
    deliveries = redis_deliveries(away)

    for number in range(100):
        deliveries.finish(f"d-{number}", ENTRY)
        deliveries.pause(Endpoint(PHONE, f"w-{number}"), pause_ms=60_000)

    assert len(deliveries._done_here) <= 10
    assert len(deliveries._pauses_here) <= 10
    assert state(deliveries, "d-99").done


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_a_receiver_that_asks_for_a_moment_does_not_end_a_longer_pause(redis_client: RedisClient, kind: str) -> None:
    """What was on its way when the operator paused it may be answered with 429."""
    deliveries: Deliveries = MemoryDeliveries() if kind == "memory" else redis_deliveries(redis_client)
    deliveries.suspend(Endpoint(PHONE, "a"), pause_ms=60_000)

    deliveries.pause(Endpoint(PHONE, "a"), pause_ms=1000)
    deliveries.pause(Endpoint(PHONE, "b"), pause_ms=30_000)

    assert eventually(lambda: deliveries.endpoints([Endpoint(PHONE, "b")])[0].paused_ms > 20_000)
    assert deliveries.endpoints([Endpoint(PHONE, "a")])[0].paused_ms > 50_000


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_a_person_pauses_resumes_and_drops(redis_client: RedisClient, kind: str) -> None:
    deliveries: Deliveries = MemoryDeliveries() if kind == "memory" else redis_deliveries(redis_client)

    deliveries.suspend(Endpoint(PHONE, "a"), pause_ms=60_000)
    mark = deliveries.drop(Endpoint(PHONE, "b"))
    a, b, c = deliveries.endpoints([Endpoint(PHONE, "a"), Endpoint(PHONE, "b"), Endpoint(PHONE, "c")])

    assert 50_000 < a.paused_ms <= 60_000
    assert a.dropped_until_ms == 0
    assert b.dropped_until_ms == mark == state(deliveries, webhook_id="b").dropped_until_ms
    assert c == DeliveryState()
    assert deliveries.resume(Endpoint(PHONE, "a"))
    assert not deliveries.resume(Endpoint(PHONE, "a"))
    assert state(deliveries).paused_ms == 0


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_the_pause_of_an_endpoint_is_known_also_of_a_delivery_that_is_done(
    redis_client: RedisClient, kind: str
) -> None:
    """A replay makes it again: it went past pauses and outages in the process that had made it."""
    deliveries: Deliveries = MemoryDeliveries() if kind == "memory" else redis_deliveries(redis_client)
    deliveries.finish("d-1", ENTRY)
    deliveries.suspend(Endpoint(PHONE, "a"), pause_ms=60_000)
    mark = deliveries.drop(Endpoint(PHONE, "a"))

    known = state(deliveries, "d-1")

    assert (known.done, known.dropped_until_ms) == (True, mark)
    assert known.paused_ms > 50_000


def test_a_person_gets_an_error_when_redis_is_away(away: RedisClient) -> None:
    deliveries = redis_deliveries(away)

    with pytest.raises(StoreUnavailable):
        deliveries.suspend(Endpoint(PHONE, "a"), pause_ms=1000)
    with pytest.raises(StoreUnavailable):
        deliveries.drop(Endpoint(PHONE, "a"))


def test_of_many_endpoints_those_are_found_that_are_paused(request: pytest.FixtureRequest) -> None:
    redis: Deliveries = redis_deliveries(request.getfixturevalue("redis_client"))
    endpoints = [Endpoint(PHONE, f"{number}") for number in range(4_500)]
    for deliveries in (MemoryDeliveries(), redis):
        for number in (3, 4_400):
            deliveries.suspend(endpoints[number], pause_ms=60_000)
        deliveries.suspend(endpoints[5], pause_ms=1)
        time.sleep(0.01)

        assert deliveries.paused(endpoints) == [endpoints[3], endpoints[4_400]]
        assert deliveries.paused([]) == []
