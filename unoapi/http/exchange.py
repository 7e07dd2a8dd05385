"""One exchange of a pycurl handle: in a thread, which waits for its end, or in a fiber, while others go on."""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING

import pycurl

from unoapi.services.fibers import Wait

if TYPE_CHECKING:
    from unoapi.services.fibers import FiberLoop

LONGEST_WAIT_S = 1.0
_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}
_READY = ((selectors.EVENT_READ, pycurl.CSELECT_IN), (selectors.EVENT_WRITE, pycurl.CSELECT_OUT))


def perform(curl: pycurl.Curl) -> int:
    """Make the exchange in this thread. libcurl's error code."""
    try:
        curl.perform()
    except pycurl.error as error:
        return int(error.args[0])
    return pycurl.E_OK


class FiberExchange:
    """The exchanges of one handle in fibers of one loop, one at a time.

    libcurl says on which sockets it waits, and until when. Like `perform` it has the handle's connections to itself.
    """

    def __init__(self, curl: pycurl.Curl, loop: FiberLoop) -> None:
        self._curl, self._loop = curl, loop
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, 1)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._has_handle = False
        self._wait: Wait | None = None
        self._ready: list[tuple[int, int]] = []
        self._due_at: float | None = None

    def perform(self) -> int:
        """Make the exchange. libcurl's error code."""
        self._multi.add_handle(self._curl)
        self._has_handle = True  # until the next one: what it says of its connection is asked behind this
        self._ready.clear()
        running = self._act(pycurl.SOCKET_TIMEOUT, 0)
        while running:
            left_s = LONGEST_WAIT_S if self._due_at is None else self._due_at - time.monotonic()
            if not self._ready and left_s > 0:
                self._wait = Wait(self._loop, min(left_s, LONGEST_WAIT_S))
                self._loop.wait(self._wait)
                self._wait = None
            running = self._act(*(self._ready.pop() if self._ready else (pycurl.SOCKET_TIMEOUT, 0)))
        _, _, failed = self._multi.info_read()
        return int(failed[0][1]) if failed else pycurl.E_OK

    def forget(self) -> None:
        """Take the handle back, before anything of it is changed."""
        if self._has_handle:
            self._has_handle = False
            self._multi.remove_handle(self._curl)

    def close(self) -> None:
        """Close the connection."""
        self.forget()
        self._multi.close()

    def _act(self, sock: int, ready: int) -> int:
        _, running = self._multi.socket_action(sock, ready)
        return int(running)

    def _on_socket(self, what: int, sock: int, *_: object) -> None:
        self._loop.watch(sock, _EVENTS.get(what, 0), self._on_ready)

    def _on_timer(self, due_ms: int) -> None:
        self._due_at = None if due_ms < 0 else time.monotonic() + due_ms / 1000

    def _on_ready(self, sock: int, events: int) -> None:
        self._ready.append((sock, sum(ready for event, ready in _READY if events & event)))
        if self._wait is not None:
            self._wait.go_on()
