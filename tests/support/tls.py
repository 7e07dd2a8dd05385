"""A door with TLS before a server without it, as platforms put it before RabbitMQ."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import trustme

CHUNK = 65_536


class TlsDoor:
    """`with TlsDoor(authority, "localhost", to_port) as door: ...`; it listens on `door.port` of loopback."""

    def __init__(self, authority: trustme.CA, host: str, to_port: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(self._context)
        self._context.sni_callback = self._note_name
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.asked_for: list[str | None] = []
        """The host that each client named, or none."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _note_name(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.asked_for.append(name)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._to_port)) as server:
            client.settimeout(10)
            with self._context.wrap_socket(client, server_side=True) as secret:
                secret.settimeout(None)
                back = threading.Thread(target=_copy, args=(server, secret), daemon=True)
                back.start()
                _copy(secret, server)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
