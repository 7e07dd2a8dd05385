"""RabbitMQ's management API: what AMQP does not tell. It is optional; its figures are some seconds old."""

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


class Management:
    """The management API at an address with its login. Without an address it knows nothing."""

    def __init__(self, url: str, *, vhost: str) -> None:
        self._url = f"{url.rstrip('/').removesuffix('/api')}/api/queues/{quote(vhost, safe='')}" if url else ""
        self._told = False

    def totals(self, topology: Topology) -> dict[str, dict[str, int]] | None:
        """`ready` and `unacked` of our queues by name, none when it cannot be asked. Never raises."""
        if not self._url:
            return None
        try:
            found = self._listed()
            own = [each for each in found if str(each["name"]).startswith(f"{topology.prefix}.")]
            totals = {str(each["name"]): _numbers(each) for each in own}
        except (OSError, ValueError, TypeError, LookupError, requests.RequestException) as error:
            if not self._told:
                log.warning("management_not_read", error=type(error).__name__, hint="check RABBITMQ_MANAGEMENT_URL")
            self._told = True
            return None
        self._told = False
        return totals

    def _listed(self) -> list[dict[str, Any]]:
        asked = "disable_stats=true&enable_queue_totals=true"
        deadline = time.monotonic() + TIMEOUT_S
        with requests.Session() as session:
            session.trust_env = False  # a proxy for the world is none for our own servers
            with session.get(f"{self._url}?{asked}", timeout=TIMEOUT_S, stream=True) as answer:
                answer.raise_for_status()
                body = bytearray()
                for chunk in answer.iter_content(CHUNK):
                    body += chunk
                    if len(body) > MAX_BYTES or time.monotonic() > deadline:
                        raise ValueError("too many queues, or too slow an answer")
        listed: list[dict[str, Any]] = json.loads(body)
        return listed


def _numbers(queue: dict[str, Any]) -> dict[str, int]:
    return {
        "ready": int(queue.get("messages_ready") or 0),
        "unacked": int(queue.get("messages_unacknowledged") or 0),
    }
