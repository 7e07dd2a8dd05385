"""The socket of existing front ends: Socket.IO at `/ws`, event `broadcast` with QR codes and statuses.

Unlike the former program's it needs a token, in the query (`access_token`) or the header, with every request; a
session's token shows that session alone. Each client takes one thread of the API while it is connected, so that at most
half of them are given away; the session's page does without.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import redis
import socketio  # type: ignore[import-untyped]

from unoapi.bootstrap import unoapi
from unoapi.errors import Postponed, StoreUnavailable
from unoapi.services.qr_codes import data_url
from unoapi.stores.connections import CHANNEL
from unoapi.telemetry.logging import get_logger
from unoapi.web.auth import BEARER, token_opens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = get_logger(__name__)

PATH = "ws"
EVERYTHING = "*"
PAUSE_S = 2.0


class Socket:
    """Socket.IO in front of the application."""

    def __init__(self, application: Callable[..., Iterable[bytes]], *, threads: int, origins: frozenset[str]) -> None:
        self._application = application
        self._places = threading.BoundedSemaphore(max(1, threads // 2))
        self._server = socketio.Server(
            async_mode="threading",
            cors_allowed_origins="*" if "*" in origins else sorted(origins) or None,
            max_http_buffer_size=10_000,
            http_compression=False,
        )
        self._server.on("connect", self._connect)
        self._inner = socketio.WSGIApp(self._server, socketio_path=PATH)
        self._listener: threading.Thread | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """One request: ours when it is for the socket and brings a token that opens something."""
        path = str(environ.get("PATH_INFO", ""))
        if path != f"/{PATH}" and not path.startswith(f"/{PATH}/"):
            return self._application(environ, start_response)
        try:
            phones = self._opened(environ)
        except (StoreUnavailable, Postponed):
            return _refuse(start_response, "503 Service Unavailable", "Redis does not answer")
        if not phones:
            return _refuse(start_response, "401 Unauthorized", "a token is needed")
        if not self._places.acquire(blocking=False):
            return _refuse(start_response, "503 Service Unavailable", "too many clients on the socket")
        try:
            environ["unoapi.phones"] = phones
            self._listen()
            return list(self._inner(environ, start_response))
        finally:
            self._places.release()

    def _opened(self, environ: dict[str, Any]) -> list[str]:
        query = parse_qs(str(environ.get("QUERY_STRING", "")))
        given = str(environ.get("HTTP_AUTHORIZATION") or (query.get("access_token") or query.get("token") or [""])[0])
        token = given[len(BEARER) :].strip() if given.lower().startswith(BEARER) else given.strip()
        expected = unoapi().settings.unoapi_auth_token.get_secret_value()
        if not expected:
            return [EVERYTHING]
        opens, sessions = token_opens(token)
        if not opens:
            return []
        mine = [session.phone for session in sessions]
        return (
            mine
            if all(session.auth_token.get_secret_value() == token for session in sessions) and mine
            else [EVERYTHING]
        )

    def _connect(self, client: str, environ: dict[str, Any]) -> None:
        for phone in environ["unoapi.phones"]:
            self._server.enter_room(client, phone)

    def _listen(self) -> None:
        with self._lock:
            if self._listener is None:
                self._listener = threading.Thread(target=self._forward, name="broadcast", daemon=True)
                self._listener.start()

    def _forward(self) -> None:
        """From Redis to all clients, for ever."""
        url = unoapi().settings.redis_url.get_secret_value()
        while True:
            try:
                client: Any = redis.Redis.from_url(url, socket_timeout=None, socket_connect_timeout=2)
                with client.pubsub() as channel:
                    channel.subscribe(CHANNEL)
                    for message in channel.listen():
                        if message["type"] == "message":
                            self._tell(json.loads(message["data"]))
            except (redis.RedisError, OSError, ValueError) as error:
                log.warning("broadcast_waits", error=type(error).__name__)
                time.sleep(PAUSE_S)

    def _tell(self, news: dict[str, Any]) -> None:
        shown = broadcast_of(news)
        if shown is not None:
            self._server.emit("broadcast", shown, room=news["phone"])
            self._server.emit("broadcast", shown, room=EVERYTHING)


def broadcast_of(news: dict[str, Any]) -> dict[str, Any] | None:
    """What front ends expect: `{"phone", "type": "qrcode" | "status", "content"}`."""
    content = news["content"]
    if news["type"] == "qr":
        return {"phone": news["phone"], "type": "qrcode", "content": data_url(content["code"])}
    if news["type"] == "state":
        return {"phone": news["phone"], "type": "status", "content": content["status"]}
    code = content.get("code", "")
    return {"phone": news["phone"], "type": "status", "content": f"pairing code: {code[:4]}-{code[4:]}"}


def _refuse(start_response: Callable[..., Any], status: str, details: str) -> list[bytes]:
    body = json.dumps({"error": {"message": details, "code": int(status[:3])}}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
