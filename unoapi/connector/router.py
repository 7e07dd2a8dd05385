"""From the entry queue to each session's queue; orders about sessions go to the supervisor."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from unoapi.broker.connection import Connection
from unoapi.broker.connector_commands import ENTRY, command_message
from unoapi.connector.consumer import TROUBLE, Consumer, Reject, Requeue, note_taken
from unoapi.errors import BrokerUnavailable, Postponed, StoreUnavailable, describe
from unoapi.models.connector.commands import CONTROL, Command

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.broker.topology import Queue
    from unoapi.connector.supervisor import Supervisor

FULL_WAIT_MS = 5000
STOP_S = 5.0
PAUSE_S = 1.0


class Router:
    """The only consumer of the entry queue, of all connectors together."""

    def __init__(self, uno: Uno, supervisor: Supervisor) -> None:
        self._uno = uno
        self._supervisor = supervisor
        self._declared: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        amqp_url = uno.settings.amqp_url.get_secret_value()
        entry = next(queue for queue in uno.topology.queues if queue.name == uno.topology.queue(ENTRY))
        self._consumer = Consumer(
            amqp_url, entry, self._route, name="router", taken=partial(note_taken, uno, entry.name)
        )

    def start(self) -> None:
        """Begin."""
        self._consumer.start()

    def stop(self) -> None:
        """Take no more."""
        self._stopping.set()
        self._consumer.stop(STOP_S)

    def _route(self, body: bytes) -> None:
        try:
            command = Command.model_validate(json.loads(body))
        except (ValueError, RecursionError) as error:
            raise Reject(describe(error)) from error
        if command.type in CONTROL:
            self._control(command)
            return
        while True:
            try:
                self._forward(command)
            except (BrokerUnavailable, *TROUBLE) as error:
                # Waiting here and not on the queue: each return would count as one of its few deliveries.
                if self._stopping.wait(PAUSE_S):
                    raise Requeue from error
            else:
                return

    def _forward(self, command: Command) -> None:
        topology = self._uno.topology
        queue = topology.session_queue(command.session)
        try:
            self._declare(queue)
            message = command_message(command, topology, key=queue.name)
            try:
                self._uno.publisher.publish_messages([message])
            except BrokerUnavailable:
                # The session's queue is full: the others must not wait behind it.
                waits = command_message(command, topology, key=topology.queue(ENTRY), delay_ms=FULL_WAIT_MS)
                self._uno.publisher.publish_messages([waits])
        except (BrokerUnavailable, *TROUBLE):
            self._declared.discard(queue.name)
            raise

    def _control(self, command: Command) -> None:
        server = self._uno.settings.unoapi_server_name
        try:
            theirs = self._uno.sessions.find(command.session).server
            holder = self._supervisor.leases.elsewhere(command.session) if theirs == server else theirs
            if holder:
                self._supervisor.leases.hand_over(command, holder)
                return
        except (Postponed, StoreUnavailable):
            pass  # tried here: a session that is not ours is not known there
        self._supervisor.ask(command)

    def _declare(self, queue: Queue) -> None:
        with self._lock:
            if queue.name in self._declared:
                return
        with Connection(self._uno.settings.amqp_url.get_secret_value(), connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            channel: Any = connection.channel()
            channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
            channel.queue_bind(queue.name, queue.exchange, queue.routing_key)
        with self._lock:
            self._declared.add(queue.name)
