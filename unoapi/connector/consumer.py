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

from unoapi.broker.connection import BROKER_ERRORS, Connection, WakeUp
from unoapi.broker.messages import came_ms
from unoapi.errors import PermanentError, Postponed, TransientError, describe, safe_traceback
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.broker.topology import Queue
    from unoapi.connector.rpc_server import RpcServer

log = get_logger(__name__)

HEARTBEAT_S = 10
AT_HAND_S = 0.001
HEARTBEAT_CHECK_S = 4.0
"""Nothing else makes an idle consumer look: there are many sessions."""
PAUSE_S = 1.0
ROW_S = 1.0
"""What was handled is acknowledged at least so often: RabbitMQ does not wait for ever for that."""


class Consumer:
    """One thread with a connection of its own. Another one does the work, so that heartbeats never wait for it.

    `handle` gets a message's body. `on_taken` gets the queue's name and when the message came, in Unix milliseconds.
    With `handle_all`, up to `most` messages that have come are handled at once; when that fails, each by itself.
    `rpc_server` serves on the same connection: to read two would take another thread.
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
        rpc_server: RpcServer | None = None,
    ) -> None:
        self._rpc_server = rpc_server
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
        self._wake_up = WakeUp()
        self._current: tuple[list[Any], Future[list[BaseException | None]]] | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Take no more messages, and wait so long for the current one."""
        self._stopping.set()
        self._wake_up.ring()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume()
            except Postponed as wait:
                self._stopping.wait(wait.after_ms / 1000)
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
        self._wake_up.close()

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
            if self._rpc_server is not None:
                self._rpc_server.serve(connection, self._wake_up)
            checked_at = time.monotonic()
            while not self._stopping.is_set() or self._current is not None:
                self._gather(connection)
                self._settle_current(channel)
                if self._rpc_server is not None:
                    self._rpc_server.send_replies()
                if time.monotonic() - checked_at >= HEARTBEAT_CHECK_S:
                    checked_at = time.monotonic()
                    connection.heartbeat_check()
            with contextlib.suppress(*BROKER_ERRORS):
                channel.basic_cancel(consumer_tag)

    def _gather(self, connection: Connection) -> None:
        """Wait until a message comes or a work ends; take what has come, as many as are handled at once."""
        wait_s = HEARTBEAT_CHECK_S
        with contextlib.suppress(TimeoutError):
            while self._wake_up.wait(connection, wait_s) and len(self._came) < self._most:
                connection.drain_events(timeout=AT_HAND_S)
                wait_s = 0.0

    def _take(self, message: Any) -> None:
        came = came_ms(message.headers or {})
        if came is not None:
            self._on_taken(self._queue.name, came)
        self._came.append(message)
        self._begin()

    def _begin(self) -> None:
        """Begin with what has come, unless something is being worked on."""
        if self._current is None and self._came and not self._stopping.is_set():
            messages, self._came = self._came, []
            work = self._worker.submit(self._work, [_body(message) for message in messages])
            self._current = (messages, work)
            work.add_done_callback(lambda _: self._wake_up.ring())

    def _work(self, bodies: list[bytes]) -> list[BaseException | None]:
        """Handle messages; the error of each. What is left out is handled next."""
        if self._handle_all is not None and len(bodies) > 1:
            try:
                self._handle_all(bodies)
            except Exception as error:  # noqa: BLE001 (then each by itself, with an error of its own)
                log.debug("commands_handled_one_by_one", consumer=self._name, error=describe(error))
            else:
                return [None] * len(bodies)
        return [self._error_of(body) for body in bodies]

    def _error_of(self, body: bytes) -> BaseException | None:
        try:
            self._handle(body)
        except Exception as error:  # noqa: BLE001 (settled by its class)
            return error
        return None

    def _settle_current(self, channel: Any) -> None:
        if self._current is None:
            return
        messages, work = self._current
        if not work.done():
            return
        self._current = None
        errors = work.result()
        handled, self._came = messages[: len(errors)], messages[len(errors) :] + self._came
        if any(errors):
            for message, error in zip(handled, errors, strict=True):
                self._settle(channel, message.delivery_tag, error)
        elif handled:
            channel.basic_ack(handled[-1].delivery_tag, multiple=True)  # nothing older is unsettled
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
        self._put_back(channel, delivery_tag)

    def _put_back(self, channel: Any, delivery_tag: int) -> None:
        self._stopping.wait(PAUSE_S)
        channel.basic_reject(delivery_tag, requeue=True)

    def _abandon_current(self) -> None:
        """The connection broke, so RabbitMQ delivers the message again: first let the work on it end."""
        if self._current is not None:
            with contextlib.suppress(Exception):
                self._current[1].result()
            self._current = None


class ConsumerInRows(Consumer):
    """Handles what has come in a row, up to the first message that has to come again.

    That one and all that came after it go back together, so that their order stays.
    """

    def _work(self, bodies: list[bytes]) -> list[BaseException | None]:
        errors: list[BaseException | None] = []
        until = time.monotonic() + ROW_S
        for body in bodies:
            if errors and (self._stopping.is_set() or time.monotonic() >= until):
                break
            errors.append(self._error_of(body))
            if errors[-1] is not None and not isinstance(errors[-1], PermanentError):
                break
        return errors

    def _put_back(self, channel: Any, delivery_tag: int) -> None:  # noqa: ARG002 (all go back)
        """Everything that is not acknowledged goes back, as RabbitMQ does it when a connection ends: in its order."""
        raise Postponed("a command has to come again, and all behind it", after_ms=int(PAUSE_S * 1000))


def _body(message: Any) -> bytes:
    return message.body if isinstance(message.body, bytes) else str(message.body).encode()
