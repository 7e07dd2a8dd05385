"""The stream of events in RabbitMQ: read from any point, as often as one likes; nothing is taken out of it.

It is read over AMQP 0-9-1: a consumer says from where with `x-stream-offset`, needs a prefetch, and gets each message's
offset in a header of the same name (https://www.rabbitmq.com/docs/streams#consuming). One message has many events
(`event_recorder`), so an event's position is its message's offset and its place in it.
"""

from __future__ import annotations

import time
import zlib
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.broker.connection_pool import CONNECT_TIMEOUT_S
from unoapi.broker.event_recorder import ENCODING
from unoapi.errors import BrokerUnavailable, EventsNotKept
from unoapi.models.jobs import FanOut
from unoapi.models.replays import StoredEvent, StreamBounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.broker.topology import Topology

OFFSET = "x-stream-offset"
PREFETCH = 500
"""So many messages are on their way; what is not read stays in the socket."""
READ_AT_ONCE = 100
"""Events of the number, and those beside the last of them in its message: those of others cost no memory."""
PLACES = 1_000
"""From the position of a message's first event to that of the next one's; no fewer than a message has events."""
MOST_BYTES = 64_000_000
"""Of one message, after decompression."""
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
        start: object = after // PLACES if after is not None else _time(since_ms - CLOCKS_APART_MS)
        with self._consuming(start, phone, after=-1 if after is None else after) as reader:
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
    def _consuming(self, start: object, phone: str, *, after: int = -1) -> Iterator[_Reader]:
        if not self._topology.streams:
            raise EventsNotKept("events are not kept: UNOAPI_EVENTS_MAX_AGE or UNOAPI_EVENTS_MAX_BYTES is 0")
        options = {"client_properties": {"connection_name": "unoapi replay"}}
        try:
            with Connection(
                self._url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=HEARTBEAT_S, transport_options=options
            ) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
                yield _Reader(connection, self._topology.events, start, phone, after)
        except NotFound:
            raise EventsNotKept("RabbitMQ has no stream of events; `unoapi release` says why") from None
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(f"the connection to RabbitMQ was lost: {type(error).__name__}") from error


class _Reader:
    """See the port `StoredEvents`."""

    def __init__(self, connection: Connection, stream: str, start: object, phone: str, after: int) -> None:
        self.position = -1
        self._after = after
        self._connection = connection
        self._needle = f'"phone":"{phone}"'.encode()  # in the job's JSON, where quotes inside of texts are escaped
        self._came: list[StoredEvent] = []
        self._unread = 0
        self._tag = 0
        self.first_ms: int | None = None  # when the first event that was read was published, and the last one
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
        offset = (message.headers or {}).get(OFFSET)
        if not isinstance(offset, int):
            return
        self.position = max(self.position, offset * PLACES)
        if message.properties.get("content_encoding") != ENCODING:
            return
        try:
            events = zlib.decompressobj().decompress(message.body, MOST_BYTES).split(b"\n")
        except (TypeError, zlib.error):
            return
        for position, event in enumerate(events[:PLACES], offset * PLACES):
            self._on_event(position, event)

    def _on_event(self, position: int, event: bytes) -> None:
        published, _, document = event.partition(b" ")
        if not published.isdigit() or position <= self._after:
            return
        published_ms = int(published)
        self.first_ms, self.last_ms = self.first_ms or published_ms, published_ms
        self.position = max(self.position, position)
        if self._needle in document:
            with suppress(ValueError):  # of a version that is no more
                self._came.append(StoredEvent(position, published_ms, FanOut.model_validate_json(document)))

    def _on_cancel(self, _: str) -> None:
        self._cancelled = True


def _time(at_ms: int) -> datetime:
    """A time as the broker reads it: none before the beginning of time."""
    return datetime.fromtimestamp(max(0, at_ms) // 1000, UTC)
