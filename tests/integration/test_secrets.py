"""No token anywhere but in the configuration and on the wire to its owner; no message body where people look."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
import requests
from celery import Celery
from kombu import Connection

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import OPERATOR, PHONE, Stack, eventually, stack
from unoapi.broker.messages import to_message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.topology import Topology
from unoapi.devenv.ports import free_port
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.broker.messages import Message
    from unoapi.devenv.servers import PrivateServers

TOKEN, SECRET, SESSION = "tok3n-of-the-webhook", "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29r", "tok3n-of-the-session"
BODY = "b0dy-of-the-message"
URL_KEY = "k3y-in-the-address"
PLANTED = "planted-where-it-is-seen"
TOKENS = (TOKEN, SECRET, SESSION, OPERATOR)


@pytest.fixture
def watched(servers: PrivateServers, receiver: Receiver, tmp_path: Path) -> Iterator[Stack]:
    settings = {
        "STATUS_FAILED_WEBHOOK_URL": receiver.url("/callback"),
        "NOTIFY_FAILED_MESSAGES": "true",
        "UNOAPI_MESSAGE_RETRY_DELAY": "500",
        "UNOAPI_BREAKER_FAILURES": "0",  # its failing deliveries are to die, not to wait
        "LOG_LEVEL": "debug",
    }
    with stack(servers, tmp_path, **settings) as running:
        yield running


class Watcher:
    """Everything that task events, queues and dashboards show, as one text."""

    def __init__(self, uno: Stack) -> None:
        self.events: list[str] = []
        self.queued: list[str] = []
        self._uno = uno
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._catch, daemon=True),
            threading.Thread(target=self._tap, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def _catch(self) -> None:
        app = Celery(broker=self._uno.environment["AMQP_URL"])
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": lambda event: self.events.append(repr(event))})
            while not self._stop.is_set():
                try:
                    receiver.capture(limit=None, timeout=1, wakeup=True)
                except TimeoutError:
                    continue
                except OSError:
                    return

    def _tap(self) -> None:
        """A queue of our own beside each of the product's: every message that is published."""
        with Connection(self._uno.environment["AMQP_URL"]) as connection:
            channel: Any = connection.channel()
            tap = channel.queue_declare("", exclusive=True).queue
            topology = Topology("unoapi")
            topology.declare(channel, vhost="/")
            channel.queue_bind(tap, topology.broker, "#")
            channel.queue_bind(tap, topology.dead, "")
            channel.queue_bind(tap, topology.delayed, "", arguments={"x-match": "any", "unoapi-delay": "0"})
            channel.basic_consume(
                tap, no_ack=True, callback=lambda m: self.queued.append(f"{m.body} {m.headers} {m.properties}")
            )
            while not self._stop.is_set():
                try:
                    connection.drain_events(timeout=0.5)
                except TimeoutError:
                    continue
                except OSError:
                    return


