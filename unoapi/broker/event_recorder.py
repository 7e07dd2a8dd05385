"""Writing events into their stream: many in one message, by a thread of its own, so that no message waits for it.

A stream that is slow, moves to another node or is gone must not hold up what is accepted. So an event is written after
its job was confirmed, and some are missing afterwards: those of the last `WINDOW_S` of a process that was killed, and
the oldest ones of those that RabbitMQ did not take for so long that they are over `MOST_BYTES`.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING

from unoapi.broker.messages import PUBLISHED_HEADER, Message
from unoapi.broker.per_process import PerProcess
from unoapi.errors import BrokerUnavailable, describe, safe_traceback
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unoapi.broker.publisher import ConfirmingPublisher
    from unoapi.broker.topology import Topology

log = get_logger(__name__)

WINDOW_S = 0.25
"""Events of so long go into one message."""
AT_ONCE, AT_ONCE_BYTES = 200, 500_000
"""One message has at most so many events, and of those more than one only up to so many bytes, before compression."""
MOST_BYTES = 8_000_000
"""What a process holds at most, but for one event that is larger."""
PAUSE_S = 1.0
TIMEOUT_S = 4.0
CLOSE_S = 5.0
LOG_EVERY_S = 60.0
LEVEL = 1
"""Of compression: the quickest, a fifth of the size where there are many."""
ENCODING = "deflate"


def line(event: str, *, published_ms: int) -> bytes:
    """One event of a message of the stream: its time, and its job, which has no line breaks in JSON."""
    return f"{published_ms} {event}".encode()


def together(events: Iterable[bytes], topology: Topology) -> Message:
    """The message of the stream that has these events, by their lines."""
    properties = {"content_type": "application/x-ndjson", "content_encoding": ENCODING, "delivery_mode": 2}
    body = zlib.compress(b"\n".join(events), LEVEL)
    return Message("", topology.events, body, {}, properties, into=topology.events)


class EventRecorder:
    """Writes the events of one process into their stream. `add` never waits, and never raises."""

    def __init__(self, publisher: ConfirmingPublisher) -> None:
        """`publisher` is for nobody else: one that waits for the stream would refuse what others publish."""
        self._publisher = publisher
        self._writer = PerProcess(lambda: _Writer(publisher))

    def add(self, messages: Iterable[Message]) -> None:
        """Write the events of messages that were confirmed, in a moment."""
        if events := [
            line(message.event, published_ms=message.headers[PUBLISHED_HEADER]) for message in messages if message.event
        ]:
            self._writer.get().add(events)

    def close(self) -> None:
        """Write what waits, for at most `CLOSE_S`."""
        if (writer := self._writer.take()) is not None:
            writer.close()
        self._publisher.close()


class _Writer:
    """The thread of one process, and what waits for it."""

    def __init__(self, publisher: ConfirmingPublisher) -> None:
        self._publisher = publisher
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._missed = 0
        self._logged_at = -LOG_EVERY_S
        self._lock = threading.Lock()
        self._any = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="event-recorder", daemon=True)
        self._thread.start()

    def add(self, events: list[bytes]) -> None:
        """Keep events until they are written; the oldest ones go when they are too many."""
        if self._publisher.events_refused:
            return
        with self._lock:
            self._waiting.extend(events)
            self._bytes += sum(map(len, events))
            while self._bytes > MOST_BYTES and len(self._waiting) > 1:
                self._bytes -= len(self._waiting.popleft())
                self._missed += 1
        if not self._any.is_set():
            self._any.set()

    def close(self) -> None:
        """Write what waits, and end."""
        self._closing.set()
        self._any.set()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        ends = False
        while not ends:
            self._any.wait()
            self._closing.wait(WINDOW_S)
            self._any.clear()
            ends = self._closing.is_set()
            try:
                self._write()
            except Exception as error:  # noqa: BLE001 (without this thread a process would keep no event any more)
                log.error("event_recorder_failed", error=describe(error), traceback=safe_traceback(error))
            self._log_missed()

    def _write(self) -> None:
        """Write all that waits. A process that ends tries once."""
        for events in iter(self._take, []):
            message = together(events, self._publisher.topology)
            while not self._is_written(message):
                if self._publisher.events_refused:
                    break
                if self._closing.is_set():
                    self._missed += len(events) + len(self._waiting)
                    return
                self._closing.wait(PAUSE_S)

    def _take(self) -> list[bytes]:
        with self._lock:
            events = list(self._first())
            self._bytes -= sum(map(len, events))
        return events

    def _first(self) -> Iterator[bytes]:
        size = number = 0
        while self._waiting and number < AT_ONCE:
            size, number = size + len(self._waiting[0]), number + 1
            if size > AT_ONCE_BYTES and number > 1:
                return
            yield self._waiting.popleft()

    def _is_written(self, message: Message) -> bool:
        try:
            self._publisher.publish_messages([message], timeout_s=TIMEOUT_S)
        except BrokerUnavailable:
            return False
        return True

    def _log_missed(self) -> None:
        now = time.monotonic()
        if self._missed and now - self._logged_at >= LOG_EVERY_S:
            missed, self._missed, self._logged_at = self._missed, 0, now
            hint = "they are delivered all the same; a replay will not have them"
            log.warning("events_not_kept", why="RabbitMQ did not take them in time", missed=missed, hint=hint)
