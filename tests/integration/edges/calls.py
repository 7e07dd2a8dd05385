"""What the tests of the edges have in common: tenants, events, and reading what became of them."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
from amqp import Message as AmqpMessage
from kombu import Connection

from tests.support.stack import CONTACT, PHONE, Stack
from tests.support.vhosts import own_vhost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import requests

    from tests.support.receiver import Received, Receiver
    from unoapi.devenv.servers import PrivateServers


_databases = cycle(range(1, 15))


class NotArrangedError(Exception):
    """A step before the one that a test is about did not come to pass. Never taken for the finding itself."""


def arranged(check: Callable[[], Any], *, what: str, within_s: float = 20.0, every_s: float = 0.05) -> Any:
    """The first true result of `check`."""
    deadline = time.monotonic() + within_s
    while not (result := check()):
        if time.monotonic() > deadline:
            raise NotArrangedError(f"not within {within_s} s: {what}")
        time.sleep(every_s)
    return result


def happens(check: Callable[[], Any], *, within_s: float, every_s: float = 0.05) -> Any:
    """The first true result of `check`, or its last one when the time is over."""
    deadline = time.monotonic() + within_s
    while not (result := check()) and time.monotonic() < deadline:
        time.sleep(every_s)
    return result


@contextmanager
def second_stack(servers: PrivateServers, folder: Path, **settings: str) -> Iterator[Stack]:
    """A stack beside one that runs: on a vhost and a database of Redis of its own."""
    redis_url = f"{servers.redis_url}/{next(_databases)}"
    with (
        own_vhost(servers) as amqp_url,
        closing(Stack(servers, amqp_url, folder, REDIS_URL=redis_url, **settings)) as running,
    ):
        yield running


def store(uno: Stack) -> Any:
    """The stack's Redis."""
    return redis.Redis.from_url(uno.environment["REDIS_URL"], decode_responses=True)


def new_number(uno: Stack) -> str:
    """A phone number that no other test has."""
    return f"55119{store(uno).incr('edges-numbers'):08}"


def token_of(phone: str) -> str:
    """The session token that `Stack.register` gives."""
    return f"session-token-{phone}"


def registered(uno: Stack, webhooks: list[dict[str, Any]], *, phone: str = PHONE, **config: Any) -> None:
    """The operator registers a number; as soon as Redis is used, if it was skipped for some seconds."""

    def accepted() -> bool:
        with suppress(AssertionError):
            uno.register(webhooks, phone=phone, **config)
            return True
        return False

    arranged(accepted, what=f"{phone} is registered", every_s=0.3)


def register(uno: Stack, phone: str, config: dict[str, Any], *, token: str = "") -> requests.Response:
    """A tenant changes its own session, or whoever `token` is."""
    return uno.post(f"/v15.0/{phone}/register", config, token=token or token_of(phone))


def config_of(uno: Stack, phone: str) -> dict[str, Any]:
    """The configuration as it is stored."""
    return dict(json.loads(store(uno).get(f"unoapi-config:{phone}") or "{}"))


def text(message_id: str, *, sender: str = CONTACT, **more: Any) -> dict[str, Any]:
    """One received message."""
    message = {"from": sender, "id": message_id, "timestamp": "1767225600", "type": "text", "text": {"body": "hi"}}
    return {**message, **more}


def event(*messages: dict[str, Any], **value: Any) -> dict[str, Any]:
    """A Cloud API callback with these messages."""
    full = {"messaging_product": "whatsapp", "messages": list(messages), **value}
    change = {"field": "messages", "value": full}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


def post_event(uno: Stack, phone: str, document: dict[str, Any], *, token: str = "") -> requests.Response:
    """A tenant posts an event of a number, or whoever `token` is."""
    return uno.post(f"/webhooks/whatsapp/{phone}", document, token=token or token_of(phone))


def steps(uno: Stack, phone: str, message_id: str) -> list[str]:
    """The steps of a message's trace."""
    return [entry["step"] for entry in trace(uno, phone, message_id)]


def trace(uno: Stack, phone: str, message_id: str) -> list[dict[str, Any]]:
    answer = uno.get(f"/v15.0/{phone}/messages/{message_id}/trace")
    return list(answer.json().get("trace", [])) if answer.ok else []


def is_over(uno: Stack, phone: str, message_id: str) -> bool:
    """Whether an event is delivered, filtered or dead."""
    return bool({"delivered", "filtered", "dead"} & set(steps(uno, phone, message_id)))


