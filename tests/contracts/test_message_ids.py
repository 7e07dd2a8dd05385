"""MessageIds: WhatsApp's ids and ours."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.fakes import PHONE, MemoryIds
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.stores.message_ids import RedisMessageIds
from unoapi.stores.redis import RedisClient

if TYPE_CHECKING:
    from unoapi.devenv.servers import PrivateServers
    from unoapi.ports import MessageIds


@pytest.fixture(params=["memory", "redis"])
def ids(request: pytest.FixtureRequest) -> MessageIds:
    return (
        MemoryIds() if request.param == "memory" else RedisMessageIds(request.getfixturevalue("redis_client"), ttl_s=60)
    )


def test_an_unknown_id_is_its_own(ids: MessageIds) -> None:
    assert ids.ours(PHONE, "3EB0AA") == "3EB0AA"


def test_a_pair_is_remembered_for_its_phone_alone(ids: MessageIds) -> None:
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")

    assert eventually(lambda: ids.ours(PHONE, "3EB0AA") == "wamid.1")
    assert ids.ours("5521977776666", "3EB0AA") == "3EB0AA"


def test_the_newest_pair_counts(ids: MessageIds) -> None:
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.2")

    assert eventually(lambda: ids.ours(PHONE, "3EB0AA") == "wamid.2")


def test_a_message_that_was_told_is_known_from_either_side_by_the_id_that_was_told_first(ids: MessageIds) -> None:
    told, seen_by_the_contact = meta_id("5549988887777"), meta_id("5511970000000")
    ids.remember_shown(PHONE, [told, "3EB0AA", "wamid.NONE"])
    ids.remember_shown(PHONE, [seen_by_the_contact])

    assert eventually(lambda: ids.ours(PHONE, seen_by_the_contact) == told)
    assert ids.ours(PHONE, told) == told
    assert ids.theirs(PHONE, told) == told
    assert ids.ours(PHONE, "3EB0AA") == "3EB0AA"
    ids.remember(PHONE, theirs=seen_by_the_contact, ours="wamid.1")
    assert eventually(lambda: ids.ours(PHONE, told) == "wamid.1")


def test_many_ids_are_asked_for_at_once(ids: MessageIds) -> None:
    sent = meta_id("5549988887777")
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")
    ids.remember(PHONE, theirs=sent, ours="wamid.2")
    asked = ["3EB0BB", "3EB0AA", meta_id("5511970000000"), sent, "3EB0AA"]

    assert eventually(lambda: ids.all_ours(PHONE, asked)[sent] == "wamid.2")
    assert ids.all_ours(PHONE, asked) == {
        "3EB0BB": "3EB0BB", "3EB0AA": "wamid.1", meta_id("5511970000000"): "wamid.2", sent: "wamid.2",
    }  # fmt: skip
    assert ids.all_ours(PHONE, []) == {}


def test_which_pairs_are_known_is_said_apart(ids: MessageIds) -> None:
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")

    assert eventually(lambda: ids.known_ours(PHONE, ["3EB0AA", "3EB0BB"]) == {"3EB0AA": "wamid.1"})
    assert ids.known_ours(PHONE, []) == {}


def test_without_redis_nobody_says_which_pairs_are_known(away: RedisClient) -> None:
    memory, real = MemoryIds(), RedisMessageIds(away, ttl_s=60)
    memory.away = True
    both: tuple[MessageIds, ...] = (memory, real)

    for ids in both:
        assert ids.known_ours(PHONE, []) == {}
        with pytest.raises(StoreUnavailable):
            ids.known_ours(PHONE, ["3EB0AA"])


def test_without_redis_many_ids_are_their_own(away: RedisClient) -> None:
    memory, real = MemoryIds(), RedisMessageIds(away, ttl_s=60)
    memory.away = True
    both: tuple[MessageIds, ...] = (memory, real)

    for ids in both:
        assert ids.all_ours(PHONE, ["3EB0AA", "3EB0BB"]) == {"3EB0AA": "3EB0AA", "3EB0BB": "3EB0BB"}


def test_without_redis_every_id_of_theirs_is_its_own_and_none_of_ours_is_taken_for_theirs(away: RedisClient) -> None:
    memory, real = MemoryIds(), RedisMessageIds(away, ttl_s=60)
    memory.away = True
    both: tuple[MessageIds, ...] = (memory, real)

    for ids in both:
        ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")

        assert ids.ours(PHONE, "3EB0AA") == "3EB0AA"
        with pytest.raises(StoreUnavailable):
            ids.theirs(PHONE, "wamid.1")


def test_the_key_is_the_one_that_other_programs_read_and_it_expires(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    RedisMessageIds(redis_client, ttl_s=60).remember(PHONE, theirs="3EB0AA", ours="wamid.1")

    key = f"unoapi-id:{PHONE}:3EB0AA"
    assert eventually(lambda: raw_redis.get(key)) == "wamid.1"
    assert 0 < raw_redis.ttl(key) <= 60


@pytest.mark.parametrize("asked", [False, True], ids=["at the next message", "at the next question"])
def test_a_pair_that_redis_did_not_take_is_written_later(
    redis_client: RedisClient, raw_redis: redis.Redis, *, asked: bool
) -> None:
    """The statuses of a message that was sent during a hiccup would have an id that its client does not know."""
    ids = RedisMessageIds(redis_client, ttl_s=60)
    redis_client._skip_until = time.monotonic() + 60
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")
    ids.remember_ours(PHONE, theirs="3EB0BB", ours="wamid.2")

    redis_client.stop_skipping()
    if asked:
        ids.ours(PHONE, "3EB0CC")
    else:
        ids.remember(PHONE, theirs="3EB0CC", ours="wamid.3")

    assert eventually(lambda: raw_redis.get(f"unoapi-id:{PHONE}:3EB0BB")) == "wamid.2"
    assert ids.ours(PHONE, "3EB0AA") == "wamid.1"


@pytest.mark.usefixtures("raw_redis")
def test_a_pair_that_was_lost_on_its_way_is_written_later(servers: PrivateServers) -> None:
    """Nobody knew yet that Redis is away."""
    client = RedisClient(servers.redis_url)
    ids = RedisMessageIds(client, ttl_s=60)
    client._post_client, there = redis.Redis(port=1), client._post_client
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")
    eventually(lambda: len(ids._owed), what="the pair is owed")

    client._post_client = there
    client._calls = client._posts = None
    client.stop_skipping()

    assert ids.ours(PHONE, "3EB0AA") == "3EB0AA"
    assert eventually(lambda: ids.ours(PHONE, "3EB0AA") == "wamid.1")
    client.close()


def meta_id(peer: str, token: str = "3EB0A1B2C3D4E5F60718", *, end: bytes = b"\x15\x02\x00\x12") -> str:
    """An id in Meta's form: the other side of the conversation, and the token of the message."""
    raw = (
        b"\x1c\x18" + bytes([len(peer)]) + peer.encode() + end + b"\x18" + bytes([len(token)]) + token.encode() + b"\0"
    )
    return f"wamid.{base64.b64encode(raw).decode()}"


