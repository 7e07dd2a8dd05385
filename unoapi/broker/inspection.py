"""How RabbitMQ is, as `unoapi doctor` asks for it: nothing is declared that is not there, and nothing is taken."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amqp.exceptions import ChannelError, NotFound, PreconditionFailed

from unoapi.broker.connection import BROKER_ERRORS
from unoapi.broker.connection_pool import PooledConnection
from unoapi.broker.queue_depths import Depth
from unoapi.errors import BrokerUnavailable

if TYPE_CHECKING:
    from unoapi.broker.topology import Topology

PROBE_S = 2.0
"""A confirm that takes longer is one that an alarm holds back, or that is as bad."""


@dataclass(frozen=True)
class BrokerState:
    """What was found. `alarm` is why RabbitMQ takes no messages, in its own words; empty when it takes them.

    `missing` and `conflicts` name exchanges and queues that are not there, or there with other arguments.
    """

    product: str = ""
    version: str = ""
    alarm: str = ""
    missing: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    depths: tuple[Depth, ...] = field(default=())


def inspect_broker(amqp_url: str, topology: Topology, *, within_s: float) -> BrokerState:
    """Look at the server, its objects of ours, and whether it takes a message. Raises BrokerUnavailable in time."""
    deadline = time.monotonic() + within_s
    alarms: list[str] = []
    try:
        connection = PooledConnection(amqp_url, on_blocked=alarms.append, on_unblocked=alarms.clear)
        try:
            inner: Any = connection.use(lambda channel: channel.connection)
            properties = inner.server_properties
            missing, conflicts, depths = _objects(inner, topology, deadline)
            alarm = _alarm(connection, alarms, deadline)
        finally:
            connection.close()
    except BROKER_ERRORS as error:
        raise BrokerUnavailable(f"RabbitMQ is not reachable ({type(error).__name__})") from error
    product, version = f"{properties.get('product', '')}"[:50], f"{properties.get('version', '')}"[:50]
    return BrokerState(product, version, alarm, missing, conflicts, depths)


def _objects(
    connection: Any, topology: Topology, deadline: float
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Depth, ...]]:
    """What is missing, what has other arguments, and the depths of the queues that are there."""
    missing: list[str] = []
    conflicts: list[str] = []
    depths: list[Depth] = []
    channel = connection.channel()
    for exchange in topology.exchanges:
        wanted = {"durable": True, "auto_delete": False, "arguments": exchange.arguments}
        try:
            channel.exchange_declare(exchange.name, exchange.type, passive=True)
            channel.exchange_declare(exchange.name, exchange.type, **wanted)  # it is there: this compares, and no more
        except ChannelError as error:
            _sort(error, exchange.name, missing, conflicts)
            channel = connection.channel()
    for queue in topology.queues:
        if time.monotonic() > deadline:
            raise TimeoutError("RabbitMQ is too slow")
        try:
            found = channel.queue_declare(queue.name, passive=True)
            depths.append(
                Depth(queue.name, queue.purpose, int(found.message_count), consumers=int(found.consumer_count))
            )
            channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
        except ChannelError as error:
            _sort(error, queue.name, missing, conflicts)
            channel = connection.channel()
    return tuple(missing), tuple(conflicts), tuple(depths)


def _sort(error: ChannelError, name: str, missing: list[str], conflicts: list[str]) -> None:
    if isinstance(error, NotFound):
        missing.append(name)
    elif isinstance(error, PreconditionFailed):
        conflicts.append(name)
    else:
        raise error


def _alarm(connection: PooledConnection, alarms: list[str], deadline: float) -> str:
    try:
        connection.probe(min(deadline, time.monotonic() + PROBE_S))
    except TimeoutError:
        return alarms[0][:100] if alarms else "no confirm in time"
    return alarms[0][:100] if alarms else ""
