"""RPC to a connected phone: the contract, and a reply to every request."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import urlsplit

import jsonschema
import pytest
from amqp.exceptions import PreconditionFailed

from tests.support.fakes import PHONE, MemoryChats, MemoryConnections, MemoryIds, MemorySessions, make_session
from unoapi.broker.connection import Connection
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.rpc import BrokerRpc
from unoapi.broker.topology import Topology
from unoapi.connector import consumer as consuming
from unoapi.connector import rpc_server
from unoapi.connector.consumer import Consumer
from unoapi.connector.engines.simulated import NOT_ON_WHATSAPP, SimulatedEngine
from unoapi.connector.rpc_server import RpcServer, answer
from unoapi.connector.schemas import schemas
from unoapi.errors import NobodyAnswers
from unoapi.models.connector.rpc import REPLY_TO, RpcRequest
from unoapi.providers.whatsmeow.provider import WhatsmeowProvider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

CONTACTS = {"phones": ["5549988887777", NOT_ON_WHATSAPP]}


def no_file(_: Any) -> Any:
    raise AssertionError("no file is fetched here")


@pytest.fixture
def engine(tmp_path: Path) -> SimulatedEngine:
    engine = SimulatedEngine(tmp_path, PHONE)
    engine._connected = True
    return engine


def test_request_and_reply_fit_their_schemas(engine: SimulatedEngine) -> None:
    request = RpcRequest(method="contacts.check", session=PHONE, data=CONTACTS)

    reply = answer(request.model_dump_json(), engine, no_file)

    files = {name: json.loads(text) for name, text in schemas().items()}
    jsonschema.validate(request.model_dump(mode="json"), files["rpc.schema.json"])
    jsonschema.validate(CONTACTS, files["rpc.contacts.check.schema.json"])
    jsonschema.validate(reply.model_dump(mode="json"), files["rpc.reply.schema.json"])
    jsonschema.validate(reply.model_dump(mode="json")["data"], files["rpc.contacts.check.reply.schema.json"])
    assert reply.data == {"there": [True, False]}


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[]",
        "[" * 100_000,
        json.dumps({"method": "groups.list", "session": PHONE}),
        json.dumps({"method": "group.get", "session": PHONE, "data": {"group": "5511@s.whatsapp.net"}}),
        json.dumps({"method": "contacts.check", "session": PHONE, "data": {"phones": []}}),
        json.dumps({"method": "contacts.check", "session": PHONE, "data": {"phones": ["1"] * 1001}}),
    ],
    ids=["text", "list", "deep", "unknown", "no group", "nobody", "too many"],
)
def test_every_request_has_a_reply(engine: SimulatedEngine, body: str) -> None:
    reply = answer(body, engine, no_file)

    assert (reply.data, bool(reply.error)) == (None, True)


def test_a_phone_that_is_not_connected_says_so(tmp_path: Path) -> None:
    request = RpcRequest(method="contacts.check", session=PHONE, data=CONTACTS)

    assert answer(request.model_dump_json(), SimulatedEngine(tmp_path, PHONE), no_file).error == "not connected"


def test_field_report_89_a_phones_answer_can_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = json.dumps({"version": 1, "data": {"groups": [{"subject": "a\0b\ud83d"}]}}).encode()
    monkeypatch.setattr("unoapi.broker.rpc.Connection", mock.MagicMock())
    monkeypatch.setattr(BrokerRpc, "_exchange", lambda *_: reply)

    answered = BrokerRpc("amqp://nowhere", Topology("unoapi")).ask(PHONE, "group.list", {}, timeout_s=1)

    assert answered == {"groups": [{"subject": "ab\ufffd"}]}


def test_with_rabbitmq_away_nobody_answers() -> None:
    with pytest.raises(NobodyAnswers):
        BrokerRpc("amqp://guest:guest@127.0.0.1:1/", Topology("unoapi")).ask(PHONE, "contacts.check", {}, timeout_s=1)


@pytest.mark.parametrize("reply", [{}, {"there": [True]}, {"there": "x"}])
def test_a_reply_of_another_form_is_no_reply(reply: dict[str, Any]) -> None:
    class StrangeRpc:
        def ask(self, *_: Any, **__: Any) -> dict[str, Any]:
            return reply

    provider = WhatsmeowProvider(
        commands=None, connections=MemoryConnections(), chats=MemoryChats(), ids=MemoryIds(),  # type: ignore[arg-type]
        sessions=MemorySessions(make_session()),
        rendered=lambda message, _: message, max_age_s=60, rpc=StrangeRpc(),
    )  # fmt: skip

    assert provider.contacts(PHONE, ["+5549988887777", NOT_ON_WHATSAPP, "nobody"]) == [True, False, False]


def test_a_server_that_had_no_request_for_long_answers_the_next_one_as_it_does_after_an_error(
    amqp_url: str, engine: SimulatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection has heartbeats, so that both ends notice when the other is gone."""
    monkeypatch.setattr(consuming, "HEARTBEAT_S", 1)
    monkeypatch.setattr(consuming, "HEARTBEAT_CHECK_S", 0.3)
    topology = Topology("unoapi")
    server = RpcServer(topology.rpc_queue(PHONE), engine, no_file)
    serve, rounds = server.serve, []

    def breaks_once(*where: Any) -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise ZeroDivisionError
        serve(*where)

    monkeypatch.setattr(server, "serve", breaks_once)
    ConfirmingPublisher(amqp_url, topology).check(timeout_s=10)
    consumer = Consumer(
        amqp_url, topology.session_queue(PHONE), lambda _: None, name=PHONE, on_taken=lambda *_: None,
        rpc_server=server,
    )  # fmt: skip
    consumer.start()
    time.sleep(6)  # RabbitMQ closes a connection that is silent for two heartbeats

    reply = BrokerRpc(amqp_url, topology).ask(PHONE, "contacts.check", CONTACTS, timeout_s=5)
    consumer.stop(5)

    assert reply == {"there": [True, False]}
    assert len(rounds) == 2


