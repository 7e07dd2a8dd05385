"""Rate limits: one for each session's token, a tighter one for wrong tokens.

Counted in the memory of each process, which takes no round trip and needs no Redis; several web processes divide the
bound among them. A right token is never refused for the wrong ones of others behind the same address.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from typing import TYPE_CHECKING

from flask import current_app
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from unoapi.errors import RequestError

if TYPE_CHECKING:
    from flask import Flask

EXTENSION = "rate_limits"


class Limits:
    """Counts of one process. Numbers are requests a minute over all processes; 0 is no limit."""

    def __init__(self, *, accepted: int, refused: int, processes: int = 1) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._accepted = RateLimitItemPerMinute(math.ceil(accepted / processes), namespace="ok") if accepted else None
        self._refused = RateLimitItemPerMinute(math.ceil(refused / processes), namespace="no") if refused else None

    def accept(self, token: str) -> None:
        """Count a request with a right token. Raises RequestError over the bound."""
        if self._accepted is None:
            return
        caller = hashlib.blake2b(token.encode(), digest_size=16).hexdigest()  # no token is stored
        if not self._limiter.hit(self._accepted, caller):
            raise self._too_many(
                self._accepted, caller, code=130429, title="Rate limit hit", details="Too many requests with this token"
            )

    def refuse(self, address: str) -> None:
        """Count a request without a right token. Raises RequestError over the bound."""
        if self._refused is None:
            return
        caller = network_of(address)
        if not self._limiter.hit(self._refused, caller):
            raise self._too_many(
                self._refused,
                caller,
                code=80007,
                title="Rate limit issues",
                details="Too many requests without a token",
            )

    def is_over(self, address: str) -> bool:
        """Whether the next call of `refuse` for the address raises: its tokens should cost little by now."""
        return self._refused is not None and not self._limiter.test(self._refused, network_of(address))

    def _too_many(
        self, item: RateLimitItemPerMinute, caller: str, *, code: int, title: str, details: str
    ) -> RequestError:
        wait_s = max(1, math.ceil(self._limiter.get_window_stats(item, caller).reset_time - time.time()))
        return RequestError(
            title, code=code, status=429, details=f"{details}; try again in {wait_s} s.", retry_after_s=wait_s
        )


def network_of(address: str) -> str:
    """The address, or the network of 64 bits that one IPv6 customer usually has."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def register_limits(app: Flask, *, accepted: int, refused: int, processes: int) -> None:
    """Let the application count its callers."""
    app.extensions[EXTENSION] = Limits(accepted=accepted, refused=refused, processes=processes)


def limits() -> Limits:
    """The counts of the application that serves this request."""
    counts: Limits = current_app.extensions[EXTENSION]
    return counts
