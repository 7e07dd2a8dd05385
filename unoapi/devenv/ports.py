"""Free ports on loopback."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from unoapi.errors import ConfigurationError

_LOWEST = 20_000
_TRIES = 1000
_chosen: set[int] = set()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Choose a port that is free; never the same one twice.

    It is below the range that the kernel uses for outgoing connections: while a server is down, a client that retries
    a port of that range can be given the very same port, connects to itself and blocks it.
    """
    for _ in range(_TRIES):
        port = _LOWEST + secrets.randbelow(_first_ephemeral() - _LOWEST)
        if port not in _chosen and is_free(port):
            _chosen.add(port)
            return port
    raise ConfigurationError(f"no free loopback port found from {_LOWEST} up")


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except (OSError, ValueError):
        first = 0
    return first if first > _LOWEST + _TRIES else 32_768
