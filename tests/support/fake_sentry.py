"""A stand-in for Sentry's ingest: reads envelopes as the client sends them, and remembers their events."""

from __future__ import annotations

import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "0123456789abcdef0123456789abcdef"
PROJECT = "7"


class Ingest:
    """`with Ingest() as ingest: ...`; its `dsn` is what SENTRY_DSN takes."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer_after_s = 0.0
        ingest = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                ingest.requests.append((self.path, dict(self.headers.items()), body))
                time.sleep(ingest.answer_after_s)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.dsn = f"http://{KEY}@127.0.0.1:{self._server.server_port}/{PROJECT}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def items(self) -> list[tuple[dict[str, Any], Any]]:
        """Each item of each envelope: its header and its content."""
        items = []
        for _, _, body in list(self.requests):
            lines = body.split(b"\n")[1:]
            while len(lines) > 1:
                header, content, *lines = lines
                items.append((json.loads(header), json.loads(content)))
        return items

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events, in the order in which they came."""
        return [content for header, content in self.items if header["type"] == "event"]

    @property
    def text(self) -> str:
        """Everything that came, to be searched for secrets."""
        return "".join(f"{path} {headers} {body.decode()}" for path, headers, body in list(self.requests))

    def issues(self, of: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[tuple[str, ...], int]:
        """How many events each issue has: events with the same fingerprint are one issue."""
        counts: dict[tuple[str, ...], int] = {}
        for event in self.events:
            if of(event):
                kind = tuple(event.get("fingerprint") or ["{{ default }}"])
                counts[kind] = counts.get(kind, 0) + 1
        return counts
