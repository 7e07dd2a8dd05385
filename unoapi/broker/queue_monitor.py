"""What stands in the queues now, for people (`/admin/queues`, Flower) and for Prometheus."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from unoapi.broker.management_api import Management
from unoapi.broker.queue_depths import all_sessions, depths, of_sessions, with_ages, with_totals
from unoapi.errors import BrokerUnavailable, StoreUnavailable
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

    from unoapi.broker.queue_depths import Depth
    from unoapi.broker.topology import Topology

FRESH_S = 5.0
"""For so long a look serves all readers of metrics, also one that failed."""


class QueueAges(Protocol):
    """The memory of what was taken from each queue last."""

    def since(self, ready: Mapping[str, int], *, passing: Mapping[str, int]) -> dict[str, int]:
        """See RedisQueueAges."""


class QueueMonitor:
    """Looks at queues. Each look is bounded: a connection, one question per queue, at most two further requests."""

    def __init__(self, *, amqp_url: str, management_url: str, topology: Topology, queue_ages: QueueAges) -> None:
        self._url = amqp_url
        self._topology = topology
        self._queue_ages = queue_ages
        vhost = unquote(urlsplit(amqp_url).path[1:]) or "/"
        self._management = Management(management_url, vhost=vhost)

    def queues(self) -> list[Depth]:
        """All queues, with all that can be known of them now. Raises BrokerUnavailable within seconds."""
        found = depths(self._url, self._topology)
        ready = {depth.queue: depth.ready for depth in found if depth.ready is not None}
        topology, sessions = self._topology, dict[str, int]()
        totals = self._management.totals(topology)
        if totals is not None:
            found = with_totals(found, totals, topology)
            sessions = {name: numbers["ready"] for name, numbers in of_sessions(totals, topology).items()}
        try:
            since_ms = self._queue_ages.since(ready, passing=sessions)
        except StoreUnavailable:
            since_ms = {}
        waiting = [since_ms[name] for name in sessions if name in since_ms]
        together = {all_sessions(topology): min(waiting)} if waiting else {}
        return with_ages(found, since_ms | together, now_ms=now_ms())


class QueueCollector(Collector):
    """What stands where, for Prometheus: what cannot be known is left out, never 0."""

    def __init__(
        self,
        monitor: QueueMonitor,
        *,
        prefix: str,
        count_open_breakers: Callable[[], int],
        is_wanted: Callable[[], bool],
    ) -> None:
        self._monitor = monitor
        self._prefix = prefix
        self._count_open_breakers = count_open_breakers
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._looked = -FRESH_S
        self._found: list[Metric] = []

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that the registry does not look now."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Look, at most every few seconds, and only where it is wanted: not in each of many workers."""
        if not self._is_wanted():
            return []
        with self._lock:
            if time.monotonic() - self._looked >= FRESH_S:
                self._found = [*self._queues(), *self._breakers()]
                self._looked = time.monotonic()
            return self._found

    def _queues(self) -> list[Metric]:
        messages = GaugeMetricFamily("unoapi_queue_messages", "Messages by queue.", labels=["queue", "state"])
        oldest = GaugeMetricFamily("unoapi_queue_oldest_seconds", "Nothing waits for longer.", labels=["queue"])
        try:
            found = self._monitor.queues()
        except BrokerUnavailable:
            found = []
        for depth in found:
            name = depth.queue.removeprefix(f"{self._prefix}.")
            for state, count in (("ready", depth.ready), ("unacked", depth.unacked)):
                if count is not None:
                    messages.add_metric([name, state], count)
            if depth.oldest_s is not None:
                oldest.add_metric([name], depth.oldest_s)
        return [messages, oldest]

    def _breakers(self) -> list[Metric]:
        breakers = GaugeMetricFamily("unoapi_breakers_open", "Endpoints that are down.")
        with contextlib.suppress(StoreUnavailable):
            breakers.add_metric([], self._count_open_breakers())
        return [breakers]
