"""Starts the processes of sessions as forks (`unoapi.forking`): `python -m unoapi.connector.fork_server`.

The server never loads a WhatsApp library. A session ends when its standard input is closed, so with the connector.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import signal
import socket
import sys
from typing import TYPE_CHECKING

from unoapi import forking
from unoapi.errors import describe, safe_traceback
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

log = get_logger(__name__)

PRELOADED = (
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "encodings.idna",
    "google.protobuf.json_format",
    "httpx",
    "PIL.Image",
    "linkpreview",
    "segno",
    "sqlite3",
    "tqdm",
)
"""What a session's process would load for itself otherwise; what is not installed is left out."""


class SessionFork(forking.ForkedProcess):
    """The process of a session."""

    def __init__(self, pid: int, stdin: int) -> None:
        super().__init__(pid)
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8")

    def poll(self) -> int | None:
        """The exit code; none while it runs."""
        if (code := super().poll()) is not None:
            with contextlib.suppress(OSError):
                self.stdin.close()
        return code


class ForkServer(forking.ForkServer):
    """The supervisor's side."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "unoapi.connector.fork_server")) -> None:
        super().__init__(command)

    def launch(self, arguments: Sequence[str], environment: dict[str, str]) -> SessionFork:
        """Fork a session's process with these arguments, and these variables beside those that the server has.

        Raises ConnectionError when the server is gone, any other OSError when there is no room.
        """
        reader, writer = os.pipe()
        try:
            pid = self.fork({"arguments": list(arguments), "environment": environment}, reader)
        except OSError:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        return SessionFork(pid, writer)


def main(descriptor: int) -> None:
    """Load the program, then serve; in each forked process, run the session."""
    from unoapi.bootstrap import unoapi  # noqa: PLC0415 (what is loaded here is shared by all)
    from unoapi.connector import session_process  # noqa: PLC0415

    session_process.silence_the_library()  # before the log is bound to the output: it stays open to it
    os.environ["UNOAPI_OTLP_ENDPOINT"] = ""  # sessions make no spans, and the exporter's thread forbids every fork
    unoapi()
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request, stdin = forking.serve(socket.socket(fileno=descriptor))
    code = 1
    try:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.environ.update(request["environment"])
        random.seed()
        code = session_process.main(request["arguments"])
    except Exception as error:  # noqa: BLE001 (the process ends here in any case)
        log.error("session_not_run", error=describe(error), traceback=safe_traceback(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
