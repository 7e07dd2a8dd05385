"""The pool of connections for publishing: one for each thread that publishes now; the idle ones get heartbeats."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import amqp
from amqp import spec
from amqp.exceptions import AMQPNotImplementedError, ChannelError, InternalError, NotAllowed, RecoverableConnectionError
from amqp.serialization import dumps

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.broker.messages import Message
from unoapi.errors import ConfigurationError, describe, safe_traceback
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.broker.topology import Topology

log = get_logger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT_S = 2.0
IO_TIMEOUT_S = 4.0
HEARTBEAT_S = 10
MAINTENANCE_S, IDLE_MAINTENANCE_S, IDLE_AFTER_S = 1.0, 4.0, 30.0
"""Idle connections are looked at so often; less often, and still twice a heartbeat, when nothing was published for a
while: there are many sessions."""
MAX_CONNECTIONS = 16
SPARE_AFTER_S = 60.0
PROBE = "unoapi.probe"
REFUSED_STREAM = (ChannelError, AMQPNotImplementedError, InternalError, NotAllowed)
"""How a broker without streams answers: all but the first close the connection."""
CHECK_S = 60.0
"""Between two declarations of the whole topology, which bring back what somebody deleted."""
METHOD_FRAME = 1
"""The type of AMQP's frame that holds a method."""


@lru_cache(maxsize=100)
def _look_arguments(queue: str) -> bytes:
    """The arguments of `queue_declare(queue, passive=True, nowait=True)`: of few queues, many times."""
    passive, durable, exclusive, auto_delete, nowait = True, False, False, False, True
    return bytes(dumps("BsbbbbbF", (0, queue, passive, durable, exclusive, auto_delete, nowait, {})))


@lru_cache(maxsize=1000)
def _publish_arguments(exchange: str, routing_key: str) -> bytes:
    """The arguments of `basic_publish(message, exchange, routing_key)`."""
    mandatory, immediate = False, False
    return bytes(dumps("Bssbb", (0, exchange, routing_key, mandatory, immediate)))


