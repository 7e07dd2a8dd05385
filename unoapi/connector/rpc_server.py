"""The server of a session's RPC: answers requests in a thread with a connection of its own."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import amqp
from pydantic import ValidationError

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.connector.consumer import Patience
from unoapi.connector.media import picture_of
from unoapi.errors import QuestionRefused, SendRefused, describe, safe_traceback
from unoapi.models.connector.groups import MAX_GROUPS, Groups, Invite, JoinRequests, Members
from unoapi.models.connector.rpc import REPLY_TO, RPC_METHODS, CheckedContacts, Nothing, RpcReply, RpcRequest
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.broker.topology import Queue
    from unoapi.connector.engines.base import Engine
    from unoapi.connector.media import FetchFile
    from unoapi.models.connector.content import Base

log = get_logger(__name__)

PAUSE_S = 1.0
HEARTBEAT_S = 30
"""Half of what an answer may take before RabbitMQ counts the connection as dead."""
HEARTBEAT_CHECK_S = 5.0


def answer(body: bytes | str, engine: Engine, fetch_file: FetchFile) -> RpcReply:
    """The reply to one request. Never raises."""
    try:
        request = RpcRequest.model_validate(json.loads(body))
        if request.method not in METHODS:
            return RpcReply(error=f"there is no method {request.method}")
        if not engine.connected:
            return RpcReply(error="not connected")
        question = RPC_METHODS[request.method][0].model_validate(request.data)
        return RpcReply(data=METHODS[request.method](engine, question, fetch_file).model_dump(mode="json"))
    except (ValidationError, ValueError, RecursionError):
        return RpcReply(error="the question has not the form of the contract")
    except (QuestionRefused, SendRefused) as error:
        return RpcReply(error=f"{error}"[:300], code=error.code)
    except Exception as error:  # noqa: BLE001 (the client gets it as a reply, and the session goes on)
        return RpcReply(error=describe(error)[:300])


def _change_group(engine: Engine, change: Any, fetch_file: FetchFile) -> Nothing:
    engine.groups.change(change, picture_of(change.picture, fetch_file))
    return Nothing()


def _leave_group(engine: Engine, about: Any, _: FetchFile) -> Nothing:
    engine.groups.leave(about.group)
    return Nothing()


METHODS: dict[str, Callable[[Engine, Any, FetchFile], Base]] = {
    "contacts.check": lambda engine, question, _: CheckedContacts(there=tuple(engine.contacts(list(question.phones)))),
    "group.list": lambda engine, *_: Groups(groups=tuple(engine.groups.joined()[:MAX_GROUPS])),
    "group.get": lambda engine, about, _: engine.groups.find(about.group),
    "group.create": lambda engine, new, _: engine.groups.create(new.subject, new.members),
    "group.change": _change_group,
    "group.members": lambda engine, change, _: Members(
        members=tuple(engine.groups.change_members(change.group, change.action, change.members))
    ),
    "group.invite": lambda engine, about, _: Invite(link=engine.groups.invite_link(about.group, reset=about.reset)),
    "group.requests": lambda engine, about, _: JoinRequests(requests=tuple(engine.groups.requests(about.group))),
    "group.decide": lambda engine, wish, _: Members(
        members=tuple(engine.groups.decide(wish.group, wish.action, wish.members))
    ),
    "group.leave": _leave_group,
}
"""What is done for a question that has the form of its method in `RPC_METHODS`."""


class RpcServer:
    """The requests about one session. Those that come while no process serves them expire in the queue."""

    def __init__(self, amqp_url: str, queue: Queue, engine: Engine, fetch_file: FetchFile) -> None:
        self._url = amqp_url
        self._queue = queue
        self._engine = engine
        self._fetch_file = fetch_file
        self._stopping = threading.Event()
        self._patience = Patience()
        self._thread = threading.Thread(target=self._run, name="rpc", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve()
            except BROKER_ERRORS as error:
                log.debug("rpc_server_waits", error=type(error).__name__)
                self._stopping.wait(PAUSE_S)
            except Exception as error:  # noqa: BLE001 (without this thread nobody answers until the next start)
                log.error("rpc_server_failed", error=describe(error), traceback=safe_traceback(error))
                self._stopping.wait(PAUSE_S)

    def _serve(self) -> None:
        with Connection(self._url, heartbeat=HEARTBEAT_S, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            channel: Any = connection.channel()
            channel.queue_declare(self._queue.name, durable=True, auto_delete=False, arguments=self._queue.arguments)
            channel.basic_consume(self._queue.name, callback=lambda message: self._reply(channel, message), no_ack=True)
            checked_at, patience = time.monotonic(), self._patience
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=patience.poll_s)
                if time.monotonic() - checked_at >= HEARTBEAT_CHECK_S:
                    checked_at = time.monotonic()
                    connection.heartbeat_check()

    def _reply(self, channel: Any, request: Any) -> None:
        self._patience.note_work()
        reply_to = str(request.properties.get("reply_to") or "")
        if not reply_to.startswith(REPLY_TO):
            return  # a request must not choose one of our queues for its reply
        body = answer(request.body, self._engine, self._fetch_file).model_dump_json()
        reply = amqp.Message(body, content_type="application/json")
        channel.basic_publish(reply, exchange="", routing_key=reply_to)
