"""Endpoints that are down, slow or greedy: who may post now, and who waits in RabbitMQ."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unoapi.errors import Postponed
from unoapi.models.cloud_api.events import serialise
from unoapi.models.jobs import ReportFailure, computed_id
from unoapi.services.retries import parked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.models.endpoints import Endpoint, EndpointChange
    from unoapi.models.jobs import DeliverWebhook

SEEN_S = 5.0
"""For so long somebody who posted still counts as one who has work."""
SHARE_WAIT_MS = 2000


class Bulkhead:
    """The threads of one process, shared between endpoints.

    One endpoint may use all of them while nobody else has work, otherwise at most half. The account is this process's
    own, so that nothing of it is left behind by a crash.
    """

    def __init__(self, threads: int) -> None:
        self._half = max(1, threads // 2)
        self._busy: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, endpoint: Endpoint) -> Iterator[None]:
        """Hold one thread for an endpoint. Raises Postponed when it is over its share."""
        name = endpoint.key
        with self._lock:
            now = time.monotonic()
            self._seen = {each: at for each, at in self._seen.items() if now - at < SEEN_S}
            self._seen[name] = now
            busy = self._busy.get(name, 0)
            others = len(self._seen) > 1 or len(self._busy.keys() - {name}) > 0
            if busy >= self._half and others:
                wait_ms = parked(SHARE_WAIT_MS, draw=random.random())  # noqa: S311 (spreads load)
                raise Postponed("the endpoint has its share of the threads", after_ms=wait_ms, jitter=False)
            self._busy[name] = busy + 1
        try:
            yield
        finally:
            with self._lock:
                self._busy[name] -= 1
                if not self._busy[name]:
                    del self._busy[name]


def news_report(job: DeliverWebhook, news: EndpointChange) -> ReportFailure:
    """The callback that an endpoint went down or came back: the same id for the same outage."""
    kind = "endpoint.down" if news.down else "endpoint.up"
    report_id = computed_id(kind, job.phone, job.webhook_id, str(news.since_ms))
    what = "is down: deliveries wait" if news.down else "is up again"
    document = {
        "text": f"Session {job.phone}, webhook {job.webhook_id}: {what}",
        "type": kind,
        "id": report_id,
        "phone": job.phone,
        "webhook": job.webhook_id,
        "message_id": "",
        "attempts": [],
        "payload": {},
    }
    return ReportFailure(id=report_id, phone=job.phone, body=serialise(document), notify_on_failure=False)
