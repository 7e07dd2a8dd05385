"""A receiver that breaks HTTP in ways that no well-behaved server library offers. The path names the way."""

from __future__ import annotations

import contextlib
import ipaddress
import socketserver
import ssl
import struct
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Self

import trustme

if TYPE_CHECKING:
    import socket
    from pathlib import Path

LARGE = 10 * 1024 * 1024
CHUNK = b"x" * 65_536
PATIENCE_S = 30.0
"""No fault lasts longer, whatever the client does."""


class Misbehaving:
    """Listens on loopback. `throttled` is how many requests the throttling path refuses before it takes any."""

    def __init__(self, *, throttled: int = 0, context: ssl.SSLContext | None = None) -> None:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    outer._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

            def get_request(self) -> tuple[socket.socket, object]:
                connection, address = super().get_request()
                connection.settimeout(PATIENCE_S)
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                return connection, address

        self.requests: Counter[str] = Counter()
        self._throttled = throttled
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def url(self, path: str, *, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/{path}"

    def _serve(self, connection: socket.socket) -> None:
        path = _request(connection)
        with self._lock:
            self.requests[path] += 1
            number = self.requests[path]
        match path:
            case "resets-in-the-body":
                connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 1000\r\n\r\nhalf")
                connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))  # RST instead of FIN
            case "slow-status":
                _drip(connection, b"HTTP/1.1 200 OK, after a very long time")
            case "slow-headers":
                connection.sendall(b"HTTP/1.1 500 Oops\r\n")
                _drip(connection, b"X-Long: " + b"a" * 1000)
            case "slow-body":
                connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 1000\r\n\r\n")
                _drip(connection, b"b" * 1000)
            case "endless-body":
                connection.sendall(b"HTTP/1.1 500 Oops\r\n\r\n")
                _flood(connection, None)
            case "large-body":
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode())
                _flood(connection, LARGE)
            case "throttles" if number <= self._throttled:
                connection.sendall(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            case "gone":
                connection.sendall(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
            case "redirects":
                target = self.url("redirected").encode()
                connection.sendall(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n")
            case _:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def expired(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's certificate that ran out yesterday, and the file of the authority that signed it."""
    authority = trustme.CA()
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    name = str(ipaddress.ip_address("127.0.0.1"))
    authority.issue_cert(name, not_after=datetime.now(UTC) - timedelta(days=1)).configure_cert(context)
    return context, bundle


def _request(connection: socket.socket) -> str:
    """Read one request whole; its path without the slash."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    left = int(headers.get("content-length", 0)) - len(body)
    while left > 0:
        left -= len(_received(connection))
    return lines[0].split(" ")[1].strip("/")


def _received(connection: socket.socket) -> bytes:
    part = connection.recv(65_536)
    if not part:
        raise ValueError("the client went away")
    return part


def _drip(connection: socket.socket, data: bytes) -> None:
    deadline = time.monotonic() + PATIENCE_S
    for byte in data:
        if time.monotonic() > deadline:
            return
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def _flood(connection: socket.socket, most: int | None) -> None:
    deadline, sent = time.monotonic() + PATIENCE_S, 0
    while (most is None or sent < most) and time.monotonic() < deadline:
        part = CHUNK if most is None else CHUNK[: most - sent]
        connection.sendall(part)
        sent += len(part)
