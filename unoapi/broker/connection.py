"""A connection to RabbitMQ on which nothing waits for ever, and that, over TLS, checks whose certificate it gets."""

from __future__ import annotations

import select
import socket
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import kombu
from amqp import transport
from amqp.exceptions import AMQPError, UnexpectedFrame
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

BROKER_ERRORS = (OSError, AMQPError, OperationalError)
"""What the libraries raise when RabbitMQ is away, refuses or breaks off."""
IO_TIMEOUT_S = 10.0
"""For an answer, and for what is sent to leave. Waiting for messages is bounded by who waits."""
TYPED_OPTIONS: dict[str, Callable[[str], Any]] = {
    "connect_timeout": float,
    "login_method": str.upper,
    "ssl": lambda written: written.lower() in ("true", "1"),
}
"""What an address may say of a connection: kombu hands on the text, at which its transport breaks."""
READ_AHEAD = 8192
"""Bytes that are read at once."""
FRAME_HEADER = struct.Struct(">BHI")
FRAME_END = 0xCE


class _FewCalls:
    """Reads what has come, not a few bytes of one frame at a time, and writes many frames in one piece if asked to.

    Each read or write lets another thread have the interpreter's lock, and a message is nine of them.
    """

    _read_buffer: bytes
    _start = 0
    """Where in the buffer the next frame begins."""
    _quick_recv: Callable[[int], bytes]
    _write: Callable[[Buffer], None]
    write: Callable[[Buffer], None]

    def _setup_transport(self) -> None:
        super()._setup_transport()  # type: ignore[misc] # of the transport that this is mixed into
        self._read_buffer, self._start = b"", 0
        receive = self._quick_recv
        self._quick_recv = lambda size: receive(max(size, READ_AHEAD))

    @contextmanager
    def one_write(self) -> Iterator[None]:
        """Send all that is written within when it ends. Nobody else may write meanwhile."""
        write_now = self._write
        pieces: list[bytes] = []
        self._write = lambda piece: pieces.append(bytes(piece))  # py-amqp uses its buffer again
        try:
            yield
        finally:
            self._write = write_now
            if pieces:
                self.write(b"".join(pieces))

    @property
    def has_frame(self) -> bool:
        """Whether a whole frame was read already."""
        return self._frame_end > 0

    @property
    def _frame_end(self) -> int:
        """Where in the buffer the next frame ends; 0 if not all of it was read."""
        came, start = self._read_buffer, self._start
        if len(came) - start < FRAME_HEADER.size:
            return 0
        end: int = start + FRAME_HEADER.size + FRAME_HEADER.unpack_from(came, start)[2] + 1
        return end if end <= len(came) else 0

    def read_frame(self, *args: Any, **options: Any) -> tuple[int, int, bytes]:
        """The next frame: type, channel, payload. py-amqp copies all that was read three times for each: not this."""
        end = self._frame_end
        if not end:
            self._read_buffer, self._start = self._read_buffer[self._start :], 0
            frame: tuple[int, int, bytes] = super().read_frame(*args, **options)  # type: ignore[misc]
            return frame
        came, start = self._read_buffer, self._start
        kind, channel, _ = FRAME_HEADER.unpack_from(came, start)
        self._start = end
        if came[end - 1] != FRAME_END:
            raise UnexpectedFrame(f"Received frame_end {came[end - 1]:#04x} while expecting {FRAME_END:#04x}")
        return kind, channel, came[start + FRAME_HEADER.size : end - 1]

    @property
    def has_more(self) -> bool:
        """Whether something came that the socket does not say."""
        return self.has_frame


class TCPTransport(_FewCalls, transport.TCPTransport):
    """Over TCP."""


class SSLTransport(_FewCalls, transport.SSLTransport):
    """Over TLS."""

    @property
    def has_more(self) -> bool:
        """Whether something came that the socket does not say."""
        tls: Any = self.sock
        return self.has_frame or tls.pending() > 0


