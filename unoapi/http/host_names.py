"""Whether a host's name is known: a hint for who configures an address. Nothing relies on it."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from unoapi.models.endpoints import is_written_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from unoapi.http.address_guard import AddressGuard

WAIT_S = 1.0
MOST_AT_ONCE = 2
MOST_HOSTS = 5
UNKNOWN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
RESERVED = (".example", ".invalid", ".test")
"""Ends of names that the public internet will never have (RFC 2606): nobody is asked."""


class HostNames:
    """Asks this machine's resolver. The names are a tenant's, and a resolver may take long: few are asked at a time."""

    def __init__(self, guard: AddressGuard, *, lookup: Callable[[str, None], Any] = socket.getaddrinfo) -> None:
        self._guard = guard
        self._lookup = lookup
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)

    def unknown(self, hosts: Iterable[str]) -> set[str]:
        """Those hosts that are certainly no names here, of the first few; never waits for more than a second.

        Names that the operator allows are not asked for: another process may be the one that reaches them.
        """
        asked = [host for host in dict.fromkeys(hosts) if not is_written_out(host)]
        names = [host for host in asked if not self._guard.names(host)][:MOST_HOSTS]
        found = {name for name in names if name.endswith(RESERVED)}
        if names := [name for name in names if name not in found]:
            found |= self._ask(names)
        return found

    def _ask(self, names: list[str]) -> set[str]:
        if not self._places.acquire(blocking=False):
            return set()
        found: set[str] = set()
        thread = threading.Thread(target=self._look_up, args=(names, found), name="host-names", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had
            self._places.release()
            return set()
        thread.join(WAIT_S)
        return set(found)

    def _look_up(self, names: list[str], found: set[str]) -> None:
        try:
            for name in names:
                try:
                    self._lookup(name, None)
                except socket.gaierror as error:
                    if error.errno in UNKNOWN:
                        found.add(name)
                except (OSError, UnicodeError):  # nobody knows
                    continue
        finally:
            self._places.release()
