"""Publishing with confirms: each thread on a connection of its own while it publishes."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from unoapi.broker.connection import BROKER_ERRORS
from unoapi.broker.connection_pool import ConnectionPool
from unoapi.broker.messages import Message, to_message
from unoapi.errors import BrokerUnavailable, ConfigurationError
from unoapi.telemetry.logging import PUBLISHED, get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.broker.topology import Topology
    from unoapi.models.jobs import Envelope

log = get_logger(__name__)

CONFIRM_TIMEOUT_S = 4.0
"""After this long without a confirm the connection is given up; the API answers 503 within 5 s."""
PAUSE_S = 0.2


class ConfirmingPublisher:
    """Publishes and returns after the broker's confirm, or raises BrokerUnavailable.

    A thread borrows a connection, so that no message is handed from one thread to another: under the interpreter's
    lock each hand-over costs as much as the publish. At most `MAX_LINES` connections per process, made when they are
    needed (so, after a fork), the most recently used first. The topology is declared by the first connection and after
    any trouble. A message that was not confirmed on a connection that broke is published again on another one: ids are
    computed, so a copy is recognised. After messages that were not confirmed in time, others are refused at once until
    a connection works again, which is tried every second: those who wait their turn for a thread of the API would
    otherwise wait several times as long.
    """

    def __init__(self, amqp_url: str, topology: Topology) -> None:
        self._url = amqp_url
        self.topology = topology
        self._lines: ConnectionPool | None = None
        self._lock = threading.Lock()

    def publish(self, envelopes: Sequence[Envelope], *, timeout_s: float = CONFIRM_TIMEOUT_S) -> None:
        """Publish jobs, all confirmed. Raises BrokerUnavailable after `timeout_s`; some may then be accepted."""
        self.publish_messages([to_message(envelope, self.topology) for envelope in envelopes], timeout_s=timeout_s)

    def publish_messages(self, messages: Sequence[Message], *, timeout_s: float = CONFIRM_TIMEOUT_S) -> None:
        """Publish messages, all confirmed. Raises BrokerUnavailable after `timeout_s`."""
        lines = self._started()
        if lines.away:
            raise BrokerUnavailable(f"RabbitMQ was not reachable a moment ago{lines.blocked}")
        deadline = time.monotonic() + timeout_s
        waiting = dict(enumerate(messages))
        error: BaseException | None = None
        while waiting and time.monotonic() < deadline:
            try:
                with lines.borrowed(deadline) as line:
                    line.publish(waiting, deadline)
            except ConfigurationError as conflict:
                log.error("topology_conflict", error=f"{conflict}")
                raise BrokerUnavailable("RabbitMQ holds objects of another program; the log has their names") from None
            except BROKER_ERRORS as trouble:
                error = trouble
                time.sleep(min(PAUSE_S, max(0.0, deadline - time.monotonic())))
            else:
                if waiting:
                    raise BrokerUnavailable("RabbitMQ refused the message: the queue is full")
        if waiting:
            lines.away = True
            log.warning("broker_unavailable", error=type(error).__name__, waiting=len(waiting))
            raise BrokerUnavailable(f"RabbitMQ is not reachable or did not confirm in time{lines.blocked}") from error
        if log.is_enabled_for(logging.DEBUG):
            _tell(messages)

    def check(self, *, timeout_s: float = 2.0) -> None:
        """Raise BrokerUnavailable unless RabbitMQ answers in time, ConfigurationError for a conflict of names."""
        lines = self._started()
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with lines.borrowed(deadline) as line:
                    line.ask(self.topology.dead)
            except BROKER_ERRORS as trouble:
                if time.monotonic() + PAUSE_S >= deadline:
                    raise BrokerUnavailable(f"RabbitMQ is not reachable{lines.blocked}") from trouble
                time.sleep(PAUSE_S)
            else:
                lines.away = False
                return

    def close(self) -> None:
        """Close the connections; one that publishes now is closed when it has its confirm."""
        with self._lock:
            lines, self._lines = self._lines, None
        if lines is not None and lines.pid == os.getpid():
            lines.close()

    def _started(self) -> ConnectionPool:
        lines = self._lines
        if lines is not None and lines.pid == os.getpid():
            return lines
        with self._lock:
            if self._lines is None or self._lines.pid != os.getpid():
                self._lines = ConnectionPool(self._url, self.topology)  # a parent's sockets are not ours
            return self._lines


def _tell(messages: Sequence[Message]) -> None:
    """The last checkpoint of a message, in the words that the guides know: it is written after the confirm."""
    for message in messages:
        about = {"message_id": message.message_id} if message.message_id else {}
        task_id = str(message.properties.get("message_id", ""))
        log.debug(PUBLISHED, exchange=message.exchange, routing_key=message.routing_key, task_id=task_id, **about)
