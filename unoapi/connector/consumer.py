"""Consumes one queue of commands, in order. A message is settled when its work has ended, by the error's class.

No error: acknowledged. PermanentError: rejected, to the dead letters. TransientError: back to the queue. Any other
error is a bug or a full disk: logged, and back to the queue.
"""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.broker.messages import came_ms
from unoapi.errors import PermanentError, TransientError, describe, safe_traceback
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.broker.topology import Queue

log = get_logger(__name__)

HEARTBEAT_S = 10
POLL_S, IDLE_POLL_S, IDLE_AFTER_S = 0.2, 1.0, 2.0
"""A poll ends with the first message; how long it may take is how late a stop is seen. There are many sessions."""
BUSY_S, AT_HAND_S = 0.1, 0.001
HEARTBEAT_CHECK_S = 2.0
PAUSE_S = 1.0


class Patience:
    """How long one poll of a connection may take: longer when nothing has come for a while."""

    def __init__(self) -> None:
        self._busy_at = time.monotonic()

    def note_work(self) -> None:
        """Something came."""
        self._busy_at = time.monotonic()

    @property
    def poll_s(self) -> float:
        """Seconds."""
        return POLL_S if time.monotonic() - self._busy_at < IDLE_AFTER_S else IDLE_POLL_S


class Consumer:
    """One thread with a connection of its own. Another one does the work, so that heartbeats never wait for it.

    `handle` gets a message's body. `on_taken` gets the queue's name and when the message came, in Unix milliseconds.
    With `handle_all`, up to `most` messages that have come are handled at once; when that fails, each by itself.
    """

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        amqp_url: str,
        queue: Queue,
        handle: Callable[[bytes], None],
        *,
        name: str,
        on_taken: Callable[[str, int], None],
        handle_all: Callable[[list[bytes]], None] | None = None,
        most: int = 1,
    ) -> None:
        self._handle_all = handle_all
        self._most = most
        self._came: list[Any] = []
        self._url = amqp_url
        self._queue = queue
        self._handle = handle
        self._name = name
        self._on_taken = on_taken
        self._stopping = threading.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._patience = Patience()
        self._current: tuple[list[Any], Future[list[BaseException | None]]] | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Take no more messages, and wait so long for the current one."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume()
            except BROKER_ERRORS as error:
                log.warning("consumer_waits", consumer=self._name, error=type(error).__name__)
                self._abandon_current()
                self._stopping.wait(PAUSE_S)
            except Exception as error:  # noqa: BLE001 (without this thread no command is sent until the next start)
                log.error(
                    "consumer_failed", consumer=self._name, error=describe(error), traceback=safe_traceback(error)
                )
                self._abandon_current()
                self._stopping.wait(PAUSE_S)

    def _consume(self) -> None:
        properties = {"connection_name": f"unoapi connector {self._name}"}
        options = {"client_properties": properties}
        with Connection(self._url, heartbeat=HEARTBEAT_S, connect_timeout=3, transport_options=options) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            channel: Any = connection.channel()
            channel.queue_declare(self._queue.name, durable=True, auto_delete=False, arguments=self._queue.arguments)
            channel.queue_bind(self._queue.name, self._queue.exchange, self._queue.routing_key)
            channel.basic_qos(0, self._most, False)
            self._came.clear()
            consumer_tag = channel.basic_consume(self._queue.name, callback=self._take, no_ack=False)
            checked_at = time.monotonic()
            while not self._stopping.is_set() or self._current is not None:
                self._gather(connection)
                self._settle_current(channel)
                if time.monotonic() - checked_at >= HEARTBEAT_CHECK_S:
                    checked_at = time.monotonic()
                    connection.heartbeat_check()
            with contextlib.suppress(*BROKER_ERRORS):
                channel.basic_cancel(consumer_tag)

    def _gather(self, connection: Connection) -> None:
        """Wait for a message, and take with it what has come already, as many as are handled at once."""
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=AT_HAND_S if self._current is not None else self._patience.poll_s)
            while self._most > 1 and len(self._came) < self._most:
                connection.drain_events(timeout=AT_HAND_S)

    def _take(self, message: Any) -> None:
        came = came_ms(message.headers or {})
        if came is not None:
            self._on_taken(self._queue.name, came)
        self._came.append(message)
        self._patience.note_work()
        self._begin()

    def _begin(self) -> None:
        """Begin with what has come, unless something is being worked on."""
        if self._current is None and self._came and not self._stopping.is_set():
            messages, self._came = self._came, []
            self._current = (messages, self._worker.submit(self._work, [_body(message) for message in messages]))

    def _work(self, bodies: list[bytes]) -> list[BaseException | None]:
        """Handle messages; the error of each."""
        if self._handle_all is not None and len(bodies) > 1:
            try:
                self._handle_all(bodies)
            except Exception as error:  # noqa: BLE001 (then each by itself, with an error of its own)
                log.debug("commands_handled_one_by_one", consumer=self._name, error=describe(error))
            else:
                return [None] * len(bodies)
        errors: list[BaseException | None] = []
        for body in bodies:
            try:
                self._handle(body)
            except Exception as error:  # noqa: BLE001 (settled by its class)
                errors.append(error)
            else:
                errors.append(None)
        return errors

    def _settle_current(self, channel: Any) -> None:
        if self._current is None:
            return
        messages, work = self._current
        with contextlib.suppress(TimeoutError):
            work.exception(timeout=BUSY_S)
        if not work.done():
            return
        self._current = None
        errors = work.result()
        if not any(errors):
            channel.basic_ack(messages[-1].delivery_tag, multiple=True)  # nothing older is unsettled
        else:
            for message, error in zip(messages, errors, strict=True):
                self._settle(channel, message.delivery_tag, error)
        self._begin()

    def _settle(self, channel: Any, delivery_tag: int, error: BaseException | None) -> None:
        if error is None:
            channel.basic_ack(delivery_tag)
            return
        if isinstance(error, PermanentError):
            log.error("command_refused", consumer=self._name, error=f"{error}", hint="unoapi dead list")
            channel.basic_reject(delivery_tag, requeue=False)
            return
        if not isinstance(error, TransientError):
            log.error("command_not_handled", consumer=self._name, error=describe(error))
        self._stopping.wait(PAUSE_S)
        channel.basic_reject(delivery_tag, requeue=True)

    def _abandon_current(self) -> None:
        """The connection broke, so RabbitMQ delivers the message again: first let the work on it end."""
        if self._current is not None:
            with contextlib.suppress(Exception):
                self._current[1].result()
            self._current = None


def _body(message: Any) -> bytes:
    return message.body if isinstance(message.body, bytes) else str(message.body).encode()
