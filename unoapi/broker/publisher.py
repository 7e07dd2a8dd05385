"""Publishing with confirms: many threads, one connection, one wait for the confirms of a whole batch."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import amqp
from amqp.exceptions import AMQPError
from kombu import Connection
from kombu.exceptions import OperationalError

from unoapi.batching import Batcher
from unoapi.broker.messages import Message, to_message
from unoapi.errors import BrokerUnavailable, ConfigurationError
from unoapi.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.broker.topology import Topology
    from unoapi.models.jobs import Parcel

log = get_logger(__name__)

CONNECT_TIMEOUT_S = 2.0
CONFIRM_TIMEOUT_S = 4.0
"""After this long without a confirm the connection is given up; the API answers 503 within 5 s."""
HEARTBEAT_S = 10
PAUSE_S = 0.2
TROUBLE = (OSError, AMQPError, OperationalError)


class ConfirmingPublisher:
    """Publishes and returns after the broker's confirm, or raises BrokerUnavailable.

    One connection and one thread per process, made at the first use (so, after a fork). The topology is declared with
    every new connection. A message that was not confirmed on a connection that broke is published again on the next
    one: ids are computed, so a copy is recognised. After a batch that was not confirmed in time, messages are refused
    at once until a connection works again, which is tried every second: those who wait their turn for a thread of the
    API would otherwise wait several times as long.
    """

    def __init__(self, amqp_url: str, topology: Topology) -> None:
        self._url = amqp_url
        self.topology = topology
        self._connection: Connection | None = None
        self._channel: Any = None
        self._sent = 0
        self._open: set[int] = set()
        self._refused: set[int] = set()
        self._blocked = ""
        self._away = False
        self._batcher: Batcher[Message | None, None] | None = None
        self._lock = threading.Lock()
        self._pid = 0

    def publish(self, parcels: Sequence[Parcel], *, timeout_s: float = CONFIRM_TIMEOUT_S) -> None:
        """Publish jobs, all confirmed. Raises BrokerUnavailable after `timeout_s`; some may then be accepted."""
        self.publish_messages([to_message(parcel, self.topology) for parcel in parcels], timeout_s=timeout_s)

    def publish_messages(self, messages: Sequence[Message], *, timeout_s: float = CONFIRM_TIMEOUT_S) -> None:
        """Publish messages, all confirmed. Raises BrokerUnavailable after `timeout_s`."""
        self._submit(messages, timeout_s)

    def check(self, *, timeout_s: float = 2.0) -> None:
        """Raise BrokerUnavailable unless RabbitMQ answers in time, ConfigurationError for a conflict of names."""
        self._submit([None], timeout_s)

    def close(self) -> None:
        """Publish what is waiting and close the connection."""
        with self._lock:
            batcher, self._batcher = self._batcher, None
        if batcher is not None and self._pid == os.getpid():
            batcher.close()
            self._disconnect()

    def _submit(self, messages: Sequence[Message | None], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            batcher = self._started()
            if self._away and None not in messages:
                raise BrokerUnavailable(f"RabbitMQ was not reachable a moment ago{self._blocked}")
            tickets = [batcher.submit(message) for message in messages]
        except BufferError as error:
            raise BrokerUnavailable("too much is waiting for RabbitMQ's confirms") from error
        try:
            for ticket in tickets:
                ticket.wait(deadline - time.monotonic())
        except TimeoutError as error:
            for ticket in tickets:
                ticket.abandoned = True
            self._away = True  # nobody else has to wait as long to learn the same
            raise BrokerUnavailable(f"RabbitMQ did not confirm within {timeout_s:g} s{self._blocked}") from error

    def _started(self) -> Batcher[Message | None, None]:
        batcher = self._batcher
        if batcher is not None and self._pid == os.getpid():
            return batcher
        with self._lock:
            if self._batcher is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._connection = self._channel = None  # a parent's socket is not ours
                self._away = False
                self._batcher = Batcher(self._run, name="publisher", limit=500, idle=self._beat)
            return self._batcher

    # All below runs on the publisher's thread alone.

    def _run(self, batch: Sequence[Message | None]) -> list[Exception | None]:
        results: dict[int, Exception | None] = {}
        deadline = time.monotonic() + CONFIRM_TIMEOUT_S
        error: BaseException | None = None
        while len(results) < len(batch) and time.monotonic() < deadline:
            try:
                self._publish_rest(batch, results, deadline)
            except ConfigurationError as conflict:
                self._disconnect()
                if any(message is not None for message in batch):  # a check is told by its caller
                    log.error("topology_conflict", error=f"{conflict}")
                refused = BrokerUnavailable("RabbitMQ holds objects of another program; the log has their names")
                return [conflict if message is None else refused for message in batch]
            except TROUBLE as trouble:
                error = trouble
                self._disconnect()
                time.sleep(min(PAUSE_S, max(0.0, deadline - time.monotonic())))
        if len(results) < len(batch):
            self._disconnect()  # what is confirmed later must not be taken for what is published next
            log.warning("broker_unavailable", error=type(error).__name__ if error else "no confirm", waiting=len(batch))
        self._away = len(results) < len(batch)
        unconfirmed = BrokerUnavailable(f"RabbitMQ is not reachable or did not confirm in time{self._blocked}")
        return [results.get(number, unconfirmed) for number in range(len(batch))]

    def _publish_rest(
        self, batch: Sequence[Message | None], results: dict[int, Exception | None], deadline: float
    ) -> None:
        channel = self._connected()
        self._open.clear()
        self._refused.clear()
        published: dict[int, int] = {}
        try:
            for number, message in enumerate(batch):
                if number in results:
                    continue
                if message is None:
                    channel.queue_declare(self.topology.dead, passive=True)
                    results[number] = None
                    continue
                prepared = amqp.Message(message.body, application_headers=message.headers, **message.properties)
                self._sent += 1
                published[self._sent] = number
                self._open.add(self._sent)
                channel.basic_publish(prepared, message.exchange, message.routing_key)
            while self._open and (left := deadline - time.monotonic()) > 0:
                self._connection.drain_events(timeout=left)  # type: ignore[union-attr]
        finally:
            for tag, number in published.items():
                if tag in self._refused:
                    results[number] = BrokerUnavailable("RabbitMQ refused the message: the queue is full")
                elif tag not in self._open:
                    results[number] = None

    def _connected(self) -> Any:
        if self._channel is not None:
            return self._channel
        connection = Connection(
            self._url,
            connect_timeout=CONNECT_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
            transport_options={
                "read_timeout": CONFIRM_TIMEOUT_S,
                "write_timeout": CONFIRM_TIMEOUT_S,
                "on_blocked": self._on_blocked,
                "on_unblocked": self._on_unblocked,
                "client_properties": {"connection_name": "unoapi publisher"},
            },
        )
        self._connection = connection
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        # py-amqp reads the socket before every single publish to look for a block; we read after each batch.
        inner: Any = connection.connection
        blocked_is_read = {**inner.client_properties.get("capabilities", {}), "connection.blocked": False}
        inner.client_properties = {**inner.client_properties, "capabilities": blocked_is_read}
        channel: Any = connection.channel()
        self.topology.declare(channel, vhost=connection.virtual_host or "/")
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        self._sent = 0
        self._channel = channel
        return channel

    def _disconnect(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        self._blocked = ""
        if connection is not None:
            # Without the closing handshake, which a broker that blocks publishers does not answer.
            connection.collect(socket_timeout=0.5)

    def _beat(self) -> None:
        if self._away:
            self._come_back()
        connection = self._connection
        if connection is None:
            return
        try:
            connection.heartbeat_check()
            connection.drain_events(timeout=0.001)
        except TimeoutError:
            return
        except TROUBLE:
            log.info("broker_connection_lost")
            self._disconnect()

    def _come_back(self) -> None:
        try:
            self._connected()
        except TROUBLE:
            self._disconnect()
            return
        except ConfigurationError:
            self._disconnect()  # told to the next caller
        self._away = False

    def _settle(self, tag: int, multiple: bool) -> list[int]:
        tags = [each for each in self._open if each <= tag] if multiple else [tag]
        self._open.difference_update(tags)
        return tags

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._settle(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused.update(self._settle(tag, multiple))

    def _on_blocked(self, reason: str) -> None:
        self._blocked = ": it blocks publishers (memory or disk alarm)"
        log.error("broker_blocks_publishers", reason=reason)

    def _on_unblocked(self) -> None:
        self._blocked = ""
        log.warning("broker_takes_messages_again")
