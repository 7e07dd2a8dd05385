"""The lines of messages to each contact: Redis, and the fake of the tests."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.fakes import CONTACT, PHONE, MemorySendOrder, MemorySends
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.models.claims import Predecessor, Turn
from unoapi.models.jobs import SendMessage
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.stores.send_claims import RedisSendClaims
from unoapi.stores.send_order import LOST_AFTER_US, RedisSendOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from unoapi.ports import SendClaims, SendOrder
    from unoapi.stores.redis import RedisClient


SENT = Receipt(recipient=CONTACT, at_ms=1_767_225_600_000, statuses=(StatusUpdate(status="sent"),))


class Lines(NamedTuple):
    """The lines, and the claims with which one asks about them."""

    order: SendOrder
    claims: SendClaims

    def before(self, job: SendMessage, *, gone: Sequence[str] = ()) -> Predecessor | None:
        return self.claims.claim(job, turn=Turn(now_us(), tuple(gone))).before


@pytest.fixture(params=["redis", "memory"])
def lines(request: pytest.FixtureRequest) -> Lines:
    if request.param == "memory":
        memory = MemorySendOrder()
        return Lines(memory, MemorySends(order=memory))
    client = request.getfixturevalue("redis_client")
    return Lines(RedisSendOrder(client), RedisSendClaims(client, ttl_s=60))


@pytest.fixture
def order(lines: Lines) -> SendOrder:
    return lines.order


def now_us() -> int:
    return time.time_ns() // 1000


def message(name: str, contact: str = CONTACT) -> SendMessage:
    return SendMessage(id=name, phone=PHONE, message_id=name, body="{}", contact=contact)


def first(lines: Lines, job: SendMessage, *, gone: Sequence[str] = ()) -> str:
    predecessor = lines.before(job, gone=gone)
    return predecessor.message_id if predecessor else ""


def joined(order: SendOrder, *names: str, at_us: int | None = None, prepared: bool = False) -> list[SendMessage]:
    jobs = [message(name) for name in names]
    for number, job in enumerate(jobs):
        order.join(job, accepted_at_us=(at_us or now_us()) + number, prepared=prepared)()
    return jobs


def test_each_message_waits_for_the_first_one(lines: Lines, order: SendOrder) -> None:
    one, two, three = joined(order, "1", "2", "3")

    assert [first(lines, job) for job in (one, two, three)] == ["", "1", "1"]


def test_the_next_one_goes_when_the_first_one_left(lines: Lines, order: SendOrder) -> None:
    one, two, three = joined(order, "1", "2", "3")

    written = threading.Event()
    order.leave(one, on_written=written.set)

    assert written.wait(2)
    assert first(lines, two) == ""
    assert first(lines, three) == "2"


def test_the_next_one_goes_when_the_first_one_is_known_to_have_left(lines: Lines, order: SendOrder) -> None:
    *_, third = joined(order, "1", "2", "3")

    assert first(lines, third, gone=["1"]) == "2"
    assert first(lines, third, gone=["1", "2", "of another line"]) == ""


def test_a_copy_of_a_message_that_has_just_left_learns_that_it_was_sent(lines: Lines, order: SendOrder) -> None:
    """The question failed, as if Redis were away, and a copy with the mark of a message without a claim was sent."""
    (one,) = joined(order, "1")
    lines.claims.claim(one, name="first")
    lines.claims.settle(one, SENT)

    assert lines.claims.claim(one, name="copy", turn=Turn(now_us(), gone=("1",))).receipt == SENT
    assert lines.claims.claim(one, name="copy", turn=Turn(now_us(), gone=("1", "2"))).receipt == SENT


def test_each_message_knows_how_many_go_before_it(order: SendOrder) -> None:
    jobs = joined(order, "1", "2", "3")

    assert [order.ahead(job) for job in (*jobs, message("4"))] == [0, 1, 2, 0]


def test_a_line_is_that_of_a_contact(lines: Lines, order: SendOrder) -> None:
    joined(order, "1")

    assert first(lines, message("2", "5511900000001")) == ""


def test_a_message_is_in_its_line_when_it_was_waited_for(lines: Lines, order: SendOrder) -> None:
    last = message("last").model_copy(update={"accepted_at_ms": now_us() // 1000 + 60_000})
    for number in range(20):
        order.join(message(f"{number}"), accepted_at_us=number + now_us(), prepared=False)()
        assert first(lines, last) == "0"


def test_a_message_that_left_before_its_entry_was_written_blocks_nobody(lines: Lines, order: SendOrder) -> None:
    one = message("1")
    order.leave(one)
    time.sleep(0.1)
    (two,) = joined(order, "2", at_us=now_us() + 1000)
    order.join(one, accepted_at_us=now_us() - 1000, prepared=False)()

    assert first(lines, two) == ""


def test_a_message_that_is_not_in_its_line_takes_the_place_of_its_time(lines: Lines, order: SendOrder) -> None:
    (one,) = joined(order, "1")
    later = message("2").model_copy(update={"accepted_at_ms": one.accepted_at_ms + 5000})

    assert first(lines, later) == "1"
    order.leave(one)
    eventually(lambda: first(lines, later) == "", within_s=2)


def test_a_message_that_got_lost_is_passed_by_and_one_that_waits_is_not(lines: Lines, order: SendOrder) -> None:
    long_ago = now_us() - LOST_AFTER_US - 1_000_000
    joined(order, "lost", at_us=long_ago)
    (waits,) = joined(order, "waits", at_us=long_ago + 10)
    order.wait(waits)
    time.sleep(0.2)  # written without waiting
    (last,) = joined(order, "last")

    assert first(lines, last) == "waits"


def test_a_message_that_is_prepared_waits(lines: Lines, order: SendOrder) -> None:
    joined(order, "voice", at_us=now_us() - LOST_AFTER_US - 1_000_000, prepared=True)
    (last,) = joined(order, "last")

    assert first(lines, last) == "voice"


def test_who_waits_behind_a_message_knows_whether_that_waits_itself(lines: Lines, order: SendOrder) -> None:
    (on_its_way,) = joined(order, "on its way")
    (last,) = joined(order, "last")
    assert lines.before(last) == Predecessor("on its way", waits=False)

    order.wait(on_its_way)

    eventually(lambda: lines.before(last) == Predecessor("on its way", waits=True), within_s=2)


def test_nothing_stays_in_redis(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    order = RedisSendOrder(redis_client)
    jobs = joined(order, "1", "2", "3", prepared=True)

    for job in jobs:
        order.leave(job)

    eventually(lambda: not raw_redis.keys("unoapi-sends:*"), within_s=2)
    marks = raw_redis.keys("unoapi-send-state:*")
    assert len(marks) == len(jobs)
    # That it came may be written after that it left, and is believed for so long.
    assert all(LOST_AFTER_US / 1_000_000 < raw_redis.ttl(key) <= 70 for key in marks)


def test_without_redis_nobody_knows_whose_turn_it_is(away: RedisClient) -> None:
    order = RedisSendOrder(away)
    order.join(message("1"), accepted_at_us=1, prepared=True)()
    order.wait(message("1"))
    order.leave(message("1"))

    with pytest.raises(StoreUnavailable):
        RedisSendClaims(away, ttl_s=60).claim(message("2"), turn=Turn(2))
    assert order.ahead(message("2")) == 0
