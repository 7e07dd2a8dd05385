"""A client's socket as threads see it: a thread of the pool never waits for it, one of the lane for a bounded time."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from gunicorn.http.body import Body  # type: ignore[import-untyped]
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from gunicorn.http.unreader import Unreader  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from unoapi.web.waiting import BodyNotHereError

READ_S = 30.0
WRITE_S = 30.0
LEAST_BYTES_PER_S = 32 * 1024
"""Of files: a client that is slower than this for half a minute is cut off."""
PIECE = 64 * 1024
MAX_PIECE = 1024 * 1024


class Gathered(Unreader):  # type: ignore[misc] # gunicorn has no types
    """What has come of a request; it never waits."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.unread(data)

    def chunk(self, size_hint: int | None = None) -> bytes:  # noqa: ARG002 (gunicorn's)
        """Raise BodyNotHereError: there is no more than what is here."""
        raise BodyNotHereError


class Streamed(Unreader):  # type: ignore[misc]
    """What has come, then the socket, for as long as the client is not too slow."""

    def __init__(self, data: bytes, sock: socket.socket) -> None:
        super().__init__()
        self.unread(data)
        self._sock = sock
        self._began = time.monotonic()
        self._read = 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes. Raises TimeoutError."""
        left_s = self._began + READ_S + self._read / LEAST_BYTES_PER_S - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the body comes too slowly")
        self._sock.settimeout(left_s)
        data = self._sock.recv(min(max(size_hint or 0, PIECE), MAX_PIECE))
        self._read += len(data)
        return data


class ClientsBody(Body):  # type: ignore[misc]
    """A body that breaks off, comes too slowly or is not what its head says is the client's error, not ours."""

    def _read_reader(self, size: int) -> Any:
        try:
            return super()._read_reader(size)
        except (ParseException, OSError) as error:
            raise ClientDisconnected from error


class AnswerBuffer:
    """Gathers an answer and sends it at once; what the client does not take is left in `waiting`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.waiting = bytearray()

    def sendall(self, data: bytes) -> None:
        """Gather it until `push`."""
        self.waiting += data

    send = sendall

    def push(self) -> None:
        """Send what the client takes now. Raises OSError when it is gone."""
        with contextlib.suppress(BlockingIOError):
            del self.waiting[: self._sock.send(self.waiting, socket.MSG_DONTWAIT)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class PatientSocket:
    """Waits for the client, as long as it is not too slow."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._began = time.monotonic()
        self._sent = 0

    def sendall(self, data: bytes) -> None:
        """Send all of it. Raises TimeoutError."""
        for start in range(0, len(data), PIECE):
            left_s = self._began + WRITE_S + self._sent / LEAST_BYTES_PER_S - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the client reads too slowly")
            self._sock.settimeout(left_s)
            self._sock.sendall(data[start : start + PIECE])
            self._sent += PIECE

    send = sendall

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
