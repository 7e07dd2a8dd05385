"""Whether an address takes connections: the name, the connection and, with https, the certificate. Nothing is sent."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from unoapi.errors import NotSent
from unoapi.http.guarded_handle import GuardedHandle

if TYPE_CHECKING:
    from unoapi.http.address_guard import AddressGuard


def connection_failure(guard: AddressGuard, url: str, *, timeout_ms: int, trusted: bool = False) -> tuple[str, str]:
    """At which step a connection fails (`guard`, `name`, `connection`, `tls` …), and why; both empty when it is made.

    `trusted` as `AddressGuard.socket_opener` has it. A name's look-up may outlast the deadline: the resolver decides.
    """
    with closing(GuardedHandle(guard)) as handle:
        try:
            handle.prepare(url, headers=(), timeout_ms=timeout_ms, on_body=len, trusted=trusted)
        except NotSent as error:
            return "address", f"{error}"
        failure = handle.connect()
    return ("", "") if failure is None else (failure.step, failure.error)
