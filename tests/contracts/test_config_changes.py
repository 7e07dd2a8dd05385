"""What Redis says of changed configurations, and which of them need not be read again."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.fakes import PHONE
from tests.support.stack import eventually
from unoapi.errors import StoreUnavailable
from unoapi.stores.config_changes import ConfigChanges
from unoapi.stores.redis import RedisClient
from unoapi.stores.sessions import FRESH_S, RedisSessions, environment_config, look_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from unoapi.devenv.servers import PrivateServers

KEY = f"unoapi-config:{PHONE}"
CONFIG = {"provider": "sandbox", "webhooks": [{"id": "own", "urlAbsolute": "http://own.test/hook"}]}


@pytest.fixture
def sessions(redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> RedisSessions:
    """The sessions of a process that listens, with one that was read since then."""
    monkeypatch.setattr("unoapi.stores.sessions.FEW", 0)
    sessions = RedisSessions(redis_client, environment_config(None))
    sessions.save(PHONE, CONFIG)
    reread(sessions)
    return sessions


def reread(sessions: RedisSessions) -> None:
    """Read the session until that was after the listener began, and after its last change."""

    def is_covered() -> bool:
        sessions.find(PHONE)
        return covered(sessions, sessions._cache[PHONE].at)

    eventually(is_covered, what="a covered session")


def covered(sessions: RedisSessions, asked_at: float) -> bool:
    """Whether nobody has changed the session since, as far as the listener knows, however late it is."""
    return sessions._changes.cover(PHONE, asked_at=asked_at, within_s=60)


def test_what_nobody_changed_is_not_read_again(sessions: RedisSessions) -> None:
    read_at = sessions._cache[PHONE].at

    time.sleep(2 * FRESH_S)

    eventually(lambda: sessions.fresh(PHONE) is not None, what="what was read")  # a listener may be late, too
    assert sessions._cache[PHONE].at == read_at


@pytest.mark.parametrize(
    "change",
    [("SET", KEY, "{}"), ("DEL", KEY), ("PEXPIRE", KEY, 1), ("FLUSHALL",), ("SET", "unoapi-marker", "another")],
    ids=lambda change: " ".join(map(str, change)),
)
def test_a_change_of_another_program_is_noticed(
    sessions: RedisSessions, raw_redis: redis.Redis, change: tuple[str | int, ...]
) -> None:
    read_at = sessions._cache[PHONE].at

    raw_redis.execute_command(*change)  # type: ignore[no-untyped-call]

    eventually(lambda: not covered(sessions, read_at), what="the change")


def test_it_is_read_again_after_a_while_though_nobody_changed_it(
    sessions: RedisSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.sleep(2 * FRESH_S)
    monkeypatch.setattr("unoapi.stores.sessions.UNCHANGED_S", 2 * FRESH_S)

    assert sessions.fresh(PHONE) is None


def test_what_was_expected_and_is_not_there_is_read_again(sessions: RedisSessions) -> None:
    sessions.refresh(PHONE)

    assert sessions.fresh(PHONE) is None


def test_an_answer_of_before_a_change_that_is_noted_after_it_counts_for_half_a_second_alone(
    sessions: RedisSessions, redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    asked_at = time.monotonic()
    answers = redis_client.call(*look_commands([PHONE]))
    raw_redis.set(KEY, json.dumps({**CONFIG, "provider": "forwarder"}))
    eventually(lambda: PHONE in sessions._changes._changed, what="the change")

    sessions.note([PHONE], answers, asked_at=asked_at)
    time.sleep(max(0.0, asked_at + FRESH_S - time.monotonic()))

    assert sessions.find(PHONE).provider == "forwarder"


def test_a_redis_that_is_silent_covers_nothing(sessions: RedisSessions, servers: PrivateServers) -> None:
    os.kill(servers.redis.pid, signal.SIGSTOP)
    try:
        time.sleep(2 * FRESH_S)

        assert sessions.fresh(PHONE) is None
    finally:
        os.kill(servers.redis.pid, signal.SIGCONT)


def test_a_connection_that_breaks_covers_nothing_of_before(
    sessions: RedisSessions, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was changed meanwhile nobody has said."""
    monkeypatch.setattr("unoapi.stores.config_changes.TRY_AGAIN_S", 0.3)
    read_at, broken_at = sessions._cache[PHONE].at, time.monotonic()
    for listener in [client for client in raw_redis.client_list() if "t" in client["flags"]]:
        raw_redis.client_kill_filter(_id=listener["id"])

    eventually(lambda: broken_at < sessions._changes._since < float("inf"), what="another connection")

    assert not covered(sessions, read_at)
    reread(sessions)


