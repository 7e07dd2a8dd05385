"""The Redis client: what is wrong with one caller's commands is that caller's alone."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis

from tests.support.stack import eventually
from unoapi.errors import StoreRefusesWrites, StoreUnavailable
from unoapi.stores.redis import RedisClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

HALF = "\ud800"
"""Half of a surrogate pair: valid in JSON, and in no UTF-8."""


@pytest.fixture
def full(raw_redis: redis.Redis) -> Iterator[None]:
    """No memory left, and nothing may be thrown away."""
    raw_redis.config_set("maxmemory", "1")
    yield
    raw_redis.config_set("maxmemory", "0")


@pytest.fixture
def prompt(servers: PrivateServers, raw_redis: redis.Redis) -> Iterator[RedisClient]:  # noqa: ARG001 (empties it)
    """With the real deadlines."""
    running = RedisClient(servers.redis_url)
    yield running
    running.close()


def test_text_that_is_in_no_encoding_is_stored_and_read_all_the_same(redis_client: RedisClient) -> None:
    assert redis_client.call(("SET", f"key {HALF}", f"a{HALF}b"), ("GET", f"key {HALF}")) == [True, "a\\ud800b"]


def test_numbers_and_bytes_are_stored_as_they_are_beside_text_in_no_encoding(redis_client: RedisClient) -> None:
    half, whole = ("RPUSH", "list", 7, 0.5, b"\xc3\xa9", HALF), ("RPUSH", "list", 7, 0.5, b"\xc3\xa9", "\u00e9")

    answers = redis_client.call(half, whole, ("LRANGE", "list", 0, -1))

    assert answers == [4, 8, ["7", "0.5", "\u00e9", "\\ud800", "7", "0.5", "\u00e9", "\u00e9"]]


def test_what_is_refused_among_posts_harms_none_of_the_others(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    raw_redis.set("text", "no list")

    redis_client.post(("RPUSH", "text", "x"), ("SET", "after", "1"))
    redis_client.post(("SET", "other", "1"))

    assert eventually(lambda: raw_redis.exists("after", "other") == 2)


def test_bytes_that_nobody_asks_for_harm_none_of_the_other_posts(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    raw_redis.set("bytes", b"\xff\xfe")

    redis_client.post(("GETRANGE", "bytes", 0, 1))
    redis_client.post(("SET", "after", "1"))

    assert eventually(lambda: raw_redis.exists("after"))


def test_bytes_that_are_no_text_do_not_harm_who_reads_at_the_same_time(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    raw_redis.set("bytes", b"\xff\xfe")
    raw_redis.set("honest", "read")

    with ThreadPoolExecutor(20) as threads:
        answers = list(
            threads.map(lambda number: redis_client.call(("GET", "honest" if number % 2 else "bytes")), range(200))
        )

    assert answers[1::2] == [["read"]] * 100


@pytest.mark.parametrize("argument", [None, True, ["a"], {"a": 1}, HTTPStatus.OK])
def test_an_argument_of_a_wrong_type_is_refused_to_its_caller_alone(redis_client: RedisClient, argument: Any) -> None:
    refused = 0

    def run(number: int) -> Any:
        nonlocal refused
        if number % 2:
            return redis_client.call(("ECHO", f"{number}"))
        with pytest.raises(TypeError):
            redis_client.call(("ECHO", cast("str", argument)))
        refused += 1
        return None

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(run, range(200)))

    assert answers[1::2] == [[f"{number}"] for number in range(1, 200, 2)]
    assert refused == 100


def test_what_nobody_waits_for_is_dropped_alone(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    redis_client.post(("SET", "a", "1"))
    redis_client.post(("SET", "hostile", cast("str", None)))
    redis_client.post(("SET", "b", "1"))

    assert eventually(lambda: raw_redis.exists("a", "b") == 2)


def test_what_is_posted_together_is_written_at_the_end_but_for_what_is_wrong(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    raw_redis.set("text", "no number")

    with suppress(ZeroDivisionError), redis_client.posting_together():
        redis_client.post(("SET", "a", "1"))
        redis_client.post(("INCR", "text"))
        redis_client.post(("SET", "hostile", cast("str", None)), ("SET", "beside", "1"))
        redis_client.post(("SET", "b", "1"))
        written_before = redis_client.call(("EXISTS", "a"))
        raise ZeroDivisionError

    assert written_before == [0]
    assert eventually(lambda: raw_redis.exists("a", "b") == 2)
    assert not raw_redis.exists("hostile", "beside")


def test_who_wants_to_know_what_came_of_a_post_learns_it_also_from_among_others(redis_client: RedisClient) -> None:
    results: list[Any] = []

    with redis_client.posting_together():
        redis_client.post(("SET", "a", "1"), on_results=results.append)

        assert eventually(lambda: results == [[True]])


def test_other_threads_post_at_once_while_one_gathers(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    with redis_client.posting_together(), ThreadPoolExecutor(1) as another:
        another.submit(redis_client.post, ("SET", "a", "1")).result(5)

        assert eventually(lambda: raw_redis.exists("a"))


def test_a_bug_in_the_library_ends_no_thread_and_skips_nothing(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.call(("PING",))
    with monkeypatch.context() as broken:
        broken.setattr(redis_client._call_client.connection_pool, "get_connection", lambda: 1 / 0)
        with pytest.raises(StoreUnavailable):
            redis_client.call(("PING",))

    assert redis_client.call(("PING",)) == [True]


def test_one_slow_answer_is_no_reason_to_skip_redis(prompt: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller of one large value waits in vain; the next command of somebody else is carried out."""
    prompt.call(("PING",))
    parse: Any = redis.Redis.parse_response

    def slowly(client: redis.Redis, *args: Any, **options: Any) -> Any:
        answer = parse(client, *args, **options)
        if answer == "large":
            time.sleep(0.4)  # takes the answer apart
        return answer

    monkeypatch.setattr(redis.Redis, "parse_response", slowly)

    with pytest.raises(StoreUnavailable, match="200 ms"):
        prompt.call(("ECHO", "large"))
    time.sleep(0.4)

    assert prompt.call(("ECHO", "honest")) == ["honest"]


