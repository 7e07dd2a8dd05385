"""A watch on the versions of Meta's Graph API that this installation asks for: Meta ends each of them one day."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from unoapi.errors import StoreUnavailable
from unoapi.models.graph_versions import last_day, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from prometheus_client import Metric

    from unoapi.ports import SessionDirectory

FRESH_S = 60.0


def _today() -> date:
    return datetime.now(UTC).date()


class GraphWatch:
    """The versions in use: the environment's, and those of the stored numbers at Meta."""

    def __init__(self, *, default: str, directory: SessionDirectory, today: Callable[[], date] = _today) -> None:
        self._default, self._directory, self.today = default, directory, today
        self._lock = threading.Lock()
        self._versions, self._read_at = {default}, float("-inf")

    def versions(self) -> list[str]:
        """The versions, read at most once a minute; with Redis away those that were read last."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_S:
                self._read_at = time.monotonic()
                try:
                    at_meta = [session for session in self._directory.all() if session.provider == "forwarder"]
                    self._versions = {self._default, *(session.webhook_forward.version for session in at_meta)} - {""}
                except StoreUnavailable:
                    pass
            return sorted(self._versions)

    def warnings(self) -> list[str]:
        """A sentence for each version that has ended or ends within 90 days."""
        return [words for version in self.versions() if (words := warning(version, self.today()))]


class GraphCollector(Collector):
    """The watch for Prometheus."""

    def __init__(self, watch: GraphWatch, *, is_wanted: Callable[[], bool]) -> None:
        self._watch = watch
        self._is_wanted = is_wanted

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the sessions."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The days that each version is surely served for, below 0 once it has ended."""
        if not self._is_wanted():
            return
        days = GaugeMetricFamily(
            "unoapi_graph_version_days_left", "Days until Meta ends a version of its Graph API.", labels=["version"]
        )
        for version in self._watch.versions():
            if (last := last_day(version)) is not None:
                days.add_metric([version], (last - self._watch.today()).days)
        yield days
