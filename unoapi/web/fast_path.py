"""Messages without Flask: the short way of an ordinary `POST /<version>/<phone>/messages`.

    request - ordinary? - no --------------------> Flask, which has not been asked yet
                |                                  ^
               yes                                 |
                |                                  |
              token - opens nothing plainly -------+
                |
              body, message, publish - an error -> Flask, which answers the error and runs nothing again
                |
               200

Most requests are of this kind, and Flask's own work for them took as long as all of ours. The functions are those of
the view `messages.send_message`, and so is every answer, byte by byte.
"""

from __future__ import annotations

import re
import time
from json import JSONEncoder
from typing import TYPE_CHECKING, Any

from flask import request

from unoapi.telemetry.metrics import metrics
from unoapi.web import messages
from unoapi.web.auth import accept, phone_opened_by, without_scheme
from unoapi.web.headers import POLICY, POLICY_HEADER, SECURITY
from unoapi.web.request_body import json_parameters, read_body
from unoapi.web.tracing import name_span

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from wsgiref.types import StartResponse

    from flask import Flask

    from unoapi.models.jobs import Envelope

PATH = re.compile(r"/v[0-9]{1,3}(?:\.[0-9]{1,3})?/[0-9]{1,20}/messages")
HOST = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,9}(?::[0-9]{1,5})?")
JSON = re.compile(r"application/json(?:; ?charset=utf-8)?", re.IGNORECASE)
LENGTH = re.compile(r"[1-9][0-9]{0,9}")
UNUSUAL = frozenset({"HTTP_TRANSFER_ENCODING", "HTTP_ORIGIN"})
AS_FLASK = JSONEncoder(sort_keys=True, separators=(",", ":"))
EXTENSION = "fast_path"
"""Its name among the application's extensions."""
FAILED = "unoapi.failed"
"""The error of a request that is Flask's to answer, in its WSGI environment."""


def register_fast_path(app: Flask, *, token_header: str) -> None:
    """Serve ordinary messages without Flask. Not for an API without an operator's token, whose callers are checked."""
    path = FastPath(app, token_variable=f"HTTP_{token_header.upper().replace('-', '_')}")
    app.extensions[EXTENSION] = path
    app.wsgi_app = path  # type: ignore[method-assign] # Flask's own way
    app.before_request(_raise_its_error)


def _raise_its_error() -> None:
    error: Exception | None = request.environ.pop(FAILED, None)
    if error is not None:
        raise error


class FastPath:
    """The WSGI application before Flask's."""

    def __init__(self, app: Flask, *, token_variable: str) -> None:
        self._app = app
        self.flask = app.wsgi_app
        self._token_variable = token_variable
        self._most_bytes = min(messages.MAX_MESSAGE_BYTES, app.config["MAX_CONTENT_LENGTH"])

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or let Flask do it."""
        answer = None if FAILED in environ or not self.takes(environ) else self.answers([environ])[0]
        if answer is None:
            return self.flask(environ, start_response)
        start_response("200 OK", self.head(answer))
        return [answer]

    def takes(self, environ: dict[str, Any]) -> bool:
        """Whether it is an ordinary request."""
        return bool(
            PATH.fullmatch(environ["PATH_INFO"])
            and environ["REQUEST_METHOD"] == "POST"
            and not environ.get("QUERY_STRING")
            and JSON.fullmatch(environ.get("CONTENT_TYPE", ""))
            and LENGTH.fullmatch(length := environ.get("CONTENT_LENGTH", ""))
            and int(length) <= self._most_bytes
            and HOST.fullmatch(environ.get("HTTP_HOST", ""))
            and UNUSUAL.isdisjoint(environ)
            and self._token(environ)
        )

    def answers(self, environs: Sequence[dict[str, Any]]) -> list[bytes | None]:
        """The answers to ordinary requests; None for one that is Flask's to answer, with the error, if there is one.

        The messages are published together: one write, and one wait for RabbitMQ.
        """
        began = time.perf_counter()
        with self._app.app_context():
            acceptances = [self._accepting(environ) for environ in environs]
            try:
                results: Sequence[bytes | Exception | None] = messages.complete(acceptances)
            except Exception as error:  # noqa: BLE001 (Flask's handlers know them all)
                results = [error] * len(environs)
        seconds = time.perf_counter() - began
        for environ, result in zip(environs, results, strict=True):
            if isinstance(result, Exception):
                environ[FAILED] = result
            elif result is not None:
                metrics().answered(messages.RULE, 200, seconds=seconds)
                name_span(environ, messages.RULE, 200)
        return [None if isinstance(result, Exception) else result for result in results]

    @staticmethod
    def head(answer: bytes) -> list[tuple[str, str]]:
        """The headers of an answer."""
        own = {"Content-Type": "application/json", "Content-Length": f"{len(answer)}"}
        return [*own.items(), *SECURITY.items(), (POLICY_HEADER, POLICY)]

    def _token(self, environ: dict[str, Any]) -> str:
        return environ.get(self._token_variable) or environ.get("HTTP_AUTHORIZATION") or ""

    def _accepting(self, environ: dict[str, Any]) -> Generator[Envelope, None, bytes | None]:
        """The answer to a message. None when the token does not open the number; raises whatever is wrong."""
        token = without_scheme(self._token(environ))
        phone = phone_opened_by(token, environ["PATH_INFO"].split("/")[2])
        if phone is None:
            return None
        accept(token, environ)
        raw = read_body(environ["wsgi.input"], int(environ["CONTENT_LENGTH"]))
        body = messages.without_tokens(json_parameters(raw, *messages.MODELS))
        answer = yield from messages.accepting(phone, body, key=environ.get("HTTP_IDEMPOTENCY_KEY"))
        return f"{AS_FLASK.encode(answer)}\n".encode()
