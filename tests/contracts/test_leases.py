"""Leases: one connector per session, and orders for the others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.support.fakes import PHONE, MemoryLeases
from tests.support.stack import eventually
from unoapi.connector import leases as real
from unoapi.connector.leases import Leases
from unoapi.errors import StoreUnavailable
from unoapi.models.connector.commands import Command

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

OTHER = "5521977776666"


class Held(Protocol):
    """What a supervisor needs of its leases."""

    def take(self, phone: str) -> bool: ...
    def renew(self, phones: list[str]) -> list[str]: ...
    def give_back(self, phone: str) -> None: ...
    def hold(self, phone: str) -> None: ...
    def free(self, phone: str) -> None: ...
    def held(self, phones: list[str]) -> set[str]: ...
    def elsewhere(self, phone: str) -> str: ...
    def asked(self) -> list[Command]: ...
    def hand_over(self, command: Command, server: str) -> None: ...


@pytest.fixture(params=["memory", "redis"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Held, Held]:
    """Two connectors of the same name."""
    if request.param == "memory":
        board: dict[str, str] = {}
        orders: dict[str, list[Command]] = {}
        return MemoryLeases(board, orders), MemoryLeases(board, orders)
    monkeypatch.setattr(real, "RENEW_S", 0.0)
    redis_client = request.getfixturevalue("redis_client")
    return Leases(redis_client, "server_1"), Leases(redis_client, "server_1")


@pytest.fixture(params=["memory", "redis"])
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Held:
    """A connector whose Redis is away."""
    if request.param == "memory":
        absent = MemoryLeases()
        absent.away = True
        return absent
    monkeypatch.setattr(real, "RENEW_S", 0.0)
    return Leases(request.getfixturevalue("away"), "server_1")


def test_one_connector_has_a_session(pair: tuple[Held, Held]) -> None:
    first, second = pair

    assert first.take(PHONE) is True
    assert second.take(PHONE) is False
    assert second.take(OTHER) is True
    assert first.take(PHONE) is True, "who has it may ask again"


def test_what_is_given_back_may_be_taken(pair: tuple[Held, Held]) -> None:
    first, second = pair
    first.take(PHONE)

    second.give_back(PHONE)
    assert second.take(PHONE) is False, "only the holder gives back"
    first.give_back(PHONE)

    eventually(lambda: second.take(PHONE), what="given back soon")


def test_who_lost_a_lease_is_told(pair: tuple[Held, Held]) -> None:
    first, second = pair
    first.take(PHONE)
    first.take(OTHER)
    first.give_back(PHONE)
    eventually(lambda: second.take(PHONE), what="given back soon")

    assert first.renew([PHONE, OTHER]) == [PHONE]
    assert second.renew([PHONE]) == []


def test_a_lease_that_ran_out_is_taken_again_by_who_still_runs_the_session(pair: tuple[Held, Held]) -> None:
    first, second = pair

    assert first.renew([PHONE]) == []
    assert second.take(PHONE) is False


def test_an_order_for_a_connector_reaches_it_once(pair: tuple[Held, Held]) -> None:
    first, _ = pair
    command = Command(type="session.connect", command_id="c", session=PHONE)

    first.hand_over(command, "server_1")
    first.hand_over(command, "server_2")

    assert first.asked() == [command]
    assert first.asked() == []


def test_an_order_reaches_the_one_that_runs_the_session(pair: tuple[Held, Held]) -> None:
    first, second = pair
    command = Command(type="session.disconnect", command_id="c", session=PHONE)
    assert first.elsewhere(PHONE) == ""
    second.take(PHONE)

    assert second.elsewhere(PHONE) == ""
    first.hand_over(command, first.elsewhere(PHONE))

    assert first.asked() == []
    assert second.asked() == [command]


def test_a_session_that_shall_not_run_is_known_to_all_connectors(pair: tuple[Held, Held]) -> None:
    first, second = pair
    assert second.held([]) == set()

    first.hold(PHONE)
    eventually(lambda: second.held([OTHER, PHONE]) == {PHONE}, what="known soon")
    second.free(PHONE)

    eventually(lambda: not first.held([OTHER, PHONE]), what="free soon")


def test_without_redis_a_session_goes_on(alone: Held) -> None:
    assert alone.take(PHONE) is True
    assert alone.renew([PHONE]) == []
    assert alone.elsewhere(PHONE) == ""
    assert alone.held([PHONE]) == set()
    assert alone.asked() == []
    alone.give_back(PHONE)
    with pytest.raises(StoreUnavailable):
        alone.hand_over(Command(type="session.connect", command_id="c", session=PHONE), "server_1")


def test_a_lease_of_a_killed_connector_runs_out(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "LEASE_MS", 300)
    first, second = Leases(redis_client, "a"), Leases(redis_client, "a")
    first.take(PHONE)
    assert second.take(PHONE) is False

    time.sleep(0.5)

    assert second.take(PHONE) is True
    assert 0 < raw_redis.pttl(f"unoapi-connector-lease:{PHONE}") <= 300
