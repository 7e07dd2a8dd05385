"""Endpoints, which are one webhook of one session, and their state."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host and port of an address: who is behind it."""


class Endpoint(NamedTuple):
    """One webhook of one session."""

    phone: str
    webhook_id: str

    @property
    def key(self) -> str:
        """Its name in Redis keys and memories: `<phone>:<webhook id>`."""
        return f"{self.phone}:{self.webhook_id}"


class Receiver(NamedTuple):
    """What an address says of who is behind it.

    `origin` is none for what is no address, `name` what has to be looked up, empty where the host is written as an
    address, and `label` who it is in an account.
    """

    origin: Origin | None
    name: str
    label: str


@lru_cache(maxsize=8192)  # asked several times of each delivery
def receiver_of(url: str) -> Receiver:
    """Who is behind an address."""
    try:
        parts = urlsplit(url)
        return _receiver(parts.scheme, (parts.hostname or "").rstrip("."), parts.port)
    except ValueError:
        return Receiver(None, "", url)


@lru_cache(maxsize=1024)  # one for all addresses of a receiver: many may be of the same
def _receiver(scheme: str, host: str, port: int | None) -> Receiver:
    origin = (scheme, host, port or DEFAULT_PORTS.get(scheme, 0))
    return Receiver(origin, "" if is_written_out(host) else host, f"{origin}")


@lru_cache(maxsize=1024)
def is_written_out(host: str) -> bool:
    """Whether a host is an address already, so that no name has to be looked up."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def origin_of(url: str) -> Origin | None:
    """The origin of an address. None for what is no address."""
    return receiver_of(url).origin


class Holding(NamedTuple):
    """The holding queue of an endpoint, where its deliveries wait: which one, and whether some wait in it.

    `ready` is false until RabbitMQ has it.
    """

    token: str
    ready: bool
    waiting: bool


LOOK_ENDED, LOOK_BEGUN = -1, -2
"""Who makes a look at a holding queue a second time learns whether the next one has been made after it, or not yet."""


@dataclass(frozen=True)
class DeliveryState:
    """The state before an attempt: already delivered, or its endpoint paused for so many milliseconds.

    `breaker` is what the breakers wrote about the endpoint, none when it cannot be read; `holding` its holding queue.
    What was accepted at `dropped_until_ms` (Unix time in milliseconds) or before was dropped by the operator.
    """

    done: bool = False
    paused_ms: int = 0
    dropped_until_ms: int = 0
    breaker: str | None = field(default="", compare=False)
    holding: Holding | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing is known that a delivery has to wait for, or be given up for, but what was dropped."""
        return self.breaker == "" and not (self.done or self.paused_ms or self.holding)


@dataclass(frozen=True)
class Permit:
    """Whether a delivery may be posted now, as a probe perhaps, or waits so many milliseconds."""

    wait_ms: int = 0
    probe: bool = False


@dataclass(frozen=True)
class EndpointChange:
    """An endpoint went down or came back. `since_ms` is when the outage began, in Unix time.

    `reason` and `error` are those of the attempt with which it went down.
    """

    down: bool
    since_ms: int
    reason: str = ""
    error: str = ""