def test_a_redis_that_is_silent_is_skipped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = RedisClient(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StoreUnavailable):
            client.call(("PING",))

        eventually(lambda: client._skip_until)
        began = time.monotonic()
        for _ in range(1000):
            with pytest.raises(StoreUnavailable, match="skipped"):
                client.call(("PING",))
        took_s = time.monotonic() - began

        client.close()
    assert took_s < 1


def test_what_nobody_waits_for_survives_a_redis_that_is_busy_for_a_moment(
    prompt: RedisClient, raw_redis: redis.Redis
) -> None:
    prompt.call(("PING",))
    raw_redis.client_pause(500, all=True)

    prompt.post(("SET", "written", "1"))

    assert eventually(lambda: raw_redis.get("written") == "1")


def test_a_full_redis_is_said_to_refuse_writes(redis_client: RedisClient, full: None) -> None:  # noqa: ARG001 (is)
    with pytest.raises(StoreRefusesWrites, match=r"refuses writes.*maxmemory"):
        redis_client.call(("SET", "a", "1"))

    assert redis_client.call(("GET", "a")) == [None]


@pytest.mark.parametrize("connected", [False, True], ids=["from the beginning", "later"])
def test_a_channel_that_is_silent_though_asked_is_given_up(
    servers: PrivateServers, redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch, *, connected: bool
) -> None:
    """A connection that a network has forgotten would be listened to for ever."""
    for name, limit_s in (("PING_S", 0.1), ("SILENT_S", 0.5), ("PATIENT_S", 0.5)):
        monkeypatch.setattr(f"unoapi.stores.redis.{name}", limit_s)
    messages = redis_client.subscribe("silent")
    if connected:
        threading.Timer(0.3, redis_client.post, (("PUBLISH", "silent", "first"),)).start()
        assert next(messages) == "first"

    os.kill(servers.redis.pid, signal.SIGSTOP)
    threading.Timer(3, os.kill, (servers.redis.pid, signal.SIGCONT)).start()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        next(messages)

    assert time.monotonic() - began < 2


def test_a_channel_on_which_nothing_is_published_is_listened_to(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side: signs of life are answered, and are no messages."""
    monkeypatch.setattr("unoapi.stores.redis.PING_S", 0.1)
    monkeypatch.setattr("unoapi.stores.redis.SILENT_S", 0.5)
    threading.Timer(1.5, redis_client.post, (("PUBLISH", "quiet", "at last"),)).start()

    assert next(redis_client.subscribe("quiet")) == "at last"
