"""Why a server is not reached, as far as the system said it: what an operator can look at."""

from __future__ import annotations

import socket
import ssl

WORDS: tuple[tuple[type[OSError], str], ...] = (
    (socket.gaierror, "no name server here knows its host"),
    (ssl.SSLError, "what answers at this port speaks no TLS, or another version of it"),
    (ConnectionRefusedError, "nothing listens there: does it run, and is the port right?"),
    (ConnectionResetError, "the connection is closed at once: does the port want TLS?"),
    (TimeoutError, "it does not answer: is a firewall between?"),
)
"""By the system's errors, the narrower ones first. Of an error itself nothing is shown: it may quote an address."""


def why_not_connected(error: BaseException) -> str:
    """What lies behind an error of a connection, or nothing."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        for kind, words in WORDS:
            if isinstance(cause, kind):
                return words
        cause = cause.__cause__ or cause.__context__
    return ""
