"""The stream of events in RabbitMQ: read from any point, as often as one likes; nothing is taken out of it.

It is read over AMQP 0-9-1: a consumer says from where with `x-stream-offset`, needs a prefetch, and gets each message's
offset in a header of the same name (https://www.rabbitmq.com/docs/streams#consuming).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.broker.connection_pool import CONNECT_TIMEOUT_S
from unoapi.broker.messages import PUBLISHED_HEADER, from_body
from unoapi.errors import BrokerUnavailable, EventsNotKept
from unoapi.models.jobs import FanOut
from unoapi.models.replays import StoredEvent, StreamBounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.broker.topology import Topology

OFFSET = "x-stream-offset"
PREFETCH = 2_000
"""So many messages are on their way; what is not read stays in the socket."""
READ_AT_ONCE = 100
"""Events of the number: those of others cost no memory."""
HEARTBEAT_S = 60
"""Longer than elsewhere: between two reads an event may be posted, and nobody waits for what is read."""
READ_S = 0.005
QUIET_S = 1.0
PAUSE_S = 0.3
"""A chunk that is there begins to come within the first time, and has no longer pauses than the second."""
CLOCKS_APART_MS = 60_000
"""The broker's clock, by which the stream is searched, and ours may differ so much."""


class BrokerEventStream:
    """See the port `EventStream`."""

    def __init__(self, amqp_url: str, topology: Topology) -> None:
        self._url = amqp_url
        self._topology = topology

    @contextmanager
    def read(self, phone: str, *, after: int | None = None, since_ms: int = 0) -> Iterator[_Reader]:
        """The events of a number behind a position, or else those from a time on; the oldest first."""
        start: object = after + 1 if after is not None else _time(since_ms - CLOCKS_APART_MS)
        with self._consuming(start, phone) as reader:
            yield reader

    def bounds(self) -> StreamBounds | None:
        """The oldest and the newest event, whosever they are. None: there is no event."""
        with self._consuming("first", "") as reader:
            reader.take(wait_s=QUIET_S)
            oldest_ms = reader.first_ms
        with self._consuming("last", "") as reader:
            before, wait_s = None, QUIET_S
            while reader.position != before:  # of the last chunk, which may have thousands
                before = reader.position
                reader.take(wait_s=wait_s)
                wait_s = PAUSE_S
            return None if reader.last_ms is None else StreamBounds(oldest_ms or 0, reader.last_ms, reader.position)

    @contextmanager
    def _consuming(self, start: object, phone: str) -> Iterator[_Reader]:
        if not self._topology.streams:
            raise EventsNotKept("events are not kept: UNOAPI_EVENTS_MAX_AGE or UNOAPI_EVENTS_MAX_BYTES is 0")
        options = {"client_properties": {"connection_name": "unoapi replay"}}
        try:
            with Connection(
                self._url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=HEARTBEAT_S, transport_options=options
            ) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
                yield _Reader(connection, self._topology.events, start, phone)
        except NotFound:
            raise EventsNotKept("RabbitMQ has no stream of events; `unoapi release` says why") from None
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(f"the connection to RabbitMQ was lost: {type(error).__name__}") from error


class _Reader:
    """See the port `StoredEvents`."""

    def __init__(self, connection: Connection, stream: str, start: object, phone: str) -> None:
        self.position = -1
        self._connection = connection
        self._needle = f'"phone":"{phone}"'  # in the job's own JSON, where quotes inside of texts are escaped
        self._came: list[StoredEvent] = []
        self._unread = 0
        self._tag = 0
        self.first_ms: int | None = None  # when the first message that was read was published, and the last one
        self.last_ms: int | None = None
        self._cancelled = False
        channel: Any = connection.channel()
        channel.basic_qos(0, PREFETCH, False)
        channel.basic_consume(
            stream, no_ack=False, callback=self._on_message, on_cancel=self._on_cancel, arguments={OFFSET: start}
        )
        self._channel = channel

    def take(self, *, wait_s: float) -> list[StoredEvent]:
        """The next events of the number, after `position` has moved to the last message that was read."""
        self._connection.heartbeat_check()
        self._unread = 0
        deadline = time.monotonic() + wait_s
        try:
            while self._unread < PREFETCH // 2 and len(self._came) < READ_AT_ONCE:
                if self._cancelled:
                    raise BrokerUnavailable("the stream of events has moved, or is gone")
                left_s = READ_S if self._unread else deadline - time.monotonic()
                self._connection.drain_events(timeout=max(READ_S, left_s))
        except TimeoutError:
            pass
        if self._unread:
            self._channel.basic_ack(self._tag, multiple=True)
        came, self._came = self._came, []
        return came

    def _on_message(self, message: Any) -> None:
        self._unread += 1
        self._tag = message.delivery_info["delivery_tag"]
        headers = message.headers or {}
        self.position = max(self.position, int(headers.get(OFFSET, -1)))
        published_ms = headers.get(PUBLISHED_HEADER)
        if not isinstance(published_ms, int):
            return
        self.first_ms, self.last_ms = self.first_ms or published_ms, published_ms
        body = message.body if isinstance(message.body, str) else bytes(message.body).decode("utf-8", "replace")
        if self._needle not in body:
            return
        try:
            job = from_body(str(headers.get("task")), body)
        except (KeyError, TypeError, ValueError):
            return  # of a version that is no more
        if isinstance(job, FanOut):
            self._came.append(StoredEvent(self.position, published_ms, job))

    def _on_cancel(self, _: str) -> None:
        self._cancelled = True


def _time(at_ms: int) -> datetime:
    """A time as the broker reads it: none before the beginning of time."""
    return datetime.fromtimestamp(max(0, at_ms) // 1000, UTC)