class _AmqpConnection(pyamqp.Connection):
    def Transport(self, host: str, connect_timeout: float | None, ssl: Any = False, *args: Any, **options: Any) -> Any:  # noqa: N802 (py-amqp's)
        """The transport of this connection."""
        options |= dict(zip(("read_timeout", "write_timeout"), args, strict=False))
        kind = SSLTransport if ssl else TCPTransport
        return kind(host, connect_timeout=connect_timeout, ssl=ssl, **options)

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Handle the next frame. One that is there needs no time-out: to set it and take it back are system calls."""
        if self.transport.has_frame:
            return self.on_inbound_frame(self.transport.read_frame())
        return super().blocking_read(timeout)


class _Transport(pyamqp.Transport):
    Connection = _AmqpConnection


class _TransportOverTLS(pyamqp.SSLTransport):
    Connection = _AmqpConnection


class Connection(kombu.Connection):
    """kombu's connection. With `amqps://` kombu checks the certificate, but not that it is the host's: this one does.

    It also sends the host's name, for servers with several certificates. `SSL_CERT_FILE` adds an authority. Without
    `read_timeout` and `write_timeout` among its `transport_options` it has `IO_TIMEOUT_S` for both.
    """

    io_timeout_s: float | None = IO_TIMEOUT_S

    def __init__(self, *args: Any, **options: Any) -> None:
        bounds = {"read_timeout": self.io_timeout_s, "write_timeout": self.io_timeout_s}
        options["transport_options"] = bounds | (options.get("transport_options") or {})
        super().__init__(*args, **options)
        self._check_host()

    def _init_params(  # type: ignore[override] # kombu gives all by name
        self, *, transport: str | None, **params: Any
    ) -> None:
        for name, typed in TYPED_OPTIONS.items():
            if isinstance(written := params.get(name), str):  # behind the `?` of an address
                params[name] = typed(written)
        # Of "amqp" kombu makes "librabbitmq" where that is installed: it would look for it at each connection.
        super()._init_params(transport="pyamqp" if transport in (None, "amqp") else transport, **params)

    def get_transport_cls(self) -> type[pyamqp.Transport]:
        """The transport, whose connections read ahead."""
        return _TransportOverTLS if self.transport_cls == "amqps" else _Transport

    def switch(self, conn_str: str) -> None:
        """Go on with another address of the same list."""
        super().switch(conn_str)
        self._check_host()

    def _check_host(self) -> None:
        if self.transport_cls == "amqps":
            self.ssl = {"server_hostname": self.hostname}


class WakeUp:
    """A wait for what a connection receives, which any thread may end: nobody has to look again and again."""

    def __init__(self) -> None:
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._outer.setblocking(False)

    def ring(self) -> None:
        """End the wait; the next one, if nobody waits now. Any thread, also after `close`."""
        with suppress(OSError):  # full: it has rung
            self._outer.send(b"!")

    def wait(self, connection: Connection, timeout_s: float) -> bool:
        """Wait for something to read, a ring or the timeout. Whether there is something to read."""
        inner: Any = connection.connection
        waits = not inner.transport.has_more
        poll = select.poll()
        poll.register(inner.transport.sock, select.POLLIN)
        poll.register(self._inner, select.POLLIN)
        ready = {number for number, _ in poll.poll(timeout_s * 1000 if waits else 0)}
        if self._inner.fileno() in ready:
            with suppress(BlockingIOError):
                self._inner.recv(4096)
        return not waits or inner.transport.sock.fileno() in ready

    def close(self) -> None:
        """Use it no more."""
        self._inner.close()
        self._outer.close()


def wait_until_applied(channel: Any, queue: str) -> None:
    """Return when a quorum queue has applied every acknowledgement of this channel.

    To add or to end a consumer is answered when the queue has applied it, and so all that was passed on before. What
    RabbitMQ had not passed on follows then, hence the second round. What comes meanwhile is given back.
    """
    for _ in range(2):
        channel.basic_qos(0, 1, False)
        tag = channel.basic_consume(queue, no_ack=False, callback=lambda _: None)
        channel.basic_cancel(tag)
