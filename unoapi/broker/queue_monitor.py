"""One look at the whole installation, for people (`/admin/queues`, Flower) and for Prometheus."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from unoapi.broker.management_api import Management
from unoapi.broker.queue_depths import all_sessions, depths, of_sessions, with_ages, with_totals
from unoapi.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable
from unoapi.models.jobs import now_ms
from unoapi.telemetry.exporter import Group, Listener, group_folder
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prometheus_client import Metric

    from unoapi.bootstrap import Uno
    from unoapi.broker.queue_depths import Depth

log = get_logger(__name__)

FRESH_S = 5.0
"""For so long a look serves all readers of metrics, also one that failed."""
WEB = "web"


class Watch:
    """Looks at queues. Each look is bounded: a connection, one question per queue, at most two further requests."""

    def __init__(self, uno: Uno) -> None:
        self._uno = uno
        self._url = uno.settings.amqp_url.get_secret_value()
        vhost = unquote(urlsplit(self._url).path[1:]) or "/"
        self._management = Management(uno.settings.rabbitmq_management_url.get_secret_value(), vhost=vhost)

    def queues(self) -> list[Depth]:
        """All queues, with all that can be known of them now. Raises BrokerUnavailable within seconds."""
        found = depths(self._url, self._uno.topology)
        ready = {depth.queue: depth.ready for depth in found if depth.ready is not None}
        topology, sessions = self._uno.topology, dict[str, int]()
        totals = self._management.totals(topology)
        if totals is not None:
            found = with_totals(found, totals, topology)
            sessions = {name: numbers["ready"] for name, numbers in of_sessions(totals, topology).items()}
        try:
            since_ms = self._uno.clock.since(ready, passing=sessions)
        except StoreUnavailable:
            since_ms = {}
        waiting = [since_ms[name] for name in sessions if name in since_ms]
        together = {all_sessions(topology): min(waiting)} if waiting else {}
        return with_ages(found, since_ms | together, now_ms=now_ms())


class Standing(Collector):
    """What stands where, for Prometheus: what cannot be known is left out, never 0."""

    def __init__(self, uno: Uno, group: Group) -> None:
        self._uno = uno
        self._watch = Watch(uno)
        self._group = group
        self._lock = threading.Lock()
        self._looked = -FRESH_S
        self._found: list[Metric] = []

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that the registry does not look now."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Look, at most every few seconds; nowhere but on a host with a web process, so that many workers do not."""
        if not self._group.has(WEB):
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
            found = self._watch.queues()
        except BrokerUnavailable:
            found = []
        for depth in found:
            name = depth.queue.removeprefix(f"{self._uno.topology.prefix}.")
            for state, count in (("ready", depth.ready), ("unacked", depth.unacked)):
                if count is not None:
                    messages.add_metric([name, state], count)
            if depth.oldest_s is not None:
                oldest.add_metric([name], depth.oldest_s)
        return [messages, oldest]

    def _breakers(self) -> list[Metric]:
        breakers = GaugeMetricFamily("unoapi_breakers_open", "Endpoints that are down.")
        with contextlib.suppress(StoreUnavailable):
            breakers.add_metric([], self._uno.breakers.count_open())
        return [breakers]


@lru_cache(maxsize=1)
def _joined(folder: Path) -> Group:
    group = Group(folder)
    group.join()
    return group


def count_together(uno: Uno) -> Group | None:
    """Count where all processes of this host count, if metrics are switched on. No message waits for them to work."""
    port = uno.settings.unoapi_metrics_port
    if not port:
        return None
    own = f"{uno.topology.prefix} {uno.settings.amqp_url.get_secret_value()}"
    folder = group_folder(port, installation=hashlib.sha256(own.encode()).hexdigest()[:12])
    try:
        return _joined(folder)
    except (ConfigurationError, OSError) as error:
        log.error("metrics_off", error=f"{error}", do="see the folder, or TMPDIR")
        return None


def expose(uno: Uno, *, web: bool = False) -> Listener | None:
    """Answer Prometheus as soon as no other process of this host does. After a fork, in the process that counts."""
    group = count_together(uno)
    if group is None:
        return None
    if web:
        group.sign(WEB)
    listener = Listener(
        group, host=uno.settings.listen_host, port=uno.settings.unoapi_metrics_port, more=[Standing(uno, group)]
    )
    listener.start()
    return listener
