"""The server of a session's RPC."""

from __future__ import annotations

import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import amqp
from amqp.exceptions import ChannelError
from pydantic import ValidationError

from unoapi.connector.media import picture_of
from unoapi.errors import QuestionRefused, SendRefused, describe
from unoapi.models.connector.groups import MAX_GROUPS, Groups, Invite, JoinRequests, Members
from unoapi.models.connector.rpc import REPLY_TO, RPC_METHODS, CheckedContacts, Nothing, RpcReply, RpcRequest
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.broker.connection import Connection, WakeUp
    from unoapi.broker.topology import Queue
    from unoapi.connector.engines.base import Engine
    from unoapi.connector.media import FetchFile
    from unoapi.models.connector.content import Base

log = get_logger(__name__)

MAX_WAITING = 100
"""Requests that wait for the one before; who asked gives up long before."""


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
    """Answers the requests about one session, on the connection of its consumer.

    A thread, made for the first request, does the work. Requests that come while no process serves them expire in the
    queue; those beyond `MAX_WAITING` are not answered.
    """

    def __init__(self, queue: Queue, engine: Engine, fetch_file: FetchFile) -> None:
        self._queue = queue
        self._engine = engine
        self._fetch_file = fetch_file
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rpc")
        self._channel: Any = None
        self._waiting = 0
        self._replies: deque[tuple[Any, str, str]] = deque()  # the channel, the address, the body

    def serve(self, connection: Connection, wake_up: WakeUp) -> None:
        """Take requests from now on. Whoever reads the connection calls `send_replies` when `wake_up` rings."""
        try:
            channel: Any = connection.channel()
            self._channel = channel
            channel.queue_declare(self._queue.name, durable=True, auto_delete=False, arguments=self._queue.arguments)
            channel.basic_consume(self._queue.name, callback=partial(self._take, channel, wake_up), no_ack=True)
        except ChannelError as error:  # commands do not depend on it
            log.error("rpc_not_served", queue=self._queue.name, error=describe(error))

    def send_replies(self) -> None:
        """Publish the replies that are ready, those of an earlier connection not: nobody gets them any more."""
        while self._replies:
            channel, reply_to, body = self._replies.popleft()
            self._waiting -= 1
            if channel is self._channel:
                reply = amqp.Message(body, content_type="application/json")
                channel.basic_publish(reply, exchange="", routing_key=reply_to)

    def _take(self, channel: Any, wake_up: WakeUp, request: Any) -> None:
        reply_to = str(request.properties.get("reply_to") or "")
        if not reply_to.startswith(REPLY_TO):
            return  # a request must not choose one of our queues for its reply
        if self._waiting >= MAX_WAITING:
            log.warning("rpc_request_dropped", queue=self._queue.name, hint="the phone answers too slowly")
            return
        self._waiting += 1
        self._worker.submit(self._answer, channel, wake_up, reply_to, request.body)

    def _answer(self, channel: Any, wake_up: WakeUp, reply_to: str, body: bytes | str) -> None:
        reply = answer(body, self._engine, self._fetch_file).model_dump_json()
        self._replies.append((channel, reply_to, reply))
        wake_up.ring()
