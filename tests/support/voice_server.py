"""A stand-in for a service with OpenAI's documented interface for audio, on loopback.

It refuses what the real one refuses (a wrong key, a missing model or file), in the same form; a script of answers takes
the place of good ones.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY = "sk-key-of-the-service-0123456789"
SPEECH = b"OggS\x00\x02" + bytes(22) + b"\x01\x13OpusHead\x01\x01" + bytes(400)


@dataclass(frozen=True)
class Answered:
    """One answer in the place of a good one."""

    status: int = 200
    body: bytes = b""
    mime_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    pause_s: float = 0
    endless: bool = False


@dataclass(frozen=True)
class Asked:
    """One request: its path, its fields, and the names of its files."""

    path: str
    fields: dict[str, Any]
    filename: str = ""
    file: bytes = field(default=b"", repr=False)


def error_body(message: str, *, kind: str = "invalid_request_error", code: str | None = None) -> bytes:
    """An error in the service's form."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


class VoiceServer:
    """Answers what `script` says, in turn; then well: `heard` is the text of every audio."""

    def __init__(self, *script: Answered, heard: str = "hello, this is Maria") -> None:
        self.script = list(script)
        self.heard = heard
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                answer = outer.answer(self.path, dict(self.headers.items()), self.rfile)
                time.sleep(answer.pause_s)
                self.send_response(answer.status)
                for name, value in (("Content-Type", answer.mime_type), *answer.headers):
                    self.send_header(name, value)
                if not answer.endless:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                try:
                    self.wfile.write(answer.body)
                    while answer.endless:
                        self.wfile.write(bytes(65_536))
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: dict[str, str], stream: Any) -> Answered:
        """What one request gets."""
        body = stream.read(int(headers.get("Content-Length") or 0))
        asked = _read(path, headers, body)
        self.asked.append(asked)
        if self.script:
            return self.script.pop(0)
        if headers.get("Authorization") != f"Bearer {KEY}":
            told = f"Incorrect API key provided: {headers.get('Authorization')}."
            return Answered(401, error_body(told, code="invalid_api_key"))
        if not asked.fields.get("model"):
            return Answered(400, error_body("you must provide a model parameter"))
        if path == "/v1/audio/transcriptions" and asked.file:
            return Answered(body=json.dumps({"text": self.heard}).encode())
        if path == "/v1/audio/speech" and asked.fields.get("input") and asked.fields.get("voice"):
            return Answered(body=SPEECH, mime_type="audio/ogg")
        return Answered(404 if "/v1/audio/" not in path else 400, error_body("Invalid request"))


def _read(path: str, headers: dict[str, str], body: bytes) -> Asked:
    kind = headers.get("Content-Type", "")
    if kind.startswith("application/json"):
        return Asked(path, json.loads(body))
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    fields: dict[str, Any] = {}
    filename, file = "", b""
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        if part.get_filename():
            filename, file = str(part.get_filename()), content if isinstance(content, bytes) else b""
        else:
            fields[name] = content.decode() if isinstance(content, bytes) else ""
    return Asked(path, fields, filename, file)
