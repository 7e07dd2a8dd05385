"""A stand-in of Meta's Graph API on loopback, with Meta's documented answers, scripted per recipient."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "token-at-meta"
NUMBER_ID = "106540352242922"


def error(code: int, title: str, details: str = "", *, status: int = 400) -> tuple[int, dict[str, Any]]:
    """An error as Meta writes it."""
    problem: dict[str, Any] = {
        "message": f"(#{code}) {title}",
        "type": "OAuthException",
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details or title},
        "fbtrace_id": "Az8or2yhqkZfEZ-_4Qn_Bam",
    }
    return status, {"error": problem}


SCRIPT: dict[str, tuple[int, dict[str, Any]]] = {
    "15550000101": error(131026, "Message Undeliverable", "Message Undeliverable."),
    "15550000102": error(131047, "Re-engagement message", "More than 24 hours have passed."),
    "15550000103": error(190, "Invalid OAuth access token", "Invalid OAuth access token", status=401),
    "15550000104": error(100, "Invalid parameter", "Parameter value is not valid"),
    "15550000105": error(131000, "Something went wrong", status=500),
    "15550000106": error(130429, "Rate limit hit", "Cloud API message throughput has been reached."),
    "15550000107": (502, {}),
    "15550000108": (200, {}),
    "15550000109": error(130429, "Rate limit hit", "Try again in a second.", status=429),
    "15550000113": error(131056, "Pair rate limit hit", "Too many messages to one contact."),
}
"""Recipients that are answered with an error, every time or (see ONCE) the first time only."""
ONCE = {"15550000105", "15550000106", "15550000107", "15550000109", "15550000113"}
SILENT, SLOW, BROKEN = "15550000110", "15550000111", "15550000112"
PAUSES_S = {SILENT: 8, SLOW: 1}


@dataclass
class Sent:
    """One request that reached the stand-in."""

    method: str
    path: str
    body: dict[str, Any]
    token: str
    raw: bytes = b""
    content_type: str = ""


@dataclass
class Graph:
    """The fake. `sent` has all requests, `files` the media by id."""

    sent: list[Sent] = field(default_factory=list)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    before_answer: dict[str, Callable[[str], object]] = field(default_factory=dict)
    """By recipient: what happens before a send is answered; it gets the id that the answer will name."""
    replies: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Answers to requests by "METHOD /path", whatever their query."""

    def __enter__(self) -> Self:  # noqa: C901 (a handler's methods)
        graph = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.record()
                if self.replied():
                    return
                to = str(body.get("to"))
                time.sleep(PAUSES_S.get(to, 0))
                if to == BROKEN:
                    self.close_connection = True
                    return
                self.answer(*graph.outcome(to, body))

            def do_DELETE(self) -> None:
                self.record()
                if not self.replied():
                    self.answer(200, {"success": True})

            def record(self) -> dict[str, Any]:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = self.headers.get("Content-Type") or ""
                body = json.loads(raw) if raw and kind.startswith("application/json") else {}
                token = self.headers.get("Authorization") or ""
                graph.sent.append(Sent(self.command, self.path, body, token, raw, kind))
                return body if isinstance(body, dict) else {}

            def replied(self) -> bool:
                reply = graph.replies.get(f"{self.command} {self.path.partition('?')[0]}")
                if reply is not None:
                    self.answer(*reply)
                return reply is not None

            def do_GET(self) -> None:
                self.record()
                if self.replied():
                    return
                media_id = self.path.rpartition("/")[2]
                if media_id not in graph.files:
                    self.answer(*error(100, "Unsupported get request"))
                    return
                mime_type, data = graph.files[media_id]
                if self.path.startswith("/files/"):
                    self.send_response(200)
                    self.send_header("Content-Type", mime_type)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                    return
                described = {"messaging_product": "whatsapp", "url": f"{graph.url}/files/{media_id}", "id": media_id}
                self.answer(200, {**described, "mime_type": mime_type, "file_size": len(data), "sha256": "x"})

            def answer(self, status: int, document: Any) -> None:
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def outcome(self, to: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body.get("status") == "read":
            return 200, {"success": True}
        if to in SCRIPT and not (to in ONCE and to in self.seen):
            self.seen.add(to)
            return SCRIPT[to]
        message_id = f"wamid.META{len(self.sent)}"
        if to in self.before_answer:
            self.before_answer[to](message_id)
        return 200, {
            "messaging_product": "whatsapp",
            "contacts": [{"input": to, "wa_id": to}],
            "messages": [{"id": message_id}],
        }

    def messages_to(self, to: str) -> list[Sent]:
        return [request for request in list(self.sent) if request.body.get("to") == to]
