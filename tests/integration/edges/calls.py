"""What the tests of the edges have in common: tenants, events, and reading what became of them."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis
import requests
from amqp import Message as AmqpMessage
from kombu import Connection

from tests.support.stack import CONTACT, Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support.receiver import Received, Receiver
    from unoapi.devenv.servers import PrivateServers

finding = partial(pytest.mark.xfail, strict=True, raises=AssertionError)
"""Marks a test that fails today, for the reason that it names. Whoever mends the finding removes the mark."""


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


def second_stack(servers: PrivateServers, folder: Path, *, database: int = 1, **settings: str) -> Stack:
    """A stack beside one that runs: on a vhost and a database of Redis of its own. The caller closes it."""
    amqp_url = servers.rabbit.add_vhost(f"edge-{time.time_ns()}")
    return Stack(servers, amqp_url, folder, REDIS_URL=f"{servers.redis_url}/{database}", **settings)


def store(uno: Stack) -> Any:
    """The stack's Redis."""
    return redis.Redis.from_url(uno.environment["REDIS_URL"], decode_responses=True)


def token_of(phone: str) -> str:
    """The session token that `Stack.register` gives."""
    return f"session-token-{phone}"


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
    found = [status for value in values(hooks.requests(path)) for status in value.get("statuses", [])]
    return [status for status in found if status["id"] == message_id]


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

    def look(self, *, within_s: float) -> AmqpMessage | None:
        """The next copy, if there is one in time."""
        message: AmqpMessage | None = happens(lambda: self._channel.basic_get(self._queue), within_s=within_s)
        return message

    def bury(self, message: AmqpMessage) -> None:
        """Make a letter of a copy, by the broker's own hand."""
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
