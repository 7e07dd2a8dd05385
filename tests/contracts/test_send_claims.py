"""SendClaims: one right to send for each message."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import CONTACT, MemorySends, make_send
from unoapi.errors import StoreUnavailable
from unoapi.models.claims import Claim, Predecessor, Turn
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.stores.send_claims import RedisSendClaims
from unoapi.stores.statuses import RedisStatuses

if TYPE_CHECKING:
    import redis

    from unoapi.ports import SendClaims
    from unoapi.stores.redis import RedisClient

JOB = make_send()
SHORT_MS = 300
RECEIPT = Receipt(
    recipient=CONTACT,
    at_ms=1_767_225_600_000,
    statuses=(StatusUpdate(status="sent"), StatusUpdate(status="failed", after_ms=5, error={"code": 1})),
)


@pytest.fixture(params=["memory", "redis"])
def sends(request: pytest.FixtureRequest) -> SendClaims:
    return (
        MemorySends()
        if request.param == "memory"
        else RedisSendClaims(request.getfixturevalue("redis_client"), ttl_s=60)
    )


@pytest.fixture(params=["memory", "redis"])
def short(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SendClaims:
    """With a lease that ends soon, though not while a busy machine pauses between two claims."""
    if request.param == "memory":
        return MemorySends(lease_ms=SHORT_MS)
    monkeypatch.setattr("unoapi.stores.send_claims.LEASE_MS", SHORT_MS)
    return RedisSendClaims(request.getfixturevalue("redis_client"), ttl_s=60)


def test_the_first_one_may_send(sends: SendClaims) -> None:
    assert sends.claim(JOB) == Claim(free=True)


def test_the_second_one_waits_for_the_first(sends: SendClaims) -> None:
    sends.claim(JOB)

    claim = sends.claim(JOB)

    assert 0 < claim.busy_ms <= 60_000
    assert (claim.free, claim.lost, claim.receipt) == (False, False, None)


def test_everybody_after_gets_the_outcome(sends: SendClaims) -> None:
    sends.claim(JOB)

    sends.settle(JOB, RECEIPT)

    assert sends.claim(JOB) == Claim(receipt=RECEIPT)
    assert sends.claim(JOB) == Claim(receipt=RECEIPT)


def test_a_right_that_was_given_back_is_free_again(sends: SendClaims) -> None:
    sends.claim(JOB)

    sends.release(JOB)

    assert sends.claim(JOB).free


def test_a_right_is_given_back_by_its_holder_alone(sends: SendClaims) -> None:
    sends.claim(JOB, name="mine")

    sends.release(JOB, name="another's")

    assert sends.claim(JOB).busy_ms


def test_a_receipt_is_never_given_back(sends: SendClaims) -> None:
    sends.claim(JOB, name="mine")
    sends.settle(JOB, RECEIPT)

    sends.release(JOB, name="mine")

    assert sends.claim(JOB, held=["mine"]) == Claim(receipt=RECEIPT)


def test_a_right_that_a_job_holds_is_taken_over_once(sends: SendClaims) -> None:
    sends.claim(JOB, name="first")

    assert sends.state(JOB, held=["other", "first"]).free
    assert sends.claim(JOB, name="second", held=["other", "first"]).free
    assert sends.claim(JOB, name="third", held=["other", "first"]).busy_ms
    assert sends.state(JOB, held=["other", "first"]).busy_ms


def test_nobody_has_a_right_before_its_turn(sends: SendClaims) -> None:
    first, second = (make_send(id=name, contact=CONTACT, accepted_at_ms=at_ms) for at_ms, name in enumerate("ab", 1))
    turn = Turn(now_us=5_000)
    assert sends.claim(first, name="first", turn=turn).free

    assert sends.claim(second, name="second", turn=turn) == Claim(before=Predecessor("a", waits=False))
    assert sends.state(second).free, "nothing was claimed"
    assert sends.claim(second, name="third", turn=Turn(5_000, gone=("a",))).free
    assert sends.claim(second, name="fourth", turn=Turn(5_000, gone=("a",))).busy_ms


def test_a_right_that_a_job_holds_is_given_back_when_another_one_goes_first(sends: SendClaims) -> None:
    """Its answer was lost, and before it was asked for again an earlier message came."""
    early, late = (make_send(id=name, contact=CONTACT, accepted_at_ms=at_ms) for at_ms, name in enumerate("ab", 1))
    assert sends.claim(late, name="late", turn=Turn(5_000)).free
    assert sends.claim(early, name="early", turn=Turn(5_000)).free

    assert sends.claim(late, name="late", held=["late"], turn=Turn(5_000)).before == Predecessor("a", waits=False)
    assert sends.state(late).free


def test_a_receipt_is_no_right_that_is_taken_over_or_given_back(sends: SendClaims) -> None:
    early, late = (make_send(id=name, contact=CONTACT, accepted_at_ms=at_ms) for at_ms, name in enumerate("ab", 1))
    sends.claim(late, name="late", turn=Turn(5_000))
    sends.settle(late, RECEIPT)
    sends.claim(early, name="early", turn=Turn(5_000))

    assert sends.claim(late, name="late", held=["late"], turn=Turn(5_000)).before
    assert sends.claim(late, name="late", held=["late"], turn=Turn(5_000, gone=("a",))) == Claim(receipt=RECEIPT)


def test_a_right_that_a_job_holds_is_taken_over_though_its_time_is_up(short: SendClaims) -> None:
    short.claim(JOB, name="first")
    time.sleep(SHORT_MS / 1000 + 0.01)

    assert short.claim(JOB, name="second", held=["first"]).free
    assert short.claim(JOB).busy_ms


def test_a_replay_of_what_the_dead_letter_holds_needs_no_force(sends: MemorySends | RedisSendClaims) -> None:
    sends.claim(JOB, name="first")

    assert not sends.reopen(JOB, force=False, held=["other"])
    assert sends.reopen(JOB, force=False, held=["other", "first"])
    assert sends.claim(JOB, held=["first"]).free


def test_the_state_of_a_right_is_read_without_taking_it(sends: SendClaims) -> None:
    before = sends.state(JOB)
    sends.claim(JOB)
    taken = sends.state(JOB)
    sends.settle(JOB, RECEIPT)

    assert before == Claim(free=True)
    assert taken.busy_ms > 0
    assert sends.state(JOB) == Claim(receipt=RECEIPT)


@pytest.mark.parametrize("force", [False, True])
def test_a_replay_never_removes_a_receipt(sends: MemorySends | RedisSendClaims, force: bool) -> None:
    sends.claim(JOB)
    sends.settle(JOB, RECEIPT)

    assert sends.reopen(JOB, force=force)
    assert sends.claim(JOB) == Claim(receipt=RECEIPT)


def test_a_replay_of_what_may_have_left_needs_force(sends: MemorySends | RedisSendClaims) -> None:
    sends.claim(JOB)

    assert not sends.reopen(JOB, force=False)
    assert sends.claim(JOB).busy_ms
    assert sends.reopen(JOB, force=True)
    assert sends.claim(JOB).free


@pytest.mark.parametrize(("told", "follows"), [("failed", True), ("delivered", False)])
def test_that_a_message_failed_is_withdrawn_by_its_replay(redis_client: RedisClient, told: str, follows: bool) -> None:
    """Its client read `failed` for ever of a message that the contact had, until that was told as delivered."""
    sends, statuses = RedisSendClaims(redis_client, ttl_s=60), RedisStatuses(redis_client, ttl_s=60)
    statuses.admit(JOB.phone, JOB.message_id, status=told, event_id="e-1")

    assert sends.reopen(JOB, force=False)

    assert statuses.admit(JOB.phone, JOB.message_id, status="sent", event_id="e-2") == follows


def test_a_replay_of_what_nobody_began_is_free(sends: MemorySends | RedisSendClaims) -> None:
    assert sends.reopen(JOB, force=False)


def test_a_right_whose_holder_died_is_lost_and_never_free_again(short: SendClaims) -> None:
    short.claim(JOB)
    time.sleep(SHORT_MS / 1000 + 0.01)

    assert [short.claim(JOB), short.claim(JOB)] == [Claim(lost=True)] * 2


def test_a_late_answer_still_counts(short: SendClaims) -> None:
    short.claim(JOB)
    time.sleep(SHORT_MS / 1000 + 0.01)

    short.settle(JOB, RECEIPT)

    assert short.claim(JOB) == Claim(receipt=RECEIPT)


def test_other_messages_and_other_phones_have_rights_of_their_own(sends: SendClaims) -> None:
    sends.claim(JOB)

    assert sends.claim(make_send(id="wamid.2")).free
    assert sends.claim(make_send(phone="5521977776666")).free


def test_of_many_at_once_exactly_one_may_send(sends: SendClaims) -> None:
    with ThreadPoolExecutor(20) as threads:
        claims = list(threads.map(lambda _: sends.claim(JOB), range(100)))

    assert sum(claim.free for claim in claims) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[5]", "5", "null", '{"until_ms": "soon"}', '{"until_ms": null}', '{"receipt": {}}', '["1", 1, 5]'],
)
def test_a_claim_that_cannot_be_read_is_lost_and_never_free(
    redis_client: RedisClient, raw_redis: redis.Redis, text: str
) -> None:
    raw_redis.set(f"unoapi-send:{JOB.phone}:{JOB.id}", text)

    assert RedisSendClaims(redis_client, ttl_s=60).claim(JOB) == Claim(lost=True)


def test_a_receipt_of_the_version_before_is_read_and_stays(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    sends = RedisSendClaims(redis_client, ttl_s=60)
    raw_redis.set(f"unoapi-send:{JOB.phone}:{JOB.id}", json.dumps({"receipt": RECEIPT.packed()}))

    assert sends.reopen(JOB, force=True)
    assert sends.claim(JOB) == Claim(receipt=RECEIPT)


def test_a_claim_expires(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    sends = RedisSendClaims(redis_client, ttl_s=60)
    sends.claim(JOB)
    sends.settle(JOB, RECEIPT)

    (key,) = raw_redis.keys("*")

    assert 0 < raw_redis.ttl(key) <= 60


def test_without_redis_a_claim_is_an_error(away: RedisClient) -> None:
    memory, real = MemorySends(), RedisSendClaims(away, ttl_s=60)
    memory.away = True
    both: tuple[SendClaims, ...] = (memory, real)

    for sends in both:
        with pytest.raises(StoreUnavailable):
            sends.claim(JOB)
        sends.settle(JOB, RECEIPT)  # nobody waits for it, and nothing follows from its failure
        with pytest.raises(StoreUnavailable):
            sends.release(JOB)
