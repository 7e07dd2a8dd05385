"""Publishing with confirms: each thread has a connection to itself while it publishes."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from amqp.exceptions import NotFound

from unoapi.broker.connection import BROKER_ERRORS
from unoapi.broker.connection_pool import ConnectionPool
from unoapi.broker.messages import Message, to_message
from unoapi.broker.per_process import PerProcess
from unoapi.errors import BrokerBlocked, BrokerUnavailable, ConfigurationError
from unoapi.models.jobs import EventJob
from unoapi.ports import Publisher
from unoapi.telemetry.logging import PUBLISHED, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.broker.event_recorder import EventRecorder
    from unoapi.broker.topology import Topology
    from unoapi.models.jobs import Envelope
    from unoapi.ports import Ordering

log = get_logger(__name__)

T = TypeVar("T")

CONFIRM_TIMEOUT_S = 4.0
"""After this long without a confirm the connection is given up; the API answers 503 within 5 s."""
PAUSE_S = 0.2


class MessagePublisher(Publisher, Protocol):
    """A publisher of jobs that takes messages in AMQP's form, too."""

    topology: Topology

    @property
    def events_trouble(self) -> str:
        """Why events are not kept as the settings say, as far as this process asked; empty when they are."""

    def publish(
        self, envelopes: Sequence[Envelope], *, messages: Sequence[Message] = ..., timeout_s: float = ...
    ) -> None:
        """Publish jobs, and messages that are ready, all confirmed. Raises BrokerUnavailable."""

    def publish_each(self, envelopes: Sequence[Envelope]) -> list[BrokerUnavailable | None]:
        """Publish jobs that have nothing to do with each other, and return of each why it was not confirmed."""

    def publish_messages(self, messages: Sequence[Message], *, timeout_s: float = ...) -> None:
        """Publish messages, all confirmed. Raises BrokerUnavailable."""

    def check(self, *, timeout_s: float = ...) -> None:
        """Raise BrokerUnavailable unless RabbitMQ answers in time, ConfigurationError for a conflict of names."""

    def close(self) -> None:
        """Close the connections."""


def events_in(envelopes: Sequence[Envelope]) -> list[EventJob]:
    """The events that take their place in their conversations when these envelopes are published.

    One that waits first does not: others would wait for it.
    """
    return [envelope.job for envelope in envelopes if isinstance(envelope.job, EventJob) and not envelope.delay_ms]


