"""gunicorn's worker: no thread waits for a client, and nothing is said of what a broken request held.

Threads are for work. The main loop reads requests and writes what a client does not take at once; a thread gets a
request when its head and body have come. Who is slow to send a body is looked at before it: the application runs on
the head, so that it refuses whoever has no token. If it asks for the body, the request is run anew when that has come.
What takes long by its nature (large files, sockets) has threads of its own, the lane: a bounded number for each caller
that the application let in, and for all others together.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from queue import SimpleQueue
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any

from gunicorn import SERVER, http  # type: ignore[import-untyped]
from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.util import http_date  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from unoapi.errors import EX_CONFIG
from unoapi.telemetry.logging import get_logger
from unoapi.telemetry.tracing import is_tracing
from unoapi.web.client_sockets import (
    PIECE,
    READ_S,
    WRITE_S,
    AnswerBuffer,
    ClientsBody,
    Gathered,
    PatientSocket,
    Streamed,
)
from unoapi.web.fast_path import EXTENSION, FAILED
from unoapi.web.ordinary_requests import begins_ordinary, environ_of
from unoapi.web.request_framing import Inbox
from unoapi.web.waiting import CALLER, MAY_WAIT, REPEATED, BodyNotHereError, MayNotWaitError, RunAnewError

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.web.fast_path import FastPath

log = get_logger(__name__)
BROKEN = "the request is not valid HTTP"

HEAD_S = 10.0
"""For the whole head of a request, from its first byte or from the connection's beginning."""
GRACE_S = 0.05
"""A body that follows its head this soon is waited for; else the head is looked at alone."""
LINGER_S = 2.0
MAX_HEAD = 64 * 1024
EARLY_BODY = 64 * 1024
"""So much of a body is buffered before the token is checked."""
MAX_BODY = 2 * 1024 * 1024
"""Larger bodies are read by a thread of the lane."""
MAX_BUFFERED = 64 * 1024 * 1024
"""All bodies that were asked for and all answers that clients have not taken, as far as they lie in memory."""
MAX_ANSWER = 256 * 1024
"""Larger answers are written by a thread of the lane."""
LANE_THREADS = 64
LANE_THREADS_PER_CALLER = 24
SPARE_CONNECTIONS = 20
REST_S = 0.5
"""Without a file for another connection, and with none that could be closed for it, so long nobody is taken."""
RETRY_AFTER_S = 10
BATCH = 8
"""So many messages are accepted together at most."""
KEY = "HTTP_IDEMPOTENCY_KEY"
"""Whose message may have to wait for another request."""


class _Connection(TConn):  # type: ignore[misc]
    """A connection, and what has come on it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.inbox = Inbox()
        self.answer_buffer: AnswerBuffer | None = None
        self.runs = 0
        """How often the application saw the request."""
        self.wants_body = False
        self.continues = False
        """The client waits to hear that its body is wanted."""
        self.caller = ""
        """Whose right opened the request, by the application's word; empty for everybody else."""
        self.lane_caller: str | None = None
        """Who has a thread of the lane for it."""
        self.waits = False
        """The application waits for the client, perhaps for hours."""
        self.buffered_bytes = 0
        self.watched_for = 0
        """The events that the loop gets, perhaps longer than it wants them: most requests end before the next event."""
        self.on_event: Callable[[_Connection], None] | None = None
        """What to do then; None while a thread has the connection."""
        self.then: Callable[[_Connection], None] | None = None
        self.closed = False
        self.refusal: Exception | None = None
        """Of a request that ran in a batch already: Flask answers it."""

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be done until the loop hears of the client again: to wake it takes as long as to work.

        The loop then sees a second later at the latest that the connection is idle.
        """
        answered = self.answer_buffer is not None and not self.answer_buffer.waiting
        return self.watched_for == EVENT_READ and answered and self.inbox.ends_here


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

    def overdue(self, now: float) -> _Connection | None:
        """The oldest, if its time is over."""
        return self.oldest if self.next_due <= now else None

    def __contains__(self, conn: object) -> bool:
        return conn in self._due

    def __len__(self) -> int:
        return len(self._due)


@dataclass(frozen=True)
class _Answer:
    """An answer that is not written yet."""

    response: Any
    pieces: Any
    request: Any
    environ: dict[str, Any]
    began: datetime


class _Pool:
    """Threads that work off a queue, as far as the process has not ended: none of them holds that up."""

    def __init__(self, count: int) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._serve, name=f"request-{number}", daemon=True).start()

    def submit(self, work: Callable[[], None]) -> None:
        """Queue something. What it raises is logged."""
        self._work.put(work)

    def shutdown(self, *, wait: bool) -> None:
        """Do nothing; `ThreadWorker` calls it at its end, when it has waited for what was under way."""

    def _serve(self) -> None:
        while True:
            try:
                self._work.get()()
            except BaseException:
                log.exception("request_thread_failed")


class _Settings:
    """gunicorn's settings, each looked up once: they do not change, and a request asks for them 20 times."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cfg, name)
        setattr(self, name, value)
        return value


