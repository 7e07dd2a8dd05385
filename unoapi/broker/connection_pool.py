"""The pool of connections for publishing: one for each thread that publishes now; the idle ones get heartbeats."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import amqp

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.errors import ConfigurationError
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.broker.messages import Message
    from unoapi.broker.topology import Topology

log = get_logger(__name__)

CONNECT_TIMEOUT_S = 2.0
IO_TIMEOUT_S = 4.0
HEARTBEAT_S = 10
MAINTENANCE_S = 1.0
MAX_CONNECTIONS = 16
SPARE_AFTER_S = 60.0


class ConnectionPool:
    """The connections of one process, and a thread that maintains the idle ones."""

    def __init__(self, amqp_url: str, topology: Topology) -> None:
        self.pid = os.getpid()
        self.away = False
        self.blocked = ""  # why RabbitMQ takes nothing, as the end of an error message
        self._url = amqp_url
        self._topology = topology
        self._idle: deque[PooledConnection] = deque()
        self._free = threading.Semaphore(MAX_CONNECTIONS)
        self._declaring = threading.Lock()
        self._declared = False
        self._closed = threading.Event()
        self._maintenance = threading.Thread(target=self._maintain, name="publisher", daemon=True)
        self._maintenance.start()

    @contextmanager
    def borrowed(self, deadline: float) -> Iterator[PooledConnection]:
        """A connection for this thread alone; dropped after any error.

        Raises TimeoutError when none is free in time, one of BROKER_ERRORS, or ConfigurationError.
        """
        connection = self._borrow(deadline)
        try:
            yield connection
        except BaseException:
            self._drop(connection)
            raise
        self._give_back(connection)

    def _borrow(self, deadline: float) -> PooledConnection:
        if not self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError("all connections are in use")
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return self._connect(deadline)
        except BaseException:
            self._free.release()
            raise

    def _give_back(self, connection: PooledConnection) -> None:
        connection.used_at = time.monotonic()
        self._idle.append(connection)
        self._free.release()
        if self._closed.is_set():
            self._close_idle()

    def _drop(self, connection: PooledConnection) -> None:
        self._declared = False  # a broker that was replaced has no topology
        connection.close()
        self._free.release()

    def close(self) -> None:
        """Stop the maintenance and close the idle connections."""
        self._closed.set()
        self._maintenance.join(CONNECT_TIMEOUT_S)
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _connect(self, deadline: float) -> PooledConnection:
        connection = PooledConnection(self._url, on_blocked=self._on_blocked, on_unblocked=self._on_unblocked)
        if self._declared:
            return connection
        try:
            self._declare(connection, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _declare(self, connection: PooledConnection, deadline: float) -> None:
        if not self._declaring.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError("another thread declares the topology")
        try:
            if not self._declared:
                connection.declare(self._topology)
                self._declared = True
        finally:
            self._declaring.release()

    def _maintain(self) -> None:
        while not self._closed.wait(MAINTENANCE_S):
            if self.away:
                self._reconnect()
            for _ in range(len(self._idle)):
                try:
                    connection = self._idle.popleft()
                except IndexError:
                    break
                idle_s = time.monotonic() - connection.used_at
                if idle_s > SPARE_AFTER_S and self._idle:
                    connection.close()
                elif idle_s < MAINTENANCE_S or self._is_alive(connection):
                    self._idle.append(connection)

    def _is_alive(self, connection: PooledConnection) -> bool:
        try:
            connection.heartbeat()
        except BROKER_ERRORS:
            log.info("broker_connection_lost")
            self._declared = False
            connection.close()
            return False
        return True

    def _reconnect(self) -> None:
        try:
            self._idle.append(self._connect(time.monotonic() + IO_TIMEOUT_S))
        except BROKER_ERRORS:
            return
        except ConfigurationError:
            pass  # the next caller gets it
        self.away = False

    def _on_blocked(self, reason: str) -> None:
        if not self.blocked:
            self.blocked = ": it blocks publishers (memory or disk alarm)"
            log.error("broker_blocks_publishers", reason=reason)

    def _on_unblocked(self) -> None:
        if self.blocked:
            self.blocked = ""
            log.warning("broker_takes_messages_again")


class PooledConnection:
    """One connection with one channel in confirm mode, used by one thread at a time."""

    def __init__(self, amqp_url: str, *, on_blocked: Any, on_unblocked: Any) -> None:
        self.used_at = time.monotonic()
        self._sent = 0
        self._messages: dict[int, Message] = {}
        self._numbers: dict[int, int] = {}  # of the messages that are published and not confirmed, by delivery tag
        self._connection = Connection(
            amqp_url,
            connect_timeout=CONNECT_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
            transport_options={
                "read_timeout": IO_TIMEOUT_S,
                "write_timeout": IO_TIMEOUT_S,
                "on_blocked": on_blocked,
                "on_unblocked": on_unblocked,
                "client_properties": {"connection_name": "unoapi publisher"},
            },
        )
        try:
            self._connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            # py-amqp reads the socket before every single publish to look for a block; we read after it.
            inner: Any = self._connection.connection
            blocked_is_read = {**inner.client_properties.get("capabilities", {}), "connection.blocked": False}
            inner.client_properties = {**inner.client_properties, "capabilities": blocked_is_read}
            channel: Any = self._connection.channel()
            channel.confirm_select()
        except BaseException:
            self.close()
            raise
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        self._channel = channel

    def declare(self, topology: Topology) -> None:
        """Declare the topology. Raises ConfigurationError for a conflict of names."""
        topology.declare(self._channel, vhost=self._connection.virtual_host or "/")

    def check(self, queue: str) -> None:
        """Make one round trip: raises unless the queue is there."""
        self._channel.queue_declare(queue, passive=True)

    def publish(self, messages: dict[int, Message], deadline: float) -> None:
        """Publish, wait for all confirms, and remove the confirmed ones from `messages`: the others were refused.

        Raises TimeoutError or one of BROKER_ERRORS; the others are then refused or not confirmed.
        """
        self._messages = messages
        self._numbers = dict(enumerate(messages, self._sent + 1))
        for message in list(messages.values()):
            prepared = amqp.Message(message.body, application_headers=message.headers, **message.properties)
            self._sent += 1
            self._channel.basic_publish(prepared, message.exchange, message.routing_key)
        while self._numbers:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no confirm in time")
            self._connection.drain_events(timeout=left)

    def heartbeat(self) -> None:
        """Exchange heartbeats, and read whether publishers are blocked. Raises when the other end is gone."""
        try:
            self._connection.heartbeat_check()
            self._connection.drain_events(timeout=0.001)
        except TimeoutError:
            return

    def close(self) -> None:
        """Close without the closing handshake, which a broker that blocks publishers does not answer."""
        self._connection.collect(socket_timeout=0.5)

    def _answered(self, tag: int, multiple: bool) -> list[int]:
        tags = [pending for pending in self._numbers if pending <= tag] if multiple else [tag]
        return [self._numbers.pop(tag) for tag in tags]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for number in self._answered(tag, multiple):
            del self._messages[number]

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._answered(tag, multiple)
