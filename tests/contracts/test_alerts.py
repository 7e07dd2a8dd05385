"""Failures that wait for an alert: in groups, told once, at most so often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import PHONE, MemoryAlerts
from unoapi.errors import StoreUnavailable
from unoapi.models.alerts import Alert
from unoapi.stores import alerts as module
from unoapi.stores.alerts import GATHER_MS, MAX_GROUPS, RedisAlerts

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

SPACING_MS = 300_000


class Clock:
    """The time that a store sees."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ms = 1_767_225_600_000
        self._memory = store if isinstance(store, MemoryAlerts) else None
        monkeypatch.setattr(module, "now_ms", lambda: self.now_ms)

    def advance(self, by_ms: int) -> None:
        self.now_ms += by_ms
        if self._memory is not None:
            self._memory.now_ms = self.now_ms


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemoryAlerts(spacing_ms=SPACING_MS)
    return RedisAlerts(request.getfixturevalue("redis_client"), spacing_ms=SPACING_MS)


@pytest.fixture
def clock(store: Any, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(store, monkeypatch)


def make_alert(**fields: Any) -> Alert:
    made = {"kind": "webhook.failed", "phone": PHONE, "webhook_id": "crm", "reason": "refused", "at_ms": 1}
    return Alert.model_validate(made | fields)


def test_failures_of_one_kind_are_one_group_with_the_first_and_the_last(store: Any, clock: Clock) -> None:
    for number in range(3):
        store.add(make_alert(at_ms=number, last_error=f"HTTP 50{number}"))
    store.add(make_alert(webhook_id="other"))
    clock.advance(GATHER_MS)

    groups = {group.first.webhook_id: group for group in store.take("one")}

    crm = groups["crm"]
    assert (crm.count, crm.first.at_ms, crm.last.at_ms, crm.last.last_error) == (3, 0, 2, "HTTP 502")
    assert groups["other"].count == 1


@pytest.mark.usefixtures("clock")
def test_a_digest_is_due_once_it_began_no_other_is(store: Any) -> None:
    wait_ms = store.add(make_alert())
    store.began(wait_ms)

    assert wait_ms == GATHER_MS
    assert store.add(make_alert()) is None


def test_what_fails_after_a_digest_was_taken_begins_the_next_one_in_time(store: Any, clock: Clock) -> None:
    store.began(store.add(make_alert()))
    clock.advance(GATHER_MS)
    store.take("one")
    clock.advance(1000)

    wait_ms = store.add(make_alert(at_ms=7))

    assert wait_ms == SPACING_MS - 1000
    assert store.take("two") == SPACING_MS - 1000
    clock.advance(SPACING_MS)
    assert [group.first.at_ms for group in store.take("two")] == [7]


def test_a_digest_that_is_run_again_gets_the_same_until_it_is_told(store: Any, clock: Clock) -> None:
    store.add(make_alert())
    clock.advance(GATHER_MS)
    first = store.take("one")
    store.add(make_alert(webhook_id="later"))

    again = store.take("one")
    store.forget("one")
    clock.advance(SPACING_MS)

    assert again == first != []
    assert [group.first.webhook_id for group in store.take("two")] == ["later"]


@pytest.mark.usefixtures("clock")
def test_a_digest_without_a_failure_has_nothing_to_tell(store: Any) -> None:
    assert store.take("one") == []


def test_further_kinds_are_counted_together(store: Any, clock: Clock) -> None:
    for number in range(MAX_GROUPS + 3):
        store.add(make_alert(webhook_id=f"crm-{number}"))
    clock.advance(GATHER_MS)

    groups = store.take("one")

    assert len(groups) == MAX_GROUPS + 1
    assert [group.count for group in groups if group.overflow] == [3]


def test_a_lost_digest_is_begun_again_by_the_next_failure(
    store: Any, clock: Clock, request: pytest.FixtureRequest
) -> None:
    store.began(store.add(make_alert()))
    clock.advance(GATHER_MS + module.GRACE_MS + 1)
    if isinstance(store, RedisAlerts):
        request.getfixturevalue("raw_redis").delete(module.BEGAN_KEY)  # its time is Redis' own

    assert store.add(make_alert()) == GATHER_MS


def test_all_that_is_stored_ends_by_itself(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    store = RedisAlerts(redis_client, spacing_ms=SPACING_MS)
    store.add(make_alert())
    store.began(GATHER_MS)
    store.take("one")
    store.add(make_alert())

    assert {f"{key}" for key in raw_redis.scan_iter("unoapi-alerts*") if raw_redis.ttl(key) < 0} == set()


def test_what_another_program_wrote_tells_nothing(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    store = RedisAlerts(redis_client, spacing_ms=SPACING_MS)
    store.add(make_alert())
    raw_redis.hset(module.KEY, mapping={"nx": "1", "fx": "{}", "lx": "{}", "ny": "many"})

    groups = store.take("one")

    assert isinstance(groups, list)
    assert [group.first.webhook_id for group in groups] == ["crm"]


@pytest.mark.parametrize("where", ["memory", "redis"])
def test_while_redis_is_away_it_is_said(where: str, request: pytest.FixtureRequest) -> None:
    store: Any = MemoryAlerts() if where == "memory" else RedisAlerts(request.getfixturevalue("away"), spacing_ms=1)
    store.away = True

    with pytest.raises(StoreUnavailable):
        store.add(make_alert())
    with pytest.raises(StoreUnavailable):
        store.take("one")
