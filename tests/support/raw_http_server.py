"""Receivers on the level of bytes, and how the clients are called."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Self

from pydantic import SecretStr
from pydantic_core import Url

from unoapi.http.address_guard import AddressGuard
from unoapi.http.webhook_client import CurlSender, WebhookClient, WebhookRequest
from unoapi.models.attempts import Answer
from unoapi.models.session import Webhook

LOOPBACK = AddressGuard(("127.0.0.0/8", "::1"))
Reply = bytes | Callable[[socket.socket], None]
"""Bytes are sent and the connection stays open; a function does what it likes."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PARTIAL = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
SLACK_S = 0.5
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Received:
    """One request as it came; `connection` counts from 1."""

    connection: int
    head: str
    body: bytes

    @property
    def target(self) -> str:
        return self.head.split(" ", 2)[1]

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name; a header that came twice fails the test."""
        pairs = [line.split(":", 1) for line in self.head.split("\r\n")[1:]]
        headers = {name.lower(): value.strip() for name, value in pairs}
        assert len(headers) == len(pairs), self.head
        return headers


class Receiver:
    """A TCP server that gives the n-th request the n-th reply, and all later ones the last."""

    def __init__(self, *replies: Reply, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.client_left = threading.Event()
        self._replies, self._tls = replies, tls
        self._open: list[socket.socket] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        authority = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{authority}:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._listener, *self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError), ExitStack() as ending:
            ending.callback(self.client_left.set)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                self._open.append(connection)
                self._shake_hands(connection)
            while connection.fileno() != -1 and (request := self._read(connection, number)):
                self.requests.append(request)
                reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
                if isinstance(reply, bytes):
                    connection.sendall(reply)
                else:
                    reply(connection)

    def _shake_hands(self, connection: ssl.SSLSocket) -> None:
        try:
            connection.do_handshake()
        except ssl.SSLError:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):  # what is left unread at the end would take away the reason that was told
                pass
            raise

    def _read(self, connection: socket.socket, number: int) -> Received | None:
        raw, wanted = b"", 1
        while len(raw) < wanted or b"\r\n\r\n" not in raw:
            if not (piece := connection.recv(1 << 20)):
                return None
            raw += piece
            head, end, body = raw.partition(b"\r\n\r\n")
            if end:
                received = Received(number, head.decode("latin-1"), body)
                wanted = len(head) + len(end) + int(received.headers.get("content-length", 0))
        return received


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def mute(connection: socket.socket) -> None:
    connection.recv(1)


def say(text: bytes, *, then: Callable[[socket.socket], None]) -> Reply:
    """Send, wait until it has surely been read, do the rest."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(text)
        time.sleep(0.1)
        then(connection)

    return reply


def repeat(piece: bytes, *, pause_s: float = 0) -> Callable[[socket.socket], None]:
    """Send the same again and again until the client has gone."""

    def reply(connection: socket.socket) -> None:
        while True:
            connection.sendall(piece)
            time.sleep(pause_s)

    return reply


def answer_with(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


Listen = Callable[..., Receiver]


def send(
    sender: CurlSender,
    url: str,
    *,
    tenant: str = "5511",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"{}",
    timeout_ms: int = 5000,
) -> Answer:
    return sender.post(WebhookRequest(url=url, body=body, headers=headers, tenant=tenant, timeout_ms=timeout_ms))


def make_webhook(url: str, *, token: str = "", secret: str = "", timeout_ms: int = 5000) -> Webhook:
    return Webhook.model_validate(
        {"url": Url(url), "token": SecretStr(token), "secret": SecretStr(secret), "timeout_ms": timeout_ms},
        by_name=True,
        by_alias=True,
    )


def deliver(webhook: Webhook, *, attempt: int = 1, body: str = "{}") -> Answer:
    return WebhookClient(LOOPBACK).post(webhook, phone="5511", delivery_id="d-1", attempt=attempt, body=body)


def connections_of(receiver: Receiver) -> list[int]:
    """The connection of each request."""
    return [request.connection for request in receiver.requests]
