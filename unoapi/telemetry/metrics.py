"""The metrics for Prometheus. Labels are fixed words: a phone, an address or an id is never one of them.

Counting costs microseconds and works without a reader. `telemetry.exporter` adds up several processes.
"""

from __future__ import annotations

from functools import cache, lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from unoapi.errors import UnoError

OUTCOMES = ("delivered", "refused", "unreachable", "throttled", "gone", "blocked")
"""How an attempt to deliver can end."""
CAMPAIGN_STATUSES = ("queued", "sent", "failed", "excluded")
"""What may become of a campaign's row."""
REASONS_WITHOUT_CLASS = ("bug", "dropped", "invalid_job", "webhook_removed")
REQUEST_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DELIVERY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._deliveries = Counter("unoapi_deliveries", "Attempts to deliver.", ["outcome"], registry=registry)
        self._delivery_seconds = Histogram(
            "unoapi_delivery_seconds", "The exchange with the endpoint.", buckets=DELIVERY_BUCKETS_S, registry=registry
        )
        self._retries = Counter("unoapi_retries", "Jobs put back for later.", ["class"], registry=registry)
        self._dead = Counter("unoapi_dead", "Jobs given up by a worker.", ["reason"], registry=registry)
        self._campaign_rows = Counter(
            "unoapi_campaign_rows", "Rows of campaigns, by what became of them.", ["status"], registry=registry
        )
        self._redis_skips = Counter(
            "unoapi_redis_skips", "Times that Redis did not answer and was skipped for some seconds.", registry=registry
        )
        self._requests = Counter("unoapi_requests", "Answers of the API.", ["route", "status"], registry=registry)
        self._request_seconds = Histogram(
            "unoapi_request_seconds", "From a request to its answer.", buckets=REQUEST_BUCKETS_S, registry=registry
        )
        self._voice = Counter("unoapi_voice", "Transcriptions and speeches.", ["kind", "outcome"], registry=registry)
        self._answers = cache(lambda route, status: self._requests.labels(route, str(status)))
        self.busy = Gauge(
            "unoapi_worker_threads_busy",
            "Jobs that are being worked on.",
            multiprocess_mode="livesum",
            registry=registry,
        )

    def expect_work(self) -> None:
        """Start the counts of a worker at 0: Prometheus's `increase()` does not see a series that starts at 1."""
        for outcome in OUTCOMES:
            self._deliveries.labels(outcome)
        for reason in reasons():
            self._dead.labels(reason)
        for status in CAMPAIGN_STATUSES:
            self._campaign_rows.labels(status)
        for kind in ("transcription", "speech"):
            for outcome in ("done", "skipped", "failed"):
                self._voice.labels(kind, outcome)

    def attempted(self, outcome: str, *, duration_ms: int) -> None:
        """Count one attempt to deliver; the duration is that of the whole exchange."""
        self._deliveries.labels(outcome or "unreachable").inc()
        self._delivery_seconds.observe(duration_ms / 1000)

    def retried(self, kind: str) -> None:
        """Count a job that is retried. `kind` is the error's reason."""
        self._retries.labels(kind).inc()

    def died(self, reason: str) -> None:
        """Count a job that was given up."""
        self._dead.labels(reason).inc()

    def campaign_row(self, status: str, *, count: int = 1) -> None:
        """Count rows of campaigns that came to a state: one of `CAMPAIGN_STATUSES`."""
        self._campaign_rows.labels(status).inc(count)

    def voiced(self, kind: str, outcome: str) -> None:
        """Count a transcription or a speech: done, skipped, or an attempt that failed."""
        self._voice.labels(kind, outcome).inc()

    def skipped_redis(self) -> None:
        """Count a time that Redis did not answer."""
        self._redis_skips.inc()

    def answered(self, route: str, status: int, *, seconds: float) -> None:
        """Count an answer. `route` is the rule that matched, never the path."""
        self._answers(route, status).inc()
        self._request_seconds.observe(seconds)


def reasons() -> tuple[str, ...]:
    """All reasons for which a worker gives jobs up."""
    return (*OUTCOMES[1:], *REASONS_WITHOUT_CLASS, *sorted(_reasons(UnoError)))


def _reasons(kind: type[UnoError]) -> set[str]:
    return {kind.reason}.union(*(_reasons(child) for child in kind.__subclasses__()))


@lru_cache(maxsize=1)
def metrics() -> Metrics:
    """The metrics of this process, made at the first call: after the registry of processes has set their folder."""
    return Metrics()