@pytest.mark.parametrize(
    "peer", ["5511970000000", "16505551234", "BR.13491208655302741918", "BR.ENT.11815799212886844830", "US.1"]
)
def test_field_report_25_a_message_is_found_from_whichever_side_its_id_names_it(ids: MessageIds, peer: str) -> None:
    ids.remember(PHONE, theirs=meta_id("5511988880001"), ours="wamid.1")

    assert eventually(lambda: ids.ours(PHONE, meta_id(peer)) == "wamid.1")
    assert ids.ours(PHONE, meta_id(peer, end=b"\x15\x04\x00\x11")) == "wamid.1"
    assert ids.ours(PHONE, meta_id(peer, "3EB0FFFFFFFFFFFFFFFF")) == meta_id(peer, "3EB0FFFFFFFFFFFFFFFF")
    assert ids.ours("5521977776666", meta_id(peer)) == meta_id(peer)
    assert eventually(lambda: ids.theirs(PHONE, "wamid.1") == meta_id("5511988880001"))


def test_field_report_103_the_marks_of_messages_are_remembered(ids: MessageIds) -> None:
    ids.remember_mark(PHONE, "wamid.1", "order-1")

    assert eventually(lambda: ids.marks(PHONE, ["wamid.1", "wamid.2"]) == {"wamid.1": "order-1"})
    assert ids.marks("5521977776666", ["wamid.1"]) == {}


def test_with_redis_away_no_message_has_a_mark(away: RedisClient) -> None:
    assert RedisMessageIds(away, ttl_s=60).marks(PHONE, ["wamid.1"]) == {}


def test_what_the_fork_of_the_node_version_noted_is_read(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    raw_redis.set(f"unoapi-id:{PHONE}:wamid.M", "UNO.1")
    raw_redis.set(f"unoapi-id_rev:{PHONE}:UNO.1", "wamid.M")
    ids = RedisMessageIds(redis_client, ttl_s=60)

    assert (ids.ours(PHONE, "wamid.M"), ids.theirs(PHONE, "UNO.1")) == ("UNO.1", "wamid.M")
    assert ids.theirs(PHONE, "UNO.2") == "UNO.2"
