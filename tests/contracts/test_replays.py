"""What is known of replays: one for each endpoint, which no run of before and no one that was cancelled overwrites."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryReplays
from unoapi.errors import StoreUnavailable
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import now_ms
from unoapi.models.replays import STANDS_MS, Progress, Replay
from unoapi.stores.replays import RedisReplays

if TYPE_CHECKING:
    import redis

    from unoapi.ports import Replays
    from unoapi.stores.redis import RedisClient

CRM = Endpoint(PHONE, "crm")
NOW_MS = now_ms()


@pytest.fixture(params=["memory", "redis"])
def replays(request: pytest.FixtureRequest) -> Replays:
    if request.param == "memory":
        return MemoryReplays()
    return RedisReplays(request.getfixturevalue("redis_client"))


def replay(name: str = "first", **fields: object) -> Replay:
    known = {"id": name, "phone": PHONE, "webhook_id": "crm", "since_ms": 1, "until_ms": 2, "only_missing": False}
    return Replay.model_validate({**known, "rate": 50, "updated_ms": NOW_MS, **fields})


def test_a_replay_is_found_as_it_was_written_and_goes_on_alone(replays: Replays) -> None:
    progress = Progress(begin=1, position=2**40, end=2**41, delivered=3)
    first = replay(progress=progress)

    assert replays.find(CRM) is None
    assert replays.begin(first)
    assert not replays.begin(replay("second"))
    assert replays.begin(replay(webhook_id="other"))
    assert replays.find(CRM) == first


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_behind_the_end_of_one_another_one_may_begin(replays: Replays, state: str) -> None:
    replays.begin(replay())
    assert replays.save(replay(state=state), run="")

    assert not replays.save(replay(), run="")
    assert replays.begin(replay("second"))


def test_one_that_was_not_heard_of_for_long_makes_room(replays: Replays) -> None:
    replays.begin(replay())

    assert not replays.begin(replay("second", updated_ms=NOW_MS + STANDS_MS - 1))
    assert replays.begin(replay("third", updated_ms=NOW_MS + STANDS_MS))
    assert not replays.save(replay(), run="")


def test_only_the_run_that_took_over_last_writes(replays: Replays) -> None:
    replays.begin(replay())
    assert replays.save(replay(run="a"), run="")
    assert replays.save(replay(run="b"), run="")

    assert not replays.save(replay(run="a"), run="a")
    assert replays.save(replay(run="b", note="x"), run="b")
    assert replays.find(CRM) == replay(run="b", note="x")


def test_what_redis_lost_is_written_again(replays: Replays) -> None:
    assert replays.save(replay(run="a"), run="a")

    assert replays.find(CRM) == replay(run="a")


def test_without_redis_nothing_is_known(away: RedisClient) -> None:
    lost = RedisReplays(away)

    for call in (partial(lost.find, CRM), partial(lost.begin, replay()), partial(lost.save, replay(), run="")):
        with pytest.raises(StoreUnavailable):
            call()


def test_what_cannot_be_read_is_no_replay(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    raw_redis.set(f"unoapi-replay:{CRM.key}", "[1")

    assert RedisReplays(redis_client).find(CRM) is None