def test_a_redis_that_becomes_a_replica_covers_nothing(sessions: RedisSessions, raw_redis: redis.Redis) -> None:
    """It takes the data of its new primary over as a whole, and names no key that is another then."""
    time.sleep(FRESH_S)
    assert sessions.fresh(PHONE) is not None

    raw_redis.execute_command("REPLICAOF", "127.0.0.1", 1)  # type: ignore[no-untyped-call]
    try:
        eventually(lambda: sessions.fresh(PHONE) is None, what="the end of what is known", within_s=1.0, every_s=0.02)
    finally:
        raw_redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]


@pytest.fixture
def refused(servers: PrivateServers, raw_redis: redis.Redis) -> Iterator[RedisClient]:
    """Redis for who may not be told of changes, as some that are managed have it."""
    raw_redis.acl_setuser(
        "few", enabled=True, passwords=["+pass"], keys=["*"], channels=["*"], commands=["+@all", "-client|tracking"]
    )
    client = RedisClient(f"redis://few:pass@{urlsplit(servers.redis_url).netloc.rpartition('@')[2]}")
    yield client
    client.close()
    raw_redis.acl_deluser("few")


def test_a_redis_that_does_not_tell_is_read_again_each_half_second(
    refused: RedisClient, raw_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.stores.sessions.FEW", 0)
    sessions = RedisSessions(refused, environment_config(None))
    sessions.save(PHONE, CONFIG)
    sessions.find(PHONE)
    with pytest.raises(StoreUnavailable, match="does not tell"):
        next(refused.changed_keys("unoapi-config:"))

    raw_redis.set(KEY, json.dumps({**CONFIG, "provider": "forwarder"}))
    time.sleep(FRESH_S)

    assert sessions.find(PHONE).provider == "forwarder"


def test_changes_are_named_once_and_all_of_them_by_none(redis_client: RedisClient, raw_redis: redis.Redis) -> None:
    changes = redis_client.changed_keys("unoapi-config:", "unoapi-marker")
    next(changes)
    raw_redis.mset({KEY: "1", "unoapi-marker": "1", "other": "1"})

    named, then = next(changes), next(changes)
    raw_redis.flushall()

    assert (sorted(named or ()), then, next(changes)) == ([KEY, "unoapi-marker"], [], None)


def test_a_process_with_few_sessions_needs_no_connection_of_its_own(redis_client: RedisClient) -> None:
    sessions = RedisSessions(redis_client, environment_config(None))

    sessions.save(PHONE, CONFIG)

    assert sessions._changes._thread is None


def test_more_changes_than_are_remembered_count_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unoapi.stores.config_changes.MAX_CHANGED", 2)
    nobody: Any = None
    changes = ConfigChanges(nobody, prefix="p:", all_with="all")
    changes.note(None)
    changes._known_until = asked_at = time.monotonic()
    changes.note(["p:a", "p:b"])
    before = [changes.cover(phone, asked_at=asked_at, within_s=9) for phone in ("a", "c")]

    changes.note(["p:d"])

    assert (before, changes.cover("c", asked_at=asked_at, within_s=9)) == ([False, True], False)
    assert changes.cover("c", asked_at=time.monotonic(), within_s=9)