class ConfirmingPublisher:
    """Publishes and returns after the broker's confirm, or raises BrokerUnavailable.

    A thread borrows a connection, so that no message is handed from one thread to another: under the interpreter's
    lock each hand-over costs as much as the publish. At most `MAX_CONNECTIONS` per process, made when they are needed
    (so, after a fork), the most recently used first. The topology is declared by the first connection and after any
    error. A message that was not confirmed on a connection that broke is published again on another one: ids are
    computed, so a copy is recognised. After a message that was not confirmed in time, others are refused at once until
    a connection works again, which is tried every second: requests that wait for a thread of the API would otherwise
    wait several times as long.

    With an `ordering`, every event that is published now takes its place in its conversation first. With a `recorder`
    it is written into the stream of events when it is confirmed. `declared`: another process of this machine declares
    the topology and brings back what is deleted; this one declares after an error only.
    """

    def __init__(
        self,
        amqp_url: str,
        topology: Topology,
        *,
        ordering: Ordering | None = None,
        recorder: EventRecorder | None = None,
        declared: bool = False,
    ) -> None:
        self.topology = topology
        self._ordering = ordering
        self._recorder = recorder
        self._pool = PerProcess(lambda: ConnectionPool(amqp_url, topology, declared=declared))

    @property
    def events_trouble(self) -> str:
        """Why events are not kept as the settings say, as far as this process asked; empty when they are."""
        pool = self._pool.made()
        return "" if pool is None else pool.events_trouble

    @property
    def events_refused(self) -> bool:
        """Whether RabbitMQ has no stream of events and refuses to make one, as far as this process asked."""
        pool = self._pool.made()
        return pool is not None and pool.events_refused

    def publish(
        self,
        envelopes: Sequence[Envelope],
        *,
        messages: Sequence[Message] = (),
        timeout_s: float = CONFIRM_TIMEOUT_S,
    ) -> None:
        """Publish jobs, and messages that are ready, all confirmed.

        Raises BrokerUnavailable after `timeout_s`; some may then be accepted.
        """
        if self._ordering is not None:
            self._ordering.join(events_in(envelopes))
        made = [to_message(envelope, self.topology) for envelope in envelopes]
        self.publish_messages([*messages, *made], timeout_s=timeout_s)

    def publish_each(self, envelopes: Sequence[Envelope]) -> list[BrokerUnavailable | None]:
        """Publish jobs that have nothing to do with each other, and return of each why it was not confirmed."""
        if self._ordering is not None:
            self._ordering.join(events_in(envelopes))
        messages = [to_message(envelope, self.topology) for envelope in envelopes]
        waiting = dict(enumerate(messages))
        why: BrokerUnavailable | None = None
        try:
            self._publish_recorded(messages, waiting, CONFIRM_TIMEOUT_S)
        except BrokerUnavailable as error:
            why = error
        return [why if number in waiting else None for number in range(len(messages))]

    def publish_messages(self, messages: Sequence[Message], *, timeout_s: float = CONFIRM_TIMEOUT_S) -> None:
        """Publish messages, all confirmed. Raises BrokerUnavailable after `timeout_s`."""
        self._publish_recorded(messages, dict(enumerate(messages)), timeout_s)

    def _publish_recorded(self, messages: Sequence[Message], waiting: dict[int, Message], timeout_s: float) -> None:
        try:
            self._publish(waiting, timeout_s)
        finally:
            if self._recorder is not None:
                self._recorder.add(message for number, message in enumerate(messages) if number not in waiting)
        if log.is_enabled_for(logging.DEBUG):
            _log_published(messages)

    def _publish(self, waiting: dict[int, Message], timeout_s: float) -> None:
        """Publish, and remove the confirmed ones from `waiting`: all of them, or BrokerUnavailable is raised."""
        pool = self._pool.get()
        if pool.away:
            raise _unavailable("RabbitMQ was not reachable a moment ago", pool)
        deadline, number = time.monotonic() + timeout_s, len(waiting)
        error: BaseException | None = None
        while waiting and time.monotonic() < deadline:
            try:
                with pool.borrowed(deadline) as connection:
                    connection.publish(waiting, deadline)
            except ConfigurationError as conflict:
                log.error("topology_conflict", error=f"{conflict}")
                raise BrokerUnavailable("RabbitMQ has objects of another program; the log has their names") from None
            except BROKER_ERRORS as failed:
                error = failed
                time.sleep(min(PAUSE_S, max(0.0, deadline - time.monotonic())))
            else:
                if waiting:
                    raise BrokerUnavailable("RabbitMQ refused the message: the queue is full")
        if waiting:
            if len(waiting) == number:  # one that confirms some is slow, and there
                pool.away = True
            log.warning("broker_unavailable", error=type(error).__name__, waiting=len(waiting))
            raise _unavailable("RabbitMQ is not reachable or did not confirm in time", pool) from error

    def check(self, *, timeout_s: float = 2.0) -> None:
        """Raise BrokerUnavailable unless RabbitMQ takes a message in time, ConfigurationError for a conflict of names.

        A message that goes nowhere: only who publishes meets an alarm.
        """
        pool = self._pool.get()
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with pool.borrowed(deadline) as connection:
                    connection.check(self.topology.dead, deadline)
            except BROKER_ERRORS as failed:
                if time.monotonic() + PAUSE_S >= deadline:
                    raise _unavailable("RabbitMQ is not reachable", pool) from failed
                time.sleep(PAUSE_S)
            else:
                pool.works()
                return

    def on_channel(self, work: Callable[[Any], T], *, timeout_s: float = CONFIRM_TIMEOUT_S) -> T:
        """Do something else than publish on one of the connections. Raises NotFound, BrokerUnavailable."""
        pool = self._pool.get()
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with pool.borrowed(deadline) as connection:
                    return connection.use(work)
            except NotFound:
                raise
            except BROKER_ERRORS as failed:
                if time.monotonic() + PAUSE_S >= deadline:
                    raise _unavailable("RabbitMQ is not reachable", pool) from failed
                time.sleep(PAUSE_S)

    def close(self) -> None:
        """Write the events that wait, and close the connections; one that is publishing closes after its confirm."""
        if self._recorder is not None:
            self._recorder.close()
        if (pool := self._pool.take()) is not None:
            pool.close()


def _unavailable(problem: str, pool: ConnectionPool) -> BrokerUnavailable:
    return BrokerBlocked(f"{problem}{pool.blocked}") if pool.blocked else BrokerUnavailable(problem)


def _log_published(messages: Sequence[Message]) -> None:
    """Write the last checkpoint of each message, as the guides describe it: after the confirm."""
    for message in messages:
        ids = {"message_id": message.message_id} if message.message_id else {}
        task_id = str(message.properties.get("message_id", ""))
        log.debug(PUBLISHED, exchange=message.exchange, routing_key=message.routing_key, task_id=task_id, **ids)