class ConnectionPool:
    """The connections of one process, and a thread that maintains the idle ones.

    `declared`: another process declares the topology, and again each minute; this one does after an error only.
    """

    def __init__(self, amqp_url: str, topology: Topology, *, declared: bool = False) -> None:
        self.blocked = ""  # why RabbitMQ takes nothing, as the end of an error message
        self.events_trouble = ""  # why events are not kept, or not with the bounds that are set
        self.events_refused = False  # there is no stream, and will be none
        self._url = amqp_url
        self._topology = topology
        self._idle: deque[PooledConnection] = deque()
        self._free = threading.Semaphore(MAX_CONNECTIONS)
        self._declaring = threading.Lock()
        self._declared = self._declared_elsewhere = declared
        self._away = False
        self._used_at = time.monotonic()
        self._closed = threading.Event()
        self._wake_up = threading.Event()
        self._maintenance = threading.Thread(target=self._maintain, name="publisher", daemon=True)
        self._maintenance.start()

    @property
    def away(self) -> bool:
        """Whether RabbitMQ did not confirm a moment ago: nobody waits for it, and the maintenance tries to reach it."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        if away:
            self._wake_up.set()

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
            return self._with_topology(self._idle_or_new(), deadline)
        except BaseException:
            self._free.release()
            raise

    def _idle_or_new(self) -> PooledConnection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._new()

    def _new(self) -> PooledConnection:
        return PooledConnection(self._url, on_blocked=self._on_blocked, on_unblocked=self._on_unblocked)

    def _give_back(self, connection: PooledConnection) -> None:
        if self.blocked and not connection.blocked:
            self._on_unblocked()  # the connection that heard of the alarm is gone
        connection.used_at = self._used_at = time.monotonic()
        self._idle.append(connection)
        self._free.release()
        if self._closed.is_set():
            self._close_idle()

    def _drop(self, connection: PooledConnection) -> None:
        self._declared = False  # a broker that was replaced has no topology
        connection.close()
        self._begin_elsewhere()
        self._free.release()

    def _begin_elsewhere(self) -> None:
        """Let the next connection begin with another node: one that is cut off may still take connections."""
        first, _, others = self._url.partition(";")
        self._url = f"{others};{first}" if others else first

    def close(self) -> None:
        """Stop the maintenance and close the idle connections."""
        self._closed.set()
        self._wake_up.set()
        self._maintenance.join(CONNECT_TIMEOUT_S)
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _with_topology(self, connection: PooledConnection, deadline: float) -> PooledConnection:
        """The connection, when the topology is there as far as this process knows; else it is declared first."""
        if self._declared:
            return connection
        try:
            self._declare(connection, deadline)
        except BaseException:
            connection.close()
            self._begin_elsewhere()
            raise
        return connection

    def _declare(self, connection: PooledConnection, deadline: float) -> None:
        if not self._declaring.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError("another thread declares the topology")
        try:
            if not self._declared:
                connection.declare(self._topology)
                self._declare_streams(connection)
                self._declared = True
        finally:
            self._declaring.release()

    def _declare_streams(self, connection: PooledConnection) -> None:
        """Declare the streams; whether there are any, everything else works. Raises when the refusal is the end of it.

        What was refused once is not asked for again.
        """
        if self.events_trouble:
            return
        try:
            connection.declare_streams(self._topology)
        except REFUSED_STREAM as error:
            reply = str(error.reply_text)[:200]
            if "inequivalent" in reply:
                stream = self._topology.events
                self.events_trouble = f"the stream {stream} keeps the bounds with which it was made"
                hint = f"`rabbitmqctl delete_queue {stream}` has it made anew, without what it holds"
            else:
                self.events_refused = True
                self.events_trouble = "RabbitMQ refuses to make a stream, so no event can be replayed"
                hint = "RabbitMQ has streams from 3.9 on (rabbitmqctl enable_feature_flag stream_queue); the rest works"
            log.warning("events_not_kept", why=self.events_trouble, error=reply, hint=hint)
            if not isinstance(error, ChannelError):
                raise

    def _maintain(self) -> None:
        checked_at = time.monotonic()
        while not self._wait_for_maintenance():
            try:
                if self.away:
                    self._reconnect()
                self._maintain_idle()
                if not self._declared_elsewhere and time.monotonic() - checked_at >= CHECK_S:
                    checked_at = time.monotonic()
                    self._declare_again()
            except Exception as error:  # noqa: BLE001 (without this thread a process would stay away for good)
                log.error("publisher_maintenance_failed", error=describe(error), traceback=safe_traceback(error))

    def _wait_for_maintenance(self) -> bool:
        """Wait until there may be something to do. Whether the pool is closed."""
        is_idle = not self._away and time.monotonic() - self._used_at > IDLE_AFTER_S
        if self._wake_up.wait(IDLE_MAINTENANCE_S if is_idle else MAINTENANCE_S):
            self._wake_up.clear()
        return self._closed.is_set()

    def _maintain_idle(self) -> None:
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
        """End `away` when a message is confirmed again: a broker that blocks publishers lets everybody connect."""
        deadline = time.monotonic() + IO_TIMEOUT_S
        try:
            connection = self._with_topology(self._new(), deadline)
        except ConfigurationError:
            self.works()  # the next caller gets it
            return
        except BROKER_ERRORS:
            return
        try:
            connection.probe(deadline)
        except BROKER_ERRORS:
            connection.close()
            self._begin_elsewhere()
            return
        self._on_unblocked()
        self._idle.append(connection)
        self.works()

    def _declare_again(self) -> None:
        """Declare the topology, whatever is known of it: somebody may have deleted a queue or a binding."""
        deadline = time.monotonic() + IO_TIMEOUT_S
        try:
            with self.borrowed(deadline) as connection:
                connection.declare(self._topology)
                self._declare_streams(connection)
        except ConfigurationError as conflict:
            log.error("topology_conflict", error=f"{conflict}")
        except BROKER_ERRORS as error:
            log.info("topology_not_checked", error=type(error).__name__)

    def works(self) -> None:
        """RabbitMQ is there and takes messages."""
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
        self.blocked = False
        self._notify_blocked, self._notify_unblocked = on_blocked, on_unblocked
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
                "on_blocked": self._on_blocked,
                "on_unblocked": self._on_unblocked,
                "client_properties": {"connection_name": "unoapi publisher"},
            },
        )
        try:
            tries = max(2, len(amqp_url.split(";")))  # each node once
            self._connection.ensure_connection(max_retries=tries - 1, interval_start=0, interval_step=0)
            # py-amqp reads the socket before every single publish to look for a block; we read after it.
            self._inner = inner = cast("Any", self._connection.connection)
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

    def declare_streams(self, topology: Topology) -> None:
        """Declare the streams, on a channel of its own: a refusal closes it. Raises one of AMQP's errors."""
        if topology.streams:
            with self._connection.channel() as channel:
                topology.declare_streams(channel)

    def use(self, work: Callable[[Any], T]) -> T:
        """Do something else than publish on the channel."""
        return work(self._channel)

    def check(self, queue: str, deadline: float) -> None:
        """Raise unless the queue is there and a message is confirmed in time."""
        self._channel.queue_declare(queue, passive=True)
        self.probe(deadline)

    def probe(self, deadline: float) -> None:
        """Raise unless messages are confirmed in time; they go nowhere.

        Only who publishes meets an alarm, and only from the second message of a connection on.
        """
        for _ in range(2):
            self.publish({0: Message("", PROBE, "", {}, {})}, deadline)

    def publish(self, messages: dict[int, Message], deadline: float) -> None:
        """Publish, wait for all confirms, and remove the confirmed ones from `messages`: the others were refused.

        Raises TimeoutError or one of BROKER_ERRORS; the others are then refused or not confirmed.
        """
        self._messages = messages
        self._numbers = dict(enumerate(messages, self._sent + 1))
        needed = {message.into for message in messages.values() if message.into}
        with self._inner.transport.one_write() if needed or len(messages) > 1 else nullcontext():
            for queue in needed:
                self._look_for(queue)
            for message in list(messages.values()):
                prepared = amqp.Message(message.body, application_headers=message.headers, **message.properties)
                self._sent += 1
                self._write(spec.Basic.Publish, _publish_arguments(message.exchange, message.routing_key), prepared)
        while self._numbers:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no confirm in time")
            self._inner.blocking_read(left)  # one frame: `drain_events` begins to wait anew after each heartbeat

    def _look_for(self, queue: str) -> None:
        """Have RabbitMQ end the channel when the queue is missing; it then takes nothing that follows.

        Costs no round trip: there is no other answer.
        """
        self._write(spec.Queue.Declare, _look_arguments(queue))

    def _write(self, method: tuple[int, int], arguments: bytes, content: amqp.Message | None = None) -> None:
        """Write a method that has no answer, with arguments as py-amqp writes them: it makes them anew each time."""
        if not self._channel.connection:
            raise RecoverableConnectionError("the connection is closed")
        self._inner.frame_writer(METHOD_FRAME, self._channel.channel_id, method, arguments, content)

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

    def _on_blocked(self, reason: str) -> None:
        self.blocked = True
        self._notify_blocked(reason)

    def _on_unblocked(self) -> None:
        self.blocked = False
        self._notify_unblocked()

    def _answered(self, tag: int, multiple: bool) -> list[int]:
        tags = [pending for pending in self._numbers if pending <= tag] if multiple else [tag]
        return [self._numbers.pop(tag) for tag in tags]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for number in self._answered(tag, multiple):
            del self._messages[number]

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._answered(tag, multiple)
