"""Whether Redis does its work: it answers, takes writes, keeps what it has, and is not a cluster."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from unoapi.errors import ConfigurationError, StoreRefusesWrites, StoreUnavailable
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

    from unoapi.stores.redis import RedisClient

log = get_logger(__name__)

CHECK_EVERY_S = 3.0
"""Redis is asked at most this often, whoever asks for its health, and however often."""
PROBE_KEY = "unoapi-probe"
PROBE_TTL_S = 60
NEARLY_FULL = 0.8


@dataclass(frozen=True)
class RedisHealth:
    """What was found. `trouble` is why it does not do its work, `warnings` what will go wrong later; in words."""

    trouble: str = ""
    warnings: tuple[str, ...] = ()
    used_bytes: int = 0
    max_bytes: int = 0

    @property
    def words(self) -> str:
        """All of it, in a line; `ok` when there is nothing to say."""
        return self.trouble or "; ".join(self.warnings) or "ok"


class RedisMonitor:
    """Looks at Redis now and then, past the seconds in which it is skipped."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._health = RedisHealth()

    def check(self) -> RedisHealth:
        """The health of at most three seconds ago. Ends within half a second. Never raises."""
        with self._lock:
            if time.monotonic() - self._at >= CHECK_EVERY_S:
                self._health = self._inspect()
                self._at = time.monotonic()
            return self._health

    def ensure_usable(self) -> None:
        """Raise ConfigurationError for a Redis Cluster; warn in the log of what will go wrong. For the start.

        On a connection of its own, so that nothing is open when a process forks.
        """
        info = self._redis.info_now()
        if is_cluster(info):
            raise ConfigurationError(f"REDIS_URL: {CLUSTER}")
        for warning in memory_warnings(info):
            log.warning("redis_warning", hint=warning)

    def _inspect(self) -> RedisHealth:
        self._redis.stop_skipping()
        try:
            info = self._info()
        except StoreUnavailable:
            return RedisHealth(trouble=NOT_REACHED)
        if is_cluster(info):
            return RedisHealth(trouble=CLUSTER)
        memory = (int(info.get("used_memory", 0)), int(info.get("maxmemory", 0)))
        try:
            self._redis.call(("SET", PROBE_KEY, "1", "EX", PROBE_TTL_S))
        except StoreRefusesWrites as error:
            return RedisHealth(f"{error}".removeprefix("Redis "), (), *memory)
        except StoreUnavailable:
            return RedisHealth(trouble=NOT_REACHED)
        return RedisHealth("", tuple(memory_warnings(info)), *memory)

    def _info(self) -> dict[str, Any]:
        """Fields of INFO. Raises StoreUnavailable; empty where a platform does not allow the command."""
        self._redis.call(("PING",))
        try:
            memory, cluster = self._redis.call(("INFO", "memory"), ("INFO", "cluster"))
        except StoreUnavailable:
            return {}
        return {**_fields(memory), **_fields(cluster)}


class RedisCollector(Collector):
    """Redis for Prometheus. A figure that cannot be had is left out, never 0."""

    def __init__(self, monitor: RedisMonitor, *, is_wanted: Callable[[], bool]) -> None:
        self._monitor = monitor
        self._is_wanted = is_wanted

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not ask Redis."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Ask Redis, at most every few seconds, and only where it is wanted."""
        if not self._is_wanted():
            return
        health = self._monitor.check()
        usable = not health.trouble
        yield GaugeMetricFamily("unoapi_redis_usable", "1: Redis answers and takes writes.", value=int(usable))
        if health.used_bytes:
            yield GaugeMetricFamily("unoapi_redis_used_bytes", "Memory that Redis uses.", value=health.used_bytes)
        if health.max_bytes:
            yield GaugeMetricFamily("unoapi_redis_max_bytes", "Its maxmemory, if it is set.", value=health.max_bytes)


NOT_REACHED = "not reachable"
CLUSTER = (
    "this is a Redis Cluster, where one command cannot reach keys of several slots: REDIS_URL must lead to a single "
    "server, with replicas if you like"
)


def is_cluster(info: dict[str, Any]) -> bool:
    """Whether the server is a node of a cluster."""
    return str(info.get("cluster_enabled", "0")) == "1"


def memory_warnings(info: dict[str, Any]) -> list[str]:
    """What about the memory will make Redis lose or refuse something."""
    warnings = []
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        lost = "sessions" if policy.startswith("allkeys") else "what was sent and delivered, which then may come twice"
        warnings.append(
            f"maxmemory-policy is {policy}: when the memory is full, Redis throws away {lost}; set noeviction"
        )
    if most and used >= NEARLY_FULL * most:
        warnings.append(f"{used * 100 // most} % of its maxmemory are used: give it more before it refuses writes")
    return warnings


def _fields(info: Any) -> dict[str, Any]:
    if isinstance(info, dict):
        return info
    pairs = (line.split(":", 1) for line in str(info).splitlines() if ":" in line)
    return {pair[0]: pair[1].strip() for pair in pairs}