def values(received: Sequence[Received]) -> list[dict[str, Any]]:
    """The values of events that a webhook got."""
    return [json.loads(request.body)["entry"][0]["changes"][0]["value"] for request in received]


def statuses(hooks: Receiver, message_id: str, path: str) -> list[dict[str, Any]]:
    """The statuses of one message that a webhook got."""
    statuses = [status for value in values(hooks.requests(path)) for status in value.get("statuses", [])]
    return [status for status in statuses if status["id"] == message_id]


def said(received: Sequence[Received]) -> str:
    """Everything that requests hold, to look for a secret in it."""
    return json.dumps([[request.path, request.headers, request.body] for request in received])


class Copies:
    """A queue that gets a copy of what is published with one key, so that a job can be seen, changed and repeated."""

    def __init__(self, channel: Any, queue: str) -> None:
        self._channel = channel
        self._queue = queue

    def take(self, *, within_s: float = 20) -> AmqpMessage:
        """The next copy."""
        message: AmqpMessage = arranged(
            lambda: self._channel.basic_get(self._queue), what="a copy of the job", within_s=within_s
        )
        return message

    def take_in_time(self, *, within_s: float) -> AmqpMessage | None:
        """The next copy, if there is one in time."""
        message: AmqpMessage | None = happens(lambda: self._channel.basic_get(self._queue), within_s=within_s)
        return message

    def bury(self, message: AmqpMessage) -> None:
        """Make a dead letter of a copy, by the broker's own hand."""
        self._channel.basic_reject(message.delivery_tag, requeue=False)

    def publish(self, message: AmqpMessage, key: str) -> None:
        """Queue a job at once."""
        self._channel.basic_publish(message, "unoapi.broker", key)


@contextmanager
def copies(uno: Stack, key: str, *, exchange: str = "unoapi.broker") -> Iterator[Copies]:
    """Copies of what is published from now on."""
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        arguments = {"x-dead-letter-exchange": "unoapi.dead"}
        queue = channel.queue_declare(exclusive=True, arguments=arguments).queue
        channel.queue_bind(queue, exchange, key, arguments={"x-match": "all"} if exchange != "unoapi.broker" else None)
        yield Copies(channel, queue)
        channel.queue_delete(queue)


def job_of(message: AmqpMessage) -> dict[str, Any]:
    """The job in a message of a work queue."""
    return dict(json.loads(message.body)[0][0])


def with_job(message: AmqpMessage, **fields: Any) -> AmqpMessage:
    """The same message with other fields of its job, to be run at once."""
    (job, *rest), *more = json.loads(message.body)
    job |= fields
    headers = {name: value for name, value in (message.headers or {}).items() if "not-before" not in name}
    properties = {name: value for name, value in message.properties.items() if name != "expiration"}
    properties["application_headers"] = {**headers, "id": job["id"]}
    return AmqpMessage(json.dumps([[job, *rest], *more]), **properties)


class AckBursts:
    """A way to RabbitMQ on which acknowledgements gather until their sender waits for an answer, then go all at once.

    So it does not depend on how busy a machine is whether RabbitMQ has applied them when the connection ends.
    """

    _ACK = b"\x00\x3c\x00\x50"  # class and method of basic.ack
    _SILENCE_S = 0.5

    def __init__(self, amqp_url: str) -> None:
        self._url = urlsplit(amqp_url)
        self._open: list[socket.socket] = []

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open.append(self._listener)
        threading.Thread(target=self._accept, daemon=True).start()
        login = f"{self._url.username}:{self._url.password}"
        return f"amqp://{login}@127.0.0.1:{self._listener.getsockname()[1]}{self._url.path}"

    def __exit__(self, *_: object) -> None:
        for opened in self._open:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._url.hostname, self._url.port))
                self._open += [client, server]
                threading.Thread(target=self._back, args=(server, client), daemon=True).start()
                threading.Thread(target=self._forth, args=(client, server), daemon=True).start()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while piece := server.recv(1 << 16):
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        gathered, gathering = b"", False
        with suppress(OSError, ValueError):
            while True:
                if gathering and not select.select([client], [], [], self._SILENCE_S)[0]:
                    server.sendall(gathered)
                    gathered, gathering = b"", False
                    continue
                piece = client.recv(1 << 16)
                gathering = gathering or self._ACK in piece
                gathered += piece
                if not gathering or not piece:
                    server.sendall(gathered)
                    gathered = b""
                if not piece:
                    server.shutdown(socket.SHUT_WR)
                    return
