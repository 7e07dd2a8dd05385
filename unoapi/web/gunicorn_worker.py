"""gunicorn's worker: no thread waits for a client, and nothing is said of what a broken request held.

Threads are for work. The main loop reads requests and writes what a client does not take at once; a thread gets a
request when its head and body have come. Who is slow to send a body is looked at before it: the application runs on
the head, so that it refuses whoever has no token. If it asks for the body (`NotHereError`), the request is run anew
when that has come. What takes long by its nature (large files, sockets) has threads of its own, a bounded number for
each client.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any

from gunicorn import http  # type: ignore[import-untyped]
from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.http.unreader import Unreader  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from unoapi.web.request_framing import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

BROKEN = "the request is not valid HTTP"

HEAD_S = 10.0
"""For the whole head of a request, from its first byte or from the connection's beginning."""
GRACE_S = 0.05
"""A body that follows its head this soon is waited for; else the head is looked at alone."""
BODY_S = 30.0
LINGER_S = 2.0
FLUSH_S = 30.0
"""For an answer that the client does not take at once."""
LEAST_BYTES_PER_S = 32 * 1024
"""Of files: a client that is slower than this for half a minute is cut off."""
MAX_HEAD = 64 * 1024
EARLY_BODY = 64 * 1024
"""So much of a body is buffered before the token is checked."""
MAX_BODY = 2 * 1024 * 1024
"""Larger bodies are read by a thread of the lane."""
MAX_BODIES = 64 * 1024 * 1024
"""All bodies that are gathered at one time."""
MAX_ANSWER = 256 * 1024
"""Larger answers are written by a thread of the lane."""
LANE_THREADS = 64
LANE_THREADS_PER_CLIENT = 24
SPARE_CONNECTIONS = 20
PIECE = 64 * 1024
SOCKETS = (b"/ws", b"/ws/")

WANTED = object()
"""What `handle` returns when the application asks for a body that is not here."""


class NotHereError(BaseException):
    """The application reads what has not come yet. No Exception, so that it passes all handlers of errors."""


class _Gathered(Unreader):  # type: ignore[misc] # gunicorn has no types
    """What has come of a request; it never waits."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.unread(data)

    def chunk(self, size_hint: int | None = None) -> bytes:  # noqa: ARG002 (gunicorn's)
        raise NotHereError


class _Streamed(Unreader):  # type: ignore[misc]
    """What has come, then the socket, for as long as the client is not too slow."""

    def __init__(self, data: bytes, sock: socket.socket) -> None:
        super().__init__()
        self.unread(data)
        self._sock = sock
        self._began = time.monotonic()
        self._read = 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        left_s = self._began + BODY_S + self._read / LEAST_BYTES_PER_S - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the body comes too slowly")
        self._sock.settimeout(left_s)
        data = self._sock.recv(min(max(size_hint or 0, PIECE), 1024 * 1024))
        self._read += len(data)
        return data


class _Outbox:
    """The socket as a thread sees it: what the client does not take at once is left to the main loop."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.waiting = bytearray()

    def sendall(self, data: bytes) -> None:
        if not self.waiting:
            sent = 0
            with contextlib.suppress(BlockingIOError):
                sent = self._sock.send(data, socket.MSG_DONTWAIT)
            data = data[sent:]
        self.waiting += data

    send = sendall

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Slow:
    """The socket in the lane: waits for the client, as long as it is not too slow."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._began = time.monotonic()
        self._sent = 0

    def sendall(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            left_s = self._began + FLUSH_S + self._sent / LEAST_BYTES_PER_S - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the client reads too slowly")
            self._sock.settimeout(left_s)
            self._sock.sendall(data[start : start + PIECE])
            self._sent += PIECE

    send = sendall

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Connection(TConn):  # type: ignore[misc]
    """A connection, and what has come on it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.initialized = True  # no TLS, no HTTP/2: a proxy speaks those
        self.inbox = Inbox()
        self.outbox: _Outbox | None = None
        self.wants_body = False
        self.in_lane = False
        self.reserved_bytes = 0
        self.then: Callable[[], None] | None = None


