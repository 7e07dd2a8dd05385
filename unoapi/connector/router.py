"""Routes commands from the connector's entry queue: to their session's queue, or to the supervisor."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.broker.connector_commands import ENTRY, command_message, parse_command
from unoapi.connector.consumer import Consumer
from unoapi.errors import BrokerUnavailable, Postponed, StoreUnavailable, describe
from unoapi.models.connector.commands import CONTROL, ConnectorCommand

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.broker.publisher import MessagePublisher
    from unoapi.broker.topology import Queue
    from unoapi.connector.leases import Leases
    from unoapi.ports import SessionStore

QUEUE_FULL_WAIT_MS = 5000
STOP_S = 5.0
AT_ONCE = 50
"""Commands that are forwarded with one confirm."""
PAUSE_S = 1.0
DECLARING_S = 30.0


class Router:
    """The consumer of the entry queue. Of all connectors one consumes at a time.

    `control` takes the `session.*` commands of this connector's sessions. `on_taken` is the Consumer's.
    """

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        *,
        amqp_url: str,
        server: str,
        publisher: MessagePublisher,
        sessions: SessionStore,
        leases: Leases,
        control: Callable[[ConnectorCommand], None],
        on_taken: Callable[[str, int], None],
    ) -> None:
        self._amqp_url = amqp_url
        self._server = server
        self._publisher = publisher
        self._topology = publisher.topology
        self._sessions = sessions
        self._leases = leases
        self._control = control
        self._declared: set[str] = set()
        self._declaring: tuple[Connection, Any] | None = None
        self._declared_at = 0.0
        self._stopping = threading.Event()
        entry = next(queue for queue in self._topology.queues if queue.name == self._topology.queue(ENTRY))
        self._consumer = Consumer(
            amqp_url,
            entry,
            self._route,
            name="router",
            on_taken=on_taken,
            handle_all=self._route_all,
            most=AT_ONCE,
        )

    def start(self) -> None:
        """Start the consumer."""
        self._consumer.start()

    def stop(self) -> None:
        """Take no more commands."""
        self._stopping.set()
        self._consumer.stop(STOP_S)
        self._close_declaring()

    def _route_all(self, bodies: list[bytes]) -> None:
        """Forward commands with one confirm for all. Raises what one of them raises: then each goes by itself.

        What was published before an error is published again; a session's send log knows it.
        """
        commands = [parse_command(body) for body in bodies]
        if any(command.type in CONTROL for command in commands):
            raise ValueError("a command for the supervisor is among them")
        messages = []
        for command in commands:
            queue = self._topology.session_queue(command.session)
            self._declare(queue)
            messages.append(command_message(command, self._topology, key=queue.name))
        self._publisher.publish_messages(messages)

    def _route(self, body: bytes) -> None:
        command = parse_command(body)
        if command.type in CONTROL:
            self._route_control(command)
            return
        while True:
            try:
                self._forward(command)
            except BrokerUnavailable:
                # The wait is here and not on the queue: a return would use up one of the message's few deliveries.
                if self._stopping.wait(PAUSE_S):
                    raise
            else:
                return

    def _forward(self, command: ConnectorCommand) -> None:
        """Publish a command to its session's queue. Raises BrokerUnavailable."""
        queue = self._topology.session_queue(command.session)
        try:
            self._declare(queue)
            message = command_message(command, self._topology, key=queue.name)
            try:
                self._publisher.publish_messages([message])
            except BrokerUnavailable:
                # The session's queue is full: the commands of other sessions must not wait behind this one.
                entry = self._topology.queue(ENTRY)
                later = command_message(command, self._topology, key=entry, delay_ms=QUEUE_FULL_WAIT_MS)
                self._publisher.publish_messages([later])
        except BrokerUnavailable:
            self._declared.discard(queue.name)
            raise

    def _route_control(self, command: ConnectorCommand) -> None:
        """Hand a command to the supervisor, or to the connector that has the session."""
        try:
            named = str(command.data.get("server") or "")  # of a session that is no longer stored
            server = named or self._sessions.find(command.session).server
            owner = self._leases.other_owner(command.session) if server == self._server else server
            if owner:
                self._leases.forward(command, owner)
                return
        except (Postponed, StoreUnavailable):
            pass  # Redis is away; the supervisor ignores the command if the session is another connector's
        self._control(command)

    def _declare(self, queue: Queue) -> None:
        """Declare a session's queue once. Raises BrokerUnavailable."""
        if queue.name in self._declared:
            return
        try:
            channel = self._channel()
            channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
            channel.queue_bind(queue.name, queue.exchange, queue.routing_key)
        except BROKER_ERRORS as error:
            self._close_declaring()
            raise BrokerUnavailable(f"{queue.name} was not declared: {describe(error)}") from error
        self._declared.add(queue.name)

    def _channel(self) -> Any:
        """A channel to declare on. One connection for all: the first commands for many sessions come together.

        It has no heartbeat, and is closed after a while without use.
        """
        now = time.monotonic()
        if self._declaring is not None and now - self._declared_at > DECLARING_S:
            self._close_declaring()
        if self._declaring is None:
            connection = Connection(self._amqp_url, connect_timeout=3)
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            self._declaring = (connection, connection.channel())
        self._declared_at = now
        return self._declaring[1]

    def _close_declaring(self) -> None:
        if self._declaring is not None:
            (connection, _), self._declaring = self._declaring, None
            with contextlib.suppress(*BROKER_ERRORS):
                connection.close()
