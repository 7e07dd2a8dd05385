"""Remote procedure calls to a connected phone: one request, one reply, or NobodyAnswers in time."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import amqp

from unoapi.broker.connection import BROKER_ERRORS, Connection
from unoapi.errors import NobodyAnswers, QuestionRefused
from unoapi.models.connector.rpc import REPLY_TO, RpcReply, RpcRequest
from unoapi.models.text import mended

if TYPE_CHECKING:
    from unoapi.broker.topology import Topology

CONNECT_TIMEOUT_S = 2.0


class BrokerRpc:
    """The client's side of the connector's RPC. Each call has a connection of its own."""

    def __init__(self, amqp_url: str, topology: Topology) -> None:
        self._url = amqp_url
        self._topology = topology

    def ask(self, phone: str, method: str, data: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The reply's data.

        Raises QuestionRefused; NobodyAnswers when none comes in time, or the session's process is not there.
        """
        deadline = time.monotonic() + timeout_s
        request = RpcRequest(method=method, session=phone, data=data)
        try:
            with Connection(self._url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=0) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
                body = self._exchange(connection, request, deadline)
            reply = RpcReply.model_validate(mended(json.loads(body)))
        except (*BROKER_ERRORS, ValueError) as error:
            raise NobodyAnswers(f"{phone} could not be asked: {type(error).__name__}") from error
        if reply.code:
            raise QuestionRefused(reply.error or "refused", code=reply.code)
        if reply.data is None:
            raise NobodyAnswers(reply.error or "no answer")
        return reply.data

    def _exchange(self, connection: Connection, request: RpcRequest, deadline: float) -> bytes:
        channel: Any = connection.channel()
        replies: list[Any] = []
        returned: list[Any] = []  # by RabbitMQ: no session process declared the queue
        channel.events["basic_return"].add(lambda *_: returned.append(True))
        channel.basic_consume(REPLY_TO, callback=replies.append, no_ack=True)
        left_ms = max(1, int((deadline - time.monotonic()) * 1000))
        message = amqp.Message(
            request.model_dump_json(), content_type="application/json", delivery_mode=1, reply_to=REPLY_TO,
            expiration=str(left_ms),
        )  # fmt: skip
        channel.basic_publish(
            message, exchange="", routing_key=self._topology.rpc_queue(request.session).name, mandatory=True
        )
        while not replies and not returned and (left_s := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=left_s)
        if not replies:
            raise NobodyAnswers(f"nobody answers for {request.session}")
        body = replies[0].body
        return body if isinstance(body, bytes) else str(body).encode()
