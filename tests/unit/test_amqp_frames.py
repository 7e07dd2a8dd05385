"""Frames of AMQP as our connections read them: many at once, and none of them lost in the middle."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from unoapi.broker.celery import EagerConnection
from unoapi.broker.connection import TCPTransport, written_together

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOADS = [bytes([number]) * (number * 7) for number in range(40)]


def frame(payload: bytes) -> bytes:
    return b"\x01\x00\x02" + len(payload).to_bytes(4, "big") + payload + b"\xce"


@pytest.fixture
def ends() -> Iterator[tuple[TCPTransport, socket.socket]]:
    """Our transport, and RabbitMQ's end of its socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = TCPTransport("127.0.0.1")
        ours.settimeout(0.05)
        transport.sock = ours
        transport._setup_transport()
        yield transport, theirs


def test_frames_that_came_together_are_read_together(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends
    rabbit.sendall(b"".join(frame(payload) for payload in PAYLOADS))

    first = transport.read_frame()
    rabbit.shutdown(socket.SHUT_WR)
    rest = []
    while transport.has_frame:
        rest.append(transport.read_frame()[2])

    assert [first[2], *rest] == PAYLOADS


@pytest.mark.parametrize("cut", [1, 6, 7, 8, 20, len(frame(PAYLOADS[30])) - 1])
def test_a_frame_that_comes_in_two_parts_is_whole(ends: tuple[TCPTransport, socket.socket], cut: int) -> None:
    transport, rabbit = ends
    written = frame(PAYLOADS[30])
    rabbit.sendall(frame(b"before") + written[:cut])
    transport.read_frame()
    ready_early = transport.has_frame

    rabbit.sendall(written[cut:])

    assert not ready_early
    assert transport.read_frame() == (1, 2, PAYLOADS[30])
    assert not transport.has_frame


def test_a_time_out_between_frames_loses_nothing(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends
    written = frame(PAYLOADS[30])
    rabbit.sendall(written[:5])
    with pytest.raises(TimeoutError):
        transport.read_frame()

    rabbit.sendall(written[5:])

    assert transport.read_frame() == (1, 2, PAYLOADS[30])


def test_an_end_in_the_middle_of_a_frame_is_an_error(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends
    rabbit.sendall(frame(PAYLOADS[30])[:9])
    rabbit.close()

    with pytest.raises(OSError, match="closed"):
        transport.read_frame()


def test_what_is_written_together_leaves_with_one_call_and_in_order(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends
    connection, one_buffer = SimpleNamespace(transport=transport), bytearray(3)
    calls: list[bytes] = []
    send = vars(transport)["_write"]

    def write(written: bytes) -> None:
        calls.append(bytes(written))
        send(written)

    vars(transport)["_write"] = write

    with written_together(connection):
        for number in range(3):
            one_buffer[:] = bytes([number]) * 3  # py-amqp writes each frame from the same one
            transport.write(memoryview(one_buffer))  # type: ignore[arg-type] # as it does
    transport.write(b"after")

    assert calls == [bytes([0, 0, 0, 1, 1, 1, 2, 2, 2]), b"after"]
    assert rabbit.recv(100) == b"".join(calls)


def test_what_was_written_before_an_error_leaves_all_the_same(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends

    def write_and_fail() -> None:
        with written_together(SimpleNamespace(transport=transport)):
            transport.write(b"before")
            raise LookupError

    with pytest.raises(LookupError):
        write_and_fail()

    assert rabbit.recv(100) == b"before"


def test_without_a_connection_nothing_is_written() -> None:
    with written_together(None):
        pass


def test_who_polls_the_socket_gets_all_that_was_read_ahead(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends
    worker: Any = EagerConnection("amqp://127.0.0.1:1").transport
    connection, handled = worker.Connection("127.0.0.1:1"), list[bytes]()
    connection._transport = transport

    def handle(came: tuple[int, int, bytes]) -> bool:
        handled.append(came[2])
        return True

    connection.on_inbound_frame = handle
    rabbit.sendall(b"".join(frame(payload) for payload in PAYLOADS))

    connection.drain_events(timeout=0.05)

    assert handled == PAYLOADS  # nothing of it would make the socket ready again
