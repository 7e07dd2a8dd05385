"""A server of files on loopback, scripted per path: types, errors, pages, pauses, sizes that are only announced."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class File:
    """One answer. `times` is how often it is given, until the next one is; `announced` a size that is not true."""

    body: bytes = b""
    mime_type: str = ""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pause_s: float = 0
    announced: int | None = None


@dataclass
class FileServer:
    """Serves `files` by path: the first of a list once each, the last one for ever. `asked` counts the requests."""

    files: dict[str, list[File]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def put(self, path: str, *files: File) -> str:
        """Serve files at a path; returns the address."""
        self.files[path] = list(files)
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked[self.path] += 1
                waiting = outer.files.get(self.path, [File(status=404)])
                file = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                time.sleep(file.pause_s)
                self.send_response(file.status)
                for name, value in file.headers:
                    self.send_header(name, value)
                if file.mime_type:
                    self.send_header("Content-Type", file.mime_type)
                self.send_header("Content-Length", str(len(file.body) if file.announced is None else file.announced))
                self.end_headers()
                self.wfile.write(file.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
