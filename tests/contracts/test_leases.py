"""Leases: one connector runs a session, and gets the commands that others forward."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryLeases
from tests.support.stack import eventually
from unoapi.connector import leases as real
from unoapi.connector.leases import Leases, RedisLeases
from unoapi.errors import StoreUnavailable
from unoapi.models.connector.commands import ConnectorCommand

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

OTHER = "5521977776666"


@pytest.fixture(params=["memory", "redis"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Leases, Leases]:
    """Two connectors of the same name."""
    if request.param == "memory":
        board: dict[str, str] = {}
        forwarded: dict[str, list[ConnectorCommand]] = {}
        return MemoryLeases(board, forwarded), MemoryLeases(board, forwarded)
    monkeypatch.setattr(real, "RENEW_S", 0.0)
    redis_client = request.getfixturevalue("redis_client")
    return RedisLeases(redis_client, "server_1"), RedisLeases(redis_client, "server_1")


@pytest.fixture(params=["memory", "redis"])
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Leases:
    """A connector whose Redis is away."""
    if request.param == "memory":
        absent = MemoryLeases()
        absent.away = True
        return absent
    monkeypatch.setattr(real, "RENEW_S", 0.0)
    return RedisLeases(request.getfixturevalue("away"), "server_1")


def test_one_connector_has_a_session(pair: tuple[Leases, Leases]) -> None:
    first, second = pair

    assert first.take(PHONE) is True
    assert second.take(PHONE) is False
    assert second.take(OTHER) is True
    assert first.take(PHONE) is True, "the owner may ask again"


def test_a_released_lease_may_be_taken(pair: tuple[Leases, Leases]) -> None:
    first, second = pair
    first.take(PHONE)

    second.release(PHONE)
    assert second.take(PHONE) is False, "only the owner releases"
    first.release(PHONE)

    eventually(lambda: second.take(PHONE), what="released soon")


def test_a_lost_lease_is_reported_to_its_owner(pair: tuple[Leases, Leases]) -> None:
    first, second = pair
    first.take(PHONE)
    first.take(OTHER)
    first.release(PHONE)
    eventually(lambda: second.take(PHONE), what="released soon")

    assert first.renew([PHONE, OTHER]) == [PHONE]
    assert second.renew([PHONE]) == []


def test_an_expired_lease_is_taken_again_by_the_connector_that_runs_the_session(
    pair: tuple[Leases, Leases],
) -> None:
    first, second = pair

    assert first.renew([PHONE]) == []
    assert second.take(PHONE) is False


def test_a_command_for_a_server_name_reaches_one_connector_of_it_once(pair: tuple[Leases, Leases]) -> None:
    first, _ = pair
    command = ConnectorCommand(type="session.connect", command_id="c", session=PHONE)

    first.forward(command, "server_1")
    first.forward(command, "server_2")

    assert first.take_forwarded() == [command]
    assert first.take_forwarded() == []


def test_a_command_reaches_the_connector_that_runs_the_session(pair: tuple[Leases, Leases]) -> None:
    first, second = pair
    command = ConnectorCommand(type="session.disconnect", command_id="c", session=PHONE)
    assert first.other_owner(PHONE) == ""
    second.take(PHONE)

    assert second.other_owner(PHONE) == ""
    first.forward(command, first.other_owner(PHONE))

    assert first.take_forwarded() == []
    assert second.take_forwarded() == [command]


def test_a_suspended_session_is_suspended_for_all_connectors(pair: tuple[Leases, Leases]) -> None:
    first, second = pair
    assert second.suspended([]) == set()

    first.suspend(PHONE)
    eventually(lambda: second.suspended([OTHER, PHONE]) == {PHONE}, what="suspended soon")
    second.resume(PHONE)

    eventually(lambda: not first.suspended([OTHER, PHONE]), what="resumed soon")


def test_without_redis_a_session_goes_on(alone: Leases) -> None:
    assert alone.take(PHONE) is True
    assert alone.renew([PHONE]) == []
    assert alone.other_owner(PHONE) == ""
    assert alone.suspended([PHONE]) == set()
    assert alone.take_forwarded() == []
    alone.release(PHONE)
    with pytest.raises(StoreUnavailable):
        alone.forward(ConnectorCommand(type="session.connect", command_id="c", session=PHONE), "server_1")


def test_without_redis_nobody_starts_what_another_connector_ran_or_a_person_suspended(
    pair: tuple[Leases, Leases], request: pytest.FixtureRequest
) -> None:
    """One answer that comes late must not start a second process on the same login: WhatsApp would end the first."""
    first, second = pair
    first.take(PHONE)
    second.take(PHONE)
    first.suspend(OTHER)
    eventually(lambda: second.suspended([OTHER]) == {OTHER}, what="suspended soon")

    for leases in pair:
        if isinstance(leases, MemoryLeases):
            leases.away = True
        else:
            leases._store = request.getfixturevalue("away")  # type: ignore[attr-defined]

    assert (first.take(PHONE), second.take(PHONE)) == (True, False)
    assert second.suspended([PHONE, OTHER]) == {OTHER}


def test_a_lease_of_a_killed_connector_expires(
    redis_client: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "LEASE_MS", 300)
    first, second = RedisLeases(redis_client, "a"), RedisLeases(redis_client, "a")
    first.take(PHONE)
    assert second.take(PHONE) is False

    time.sleep(0.5)

    assert second.take(PHONE) is True
    assert 0 < raw_redis.pttl(f"unoapi-connector-lease:{PHONE}") <= 300
