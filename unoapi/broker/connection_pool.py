"""Connections for publishing: one for each thread that publishes now; a thread of ours keeps the idle ones alive."""

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
KEEPER_S = 1.0
MAX_LINES = 16
SPARE_AFTER_S = 60.0


class ConnectionPool:
    """The connections of one process, and a thread that keeps the idle ones alive."""

    def __init__(self, amqp_url: str, topology: Topology) -> None:
        self.pid = os.getpid()
        self.away = False
        self.blocked = ""  # what RabbitMQ says while it takes nothing, for the error
        self._url = amqp_url
        self._topology = topology
        self._idle: deque[PooledConnection] = deque()
        self._places = threading.Semaphore(MAX_LINES)
        self._declaring = threading.Lock()
        self._declared = False
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="publisher", daemon=True)
        self._keeper.start()

    @contextmanager
    def borrowed(self, deadline: float) -> Iterator[PooledConnection]:
        """A connection for this thread alone; dropped after any error.

        Raises TimeoutError when none is free in time, other trouble of connecting, or ConfigurationError.
        """
        line = self._borrow(deadline)
        try:
            yield line
        except BaseException:
            self._drop(line)
            raise
        self._give_back(line)

    def _borrow(self, deadline: float) -> PooledConnection:
        if not self._places.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError("all connections are in use")
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return self._connect(deadline)
        except BaseException:
            self._places.release()
            raise

    def _give_back(self, line: PooledConnection) -> None:
        line.used_at = time.monotonic()
        self._idle.append(line)
        self._places.release()
        if self._closed.is_set():
            self._close_idle()

    def _drop(self, line: PooledConnection) -> None:
        self._declared = False  # a broker that was replaced has no topology
        line.close()
        self._places.release()

    def close(self) -> None:
        """End the keeper and close what is idle."""
        self._closed.set()
        self._keeper.join(CONNECT_TIMEOUT_S)
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _connect(self, deadline: float) -> PooledConnection:
        line = PooledConnection(self._url, on_blocked=self._on_blocked, on_unblocked=self._on_unblocked)
        if self._declared:
            return line
        try:
            self._declare(line, deadline)
        except BaseException:
            line.close()
            raise
        return line

    def _declare(self, line: PooledConnection, deadline: float) -> None:
        if not self._declaring.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError("another thread declares the topology")
        try:
            if not self._declared:
                line.declare(self._topology)
                self._declared = True
        finally:
            self._declaring.release()

    def _keep(self) -> None:
        while not self._closed.wait(KEEPER_S):
            if self.away:
                self._come_back()
            for _ in range(len(self._idle)):
                try:
                    line = self._idle.popleft()
                except IndexError:
                    break
                idle_s = time.monotonic() - line.used_at
                if idle_s > SPARE_AFTER_S and self._idle:
                    line.close()
                elif idle_s < KEEPER_S or self._beat(line):
                    self._idle.append(line)

    def _beat(self, line: PooledConnection) -> bool:
        try:
            line.beat()
        except BROKER_ERRORS:
            log.info("broker_connection_lost")
            self._declared = False
            line.close()
            return False
        return True

    def _come_back(self) -> None:
        try:
            self._idle.append(self._connect(time.monotonic() + IO_TIMEOUT_S))
        except BROKER_ERRORS:
            return
        except ConfigurationError:
            pass  # told to the next caller
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
        self._numbers: dict[int, int] = {}  # of the messages that are published and not answered, by delivery tag
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

    def ask(self, queue: str) -> None:
        """One question and its answer."""
        self._channel.queue_declare(queue, passive=True)

    def publish(self, messages: dict[int, Message], deadline: float) -> None:
        """Publish, wait for all answers, and take what is confirmed out of `messages`: what is left was refused.

        Raises TimeoutError or other trouble; what is left is then refused or not answered.
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

    def beat(self) -> None:
        """Send and read heartbeats, and what RabbitMQ says of blocked publishers. Raises when the other end is gone."""
        try:
            self._connection.heartbeat_check()
            self._connection.drain_events(timeout=0.001)
        except TimeoutError:
            return

    def close(self) -> None:
        """Close without the closing handshake, which a broker that blocks publishers does not answer."""
        self._connection.collect(socket_timeout=0.5)

    def _answered(self, tag: int, multiple: bool) -> list[int]:
        tags = [each for each in self._numbers if each <= tag] if multiple else [tag]
        return [self._numbers.pop(each) for each in tags]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for number in self._answered(tag, multiple):
            del self._messages[number]

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._answered(tag, multiple)
