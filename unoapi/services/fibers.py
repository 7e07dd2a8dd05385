"""Many waits in one thread: a function in a fiber waits as it would in a thread, and meanwhile others go on.

    submit(function) --> its fiber --> waits ............................ --> goes on --> ends
                                         |                                ^
              the thread of the loop:    +--> runs the other fibers, -----+
                                              hears of sockets, of results from other threads, and of deadlines

A fiber is a call stack of its own (greenlet), so nothing changes for the function. A hand-over from thread to thread
costs more than most of what is done between two of them; a switch between fibers costs next to nothing. What would hold
up the thread in another way than by one of these waits belongs into `in_thread`. Outside of fibers all is as ever.
"""

from __future__ import annotations

import contextlib
import contextvars
import selectors
import socket
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, cast

import greenlet

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

TICK_S = 0.02
"""How late the end of a wait by its deadline may be noticed."""
IDLE_S = 1.0
THREADS = 16
"""As many as have a connection of their own to publish on."""
PATIENCE_S = 30
"""A loop that has not turned for so long is stuck."""

_here = threading.local()


class Wait:
    """One wait of the fiber that makes it, for `timeout_s` seconds at most. Any thread may end it, also twice."""

    __slots__ = ("_fiber", "_loop", "deadline", "is_over")

    def __init__(self, loop: FiberLoop, timeout_s: float | None = None) -> None:
        self._loop = loop
        self._fiber = greenlet.getcurrent()
        self.deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self.is_over = False

    def end(self) -> None:
        """Let the fiber go on."""
        self._loop.note_end(self)

    def go_on(self) -> None:
        """The same in the loop's own thread, outside of its fibers: at once."""
        if not self.is_over:
            self.is_over = True
            self._fiber.switch()


class FiberLoop:
    """One thread that runs fibers, from when it is made on.

    `on_end` is called when it cannot go on, with the error, or when it is stuck: what its fibers had to do is left
    undone then, and nobody knows what.
    """

    def __init__(self, name: str, *, on_end: Callable[[BaseException | None], None]) -> None:
        self._on_end = on_end
        self._new: deque[Callable[[], object]] = deque()
        self._ended: deque[Wait] = deque()
        self._waiting: set[Wait] = set()
        self._submitted = self._finished = 0
        self._lock = threading.Lock()
        self._rounds = 0
        self._asleep = False
        self._closed = threading.Event()
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix=f"{name} thread")
        self._selector = selectors.DefaultSelector()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._hub: greenlet.greenlet | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        threading.Thread(target=self._guard, name=f"{name} guard", daemon=True).start()

    def submit(self, function: Callable[[], object]) -> None:
        """Run a function in a fiber of its own. One that raises ends the loop."""
        with self._lock:
            self._submitted += 1
        self._new.append(function)
        self._ring()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self._submitted == self._finished

    def close(self) -> None:
        """End the thread. Fibers that wait never go on."""
        self._closed.set()
        self._ring()
        self._thread.join()
        self._executor.shutdown(wait=False)
        self._selector.close()
        self._bell.close()
        self._ear.close()

    def note_end(self, wait: Wait) -> None:
        """A wait is over: its fiber goes on with the next round."""
        self._ended.append(wait)
        self._ring()

    def wait(self, wait: Wait) -> None:
        """Let others go on until the wait is over; only for its fiber."""
        if wait.deadline is not None:
            self._waiting.add(wait)
        cast("greenlet.greenlet", self._hub).switch()
        self._waiting.discard(wait)

    def watch(self, sock: int, events: int, listener: Callable[[int, int], None] | None = None) -> None:
        """Call the listener with a socket and what it is ready for, as often as it is; without events no more.

        Only for the thread of the loop. `events` are those of `selectors`.
        """
        if not events:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(sock)
            return
        try:
            self._selector.register(sock, events, listener)
        except KeyError:
            self._selector.modify(sock, events, listener)

    def run_in_thread(self, function: Callable[[], None]) -> None:
        """Run a function in one of a few threads."""
        self._executor.submit(function)

    def is_hub(self) -> bool:
        """Whether this is called in the loop itself, and in none of its fibers."""
        return greenlet.getcurrent() is self._hub

    def _ring(self) -> None:
        if self._asleep:
            self._asleep = False
            with contextlib.suppress(OSError):  # it rings already, or the loop was closed
                self._bell.send(b"\0")

    def _work(self) -> None:
        _here.loop = self
        self._hub = greenlet.getcurrent()
        try:
            while not self._closed.is_set():
                self._turn()
        except BaseException as error:  # noqa: BLE001 (nothing may end this thread in silence)
            self._on_end(error)

    def _turn(self) -> None:
        self._rounds += 1
        while self._new:
            greenlet.greenlet(self._run).switch(self._new.popleft())
        while self._ended:
            self._ended.popleft().go_on()
        now = time.monotonic()
        for wait in [wait for wait in self._waiting if wait.deadline is not None and wait.deadline <= now]:
            wait.go_on()
        self._asleep = True  # set before the check, so that nothing is added unnoticed
        at_once = self._new or self._ended or self._closed.is_set()
        ready = self._selector.select(0 if at_once else TICK_S if self._waiting else IDLE_S)
        self._asleep = False
        for key, events in ready:
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._ear.recv(4096)
            else:
                key.data(key.fd, events)

    def _run(self, function: Callable[[], object]) -> None:
        function()
        self._finished += 1  # by this thread alone; one that raises ends the loop

    def _guard(self) -> None:
        """Count the seconds of this thread, not the clock's: a machine that was asleep is no loop that is stuck."""
        rounds, unchanged = -1, 0
        while not self._closed.wait(1.0):
            unchanged = unchanged + 1 if self._rounds == rounds else 0
            rounds = self._rounds
            if unchanged >= PATIENCE_S:
                self._on_end(None)
                return


def current_loop() -> FiberLoop | None:
    """The loop, if this is called in one of its fibers."""
    loop: FiberLoop | None = getattr(_here, "loop", None)
    return None if loop is None or loop.is_hub() else loop


def in_thread(function: Callable[[], Result]) -> Result:
    """Call a function that may hold up its thread: in another one, if this is called in a fiber."""
    loop = current_loop()
    if loop is None:
        return function()
    wait, context = Wait(loop), contextvars.copy_context()
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(context.run(function))
        except BaseException as error:  # noqa: BLE001 (raised in the fiber)
            errors.append(error)
        wait.end()

    loop.run_in_thread(call)
    loop.wait(wait)
    for error in errors:
        raise error
    return results[0]
