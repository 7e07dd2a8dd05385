"""The health of Redis: it answers, takes writes, keeps what it has, and is not a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from unoapi.errors import ConfigurationError
from unoapi.stores.redis_health import CLUSTER, RedisCollector, RedisMonitor, memory_warnings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from unoapi.stores.redis import RedisClient


@pytest.fixture
def monitor(redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> RedisMonitor:
    monkeypatch.setattr("unoapi.stores.redis_health.CHECK_EVERY_S", 0.0)
    return RedisMonitor(redis_client)


@pytest.fixture
def settings(raw_redis: redis.Redis) -> Iterator[redis.Redis]:
    """Settings of Redis that are set back."""
    yield raw_redis
    raw_redis.config_set("maxmemory", "0")
    raw_redis.config_set("maxmemory-policy", "noeviction")
    raw_redis.replicaof("NO", "ONE")


def test_a_redis_that_does_its_work_is_ok(monitor: RedisMonitor) -> None:
    health = monitor.check()

    assert (health.trouble, health.warnings, health.max_bytes) == ("", (), 0)
    assert health.used_bytes > 0
    assert monitor.check().words == "ok"


def test_the_memory_is_shown_to_prometheus(monitor: RedisMonitor, settings: redis.Redis) -> None:
    settings.config_set("maxmemory", "100mb")

    shown = {
        family.name: family.samples[0].value for family in RedisCollector(monitor, is_wanted=lambda: True).collect()
    }

    assert shown["unoapi_redis_usable"] == 1
    assert 0 < shown["unoapi_redis_used_bytes"] < shown["unoapi_redis_max_bytes"] == 100 * 1024 * 1024
    assert list(RedisCollector(monitor, is_wanted=lambda: False).collect()) == []


def test_a_full_redis_refuses_writes(monitor: RedisMonitor, settings: redis.Redis) -> None:
    settings.config_set("maxmemory", "1mb")

    assert monitor.check().words.startswith("refuses writes: its memory is full (maxmemory)")


def test_a_replica_refuses_writes(monitor: RedisMonitor, settings: redis.Redis) -> None:
    settings.replicaof("127.0.0.1", "1")

    assert "read-only replica" in monitor.check().words


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_throws_keys_away_is_a_warning(monitor: RedisMonitor, settings: redis.Redis, policy: str) -> None:
    settings.config_set("maxmemory-policy", policy)

    health = monitor.check()

    assert health.trouble == ""
    assert policy in health.words


def test_a_redis_that_is_away_is_not_reachable(away: RedisClient) -> None:
    assert RedisMonitor(away).check().words == "not reachable"
    RedisMonitor(away).ensure_usable()


def test_however_often_it_is_asked_redis_is_asked_every_few_seconds(
    redis_client: RedisClient, raw_redis: redis.Redis
) -> None:
    monitor = RedisMonitor(redis_client)
    before = raw_redis.info("commandstats").get("cmdstat_set", {}).get("calls", 0)

    for _ in range(100):
        monitor.check()

    assert raw_redis.info("commandstats")["cmdstat_set"]["calls"] == before + 1


def test_a_cluster_is_refused_at_the_start(monitor: RedisMonitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor._redis, "info_now", lambda: {"cluster_enabled": 1})

    with pytest.raises(ConfigurationError, match="Cluster"):
        monitor.ensure_usable()

    assert "REDIS_URL" in CLUSTER


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({}, []),
        ({"used_memory": 79, "maxmemory": 100}, []),
        ({"used_memory": 80, "maxmemory": 100}, ["80 %"]),
        ({"used_memory": 80, "maxmemory": 0}, []),
        ({"maxmemory_policy": "noeviction"}, []),
        *(
            ({"maxmemory_policy": f"volatile-{kind}"}, ["twice; set noeviction"])
            for kind in ("lru", "lfu", "random", "ttl")
        ),
        *(({"maxmemory_policy": f"allkeys-{kind}"}, ["sessions; set noeviction"]) for kind in ("lru", "lfu", "random")),
    ],
)
def test_what_is_said_of_the_memory(info: dict[str, Any], words: list[str]) -> None:
    warnings = memory_warnings(info)

    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))