class RpcChannel:
    """What was published, and the request's way in."""

    def __init__(self) -> None:
        self.take: Any = None
        self.published: list[tuple[str, Any]] = []

    def queue_declare(self, *_: Any, **__: Any) -> None: ...

    def basic_consume(self, _: str, *, callback: Any, no_ack: bool) -> None:
        assert no_ack
        self.take = callback

    def basic_publish(self, reply: Any, *, exchange: str, routing_key: str) -> None:
        assert exchange == ""
        self.published.append((routing_key, json.loads(reply.body)))


class Bell:
    """Counts what rang."""

    def __init__(self) -> None:
        self.rung = threading.Semaphore(0)

    def ring(self) -> None:
        self.rung.release()


def asked(channel: RpcChannel, reply_to: str) -> None:
    body = RpcRequest(method="contacts.check", session=PHONE, data=CONTACTS).model_dump_json()
    channel.take(SimpleNamespace(properties={"reply_to": reply_to}, body=body))


def serving(server: RpcServer, bell: Bell) -> RpcChannel:
    channel = RpcChannel()
    server.serve(SimpleNamespace(channel=lambda: channel), bell)  # type: ignore[arg-type]
    return channel


def test_replies_go_to_who_asked_on_the_connection_that_asked(engine: SimulatedEngine) -> None:
    server, bell = RpcServer(Topology("unoapi").rpc_queue(PHONE), engine, no_file), Bell()
    first = serving(server, bell)
    asked(first, f"{REPLY_TO}.1")
    assert bell.rung.acquire(timeout=5)
    server.send_replies()
    asked(first, "unoapi.incoming")  # one of our queues
    asked(first, f"{REPLY_TO}.2")
    assert bell.rung.acquire(timeout=5)

    second = serving(server, bell)  # the first connection broke before the reply left
    server.send_replies()
    asked(second, f"{REPLY_TO}.3")
    assert bell.rung.acquire(timeout=5)
    server.send_replies()

    assert [(to, reply["data"]) for to, reply in first.published] == [(f"{REPLY_TO}.1", {"there": [True, False]})]
    assert [to for to, _ in second.published] == [f"{REPLY_TO}.3"]


def test_commands_are_taken_though_the_queue_of_requests_cannot_be_had(engine: SimulatedEngine) -> None:
    class Refusing(RpcChannel):
        def queue_declare(self, *_: Any, **__: Any) -> None:
            raise PreconditionFailed("inequivalent arg")

    server, channel = RpcServer(Topology("unoapi").rpc_queue(PHONE), engine, no_file), Refusing()

    server.serve(SimpleNamespace(channel=lambda: channel), Bell())  # type: ignore[arg-type]

    assert channel.take is None


def test_what_waits_for_a_slow_phone_is_bounded(engine: SimulatedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_server, "MAX_WAITING", 2)
    go = threading.Event()
    monkeypatch.setattr(engine, "contacts", lambda phones: [go.wait(10) for _ in phones])
    server, bell = RpcServer(Topology("unoapi").rpc_queue(PHONE), engine, no_file), Bell()
    channel = serving(server, bell)

    for number in range(4):
        asked(channel, f"{REPLY_TO}.{number}")
    go.set()
    assert all(bell.rung.acquire(timeout=5) for _ in range(2))
    server.send_replies()
    asked(channel, f"{REPLY_TO}.later")
    assert bell.rung.acquire(timeout=5)
    server.send_replies()

    assert [to for to, _ in channel.published] == [f"{REPLY_TO}.{number}" for number in (0, 1, "later")]


@contextmanager
def broker_that_opens_no_channel(servers: PrivateServers) -> Iterator[str]:
    """RabbitMQ behind a network that takes everything but passes on nothing of a channel: its address."""
    host = urlsplit(servers.amqp_url)
    with socket.create_server(("127.0.0.1", 0)) as door, suppress(OSError):
        url = host._replace(netloc=f"{host.netloc.rpartition('@')[0]}@127.0.0.1:{door.getsockname()[1]}").geturl()
        threading.Thread(target=_relay, args=(door, (host.hostname, host.port)), daemon=True).start()
        yield url


def _relay(door: socket.socket, broker: Any) -> None:
    client, _ = door.accept()
    server = socket.create_connection(broker)
    threading.Thread(target=_copy, args=(server, client), daemon=True).start()
    with suppress(OSError):
        while frame := client.recv(65536):
            if frame.startswith(b"AMQP") or frame[1:3] == b"\0\0":  # the channel of the connection itself
                server.sendall(frame)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def test_a_question_ends_though_the_network_forgets_the_connection(
    servers: PrivateServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API's thread that asks would wait for ever, whatever the question's own deadline is."""
    monkeypatch.setattr(Connection, "io_timeout_s", 0.5)
    began = time.monotonic()

    with broker_that_opens_no_channel(servers) as url, pytest.raises(NobodyAnswers):
        BrokerRpc(url, Topology("unoapi")).ask(PHONE, "contacts.check", CONTACTS, timeout_s=1)

    assert time.monotonic() - began < 10


def test_every_connection_to_rabbitmq_has_deadlines_of_its_own() -> None:
    """By form, not by memory. Celery's connections have heartbeats in a loop of Celery's own."""
    bounds = Connection("amqp://127.0.0.1", transport_options={"read_timeout": 3}).transport_options

    assert bounds == {"read_timeout": 3, "write_timeout": Connection.io_timeout_s}
