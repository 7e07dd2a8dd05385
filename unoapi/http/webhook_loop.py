"""Many exchanges with webhooks at once, in one thread: a loop around libcurl, which tells whose connection is whose."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pycurl

from unoapi.errors import NotSent
from unoapi.http.webhook_client import WebhookExchange
from unoapi.models.attempts import Answer
from unoapi.models.endpoints import receiver_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.http.address_guard import AddressGuard
    from unoapi.http.webhook_client import Owner, WebhookClient, WebhookRequest
    from unoapi.models.session import Webhook

MOST_KEPT = 2048
"""Connections that wait for their owner's next request; at most half of the files that may be open."""
WAKING_BYTES = 4096
KNOWN_S, AVOIDED_S = 50.0, 300.0
"""So long a name that led somewhere is known, which libcurl remembers for ten seconds more; and so long one that led
nowhere is not looked up here."""
MOST_NAMES = 10_000
NAMES_CHECKED_EACH_S = 1.0
FOR_EVER = -1


class WebhookLoop:
    """Posts webhooks for one thread, which calls everything but `wake`.

    The connections of an owner (tenant, whether it was checked, origin) are in a pool of its own: nobody else gets one.
    The handles are everybody's: one uses the pool of the owner whose exchange it makes, for as long as that takes.
    So are libcurl's twenty threads that look up names, of which each name takes two for as long as nobody answers for
    it: one that is not known is looked up once at a time, and one that led nowhere not at all for a while.
    """

    def __init__(self, guard: AddressGuard, client: WebhookClient) -> None:
        self._guard = guard
        self._client = client
        self._owners: OrderedDict[Owner, _Owner] = OrderedDict()  # the longest unused first
        self._connections = 0
        self._idle: list[WebhookExchange] = []
        self._half_of_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self._under_way: dict[pycurl.Curl, _UnderWay] = {}
        self._names: OrderedDict[str, float] = OrderedDict()  # until when they are known; or, negative, avoided
        self._looked_up: set[str] = set()
        self._names_checked = -NAMES_CHECKED_EACH_S
        self._poll = select.poll()  # what is registered are exchanges under way: to change it takes no system call
        self._due: float | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._poll.register(self._woken, select.POLLIN)

    @property
    def under_way(self) -> int:
        """How many exchanges have not ended."""
        return len(self._under_way)

    def takes(self, url: str) -> bool:
        """Whether an exchange with this address holds up no other one; else it is for a thread of its own."""
        name = receiver_of(url).name
        until = self._names.get(name, 0.0)
        return not name or until > time.monotonic() or (name not in self._looked_up and -until < time.monotonic())

    def post(
        self, webhook: Webhook, *, phone: str, delivery_id: str, body: str, on_answer: Callable[[Answer], None]
    ) -> None:
        """Begin a first attempt. `on_answer` gets what came of it, in a later `turn`; at once if nothing can be sent.

        Never raises for what a network, a receiver or a tenant's configuration does.
        """
        self.begin(self._client.request(webhook, phone=phone, delivery_id=delivery_id, attempt=1, body=body), on_answer)

    def begin(self, request: WebhookRequest, on_answer: Callable[[Answer], None]) -> None:
        """Begin an exchange, as `post` does."""
        exchange = self._idle.pop() if self._idle else WebhookExchange(self._guard)
        try:
            curl = exchange.prepare(request)
        except NotSent as error:
            self._idle.append(exchange)
            on_answer(Answer(error=f"{error}"))
            return
        owner = self._begun(request.owner)
        curl.setopt(pycurl.SHARE, owner.pool)
        name, now = receiver_of(request.url).name, time.monotonic()
        looks_up = bool(name) and name not in self._looked_up and self._names.get(name, 0.0) <= now
        if looks_up:
            self._looked_up.add(name)
        elif now - self._names_checked < NAMES_CHECKED_EACH_S:
            # At the end of any other exchange libcurl goes through all hosts that it remembers.
            curl.setopt(pycurl.DNS_CACHE_TIMEOUT, FOR_EVER)
        else:
            self._names_checked = now
        self._multi.add_handle(curl)
        self._under_way[curl] = _UnderWay(owner, exchange, on_answer, name, looks_up, now)

    def turn(self, timeout_s: float) -> None:
        """Go on with all exchanges until something happened, `wake` was called, or the time is over."""
        if self._due is not None:
            timeout_s = min(timeout_s, max(0.0, self._due - time.monotonic()))
        for fd, happened in self._poll.poll(timeout_s * 1000):
            if fd == self._woken.fileno():
                self._rest()
                continue
            # An error, or the other side's end, is for whoever waits to read or to write.
            what = (pycurl.CSELECT_IN if happened & ~select.POLLOUT else 0) | (
                pycurl.CSELECT_OUT if happened & ~select.POLLIN else 0
            )
            self._multi.socket_action(fd, what)
        if self._due is not None and time.monotonic() >= self._due:
            self._due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._end_exchanges()

    def wake(self) -> None:
        """End the `turn` that waits, from any thread."""
        with suppress(OSError):  # it is full of the same, or closed
            self._waker.send(b"\0")

    def close(self) -> None:
        """Close everything; what is under way is broken off, and never told."""
        for curl, one in self._under_way.items():
            self._multi.remove_handle(curl)
            self._idle.append(one.exchange)
        self._under_way.clear()
        for exchange in self._idle:
            exchange.close()
        for owner in self._owners.values():
            owner.pool.close()
        self._multi.close()
        self._woken.close()
        self._waker.close()

    def _end_exchanges(self) -> None:
        more = 1
        while more:
            more, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._end(curl, pycurl.E_OK)
            for curl, code, _ in failed:
                self._end(curl, code)

    def _end(self, curl: pycurl.Curl, code: int) -> None:
        one = self._under_way.pop(curl)
        answer = one.exchange.ended(code)
        self._multi.remove_handle(curl)
        curl.unsetopt(pycurl.SHARE)
        self._idle.append(one.exchange)
        one.owner.busy -= 1
        if one.looks_up or answer.failed_at == "name":
            self._note_name(one, answer)
        one.on_answer(answer)

    def _note_name(self, one: _UnderWay, answer: Answer) -> None:
        """Remember what came of the look-up of a name."""
        self._looked_up.discard(one.name)
        self._names.pop(one.name, None)
        while len(self._names) >= MOST_NAMES:
            self._names.popitem(last=False)
        self._names[one.name] = -(time.monotonic() + AVOIDED_S) if answer.failed_at == "name" else one.began + KNOWN_S

    def _begun(self, key: Owner) -> _Owner:
        """The owner of an exchange that begins now. It has as many connections as it ever had exchanges at once."""
        owner = self._owners.get(key)
        if owner is None:
            owner = self._owners[key] = _Owner()
        self._owners.move_to_end(key)
        owner.busy += 1
        if owner.busy > owner.connections:
            if self._connections >= min(MOST_KEPT, self._half_of_files):
                self._forget_the_longest_unused()
            self._connections += 1
            owner.connections += 1
        return owner

    def _forget_the_longest_unused(self) -> None:
        for key, owner in self._owners.items():
            if not owner.busy:
                del self._owners[key]
                self._connections -= owner.connections
                owner.pool.close()
                return

    def _watch(self, what: int, fd: int, *_: object) -> None:
        """Libcurl's word about what to wait for at a socket."""
        if what == pycurl.POLL_REMOVE:
            with suppress(KeyError):
                self._poll.unregister(fd)
            return
        events = (select.POLLIN if what & pycurl.POLL_IN else 0) | (select.POLLOUT if what & pycurl.POLL_OUT else 0)
        self._poll.register(fd, events)

    def _set_timer(self, timeout_ms: int) -> None:
        self._due = None if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000

    def _rest(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(WAKING_BYTES)


class _UnderWay(NamedTuple):
    """An exchange that has not ended. `looks_up`: its name was not known when it began."""

    owner: _Owner
    exchange: WebhookExchange
    on_answer: Callable[[Answer], None]
    name: str
    looks_up: bool
    began: float


class _Owner:
    """The connections of one owner, and how many of its exchanges are under way."""

    __slots__ = ("busy", "connections", "pool")

    def __init__(self) -> None:
        self.pool = pycurl.CurlShare()
        self.pool.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_CONNECT)
        self.busy = self.connections = 0
