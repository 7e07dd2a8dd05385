"""SIGTERM under load, as a deploy or a platform's daily restart sends it: nothing lost, and over within the grace.

Docker sends it to a process, Heroku to all that belong to it: both ways are tried in turn.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import yaml

from tests.connector.phones import Phone, statuses
from tests.support.event_clients import ID_PATTERN, NO_ANSWER, Clients
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import CONTACT, OPERATOR, PHONE, ROOT, Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stack import Process
    from unoapi.devenv.servers import PrivateServers

HURRY_S = 12.0
"""Far below every grace: with these receivers no process has a reason to take longer."""


@pytest.fixture
def uno(servers: PrivateServers, tmp_path: Path) -> Iterator[Stack]:
    settings = {"UNOAPI_MESSAGE_RETRY_DELAY": "500", "UNOAPI_CONNECTOR_SENDS_PER_SECOND": "10", "LOG_LEVEL": "info"}
    with stack(servers, tmp_path, **settings) as running:
        yield running


def sigterm(process: Process, *, to_all: bool) -> float:
    """End a process; how many seconds that took. It must end by itself, and as if nothing had happened."""
    started = time.monotonic()
    if to_all:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        os.kill(process.pid, signal.SIGTERM)
    code = process.wait(60)
    assert code == 0, process.output()
    return time.monotonic() - started


def one_webhook(uno: Stack, receiver: Receiver) -> None:
    uno.register([{"id": "main", "urlAbsolute": receiver.url("/main")}])


def test_the_api_and_a_worker_end_while_requests_come_and_receivers_are_slow(uno: Stack, receiver: Receiver) -> None:
    uno.environment["UNOAPI_WEB_PROCESSES"] = "2"
    events = 160
    receiver.record("count", key=ID_PATTERN)
    receiver.script("/main", Behaviour(delay_ms=500, failures=1, share=0.2))
    web, worker = uno.web(), uno.worker(threads=15)
    one_webhook(uno, receiver)
    took = []

    with Clients(uno.url, phone=PHONE, events=events, rate=40.0, threads=8) as clients:
        for number, share in enumerate((0.2, 0.6)):
            wanted = int(share * events)
            clients.wait(lambda wanted=wanted: len(clients.accepted) >= wanted, timeout_s=40)  # type: ignore[misc]
            took.append(sigterm(worker, to_all=number == 1))
            worker = uno.worker(threads=15)
            took.append(sigterm(web, to_all=number == 1))
            web = uno.web()
        clients.wait(clients.finished, timeout_s=60)
    # On no queue is also what a worker is posting now.
    eventually(lambda: answered(receiver) == events and uno.unfinished() == 0, within_s=60, every_s=0.5)
    time.sleep(1)

    assert max(took) < HURRY_S, took
    assert len(clients.accepted) == events
    assert set(receiver.keys("/main")) == clients.accepted
    assert set(clients.refusals) <= {NO_ANSWER}, "who is answered is accepted"
    copies = sum(answered - 1 for _, answered in receiver.keys("/main").values())
    assert 0 <= copies <= clients.refusals[NO_ANSWER], "only what was posted twice may come twice"
    assert uno.depth("unoapi.dead") == 0


def test_while_the_api_ends_who_has_connected_is_answered_and_who_connects_is_refused(
    uno: Stack, receiver: Receiver
) -> None:
    """A proxy gives a refused request to another `web`; one that nobody would ever take is lost with what it says."""
    web = uno.web()
    where = ("127.0.0.1", urlsplit(uno.url).port)
    body = json.dumps({"to": CONTACT, "type": "text", "text": {"body": "begun"}}).encode()
    head = f"POST /v15.0/{PHONE}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    one_webhook(uno, receiver)
    begun, silent = socket.create_connection(where, timeout=10), socket.create_connection(where, timeout=10)
    begun.sendall(head.encode() + body[:10])
    time.sleep(0.5)

    os.kill(web.pid, signal.SIGTERM)

    def refuses() -> bool:
        with socket.socket() as late:
            late.settimeout(2)
            return late.connect_ex(where) == errno.ECONNREFUSED

    eventually(refuses, within_s=1.5, every_s=0.05, what="a refusal")
    silent.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert silent.recv(4096).startswith(b"HTTP/1.1 200 ")
    begun.sendall(body[10:])
    assert begun.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert web.wait(HURRY_S) == 0


def test_media_ends_while_files_come_slowly(uno: Stack, receiver: Receiver) -> None:
    messages, children = 5, 2
    receiver.script("/sound", Behaviour(delay_ms=700))
    uno.web()
    uno.worker(queues=("incoming", "outgoing"))
    media = uno.worker(queues=("media",), name="media", pool="prefork", threads=children)
    one_webhook(uno, receiver)
    body = {"to": CONTACT, "type": "audio", "audio": {"link": receiver.url("/sound/a.mp3"), "voice": True}}

    written = {uno.post(f"/v15.0/{PHONE}/messages", body).json()["messages"][0]["id"] for _ in range(messages)}
    took = []
    for number in range(2):
        receiver.wait(2 * number + 1, "/sound")
        took.append(sigterm(media, to_all=number == 1))
        media = uno.worker(queues=("media",), name="media", pool="prefork", threads=children)
    eventually(lambda: set(sent(receiver)) == written, within_s=40, every_s=0.2, what="all sent")
    eventually(lambda: uno.unfinished() == 0, within_s=20, every_s=0.5)

    assert max(took) < HURRY_S, took
    assert set(sent(receiver).values()) == {1}
    assert messages <= receiver.count("/sound") <= messages + children, "only those in flight are fetched again"
    assert uno.depth("unoapi.dead") == 0


def test_the_connector_ends_while_messages_leave(uno: Stack, receiver: Receiver) -> None:
    messages = 60  # six seconds of sending: enough are left for the second stop on a busy machine, too
    phone = Phone(uno)
    uno.web()
    uno.worker()
    phone.log_in()
    uno.register([{"id": "main", "urlAbsolute": receiver.url("/main")}], provider="whatsmeow")
    connector = uno.connector()
    phone.wait_online()

    written = {uno.send(f"message {number}").json()["messages"][0]["id"] for number in range(messages)}
    took = []
    for number in range(2):
        wanted = len(phone.sent()) + 4
        eventually(lambda wanted=wanted: len(phone.sent()) >= wanted, within_s=30)  # type: ignore[misc]
        took.append(sigterm(connector, to_all=number == 1))
        connector = uno.connector()
    eventually(lambda: len(phone.sent()) >= messages, within_s=40, every_s=0.2)
    # A later status may overtake the first one, which is then not reported any more.
    reported = {"sent", "delivered", "read"}
    eventually(
        lambda: all(reported & set(statuses_of(receiver, message_id)) for message_id in written),
        within_s=30,
        every_s=0.5,
    )
    time.sleep(1)

    assert max(took) < HURRY_S, took
    assert len(phone.sent()) == messages
    assert not any("failed" in statuses_of(receiver, message_id) for message_id in written)


def statuses_of(receiver: Receiver, message_id: str) -> list[str]:
    return statuses(receiver, message_id, "/main")


def sent(receiver: Receiver) -> Counter[str]:
    """How often each message was reported as sent."""
    values = (json.loads(request.body)["entry"][0]["changes"][0]["value"] for request in receiver.requests("/main"))
    return Counter(
        status["id"] for value in values for status in value.get("statuses", []) if status["status"] == "sent"
    )


def test_the_grace_in_production_is_longer_than_a_stop_takes() -> None:
    services = yaml.load((ROOT / "compose" / "docker-compose.yml").read_text(), Loader=yaml.CSafeLoader)["services"]

    for name in ("web", "worker", "media", "suspect", "flower"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > HURRY_S, name


def answered(receiver: Receiver) -> int:
    """How many events were taken at least once."""
    return sum(answers > 0 for _, answers in receiver.keys("/main").values())
