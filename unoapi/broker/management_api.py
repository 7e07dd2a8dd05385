"""RabbitMQ's management API, for figures that AMQP does not give. It is optional; they are some seconds old."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.broker.topology import Topology

log = get_logger(__name__)

TIMEOUT_S = 2.0
MAX_BYTES = 16_777_216
CHUNK = 65_536


class ManagementApi:
    """The management API at a URL with its login. Without a URL nothing is asked."""

    def __init__(self, url: str, *, vhost: str) -> None:
        self._url = f"{url.rstrip('/').removesuffix('/api')}/api/queues/{quote(vhost, safe='')}" if url else ""
        self._warned = False

    def totals(self, topology: Topology) -> dict[str, dict[str, int]] | None:
        """`ready` and `unacked` of our queues by name, none when it cannot be asked. Never raises."""
        if not self._url:
            return None
        try:
            totals = {
                str(queue["name"]): _counts(queue)
                for queue in self._list_queues()
                if str(queue["name"]).startswith(f"{topology.prefix}.")
            }
        except (OSError, ValueError, TypeError, LookupError, requests.RequestException) as error:
            if not self._warned:
                log.warning(
                    "management_api_unavailable", error=type(error).__name__, hint="check RABBITMQ_MANAGEMENT_URL"
                )
            self._warned = True
            return None
        self._warned = False
        return totals

    def _list_queues(self) -> list[dict[str, Any]]:
        query = "disable_stats=true&enable_queue_totals=true"
        deadline = time.monotonic() + TIMEOUT_S
        with requests.Session() as session:
            session.trust_env = False  # a proxy to the internet does not lead to our own servers
            with session.get(f"{self._url}?{query}", timeout=TIMEOUT_S, stream=True) as answer:
                answer.raise_for_status()
                body = bytearray()
                for chunk in answer.iter_content(CHUNK):
                    body += chunk
                    if len(body) > MAX_BYTES or time.monotonic() > deadline:
                        raise ValueError("too many queues, or too slow an answer")
        queues: list[dict[str, Any]] = json.loads(body)
        return queues


def _counts(queue: dict[str, Any]) -> dict[str, int]:
    return {
        "ready": int(queue.get("messages_ready") or 0),
        "unacked": int(queue.get("messages_unacknowledged") or 0),
    }