class _Waiting:
    """Connections that wait for their client, each for the same time, the oldest first."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._due: OrderedDict[_Connection, float] = OrderedDict()

    def add(self, conn: _Connection) -> None:
        self._due.setdefault(conn, time.monotonic() + self._within_s)

    def discard(self, conn: _Connection) -> None:
        self._due.pop(conn, None)

    @property
    def oldest(self) -> _Connection | None:
        return next(iter(self._due), None)

    @property
    def next_due(self) -> float:
        return next(iter(self._due.values()), float("inf"))

    def __contains__(self, conn: object) -> bool:
        return conn in self._due


class DiscreetWorker(ThreadWorker):  # type: ignore[misc]
    """See the module. Log lines and answers quote neither the request line nor a header."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._heads = _Waiting(HEAD_S)
        self._waits_for_body = _Waiting(GRACE_S)
        self._bodies = _Waiting(BODY_S)
        self._flushes = _Waiting(FLUSH_S)
        self._lingers = _Waiting(LINGER_S)
        self._bodies_size = 0
        self._lane_users: Counter[tuple[Any, bytes]] = Counter()
        self._lane: ThreadPoolExecutor | None = None

    # --- in the main loop ---

    def accept(self, listener: socket.socket) -> None:
        """Take a connection. The oldest silent one makes room when there are too many."""
        if self.nr_conns >= self.worker_connections - SPARE_CONNECTIONS:
            self._make_room()
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        self._begin(_Connection(self.cfg, sock, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: _Connection, client: socket.socket) -> None:
        """A persistent connection has its next request."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._begin(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Also what is due."""
        everything = (self._heads, self._waits_for_body, self._bodies, self._flushes, self._lingers)
        due = min(waiting.next_due for waiting in everything)
        super().wait_for_and_dispatch_events(timeout=max(0.0, min(timeout, due - time.monotonic())))
        now = time.monotonic()
        while not self.alive and (conn := self._heads.oldest) is not None and not conn.inbox.data:
            self._drop(conn)  # it would hold up the end of the process
        while (conn := self._waits_for_body.oldest) is not None and self._waits_for_body.next_due <= now:
            self._dispatch(conn)
        for waiting in (self._heads, self._bodies):
            while (conn := waiting.oldest) is not None and waiting.next_due <= now:
                self._refuse(conn, 408, "Request Timeout")
        for waiting in (self._flushes, self._lingers):
            while (conn := waiting.oldest) is not None and waiting.next_due <= now:
                self._drop(conn)

    def finish_request(self, conn: _Connection, fs: Any) -> None:
        """A thread is done with a connection."""
        if conn.in_lane:
            self._leave_lane(conn)
        try:
            result = False if fs.cancelled() else fs.result()
        except BaseException:  # noqa: BLE001 (whatever it was, the connection is of no more use)
            self._drop(conn)
            return
        if result is WANTED:
            self._gather_body(conn)
        elif callable(result):
            self._enter_lane(conn, result)
        else:
            then = self._await_next_request if result else self._linger
            if conn.outbox is not None and conn.outbox.waiting:
                self._flush(conn, then)
            else:
                then(conn)

    def _begin(self, conn: _Connection, data: bytes = b"") -> None:
        """Wait for a request."""
        self._forget_body(conn)
        conn.inbox, conn.outbox, conn.wants_body = Inbox(data), None, False
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, EVENT_READ, partial(self._receive, conn))
        self._heads.add(conn)
        if data:
            self._proceed(conn)

    def _receive(self, conn: _Connection, _: Any = None) -> None:
        try:
            data = conn.sock.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
            return
        conn.inbox.feed(data)
        self._proceed(conn)

    def _proceed(self, conn: _Connection) -> None:
        """Give the request to a thread as soon as one can do something about what has come."""
        inbox = conn.inbox
        if not inbox.has_head:
            if len(inbox.data) > MAX_HEAD:
                self._refuse(conn, 431, "Request Header Fields Too Large")
        elif inbox.complete:
            self._dispatch(conn)
        elif conn.wants_body:
            if inbox.body_here > MAX_BODY:  # in pieces: nobody said how large
                self._dispatch(conn, in_lane=True)
        elif inbox.expects_continue or inbox.body_here > EARLY_BODY:
            self._dispatch(conn)
        else:
            self._heads.discard(conn)
            self._waits_for_body.add(conn)

    def _dispatch(self, conn: _Connection, *, in_lane: bool = False) -> None:
        """Give a request to a thread."""
        self._forget(conn)
        if in_lane or conn.inbox.path in SOCKETS:
            self._enter_lane(conn, partial(self.handle, conn))
        else:
            self.enqueue_req(conn)

    def _gather_body(self, conn: _Connection) -> None:
        """The application wants a body that has not come."""
        conn.wants_body = True
        length = conn.inbox.body_length
        if (length or 0) > MAX_BODY:
            self._enter_lane(conn, partial(self.handle, conn))
            return
        self._forget_body(conn)
        size = MAX_BODY if length is None else length
        if self._bodies_size + size > MAX_BODIES:
            self._refuse(conn, 503, "Service Unavailable")
            return
        conn.reserved_bytes = size
        self._bodies_size += size
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, EVENT_READ, partial(self._receive, conn))
        self._bodies.add(conn)

    def _enter_lane(self, conn: _Connection, work: Callable[[], Any]) -> None:
        """Run what takes long by its nature; refused when the client, or all together, have too much of it."""
        user = (conn.client[0] if isinstance(conn.client, tuple) else "", conn.inbox.authorization)
        if self._lane_users.total() >= LANE_THREADS or self._lane_users[user] >= LANE_THREADS_PER_CLIENT:
            self._refuse(conn, 503, "Service Unavailable")
            return
        if self._lane is None:
            self._lane = ThreadPoolExecutor(LANE_THREADS, thread_name_prefix="lane")
        self._lane_users[user] += 1
        conn.in_lane = True
        done = self._lane.submit(work)
        done.add_done_callback(lambda future: self.method_queue.defer(self.finish_request, conn, future))

    def _leave_lane(self, conn: _Connection) -> None:
        user = (conn.client[0] if isinstance(conn.client, tuple) else "", conn.inbox.authorization)
        self._lane_users[user] -= 1
        if self._lane_users[user] <= 0:
            del self._lane_users[user]
        conn.in_lane = False

    def _flush(self, conn: _Connection, then: Callable[[_Connection], None]) -> None:
        """Write the rest of an answer as the client takes it."""
        conn.then = partial(then, conn)
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, EVENT_WRITE, partial(self._flush_some, conn))
        self._flushes.add(conn)

    def _flush_some(self, conn: _Connection, _: Any = None) -> None:
        assert conn.outbox is not None  # noqa: S101 (only who has one waits for it)
        try:
            sent = conn.sock.send(conn.outbox.waiting)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(conn)
            return
        del conn.outbox.waiting[:sent]
        if not conn.outbox.waiting and conn.then is not None:
            self._forget(conn)
            conn.then()

    def _await_next_request(self, conn: _Connection) -> None:
        """Wait for the next request, which may have come already."""
        rest = bytes(conn.parser.unreader.take_buffered())
        if rest:
            self._begin(conn, rest)
            return
        self._forget_body(conn)
        conn.inbox, conn.parser = Inbox(), None
        conn.sock.setblocking(False)
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + LINGER_S)
        self.keepalived_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_client_socket_readable, conn))

    def _linger(self, conn: _Connection) -> None:
        """Close for writing, and throw away what still comes: closing at once would cut off the answer."""
        self._forget_body(conn)
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._throw_away, conn))
        except (OSError, ValueError):
            self._drop(conn)
            return
        self._lingers.add(conn)

    def _throw_away(self, conn: _Connection, _: Any = None) -> None:
        try:
            if conn.sock.recv(PIECE):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._drop(conn)

    def _refuse(self, conn: _Connection, status: int, reason: str) -> None:
        """Answer without the application."""
        self._forget(conn)
        answer = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        if conn.inbox.data:  # who said nothing is not answered
            with contextlib.suppress(OSError):
                conn.sock.send(answer.encode())
        self._linger(conn)

    def _make_room(self) -> None:
        for waiting in (self._lingers, self._heads, self._bodies, self._flushes):
            if waiting.oldest is not None:
                self._drop(waiting.oldest)
                return
        if self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self._drop(conn)

    def _forget(self, conn: _Connection) -> None:
        """Take a connection out of the loop."""
        for waiting in (self._heads, self._waits_for_body, self._bodies, self._flushes, self._lingers):
            waiting.discard(conn)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)

    def _forget_body(self, conn: _Connection) -> None:
        self._bodies_size -= conn.reserved_bytes
        conn.reserved_bytes = 0

    def _drop(self, conn: _Connection) -> None:
        self._forget(conn)
        self._forget_body(conn)
        self.nr_conns -= 1
        conn.close()

    # --- in a thread ---

    def handle(self, conn: _Connection) -> Any:
        """Run one request. True keeps the connection, a function is to be run in the lane."""
        conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
        data = bytes(conn.inbox.data)
        streamed = conn.in_lane and conn.wants_body
        conn.parser.unreader = _Streamed(data, conn.sock) if streamed else _Gathered(data)
        try:
            return super().handle(conn)
        except NotHereError:
            return WANTED

    def handle_request(self, req: Any, conn: _Connection) -> Any:
        """Run the application. As gunicorn's, but that no thread waits for the client."""
        if conn.wants_body:
            req._expected_100_continue = False  # noqa: SLF001 (it was said when the head was looked at)
        if not conn.inbox.complete or not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
            req.force_close()
        upgrade = conn.inbox.path in SOCKETS
        conn.outbox = None if upgrade else _Outbox(conn.sock)
        began = datetime.now()  # noqa: DTZ005 (for gunicorn, which subtracts it)
        resp, environ = wsgi.create(req, conn.outbox or conn.sock, conn.client, conn.server, self.cfg)
        environ["wsgi.multithread"] = True
        environ.pop("wsgi.file_wrapper", None)
        self.nr += 1
        pieces = self.wsgi(environ, resp.start_response)
        length = resp.response_length
        without_body = resp.status_code in (204, 304) or req.method == "HEAD"
        if not upgrade and not without_body and (length is None or length > MAX_ANSWER):
            if conn.in_lane:
                return self._write(resp, pieces, req, environ, began, _Slow(conn.sock))
            return partial(self._finish, conn, partial(self._write, resp, pieces, req, environ, began))
        return self._write(resp, pieces, req, environ, began)

    def _finish(self, conn: _Connection, write: Callable[[Any], bool]) -> bool:
        """Write a large answer, in the lane."""
        try:
            return bool(self._keepalive_after(conn, write(_Slow(conn.sock))))
        except OSError:
            return False

    def _write(self, resp: Any, pieces: Any, req: Any, environ: Any, began: datetime, sock: Any = None) -> bool:  # noqa: PLR0913, PLR0917
        if sock is not None:
            resp.sock = sock
        try:
            for piece in pieces:
                resp.write(piece)
            resp.close()
        except Exception:
            if resp.headers_sent:
                self.log.debug("the answer broke off")
                return False
            raise
        finally:
            self.log.access(resp, req, environ, datetime.now() - began)  # noqa: DTZ005
            if hasattr(pieces, "close"):
                pieces.close()
        return not resp.should_close()

    def _keepalive_after(self, conn: _Connection, keepalive: Any) -> Any:
        """Whether the connection can be used again. What came of a body that nobody read is thrown away."""
        if callable(keepalive):
            return keepalive
        try:
            return bool(keepalive) and conn.inbox.complete and bool(conn.parser.finish_body())
        except NotHereError:  # the answer is written: nothing is run anew
            return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer and log, without quoting."""
        if hasattr(req, "uri"):
            req.uri = str(req.uri).partition("?")[0]
        kind = type(exc)
        if kind.__module__.startswith("gunicorn.http"):
            with contextlib.suppress(TypeError):
                exc.__class__ = type(kind.__name__, (kind,), {"__str__": lambda _: BROKEN})
        super().handle_error(req, client, addr, exc)
