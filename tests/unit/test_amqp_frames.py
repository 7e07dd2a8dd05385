"""Frames of AMQP as our connections read them: many at once, and none of them lost in the middle."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from amqp import transport as py_amqp
from amqp.exceptions import UnexpectedFrame

from unoapi.broker.connection import Connection, SSLTransport, TCPTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOADS = [bytes([number]) * (number * 7) for number in range(40)]


def frame(payload: bytes) -> bytes:
    return b"\x01\x00\x02" + len(payload).to_bytes(4, "big") + payload + b"\xce"


def read(transport: Any) -> tuple[int, int, bytes] | str:
    """The next frame, or the kind of the error."""
    try:
        frame: tuple[int, int, bytes] = transport.read_frame()
    except (OSError, UnexpectedFrame) as error:
        return type(error).__name__
    return frame


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


@pytest.mark.parametrize("before", [0, 1])
def test_a_frame_that_does_not_end_as_one_is_an_error(ends: tuple[TCPTransport, socket.socket], before: int) -> None:
    transport, rabbit = ends
    rabbit.sendall(frame(b"before") * before + frame(PAYLOADS[30])[:-1] + b"\x00" + frame(b"behind"))
    for _ in range(before):
        transport.read_frame()

    with pytest.raises(UnexpectedFrame):
        transport.read_frame()


def test_a_frame_that_is_larger_than_what_is_read_at_once_is_whole(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends
    large = bytes(range(256)) * 256
    sender = threading.Thread(target=rabbit.sendall, args=(frame(b"before") + frame(large) + frame(b"behind"),))
    sender.start()

    frames = [transport.read_frame()[2] for _ in range(3)]
    sender.join()

    assert frames == [b"before", large, b"behind"]


@pytest.mark.parametrize("seed", range(20))
def test_frames_are_read_as_py_amqp_reads_them(seed: int) -> None:
    drawn = random.Random(seed)
    sizes = [drawn.choice([0, 1, 7, 8, 100, 8184, 8192, 20_000]) for _ in range(12)]
    written = b"".join(frame(drawn.randbytes(size))[: drawn.choice([None] * 9 + [-1])] for size in sizes)
    (ours, theirs), (plain, plain_end) = socket.socketpair(), socket.socketpair()
    with ours, theirs, plain, plain_end:
        transports: list[Any] = [TCPTransport("127.0.0.1"), py_amqp.TCPTransport("127.0.0.1")]
        for transport, end in zip(transports, (ours, plain), strict=True):
            end.settimeout(0.002)
            transport.sock = end
            transport._setup_transport()
        while written:
            size = drawn.choice([1, 5, 8, 500, 8192, 30_000])
            for end in (theirs, plain_end):
                end.sendall(written[:size])
            written = written[size:]
            for _ in range(drawn.choice([0, 1, 3])):
                assert read(transports[0]) == read(transports[1])
        for end in (theirs, plain_end):
            end.close()

        while (last := read(transports[0])) != "OSError":
            assert last == read(transports[1])
        assert read(transports[1]) == "OSError"


def test_a_transport_that_connects_again_has_nothing_of_the_connection_before() -> None:
    transport: Any = SSLTransport("127.0.0.1")
    transport._read_buffer, transport._start = frame(b"before"), 3
    transport._wrap_socket = lambda sock, **_: sock
    transport.sock = SimpleNamespace(
        settimeout=lambda _: None, do_handshake=lambda: None, read=lambda _: b"", close=lambda: None
    )

    transport._setup_transport()

    assert (transport.has_frame, transport._read_buffer) == (False, b"")


def test_what_is_written_together_leaves_in_one_piece(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends
    store = bytearray(b"first")
    with transport.one_write():
        transport.write(memoryview(store))
        store[:] = b"other"  # py-amqp fills the same bytes again
        transport.write(memoryview(store))
        rabbit.setblocking(False)
        with pytest.raises(BlockingIOError):
            rabbit.recv(100)

    together = rabbit.recv(100)
    transport.write(b"alone")

    assert (together, rabbit.recv(100)) == (b"firstother", b"alone")


def test_what_fails_in_between_does_not_keep_back_what_was_written(ends: tuple[TCPTransport, socket.socket]) -> None:
    transport, rabbit = ends
    with suppress(ZeroDivisionError), transport.one_write():
        transport.write(b"first")
        raise ZeroDivisionError

    assert rabbit.recv(100) == b"first"


@pytest.mark.parametrize(("kept", "more"), [(0, False), (5, True)])
def test_what_tls_has_read_and_the_socket_does_not_say_is_not_waited_for(kept: int, more: bool) -> None:
    transport = SSLTransport("127.0.0.1")
    transport._read_buffer = b""
    transport.sock = SimpleNamespace(pending=lambda: kept, close=lambda: None)  # type: ignore[assignment]

    assert transport.has_more is more


def test_no_connection_looks_for_a_driver_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr("kombu.connection.supports_librabbitmq", lambda: looks.append(1))

    connection = Connection("amqp://one.test;amqp://two.test")
    connection.switch("amqp://two.test")

    assert (looks, connection.hostname) == ([], "two.test")
