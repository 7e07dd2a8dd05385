"""Which endpoint has which holding queue: one each, of a bounded number, and found until it is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryHoldings
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.endpoints import LOOK_BEGUN, LOOK_ENDED, Endpoint, Holding
from unoapi.stores.deliveries import RedisDeliveries
from unoapi.stores.holdings import TTL_MS, RedisHoldings, holding_key
from unoapi.stores.traces import RedisTraces

if TYPE_CHECKING:
    import redis

    from unoapi.ports import Holdings
    from unoapi.stores.redis import RedisClient

CRM, OTHER = Endpoint(PHONE, "crm: 1"), Endpoint(PHONE, "other")
TOKEN, ANOTHER = "0123456789ab", "ba9876543210"
MOST = 2


@pytest.fixture(params=["memory", "redis"])
def holdings(request: pytest.FixtureRequest) -> Holdings:
    if request.param == "memory":
        return MemoryHoldings(most=MOST)
    return RedisHoldings(request.getfixturevalue("redis_client"), most=MOST)


def test_an_endpoint_has_the_queue_that_was_written_first(holdings: Holdings) -> None:
    assert holdings.keep(CRM, TOKEN, ready=False, waiting=True) == 1
    assert holdings.keep(CRM, ANOTHER, ready=True, waiting=True) == 0
    assert holdings.keep(CRM, TOKEN, ready=True, waiting=True) == 1
    assert holdings.all() == [(CRM, TOKEN)]


def test_no_more_endpoints_than_the_bound_have_one_and_those_keep_theirs(holdings: Holdings) -> None:
    for number in range(MOST):
        holdings.keep(Endpoint(PHONE, f"{number}"), TOKEN, ready=True, waiting=True)

    assert holdings.keep(OTHER, TOKEN, ready=True, waiting=True) == 0
    assert holdings.keep(Endpoint(PHONE, "0"), TOKEN, ready=True, waiting=False) == MOST


def begin(holdings: Holdings, look: int, *, redelivered: bool = False) -> int:
    return holdings.begin(CRM, TOKEN, look=look, redelivered=redelivered, ready=True, waiting=True)


def test_each_look_is_made_once_and_again_only_after_a_crash_before_the_next_one(holdings: Holdings) -> None:
    assert begin(holdings, 0) == 1
    holdings.keep(CRM, TOKEN, ready=True, waiting=False)

    assert begin(holdings, 0) == LOOK_BEGUN, "another copy of the same message"
    assert begin(holdings, 0, redelivered=True) == 1
    assert begin(holdings, 1) == 1
    assert begin(holdings, 0) == begin(holdings, 0, redelivered=True) == LOOK_ENDED, "the next one was made meanwhile"
    assert begin(holdings, 1) == LOOK_BEGUN


def test_the_message_of_a_look_that_has_ended_without_it_comes_too_late(holdings: Holdings) -> None:
    begin(holdings, 0)

    holdings.end(CRM, TOKEN, look=0)
    holdings.keep(CRM, TOKEN, ready=True, waiting=False)

    assert eventually(lambda: begin(holdings, 0) == LOOK_ENDED)
    assert begin(holdings, 0, redelivered=True) == LOOK_ENDED
    holdings.end(CRM, ANOTHER, look=1)
    assert begin(holdings, 1) == 1
    assert begin(holdings, 1) == LOOK_BEGUN


def test_a_look_at_a_queue_that_is_not_the_endpoints_is_none(holdings: Holdings) -> None:
    holdings.keep(CRM, ANOTHER, ready=True, waiting=True)

    assert begin(holdings, 0) == 0


def test_one_that_is_forgotten_makes_room_and_another_ones_stays(holdings: Holdings) -> None:
    holdings.keep(CRM, TOKEN, ready=True, waiting=True)

    holdings.forget(CRM, ANOTHER)
    assert holdings.all() == [(CRM, TOKEN)]
    holdings.forget(CRM, TOKEN)

    assert holdings.all() == []
    assert holdings.keep(CRM, ANOTHER, ready=True, waiting=True) == 1


def test_of_one_that_is_forgotten_nobody_knows_the_looks(holdings: Holdings) -> None:
    """So no message of a look may come so late: it would be made, and the queue be found again."""
    begin(holdings, 0)
    holdings.forget(CRM, TOKEN)

    assert begin(holdings, 0) == 1


@pytest.mark.parametrize(
    ("ready", "waiting", "found"),
    [
        (False, True, Holding(TOKEN, ready=False, waiting=False)),
        (True, True, Holding(TOKEN, ready=True, waiting=True)),
        (True, False, Holding(TOKEN, ready=True, waiting=False)),
    ],
)
def test_a_delivery_finds_the_queue_beside_its_own_state(
    redis_client: RedisClient, ready: bool, waiting: bool, found: Holding
) -> None:
    deliveries = RedisDeliveries(redis_client, RedisTraces(redis_client, ttl_s=60), done_ttl_s=60)
    RedisHoldings(redis_client).keep(CRM, TOKEN, ready=ready, waiting=waiting)

    assert deliveries.state("d-1", CRM).holding == found
    assert deliveries.state("d-1", OTHER).holding is None


def test_queues_that_nobody_looks_after_take_no_room(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    holdings = RedisHoldings(redis_client, most=1)
    holdings.keep(CRM, TOKEN, ready=True, waiting=True)
    assert 0 < raw_redis.pttl(holding_key(CRM)) <= TTL_MS
    raw_redis.zadd("unoapi-holdings", {f"{TOKEN} {CRM.key}": 1})

    assert holdings.left_alone() == [(CRM, TOKEN)]
    assert holdings.keep(OTHER, ANOTHER, ready=True, waiting=True) == 1
    raw_redis.delete(holding_key(CRM))
    assert holdings.keep(CRM, TOKEN, ready=True, waiting=True) == 2, "its own room"
    assert holdings.left_alone() == []


def test_without_redis_nobody_knows(away: RedisClient) -> None:
    with pytest.raises(StoreUnavailable):
        RedisHoldings(away).keep(CRM, TOKEN, ready=True, waiting=True)
