"""The audit log and the request bin: bounded lists, the newest first and the oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE, MemoryAudit, MemoryRequestBin
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.audit import AuditEntry
from unoapi.models.request_bin import BinnedRequest
from unoapi.stores.audit import RedisAudit
from unoapi.stores.request_bin import MAX_BODY_CHARS, MAX_REQUESTS, TTL_S, RedisRequestBin

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

OTHER = "5521977776666"


@pytest.fixture(params=["memory", "redis"])
def audit(request: pytest.FixtureRequest) -> MemoryAudit | RedisAudit:
    if request.param == "memory":
        return MemoryAudit(most=700)
    return RedisAudit(request.getfixturevalue("redis_client"), most=700)


@pytest.fixture(params=["memory", "redis"])
def request_bin(request: pytest.FixtureRequest) -> MemoryRequestBin | RedisRequestBin:
    return MemoryRequestBin() if request.param == "memory" else RedisRequestBin(request.getfixturevalue("redis_client"))


def line(number: int, *, phone: str = PHONE) -> AuditEntry:
    return AuditEntry(at_ms=1000 + number, who="operator", what="admin.pause", phone=phone, detail="crm")


def test_changes_come_back_the_newest_first(audit: MemoryAudit | RedisAudit) -> None:
    audit.add(line(1))
    audit.add(line(2, phone=OTHER))
    audit.add(line(3))

    assert eventually(lambda: len(entries := audit.latest()) == 3 and entries) == [
        line(3),
        line(2, phone=OTHER),
        line(1),
    ]
    assert audit.latest(phones={OTHER}) == [line(2, phone=OTHER)]
    assert audit.latest(phones=set()) == []
    assert audit.latest(1, before_ms=1003) == [line(2, phone=OTHER)]


def test_the_oldest_changes_go(audit: MemoryAudit | RedisAudit) -> None:
    for number in range(800):
        audit.add(line(number))

    entries = eventually(lambda: (found := audit.latest(1000))[:1] == [line(799)] and found)

    assert entries == [line(number) for number in range(799, 99, -1)]


def test_a_line_of_another_version_does_not_hide_the_others(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    audit = RedisAudit(redis_client)
    raw_redis.lpush("unoapi-audit", "soon {}", '5 {"who": 1}', "")
    audit.add(line(1))

    assert eventually(audit.latest) == [line(1)]


def binned(seq: int, body: str = "{}") -> BinnedRequest:
    return BinnedRequest(seq=seq, webhook="bin", headers={"webhook-id": "1"}, body=body)


def test_requests_come_back_the_oldest_first_after_one_that_was_seen(
    request_bin: MemoryRequestBin | RedisRequestBin,
) -> None:
    for seq in (1, 2, 3):
        request_bin.add(PHONE, binned(seq))

    assert request_bin.read(PHONE) == [binned(1), binned(2), binned(3)]
    assert request_bin.read(PHONE, after=2) == [binned(3)]
    assert request_bin.read(OTHER) == []


def test_a_bin_is_bounded_in_count_and_size(request_bin: MemoryRequestBin | RedisRequestBin) -> None:
    for seq in range(1, MAX_REQUESTS + 11):
        request_bin.add(PHONE, binned(seq, "x" * (MAX_BODY_CHARS + 1)))

    requests = request_bin.read(PHONE)

    assert [request.seq for request in requests] == list(range(11, MAX_REQUESTS + 11))
    assert {len(request.body) for request in requests} == {MAX_BODY_CHARS}


def test_a_bin_is_bounded_in_time_and_reads_past_what_it_does_not_know(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    raw_redis.lpush(f"unoapi-bin:{PHONE}", "{", "[]")
    request_bin = RedisRequestBin(redis_client)

    request_bin.add(PHONE, binned(1))

    assert request_bin.read(PHONE) == [binned(1)]
    assert 0 < raw_redis.ttl(f"unoapi-bin:{PHONE}") <= TTL_S


def test_without_redis_a_line_is_lost_in_silence_and_a_request_is_not(away: RedisClient) -> None:
    RedisAudit(away).add(line(1))

    with pytest.raises(StoreUnavailable):
        RedisRequestBin(away).add(PHONE, binned(1))
