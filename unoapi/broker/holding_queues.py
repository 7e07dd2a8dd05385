"""The holding queues in RabbitMQ: one for each endpoint that is down or paused."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound

from unoapi.broker.connection import BROKER_ERRORS, Connection, wait_until_applied
from unoapi.broker.connection_pool import CONNECT_TIMEOUT_S, HEARTBEAT_S
from unoapi.broker.messages import held_delivery
from unoapi.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.broker.publisher import ConfirmingPublisher
    from unoapi.broker.topology import Queue, Topology
    from unoapi.models.endpoints import Endpoint
    from unoapi.models.jobs import HeldDelivery

PREFETCH = 400
"""So many deliveries are taken ahead. Those that waited elsewhere for a moment come between the others again."""
READ_S = 0.005


class BrokerHoldingQueues:
    """See the port `HoldingQueues`."""

    def __init__(self, amqp_url: str, topology: Topology, publisher: ConfirmingPublisher) -> None:
        self._url = amqp_url
        self._topology = topology
        self._publisher = publisher
        self._idle: deque[_ReleaseConnection] = deque()

    def make(self, endpoint: Endpoint, token: str) -> None:
        """Make the queue, if it is not there."""
        queue = self._topology.holding_queue(endpoint, token)

        def work(channel: Any) -> None:
            channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
            channel.queue_bind(queue.name, queue.exchange, queue.routing_key)

        self._publisher.on_channel(work)

    def peek(self, endpoint: Endpoint, token: str, *, position: int) -> HeldDelivery | None:
        """The delivery at this position, or the last one before it. One that cannot be read goes to the work queue."""
        self._drop_stale()
        name = self._topology.holding_queue(endpoint, token).name

        def work(channel: Any) -> HeldDelivery | None:
            messages: list[Any] = []
            while len(messages) <= position and (message := channel.basic_get(name)) is not None:
                messages.append(message)
            peeked = None
            for message in messages:
                held = held_delivery(message.body, message.headers, tag=0)
                channel.basic_reject(message.delivery_tag, requeue=held is not None)
                peeked = held or peeked
            return peeked

        try:
            return self._publisher.on_channel(work)
        except NotFound:  # somebody deleted it
            self.make(endpoint, token)
            return None

    @contextmanager
    def consume(self, endpoint: Endpoint, token: str) -> Iterator[_Consumer]:
        """Take deliveries, oldest first, on a connection that nobody else uses now."""
        queue = self._topology.holding_queue(endpoint, token)
        try:
            connection, consumer = self._begin(queue)
            try:
                yield consumer
                is_clean = consumer.finish()
            except BaseException:
                connection.close()
                raise
            if is_clean:
                self._idle.append(connection)
            else:
                connection.close()  # it gives back what is not settled, in its order
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(f"the connection to RabbitMQ was lost: {type(error).__name__}") from error

    def _begin(self, queue: Queue) -> tuple[_ReleaseConnection, _Consumer]:
        """Begin to consume on an idle connection, else on a new one: RabbitMQ may have closed the idle one."""
        self._drop_stale()
        with suppress(IndexError):
            idle = self._idle.pop()
            try:
                return idle, _Consumer(idle, queue)
            except BROKER_ERRORS:
                idle.drop()
        connection = _ReleaseConnection(self._url)
        try:
            return connection, _Consumer(connection, queue)
        except BaseException:
            connection.close()
            raise

    def _drop_stale(self) -> None:
        """Drop the idle connections for whose heartbeat RabbitMQ waits; the longest idle one stands first."""
        with suppress(IndexError):
            while not self._idle[0].is_fresh:
                self._idle.popleft().drop()

    def count(self, endpoint: Endpoint, token: str) -> int:
        """How many deliveries the queue has; 0 when somebody deleted it."""
        name = self._topology.holding_queue(endpoint, token).name
        try:
            return self._publisher.on_channel(
                lambda channel: int(channel.queue_declare(name, passive=True).message_count)
            )
        except NotFound:
            return 0

    def close(self, endpoint: Endpoint, token: str) -> None:
        """Let nothing be published to the queue any more: the alternate exchange makes it a dead letter."""
        queue = self._topology.holding_queue(endpoint, token)
        self._publisher.on_channel(
            lambda channel: channel.queue_unbind(queue.name, queue.exchange, queue.routing_key) and None
        )

    def delete(self, endpoint: Endpoint, token: str) -> bool:
        """Delete the queue if it is empty and nobody takes deliveries from it. Whether it is gone."""
        name = self._topology.holding_queue(endpoint, token).name

        def work(channel: Any) -> bool:
            found = channel.queue_declare(name, passive=True)
            if found.message_count or found.consumer_count:  # what somebody has taken is not counted as a message
                return False
            channel.queue_delete(name)  # quorum queues know no `if_unused`
            return True

        try:
            return self._publisher.on_channel(work)
        except NotFound:
            return True


class _ReleaseConnection:
    """A connection with a channel from which one queue after the other is consumed."""

    def __init__(self, url: str) -> None:
        options = {"client_properties": {"connection_name": "unoapi release"}}
        self.inner = Connection(
            url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=HEARTBEAT_S, transport_options=options
        )
        try:
            self.inner.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            channel: Any = self.inner.channel()
            channel.basic_qos(0, PREFETCH, False)
        except BaseException:
            self.close()
            raise
        self.channel = channel
        self.used_at = time.monotonic()

    @property
    def is_fresh(self) -> bool:
        """Whether RabbitMQ does not wait for a heartbeat yet."""
        return time.monotonic() - self.used_at < HEARTBEAT_S

    def close(self) -> None:
        """Close it. What is not settled is in its queue again, in its order."""
        self.inner.release()

    def drop(self) -> None:
        """Close it without the handshake, for which RabbitMQ may not be there any more."""
        self.inner.collect(socket_timeout=0.5)


class _Consumer:
    """See the port `HeldDeliveries`."""

    def __init__(self, connection: _ReleaseConnection, queue: Queue) -> None:
        self._connection = connection
        self._channel = connection.channel
        self._queue = queue
        self._came: list[HeldDelivery] = []
        self._unsettled = 0
        self._beat_at = time.monotonic()
        self._consumer_tag = self._channel.basic_consume(queue.name, no_ack=False, callback=self._on_message)

    def take(self, *, wait_s: float) -> list[HeldDelivery]:
        """Those that came; waits for the first one so many seconds."""
        now = time.monotonic()
        if now - self._beat_at >= HEARTBEAT_S / 4:
            self._beat_at = now
            self._connection.inner.heartbeat_check()
        deadline = now + wait_s
        try:
            while len(self._came) < PREFETCH:
                left_s = READ_S if self._came else deadline - time.monotonic()
                self._connection.inner.drain_events(timeout=max(READ_S, left_s))
        except TimeoutError:
            pass
        came, self._came = self._came, []
        return came

    def is_empty(self) -> bool:
        """Whether the queue has no deliveries but those that were taken."""
        return not self._came and not self._channel.queue_declare(self._queue.name, passive=True).message_count

    def done(self, held: HeldDelivery) -> None:
        """Remove a delivery."""
        self._unsettled -= 1
        self._channel.basic_ack(held.tag)

    def refuse(self, held: HeldDelivery) -> None:
        """Move a delivery to the work queue, by dead-lettering."""
        self._unsettled -= 1
        self._channel.basic_reject(held.tag, requeue=False)

    def finish(self) -> bool:
        """Take no more. Whether nothing is left to give back; else the queue has everything that was settled then."""
        self._channel.basic_cancel(self._consumer_tag)
        self._connection.used_at = time.monotonic()
        if not self._unsettled:
            return True  # the channel stays, and passes on what it has taken
        wait_until_applied(self._channel, self._queue.name)
        return False

    def _on_message(self, message: Any) -> None:
        tag = message.delivery_info["delivery_tag"]
        held = held_delivery(message.body, message.headers, tag=tag)
        if held is None:
            self._channel.basic_reject(tag, requeue=False)
        else:
            self._unsettled += 1
            self._came.append(held)
