"""The depths and ages of all queues now, for people (`/admin/queues`, Flower) and for Prometheus."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from unoapi.broker.management_api import ManagementApi
from unoapi.broker.queue_depths import all_sessions, of_sessions, read_depths, with_ages, with_rates, with_totals
from unoapi.errors import BrokerUnavailable, StoreUnavailable
from unoapi.models.connector.events import STATUS_WORDS
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

    from unoapi.broker.queue_depths import Depth
    from unoapi.broker.topology import Topology
    from unoapi.ports import Holdings, QueueAges

STATUSES = tuple(dict.fromkeys(STATUS_WORDS.values()))
FRESH_S = 5.0
"""Prometheus gets the same figures for so long, also those of a read that failed."""


class QueueMonitor:
    """Reads the queues. Each read is bounded: a connection, one request per queue, at most two further requests."""

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        *,
        amqp_url: str,
        vhost: str,
        management_url: str,
        topology: Topology,
        queue_ages: QueueAges,
        holdings: Holdings,
    ) -> None:
        self._url = amqp_url
        self._topology = topology
        self._queue_ages = queue_ages
        self._holdings = holdings
        self._management = ManagementApi(management_url, vhost=vhost)

    def queues(self) -> list[Depth]:
        """All queues, with all counts and ages that can be had now. Raises BrokerUnavailable within seconds."""
        topology, sessions = self._topology, dict[str, int]()
        queues = read_depths(self._url, topology, holding=self._holding())
        single = {queue.name for queue in topology.queues}
        ready = {depth.queue: depth.ready for depth in queues if depth.queue in single and depth.ready is not None}
        totals = self._management.totals(topology)
        if totals is not None:
            queues = with_totals(queues, totals, topology)
            sessions = {name: numbers["ready"] for name, numbers in of_sessions(totals, topology).items()}
        since_ms: Mapping[str, int] = {}
        rates: Mapping[str, tuple[float, float]] = {}
        with contextlib.suppress(StoreUnavailable):
            since_ms = self._queue_ages.since(ready, passing=sessions)
            rates = self._queue_ages.rates(ready)
        waiting = [since_ms[name] for name in sessions if name in since_ms]
        together = {all_sessions(topology): min(waiting)} if waiting else {}
        return with_ages(with_rates(queues, rates), {**since_ms, **together}, now_ms=now_ms())

    def _holding(self) -> list[str]:
        try:
            return [self._topology.holding_queue(*queue).name for queue in self._holdings.all()]
        except StoreUnavailable:
            return []


class QueueCollector(Collector):
    """The queues for Prometheus. A figure that cannot be had is left out, never 0."""

    def __init__(  # noqa: PLR0913 (one for each figure)
        self,
        monitor: QueueMonitor,
        *,
        prefix: str,
        count_open_breakers: Callable[[], int],
        most_dead_letters: Callable[[], int],
        count_sessions: Callable[[], Mapping[str, int]],
        is_wanted: Callable[[], bool],
    ) -> None:
        self._monitor = monitor
        self._prefix = prefix
        self._count_open_breakers = count_open_breakers
        self._most_dead_letters = most_dead_letters
        self._count_sessions = count_sessions
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._read_at = -FRESH_S
        self._metrics: list[Metric] = []

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the queues."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Read the queues, at most every few seconds, and only where it is wanted: not in each of many workers."""
        if not self._is_wanted():
            return []
        with self._lock:
            if time.monotonic() - self._read_at >= FRESH_S:
                self._metrics = [*self._queues(), *self._breakers(), *self._dead_letters(), *self._sessions()]
                self._read_at = time.monotonic()
            return self._metrics

    def _queues(self) -> list[Metric]:
        messages = GaugeMetricFamily("unoapi_queue_messages", "Messages by queue.", labels=["queue", "state"])
        oldest = GaugeMetricFamily("unoapi_queue_oldest_seconds", "Nothing waits for longer.", labels=["queue"])
        consumers = GaugeMetricFamily("unoapi_queue_consumers", "Processes that take messages.", labels=["queue"])
        try:
            queues = self._monitor.queues()
        except BrokerUnavailable:
            queues = []
        for depth in queues:
            name = depth.queue.removeprefix(f"{self._prefix}.")
            for state, count in (("ready", depth.ready), ("unacked", depth.unacked)):
                if count is not None:
                    messages.add_metric([name, state], count)
            if depth.consumers is not None:
                consumers.add_metric([name], depth.consumers)
            if depth.oldest_s is not None:
                oldest.add_metric([name], depth.oldest_s)
        return [messages, oldest, consumers]

    def _breakers(self) -> list[Metric]:
        breakers = GaugeMetricFamily("unoapi_breakers_open", "Endpoints that are down.")
        with contextlib.suppress(StoreUnavailable):
            breakers.add_metric([], self._count_open_breakers())
        return [breakers]

    def _dead_letters(self) -> list[Metric]:
        most = GaugeMetricFamily("unoapi_dead_letters_of_one_number", "Most dead letters of one number today (UTC).")
        with contextlib.suppress(StoreUnavailable):
            most.add_metric([], self._most_dead_letters())
        return [most]

    def _sessions(self) -> list[Metric]:
        sessions = GaugeMetricFamily("unoapi_sessions", "Numbers with a phone, by their state.", labels=["status"])
        with contextlib.suppress(StoreUnavailable):
            for status, count in {**dict.fromkeys(STATUSES, 0), **self._count_sessions()}.items():
                sessions.add_metric([status], count)
        return [sessions]
