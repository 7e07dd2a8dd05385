"""The consumer of commands: in order, several at once where that is possible, each settled by its own error."""

from __future__ import annotations

import functools
import socket
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import MemoryLeases, MemoryPublisher, MemorySessions, make_session
from tests.support.stack import eventually
from unoapi.broker.connection import WakeUp
from unoapi.broker.messages import Message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.topology import Topology
from unoapi.connector import consumer as consuming
from unoapi.connector import router as routing
from unoapi.connector.consumer import Consumer, ConsumerInRows
from unoapi.connector.router import Router
from unoapi.errors import InvalidCommand, SessionEnding
from unoapi.models.connector.commands import ConnectorCommand

if TYPE_CHECKING:
    from collections.abc import Callable

TOPOLOGY = Topology("unoapi")


class Channel:
    """What was settled, in order."""

    def __init__(self) -> None:
        self.settled: list[tuple[Any, ...]] = []

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        self.settled.append(("ack", tag, multiple))

    def basic_reject(self, tag: int, requeue: bool) -> None:
        self.settled.append(("back" if requeue else "dead", tag))


def consumed(
    bodies: list[bytes], handle: Callable[[bytes], None], handle_all: Any = None, *, kind: type[Consumer] = Consumer
) -> Channel:
    """What becomes of messages of which the first is worked on while the others come."""
    channel = Channel()
    consumer = kind(
        "amqp://127.0.0.1:1", TOPOLOGY.session_queue("1"), handle, name="test", on_taken=lambda *_: None,
        handle_all=handle_all, most=50,
    )  # fmt: skip
    for tag, body in enumerate(bodies, 1):
        consumer._take(SimpleNamespace(body=body, headers={}, delivery_tag=tag))
    while consumer._current is not None:
        consumer._settle_current(channel)
        time.sleep(0.001)
    return channel


def test_what_comes_while_one_is_worked_on_is_handled_at_once_and_acknowledged_together() -> None:
    alone: list[bytes] = []
    together: list[list[bytes]] = []

    channel = consumed([b"1", b"2", b"3"], alone.append, together.append)

    assert (alone, together) == ([b"1"], [[b"2", b"3"]])
    assert channel.settled == [("ack", 1, True), ("ack", 3, True)]


def test_when_that_fails_each_is_handled_and_settled_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from unoapi.connector import consumer  # noqa: PLC0415 (its pause is shortened)

    monkeypatch.setattr(consumer, "PAUSE_S", 0.0)
    handled: list[bytes] = []

    def handle(body: bytes) -> None:
        handled.append(body)
        if body == b"odd":
            raise InvalidCommand("no command")
        if body == b"later":
            raise SessionEnding("not now")

    def handle_all(_: list[bytes]) -> None:
        raise ValueError("one of them is odd")

    channel = consumed([b"1", b"2", b"odd", b"later", b"5"], handle, handle_all)

    assert handled == [b"1", b"2", b"odd", b"later", b"5"]
    assert channel.settled == [
        ("ack", 1, True), ("ack", 2, False), ("dead", 3), ("back", 4), ("ack", 5, False),
    ]  # fmt: skip


def test_commands_of_a_session_that_have_to_come_again_keep_their_order(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged is what was handled before; the rest goes back together, also what had come already."""
    monkeypatch.setattr(consuming, "PAUSE_S", 0.01)
    queue, handled, troubles = TOPOLOGY.session_queue("1"), list[bytes](), [SessionEnding("x"), ZeroDivisionError()]

    def handle(body: bytes) -> None:
        handled.append(body)
        if body == b"0":
            time.sleep(0.3)  # until all have come
        if body in (b"3", b"7") and troubles and handled.count(body) == 1:
            raise troubles.pop()
        if body == b"5":
            raise InvalidCommand("to the dead letters")

    publisher = ConfirmingPublisher(amqp_url, TOPOLOGY)
    consumer = ConsumerInRows(amqp_url, queue, handle, name="test", on_taken=lambda *_: None, most=10)
    publisher.check(timeout_s=10)
    consumer.start()
    declared = functools.partial(publisher.on_channel, lambda channel: channel.queue_declare(queue.name, passive=True))
    eventually(lambda: not raises(declared), what="the session's queue")
    publisher.publish_messages([Message(TOPOLOGY.broker, queue.name, f"{n}", {}, {}) for n in range(10)])

    eventually(lambda: b"9" in handled, what="all are handled")
    consumer.stop(5)
    publisher.close()

    assert b"".join(handled) == b"012334567789"


def raises(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:  # noqa: BLE001 (whatever it is)
        return True
    return False


def test_what_takes_long_is_acknowledged_before_the_rest_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consuming, "ROW_S", 0.0)
    handled: list[bytes] = []

    channel = consumed([b"1", b"2", b"3"], handled.append, kind=ConsumerInRows)

    assert handled == [b"1", b"2", b"3"]
    assert channel.settled == [("ack", 1, True), ("ack", 2, True), ("ack", 3, True)]


def test_a_wait_for_a_connection_ends_with_what_comes_and_with_a_ring_from_any_thread() -> None:
    ours, theirs = socket.socketpair()
    transport = SimpleNamespace(sock=ours, has_more=False)
    connection: Any = SimpleNamespace(connection=SimpleNamespace(transport=transport))
    wake_up, began = WakeUp(), time.monotonic()
    with ours, theirs:
        threading.Timer(0.05, wake_up.ring).start()
        rung = wake_up.wait(connection, 5)
        theirs.send(b"frame")
        came = wake_up.wait(connection, 5)
        ours.recv(16)
        transport.has_more = True  # as TLS keeps what the socket does not show
        kept = wake_up.wait(connection, 5)
        transport.has_more = False
        nothing = wake_up.wait(connection, 0.01)
    for _ in range(100_000):
        wake_up.ring()  # nobody waits: it must neither block nor raise
    wake_up.close()
    wake_up.ring()

    assert (rung, came, kept, nothing) == (False, True, True, False)
    assert time.monotonic() - began < 4


class Publisher(MemoryPublisher):
    """What was published, call by call."""

    def __init__(self) -> None:
        super().__init__(TOPOLOGY)
        self.calls: list[list[str]] = []

    def publish_messages(self, messages: Any, **_: Any) -> None:
        self.calls.append([message.routing_key for message in messages])


def command(kind: str, session: str) -> bytes:
    return ConnectorCommand(type=kind, command_id="c", session=session).model_dump_json().encode()


def test_commands_are_forwarded_with_one_confirm_unless_one_is_for_the_supervisor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routing.Router, "_declare", lambda *_: None)
    publisher = Publisher()
    router = Router(
        amqp_url="amqp://127.0.0.1:1", server="server_1", publisher=publisher, sessions=MemorySessions(make_session()),
        leases=MemoryLeases(), control=lambda _: None, on_taken=lambda *_: None,
    )  # fmt: skip

    router._route_all([command("send", "1"), command("read", "2"), command("send", "1")])
    with pytest.raises(ValueError, match="supervisor"):
        router._route_all([command("send", "1"), command("session.connect", "1")])
    with pytest.raises(InvalidCommand):
        router._route_all([command("send", "1"), b"no json"])

    entry = "unoapi.outgoing.whatsmeow"
    assert publisher.calls == [[f"{entry}.1", f"{entry}.2", f"{entry}.1"]]