class DiscreetWorker(ThreadWorker):  # type: ignore[misc]
    """See the module. Log lines and answers quote neither the request line nor a header."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = _Settings(self.cfg)
        self._heads = _Waiting(HEAD_S)
        self._waits_for_body = _Waiting(GRACE_S)
        self._bodies = _Waiting(READ_S)
        self._flushes = _Waiting(WRITE_S)
        self._lingers = _Waiting(LINGER_S)
        self._idle = _Waiting(self.cfg.keepalive)
        self._stopped_at = float("inf")
        self._rests_until = 0.0
        self._buffered_bytes = 0
        self._in_lane: set[_Connection] = set()
        self._lane_callers: Counter[str] = Counter()
        self._over = False
        self._closed_listeners = False
        self._done: deque[tuple[_Connection, Any]] = deque()
        """What threads are done with, and the result."""
        self._batch: list[_Connection] = []
        """Ordinary requests of this round of the loop."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse what this worker would serve wrongly, without a word."""
        if cfg.is_ssl or cfg.proxy_protocol != "off" or "h2" in cfg.http_protocols:
            log.error("TLS, HTTP/2 and the PROXY protocol are a proxy's business in front of this API: not served here")
            sys.exit(EX_CONFIG)

    # --- in the main loop ---

    def run(self) -> None:
        """Serve until the end. A thread of the lane may outlive it: it has nobody to report to then."""
        try:
            super().run()
        finally:
            self._over = True

    def get_thread_pool(self) -> _Pool:
        """The threads for work."""
        return _Pool(self.cfg.threads)

    def enqueue_req(self, conn: _Connection) -> None:
        """Give a request to a thread."""
        self.tpool.submit(partial(self._run, conn, partial(self.handle, conn)))

    @cached_property
    def _fast_path(self) -> FastPath | None:
        """What accepts several messages at once, if nothing else has to see each request."""
        path: FastPath | None = getattr(self.wsgi, "extensions", {}).get(EXTENSION)
        return None if is_tracing() or self.cfg.accesslog or self.cfg.statsd_host else path

    def accept(self, listener: socket.socket) -> None:
        """Take a connection. The oldest silent one makes room when there are too many."""
        if self.nr_conns >= self.worker_connections - SPARE_CONNECTIONS:
            self._make_room()
        try:
            sock, address = listener.accept()
        except OSError as error:  # of the connection that is not there any more, or of this process's files
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM) and not self._make_room():
                self._rest()
            return
        self.nr_conns += 1
        sock.setblocking(False)
        conn = _Connection(self.cfg, sock, address, listener.getsockname())
        self._step(conn, self._begin)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take connections or not. `ThreadWorker` asks for it in each round.

        At the end it takes those that wait and closes its listeners: who came later would wait for nobody, until the
        process has answered everybody else, and lose what it sent. A refused proxy asks another one.
        """
        alive = self.alive
        super().set_accept_enabled(enabled and alive and time.monotonic() >= self._rests_until)
        if alive or self._closed_listeners:
            return
        self._closed_listeners = True
        for listener in self.sockets:
            for _ in range(self.cfg.backlog):
                before = self.nr_conns
                self.accept(listener)
                if self.nr_conns == before:
                    break
            listener.close()

    def _rest(self) -> None:
        """Take nobody for a moment: a connection that cannot be taken stays ready, and the loop would never wait."""
        self._rests_until = time.monotonic() + REST_S
        self.set_accept_enabled(False)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what is ready and what is due. What goes wrong with one connection ends that one."""
        everything = (self._heads, self._waits_for_body, self._bodies, self._flushes, self._lingers, self._idle)
        due = min(waiting.next_due for waiting in everything)
        if self._idle or self._heads:
            due = min(due, self._stopped_at + LINGER_S)
        events = self.poller.select(max(0.0, min(timeout, due - time.monotonic())))
        self._take_back()  # first, so that a connection's next request finds it waiting for one
        for key, _ in events:
            key.data(key.fileobj)
        self._take_back()  # whose event came too soon
        self._submit_batch()
        now = time.monotonic()
        if not self.alive:
            self._hurry(now)
        if due > now:
            return
        while (conn := self._waits_for_body.overdue(now)) is not None:
            self._step(conn, self._dispatch)
        for waiting in (self._heads, self._bodies):
            while (conn := waiting.overdue(now)) is not None:
                self._step(conn, partial(self._refuse, status=408, reason="Request Timeout"))
        for waiting in (self._flushes, self._lingers, self._idle):
            while (conn := waiting.overdue(now)) is not None:
                self._drop(conn)

    def _take_back(self) -> None:
        """Go on with the connections that threads are done with."""
        while self._done:
            self.finish_request(*self._done.popleft())

    def finish_request(self, conn: _Connection, result: Any) -> None:
        """A thread is done with a connection."""
        if conn.lane_caller is not None:
            self._leave_lane(conn)
        self._step(conn, partial(self._go_on, result=result))

    def _happened(self, conn: _Connection, _: Any) -> None:
        """An event came. The connection may have been dropped since."""
        if conn.on_event is not None:
            self._step(conn, conn.on_event)
        elif conn.watched_for:
            self._unwatch(conn)

    def _step(self, conn: _Connection, step: Callable[[_Connection], None]) -> None:
        """One step with a connection: what goes wrong with it ends it."""
        if conn.closed:
            return
        try:
            step(conn)
        except Exception:
            self.log.exception("a connection is dropped")
            self._drop(conn)

    def _watch(self, conn: _Connection, event: int, then: Callable[[_Connection], None]) -> None:
        conn.on_event = then
        if conn.watched_for == event:
            return
        self._unwatch(conn)
        self.poller.register(conn.sock, event, partial(self._happened, conn))
        conn.watched_for = event

    def _unwatch(self, conn: _Connection) -> None:
        if conn.watched_for:
            conn.watched_for = 0
            self.poller.unregister(conn.sock)

    def _hurry(self, now: float) -> None:
        """Drop what would hold up the end of the process: who is silent, and who may wait for hours.

        Not at once: who has just been taken says something in a moment.
        """
        self._stopped_at = min(self._stopped_at, now)
        if self._stopped_at + LINGER_S <= now:
            while (conn := self._idle.oldest or self._heads.oldest) is not None:
                self._drop(conn)
        for conn in [conn for conn in self._in_lane if conn.waits]:
            self._drop(conn)

    def _go_on(self, conn: _Connection, *, result: Any) -> None:
        if isinstance(result, BodyNotHereError):
            self._gather_body(conn)
        elif isinstance(result, MayNotWaitError):
            conn.waits = True
            self._enter_lane(conn, partial(self.handle, conn))
        elif isinstance(result, _Answer):
            if not self._enter_lane(conn, partial(self._finish, conn, result)):
                _close(result.pieces)
        elif result is None:
            self._drop(conn)
        else:
            then = self._await_next_request if result else self._linger
            if conn.answer_buffer is not None and conn.answer_buffer.waiting:
                self._flush(conn, then)
            else:
                then(conn)

    def _begin(self, conn: _Connection, data: bytes = b"") -> None:
        """Wait for a request."""
        self._forget_request(conn)
        self._heads.add(conn)
        self._watch(conn, EVENT_READ, self._receive)
        if data:
            conn.inbox.feed(data)
            self._proceed(conn)

    def _forget_request(self, conn: _Connection) -> None:
        conn.inbox, conn.answer_buffer, conn.parser = Inbox(), None, None
        conn.runs, conn.wants_body, conn.continues, conn.caller, conn.waits = 0, False, False, "", False
        conn.refusal = None
        self._count_bytes(conn, 0)

    def _receive(self, conn: _Connection) -> None:
        try:
            data = conn.sock.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
            return
        if conn in self._idle:
            self._idle.discard(conn)
            self._heads.add(conn)
        conn.inbox.feed(data)
        if conn.wants_body:
            self._count_bytes(conn, len(conn.inbox.data))
            if conn not in self._bodies:
                return
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
                self._forget(conn)
                self._enter_lane(conn, partial(self.handle, conn))
        elif inbox.expects_continue or inbox.body_here > EARLY_BODY:
            self._dispatch(conn)
        else:
            self._heads.discard(conn)
            self._waits_for_body.add(conn)

    def _dispatch(self, conn: _Connection) -> None:
        self._forget(conn)
        may_stay = self.alive and len(self._idle) < self.max_keepalived
        if may_stay and conn.runs == 0 and begins_ordinary(conn.inbox) and self._fast_path is not None:
            self._batch.append(conn)
        else:
            self.enqueue_req(conn)

    def _submit_batch(self) -> None:
        """Give the ordinary requests of this round to threads, several to each: much of the work is done just once."""
        for start in range(0, len(self._batch), BATCH):
            self.tpool.submit(partial(self._run_batch, self._batch[start : start + BATCH]))
        self._batch = []

    def _gather_body(self, conn: _Connection) -> None:
        """The application wants a body that has not come."""
        if conn.inbox.complete:  # what ends here does not end for the parser: it would be run with every byte
            self._refuse(conn, 400, "Bad Request")
            return
        conn.wants_body = True
        if conn.continues:
            conn.continues = False
            conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n", socket.MSG_DONTWAIT)
        if (conn.inbox.body_length or 0) > MAX_BODY:
            self._enter_lane(conn, partial(self.handle, conn))
            return
        self._bodies.add(conn)
        self._watch(conn, EVENT_READ, self._receive)
        self._count_bytes(conn, len(conn.inbox.data))

    def _enter_lane(self, conn: _Connection, work: Callable[[], Any]) -> bool:
        """Run what takes long by its nature; refused when the caller, or all together, have too much of it."""
        if len(self._in_lane) >= LANE_THREADS or self._lane_callers[conn.caller] >= LANE_THREADS_PER_CALLER:
            self._refuse(conn, 503, "Service Unavailable")
            return False
        conn.lane_caller = conn.caller
        self._in_lane.add(conn)
        self._lane_callers[conn.caller] += 1
        try:
            threading.Thread(target=self._run, args=(conn, work), name="lane", daemon=True).start()
        except RuntimeError:  # no thread is to be had
            self._leave_lane(conn)
            raise
        return True

    def _leave_lane(self, conn: _Connection) -> None:
        assert conn.lane_caller is not None  # noqa: S101 (only who is there leaves)
        self._in_lane.discard(conn)
        self._lane_callers[conn.lane_caller] -= 1
        if self._lane_callers[conn.lane_caller] <= 0:
            del self._lane_callers[conn.lane_caller]
        conn.lane_caller = None
        if conn.closed:
            conn.close()
        else:
            conn.sock.setblocking(False)

    def _flush(self, conn: _Connection, then: Callable[[_Connection], None]) -> None:
        """Write the rest of an answer as the client takes it."""
        conn.inbox, conn.then = Inbox(), then
        self._flushes.add(conn)
        self._watch(conn, EVENT_WRITE, self._flush_some)
        self._count_bytes(conn, len(conn.answer_buffer.waiting) if conn.answer_buffer else 0)

    def _flush_some(self, conn: _Connection) -> None:
        assert conn.answer_buffer is not None  # noqa: S101 (only who has one waits for it)
        assert conn.then is not None  # noqa: S101 (as above)
        try:
            conn.answer_buffer.push()
        except OSError:
            self._drop(conn)
            return
        if not conn.answer_buffer.waiting:
            self._forget(conn)
            conn.then(conn)

    def _await_next_request(self, conn: _Connection) -> None:
        """Wait for the next request, which may have come already."""
        if conn.parser is not None and (rest := bytes(conn.parser.unreader.take_buffered())):
            self._begin(conn, rest)
            return
        self._forget_request(conn)
        self._idle.add(conn)
        self._watch(conn, EVENT_READ, self._receive)

    def _linger(self, conn: _Connection) -> None:
        """Close for writing, and throw away what still comes: closing at once would cut off the answer."""
        self._forget_request(conn)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        self._lingers.add(conn)
        self._watch(conn, EVENT_READ, self._throw_away)

    def _throw_away(self, conn: _Connection) -> None:
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
        later = f"Retry-After: {RETRY_AFTER_S}\r\n" if status == 503 else ""  # noqa: PLR2004 (reads as what it is)
        answer = f"HTTP/1.1 {status} {reason}\r\n{later}Connection: close\r\nContent-Length: 0\r\n\r\n"
        if conn.inbox.data:  # who said nothing is not answered
            with contextlib.suppress(OSError):
                conn.sock.send(answer.encode(), socket.MSG_DONTWAIT)
        self._linger(conn)

    def _make_room(self) -> bool:
        """Drop who waits longest. Whether there was anybody."""
        for waiting in (self._lingers, self._heads, self._bodies, self._flushes, self._idle):
            if waiting.oldest is not None:
                self._drop(waiting.oldest)
                return True
        return False

    def _count_bytes(self, conn: _Connection, size: int) -> None:
        """Count what a connection takes of the memory; whoever waits longest makes room when that is too much."""
        self._buffered_bytes += size - conn.buffered_bytes
        conn.buffered_bytes = size
        while self._buffered_bytes > MAX_BUFFERED:
            if (oldest := self._bodies.oldest) is not None:
                self._refuse(oldest, 503, "Service Unavailable")
            elif (oldest := self._flushes.oldest) is not None:
                self._drop(oldest)
            else:
                return

    def _forget(self, conn: _Connection) -> None:
        """Let a connection wait for nothing."""
        for waiting in (self._heads, self._waits_for_body, self._bodies, self._flushes, self._lingers, self._idle):
            waiting.discard(conn)
        conn.on_event = None

    def _drop(self, conn: _Connection) -> None:
        if conn.closed:
            return
        conn.closed = True
        self._forget(conn)
        self._unwatch(conn)
        self._count_bytes(conn, 0)
        self.nr_conns -= 1
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_RDWR)  # a thread that waits for it, or for a copy, wakes up
        if conn.lane_caller is None:  # else closed when that thread is done
            conn.close()

    # --- in a thread ---

    def _run(self, conn: _Connection, work: Callable[[], Any]) -> None:
        result: Any = False
        try:
            result = work()
        finally:
            if not self._over:
                self._done.append((conn, result))
                # Asked after that: the loop stops watching a connection before it looks for the last time.
                if not (self.alive and result is True and conn.is_quiet):
                    self.method_queue.defer(self._take_back)

    def _run_batch(self, conns: list[_Connection]) -> None:
        """Accept messages together. A request that is none, or is not accepted, is run by itself after that."""
        batch: list[tuple[_Connection, dict[str, Any]]] = []
        fast_path = self._fast_path
        assert fast_path is not None  # noqa: S101 (else there is no batch)
        for conn in conns:
            environ = environ_of(conn.inbox)
            if environ is None or KEY in environ or not fast_path.takes(environ):
                self.enqueue_req(conn)
            else:
                batch.append((conn, environ))
        try:
            answers = fast_path.answers([environ for _, environ in batch])
        except BaseException:  # a bug: nobody knows which ones are queued, so none is run again
            for conn, _ in batch:
                self._run(conn, lambda: None)
            raise
        for (conn, environ), answer in zip(batch, answers, strict=True):
            conn.caller, conn.refusal = environ.get(CALLER, ""), environ.get(FAILED)
            if answer is None:
                self.enqueue_req(conn)
            else:
                self._run(conn, partial(self._answer, conn, answer, fast_path.head(answer)))

    def _answer(self, conn: _Connection, answer: bytes, headers: list[tuple[str, str]]) -> bool | None:
        """Write an answer as gunicorn does. True keeps the connection, None drops it."""
        first = (("Server", SERVER), ("Date", http_date()), ("Connection", "keep-alive"))
        head = "".join(f"{name}: {value}\r\n" for name, value in (*first, *headers))
        conn.answer_buffer = AnswerBuffer(conn.sock)
        conn.answer_buffer.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode("latin-1") + answer)
        self.nr += 1
        try:
            conn.answer_buffer.push()
        except OSError:
            return None
        return True

    def handle(self, conn: _Connection) -> Any:
        """Run one request. True keeps the connection, None drops it; other values are for the main loop."""
        conn.parser = http.get_parser(self._settings, conn.sock, conn.client)
        data = bytes(conn.inbox.data)
        streamed = conn.lane_caller is not None and conn.wants_body
        conn.parser.unreader = Streamed(data, conn.sock) if streamed else Gathered(data)
        req = None
        try:
            req = next(conn.parser)
            return self._keepalive_after(conn, self.handle_request(req, conn))
        except RunAnewError as why:
            return why
        except (OSError, StopIteration) as error:  # StopIteration: Socket.IO is done with its socket
            self.log.debug("a connection ended: %s", type(error).__name__)
            return None
        except Exception as error:  # noqa: BLE001 (answered and logged)
            self.handle_error(req, conn.sock, conn.client, error)
        return False

    def handle_request(self, req: Any, conn: _Connection) -> Any:
        """Run the application. As gunicorn's, but that no thread waits for the client."""
        in_lane = conn.lane_caller is not None
        conn.continues = req._expected_100_continue and not conn.wants_body  # noqa: SLF001 (gunicorn has no other name)
        req._expected_100_continue = False  # noqa: SLF001 (said when the application asks for the body, not before)
        if not conn.inbox.complete or not self.alive or len(self._idle) >= self.max_keepalived:
            req.force_close()
        req.body = ClientsBody(req.body.reader)
        conn.answer_buffer = AnswerBuffer(conn.sock)
        began = datetime.now()  # noqa: DTZ005 (for gunicorn, which subtracts it)
        resp, environ = wsgi.create(req, conn.answer_buffer, conn.client, conn.server, self._settings)
        environ |= {"wsgi.multithread": True, MAY_WAIT: in_lane, REPEATED: conn.runs > 0}
        if conn.refusal is not None:
            environ[FAILED] = conn.refusal
        environ.pop("wsgi.file_wrapper", None)
        sockets_own = _copy_with_bounded_writes(conn.sock) if conn.waits else None
        environ["gunicorn.socket"] = sockets_own
        conn.runs += 1
        self.nr += 1
        try:
            pieces = self.wsgi(environ, resp.start_response)
        except StopIteration:
            sockets_own = None  # a websocket was made of it, whose thread closes it
            raise
        finally:
            conn.caller = environ.get(CALLER, "")
            if sockets_own is not None:
                sockets_own.close()
        answer = _Answer(resp, pieces, req, environ, began)
        length = resp.response_length
        without_body = resp.status_code in (204, 304) or req.method == "HEAD"
        if without_body or (length is not None and length <= MAX_ANSWER):
            return self._write(answer, conn.answer_buffer)
        return self._write(answer, PatientSocket(conn.sock)) if in_lane else answer

    def _finish(self, conn: _Connection, answer: _Answer) -> bool:
        """Write a large answer, in the lane."""
        try:
            return bool(self._keepalive_after(conn, self._write(answer, PatientSocket(conn.sock))))
        except OSError:
            return False

    def _write(self, answer: _Answer, sock: AnswerBuffer | PatientSocket) -> bool:
        response = answer.response
        response.sock = sock
        try:
            for piece in answer.pieces:
                response.write(piece)
            response.close()
            if isinstance(sock, AnswerBuffer):
                sock.push()
        except Exception:
            if response.headers_sent:
                self.log.debug("the answer broke off")
                return False
            raise
        finally:
            self.log.access(response, answer.request, answer.environ, datetime.now() - answer.began)  # noqa: DTZ005
            _close(answer.pieces)
        return not response.should_close()

    def _keepalive_after(self, conn: _Connection, keepalive: Any) -> Any:
        """Whether the connection can be used again. What came of a body that nobody read is thrown away."""
        if isinstance(keepalive, _Answer):
            return keepalive
        try:
            return bool(keepalive) and conn.inbox.complete and bool(conn.parser.finish_body())
        except (BodyNotHereError, ClientDisconnected):  # the answer is written: nothing is run anew
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


def _copy_with_bounded_writes(sock: socket.socket) -> socket.socket:
    """A socket to give away: a write that the client does not take in time fails, while a read may take hours.

    A copy, because who gets it closes it, while the main loop watches ours: its number would go to the next connection.
    """
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(WRITE_S), 0))
    return sock.dup()


def _close(pieces: Any) -> None:
    if hasattr(pieces, "close"):
        pieces.close()
