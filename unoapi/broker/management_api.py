"""RabbitMQ's management API, for figures that AMQP does not give. It is optional; they are some seconds old."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.broker.topology import Topology

log = get_logger(__name__)

T = TypeVar("T")

TIMEOUT_S = 2.0
MAX_BYTES = 16_777_216
CHUNK = 65_536


class ManagementApi:
    """The management API at a URL with its login. Without a URL nothing is asked."""

    def __init__(self, url: str, *, vhost: str) -> None:
        self._url = f"{url.rstrip('/').removesuffix('/api')}/api" if url else ""
        self._vhost = quote(vhost, safe="")
        self._warned = False

    def totals(self, topology: Topology) -> dict[str, dict[str, int]] | None:
        """`ready` and `unacked` of our queues by name, none when it cannot be asked. Never raises."""
        return self._asked(
            lambda: {str(queue["name"]): _counts(queue) for queue in self._our_queues(topology, totals=True)}
        )

    def policies(self, topology: Topology) -> dict[str, list[str]] | None:
        """What policies set for our queues, by name; none when it cannot be asked. Never raises."""
        return self._asked(lambda: self._policies(topology))

    def _policies(self, topology: Topology) -> dict[str, list[str]]:
        sets = {
            (kind, str(policy["name"])): list(policy["definition"])
            for kind, path in (("policy", "policies"), ("operator_policy", "operator-policies"))
            for policy in self._get(f"{path}/{self._vhost}")
        }
        return {
            str(queue["name"]): sorted(
                key for kind in ("policy", "operator_policy") for key in sets.get((kind, str(queue.get(kind))), ())
            )
            for queue in self._our_queues(topology, totals=False)
        }

    def _our_queues(self, topology: Topology, *, totals: bool) -> list[dict[str, Any]]:
        query = "disable_stats=true" + ("&enable_queue_totals=true" if totals else "")
        queues = self._get(f"queues/{self._vhost}?{query}")
        return [queue for queue in queues if str(queue["name"]).startswith(f"{topology.prefix}.")]

    def _asked(self, ask: Callable[[], T]) -> T | None:
        if not self._url:
            return None
        try:
            answer = ask()
        except (OSError, ValueError, TypeError, LookupError) as error:
            if not self._warned:
                log.warning(
                    "management_api_unavailable", error=type(error).__name__, hint="check RABBITMQ_MANAGEMENT_URL"
                )
            self._warned = True
            return None
        self._warned = False
        return answer

    def _get(self, path: str) -> list[dict[str, Any]]:
        import requests  # noqa: PLC0415 (six megabytes in each process, for what few installations have)

        deadline = time.monotonic() + TIMEOUT_S
        with requests.Session() as session:
            session.trust_env = False  # a proxy to the internet does not lead to our own servers
            with session.get(f"{self._url}/{path}", timeout=TIMEOUT_S, stream=True) as answer:
                answer.raise_for_status()
                body = bytearray()
                for chunk in answer.iter_content(CHUNK):
                    body += chunk
                    if len(body) > MAX_BYTES or time.monotonic() > deadline:
                        raise ValueError("too large or too slow an answer")
        found: list[dict[str, Any]] = json.loads(body)
        return found


def _counts(queue: dict[str, Any]) -> dict[str, int]:
    return {
        "ready": int(queue.get("messages_ready") or 0),
        "unacked": int(queue.get("messages_unacknowledged") or 0),
    }
