"""Answers the questions about one session, in a thread with a connection of its own."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import amqp
from pydantic import ValidationError

from unoapi.broker.connection import Connection
from unoapi.connector.consumer import POLL_S, TROUBLE
from unoapi.errors import describe
from unoapi.models.connector.rpc import REPLY_TO, CheckContacts, CheckedContacts, RpcReply, RpcRequest
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.broker.topology import Queue
    from unoapi.connector.engines.base import Engine

log = get_logger(__name__)

PAUSE_S = 1.0


def answer(body: bytes | str, engine: Engine) -> RpcReply:
    """The answer to one question. Never raises."""
    try:
        question = RpcRequest.model_validate(json.loads(body))
        if question.method != "contacts.check":
            return RpcReply(error=f"there is no method {question.method}")
        if not engine.connected:
            return RpcReply(error="not connected")
        asked = CheckContacts.model_validate(question.data)
        return RpcReply(data=CheckedContacts(there=tuple(engine.contacts(list(asked.phones)))).model_dump())
    except (ValidationError, ValueError, RecursionError):
        return RpcReply(error="the question has not the form of the contract")
    except Exception as error:  # noqa: BLE001 (who asks is told, and the session goes on)
        return RpcReply(error=describe(error)[:300])


class RpcServer:
    """The questions of one session. What comes while nobody is here runs out by itself."""

    def __init__(self, amqp_url: str, queue: Queue, engine: Engine) -> None:
        self._url = amqp_url
        self._queue = queue
        self._engine = engine
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume()
            except TROUBLE as error:
                log.debug("answers_wait", error=type(error).__name__)
                self._stopping.wait(PAUSE_S)

    def _consume(self) -> None:
        with Connection(self._url, heartbeat=0, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            channel: Any = connection.channel()
            channel.queue_declare(self._queue.name, durable=True, auto_delete=False, arguments=self._queue.arguments)
            channel.basic_consume(self._queue.name, callback=lambda message: self._reply(channel, message), no_ack=True)
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=POLL_S)

    def _reply(self, channel: Any, message: Any) -> None:
        to = str(message.properties.get("reply_to") or "")
        if not to.startswith(REPLY_TO):
            return  # no queue of ours is written to because a message says so
        told = amqp.Message(answer(message.body, self._engine).model_dump_json(), content_type="application/json")
        channel.basic_publish(told, exchange="", routing_key=to)
