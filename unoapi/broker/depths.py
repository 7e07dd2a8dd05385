"""How much stands in each queue, asked of RabbitMQ itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AMQPError, NotFound
from kombu import Connection
from kombu.exceptions import KombuError

from unoapi.broker.lines import CONNECT_TIMEOUT_S
from unoapi.errors import BrokerUnavailable

if TYPE_CHECKING:
    from unoapi.broker.topology import Topology


@dataclass(frozen=True)
class Depth:
    """One queue. `ready` counts what no consumer holds; both are none when the queue is not there."""

    queue: str
    purpose: str
    ready: int | None
    consumers: int | None


def depths(amqp_url: str, topology: Topology) -> list[Depth]:
    """All queues of the topology. Raises BrokerUnavailable. Nothing is declared and nothing is taken."""
    found = []
    try:
        with Connection(amqp_url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=0) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            channel: Any = connection.channel()
            for queue in topology.queues:
                ready = consumers = None
                try:
                    answer = channel.queue_declare(queue.name, passive=True)
                    ready, consumers = int(answer.message_count), int(answer.consumer_count)
                except NotFound:
                    channel = connection.channel()
                found.append(Depth(queue.name, queue.purpose, ready, consumers))
    except (AMQPError, KombuError, OSError) as error:
        raise BrokerUnavailable(f"RabbitMQ is not reachable ({type(error).__name__})") from error
    return found
