"""How many messages each queue has, asked of RabbitMQ itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.broker.connection_pool import CONNECT_TIMEOUT_S
from unoapi.broker.connector_commands import ENTRY
from unoapi.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unoapi.broker.topology import Topology

WITHIN_S = 3.0
"""After the connection is made."""


@dataclass(frozen=True)
class Depth:
    """One queue. Counts are none when the queue does not exist, or when the count cannot be had.

    `ready` counts messages that no consumer has, `unacked` those that consumers have; only the management API gives the
    second. `oldest_s`: no ready message has waited for longer than so many seconds. The rates are those of the last
    seconds or minutes, as far as they are known; a message that waits between two attempts is taken at each.
    """

    queue: str
    purpose: str
    ready: int | None
    unacked: int | None = None
    consumers: int | None = None
    oldest_s: float | None = None
    in_per_s: float | None = None
    out_per_s: float | None = None


def read_depths(amqp_url: str, topology: Topology, *, holding: Sequence[str] = ()) -> list[Depth]:
    """All queues of the topology, and those of `holding` as one.

    Raises BrokerUnavailable in seconds. Nothing is declared and nothing is taken.
    """
    depths = []
    bounds = {"read_timeout": CONNECT_TIMEOUT_S, "write_timeout": CONNECT_TIMEOUT_S}
    options = {**bounds, "client_properties": {"connection_name": "unoapi queues"}}
    try:
        with Connection(
            amqp_url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=0, transport_options=options
        ) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            deadline = time.monotonic() + WITHIN_S
            channel: Any = connection.channel()
            for queue in topology.queues:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(f"RabbitMQ did not give the depths of its queues within {WITHIN_S:g} s")
                ready = consumers = None
                try:
                    answer = channel.queue_declare(queue.name, passive=True)
                    ready, consumers = int(answer.message_count), int(answer.consumer_count)
                except NotFound:
                    channel = connection.channel()
                depths.append(Depth(queue.name, queue.purpose, ready, consumers=consumers))
            held, counted = 0, True
            for name in holding:
                if counted := time.monotonic() < deadline:
                    try:
                        held += int(channel.queue_declare(name, passive=True).message_count)
                    except NotFound:
                        channel = connection.channel()
            those = f"{len(holding)} endpoints that are" if len(holding) != 1 else "1 endpoint that is"
            purpose = f"waits for {those} down or paused"
            depths.append(Depth(all_holding(topology), purpose, held if counted else None))
    except BROKER_ERRORS as error:
        raise BrokerUnavailable(f"RabbitMQ is not reachable ({type(error).__name__})") from error
    return depths


def with_totals(depths: list[Depth], totals: Mapping[str, Mapping[str, int]], topology: Topology) -> list[Depth]:
    """Add what only the management API gives: unacked messages, and the queues of all sessions as one."""
    session_queues = of_sessions(totals, topology).values()
    together = Depth(
        all_sessions(topology),
        f"commands to the connector, of {len(session_queues)} sessions together",
        ready=sum(numbers["ready"] for numbers in session_queues),
        unacked=sum(numbers["unacked"] for numbers in session_queues),
    )
    complete = [replace(depth, unacked=totals.get(depth.queue, {}).get("unacked")) for depth in depths]
    holding = [numbers for name, numbers in totals.items() if name.startswith(topology.holding_queues)]
    ready, unacked = (sum(numbers[key] for numbers in holding) for key in ("ready", "unacked"))
    complete = [
        replace(depth, ready=ready, unacked=unacked) if depth.queue == all_holding(topology) else depth
        for depth in complete
    ]
    return [*complete, together]


def of_sessions(totals: Mapping[str, Mapping[str, int]], topology: Topology) -> dict[str, Mapping[str, int]]:
    """The queues of single sessions."""
    return {name: numbers for name, numbers in totals.items() if name.startswith(f"{topology.queue(ENTRY)}.")}


def all_sessions(topology: Topology) -> str:
    """The name of all session queues together."""
    return f"{topology.queue(ENTRY)}.*"


def all_holding(topology: Topology) -> str:
    """The name of all holding queues together."""
    return f"{topology.holding_queues}*"


def with_ages(depths: list[Depth], since_ms: Mapping[str, int], *, now_ms: int) -> list[Depth]:
    """Add the age of the ready messages, from the time before which none of them can have come."""

    def age(depth: Depth) -> float | None:
        if depth.ready == 0:
            return 0.0
        since = since_ms.get(depth.queue)
        return None if since is None or depth.ready is None else max(0.0, (now_ms - since) / 1000)

    return [replace(depth, oldest_s=age(depth)) for depth in depths]


def with_rates(depths: list[Depth], rates: Mapping[str, tuple[float, float]]) -> list[Depth]:
    """Add how many messages a second come and go."""
    return [
        replace(depth, in_per_s=round(rates[depth.queue][0], 2), out_per_s=round(rates[depth.queue][1], 2))
        if depth.queue in rates
        else depth
        for depth in depths
    ]