def test_no_token_and_no_body_is_found_where_people_look(watched: Stack, receiver: Receiver) -> None:
    port = free_port()
    watched.environment |= {"FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_MAX_TASKS": "1000"}
    watcher = Watcher(watched)
    watched.web()
    watched.worker()
    watched._start("flower", ["python", "-m", "unoapi.cli.flower", f"--port={port}"])
    eventually(lambda: flower_says(port, "/api/tasks") is not None, within_s=30, every_s=0.5)
    receiver.script("/down", Behaviour(status=500))
    receiver.script("/slow", Behaviour(delay_ms=3000))
    hooks = [
        {"id": name, "urlAbsolute": receiver.url(f"/{name}/{URL_KEY}"), "token": TOKEN, "secret": SECRET}
        for name in ("fine", "down", "slow")
    ]
    watched.register(hooks, authToken=SESSION)
    answer = watched.post(f"/v15.0/{PHONE}/register", {"label": "x"}, token=SESSION)

    publish(watched, planted(), stumbling())
    watched.contact_writes(BODY, token=SESSION)
    (worker,) = flower_says(port, "/api/workers?refresh=1")
    running = eventually(
        lambda: (
            "webhook=slow" in (shown := str(flower_says(port, f"/api/workers?refresh=1&workername={worker}"))) and shown
        ),
        what="Flower shows a running task",
    )
    watched.send(BODY, token=SESSION)
    watched.send(BODY, to="15550000001", token=SESSION)
    watched.send(BODY, to="15550000007", token=SESSION)
    watched.post(f"/v15.0/{PHONE}/messages?access_token={SESSION}", {"messaging_product": "whatsapp", "text": BODY})
    watched.post(f"/v15.0/{PHONE}/messages", {"text": {"body": BODY}}, token="wrong")
    spoil_configuration(watched)
    eventually(lambda: "bug" in {dead_letter["reason"] for dead_letter in watched.dead()}, within_s=40, every_s=0.5)
    eventually(lambda: len(watched.dead()) >= 5, within_s=40, every_s=0.5)
    eventually(lambda: "task-retried" in str(watcher.events), every_s=0.5)
    dashboards = [str(flower_says(port, path)) for path in ("/api/tasks?limit=500", "/api/workers?refresh=1")]
    dashboards.append(running)
    dashboards.append(watched.cli("dead", "list").stdout + watched.cli("dead", "list", "--json").stdout)
    time.sleep(1)
    watcher.stop()
    for process in watched.processes:
        process.stop()

    logs = "".join(process.output() for process in watched.processes)
    events, queued = "".join(watcher.events), "".join(watcher.queued)
    assert "webhook_delivered" in logs
    assert "given_up" in logs
    assert "'unoapi-traceback': " in queued, "a bug is reported with its traceback"
    for text in (logs, events, queued, dashboards[0]):
        assert PLANTED in text, "what is planted must be found, else the search proves nothing"
    assert "task-succeeded" in events
    assert "task-failed" in events
    assert "outgoing.deliver" in dashboards[0]
    assert "RETRY" in dashboards[0] or "FAILURE" in dashboards[0]
    assert BODY in queued, "the tap must see what is queued"
    redis_url = watched.environment["REDIS_URL"]
    stored = redis.Redis.from_url(redis_url, decode_responses=True).get(f"unoapi-config:{PHONE}")
    assert TOKEN in str(stored), "the configuration holds the token, so there is something to find"
    for token in TOKENS:
        for source, text in {"logs": logs, "events": events, "queues": queued, "dashboards": str(dashboards),
                            "answer": answer.text, "callbacks": all_bodies(receiver)}.items():  # fmt: skip
            assert token not in text, f"{token} in {source}"
    for source, text in {"logs": logs, "events": events, "dashboards": str(dashboards)}.items():
        assert BODY not in text, f"a message body in {source}"
        assert URL_KEY not in text, f"a webhook's address in {source}"
    assert URL_KEY not in queued
    assert URL_KEY in "".join(request.path for request in receiver.requests("/")), "the address holds it"


def publish(uno: Stack, *messages: Message) -> None:
    publisher = ConfirmingPublisher(uno.environment["AMQP_URL"], Topology("unoapi"))
    publisher.publish_messages(messages, timeout_s=10)
    publisher.close()


def planted() -> Message:
    """A job whose ids hold a mark, in all the places that show ids."""
    job = DeliverWebhook(
        id=PLANTED, phone=PHONE, message_id=PLANTED, event_id=PLANTED, webhook_id=PLANTED, kind="message",
        stored=True, body=json.dumps({"text": BODY}),
    )  # fmt: skip
    return to_message(Envelope(job), Topology("unoapi"))


def stumbling() -> Message:
    """An event that makes our own code fail unexpectedly, with the message's body in its hands."""
    body = json.dumps({"entry": [{"changes": [{"value": {"messages": [BODY]}}]}]})
    return to_message(Envelope(FanOut(id="stumbles", phone=PHONE, kind="message", body=body)), Topology("unoapi"))


def spoil_configuration(uno: Stack) -> None:
    """Store what cannot be read, with a token in it, and let a message meet it."""
    client = redis.Redis.from_url(uno.environment["REDIS_URL"])
    other = "5511000000009"
    client.set(
        f"unoapi-config:{other}", json.dumps({"authToken": TOKEN, "webhooks": [{"url": TOKEN, "token": SECRET}]})
    )
    uno.post(f"/webhooks/whatsapp/{other}", {"entry": [{"changes": [{"value": {"messages": [{"id": BODY[:4]}]}}]}]})


def flower_says(port: int, path: str) -> Any:
    try:
        answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=10)
    except requests.RequestException:
        return None
    return answer.json() if answer.ok else None


def all_bodies(receiver: Receiver) -> str:
    return "".join(request.body for request in receiver.requests("/"))
