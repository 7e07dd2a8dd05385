"""The socket of existing front ends: Socket.IO at `/ws`, event `broadcast` with QR codes and statuses.

Unlike the Node version's it needs a token with every request; a session's token shows that session alone, and one that
opens it no longer shows nothing more, however long its connection lasts. Each client takes one thread of those that may
wait (see `waiting`) while it is connected, so there are as many clients as the API has threads, and one token's
sessions have a quarter of these threads; the session's page does without it.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import socketio  # type: ignore[import-untyped]
from engineio.async_drivers.threading import SimpleWebSocketWSGI  # type: ignore[import-untyped]
from flask import Blueprint, Response, current_app, g, request

from unoapi.errors import Postponed, StoreUnavailable, describe, safe_traceback
from unoapi.services.qr_codes import data_url
from unoapi.stores.connections import CHANNEL
from unoapi.telemetry.logging import get_logger
from unoapi.web.auth import any_session_token, given_token, may_see, visible_sessions
from unoapi.web.concurrency_limit import ConcurrencyLimit
from unoapi.web.schemas import schema
from unoapi.web.waiting import ensure_may_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flask import Flask
    from flask.typing import ResponseReturnValue

routes = Blueprint("broadcast", __name__)
log = get_logger(__name__)

EXTENSION = "broadcast"
ROOMS, TOKEN = "unoapi.rooms", "unoapi.token"
EVERYTHING = "*"
LOG_EVERY_S = 60.0
RECONNECT_PAUSE_S = 2.0
MAX_MESSAGE = 10_000
"""Bytes; clients have nothing to say but that they are there."""
MOST_CLIENTS = 32
"""Half of the threads that wait for clients: the others read and write large files."""


@routes.route("/ws", methods=["GET", "POST"])
@routes.get("/ws", websocket=True)  # an upgrade matches no other rule
@any_session_token
@schema(described=False)  # OpenAPI has no words for Socket.IO
def connect() -> ResponseReturnValue:
    """Socket.IO: codes and connection states of the sessions that the token opens, as they change."""
    ensure_may_wait(request.environ)
    rooms = [EVERYTHING] if g.operator else [session.phone for session in visible_sessions()]
    broadcast: Broadcast = current_app.extensions[EXTENSION]
    return broadcast.answer(rooms, given_token())


def register_broadcast(
    app: Flask, *, subscribe: Callable[[str], Iterator[str]], threads: int, origins: frozenset[str]
) -> None:
    """Let the application serve the socket. `subscribe` gives the messages of a channel; `threads` are the API's."""

    def sees(token: str, phone: str) -> bool:
        with app.app_context():
            return may_see(token, phone)

    most = min(threads, MOST_CLIENTS)
    app.extensions[EXTENSION] = Broadcast(subscribe, sees=sees, most_clients=most, origins=origins)


class Broadcast:
    """The Socket.IO server of one process, and the thread that passes on what Redis publishes."""

    def __init__(
        self,
        subscribe: Callable[[str], Iterator[str]],
        *,
        sees: Callable[[str, str], bool],
        most_clients: int,
        origins: frozenset[str],
    ) -> None:
        self._subscribe = subscribe
        self._sees = sees
        self._clients: dict[str, tuple[str, list[str]]] = {}  # token and rooms of each
        self._limit = ConcurrencyLimit(
            most_clients, of_one=max(2, most_clients // 4), what="are connected to the socket"
        )
        self._server = socketio.Server(
            async_mode="threading",
            cors_allowed_origins="*" if "*" in origins else sorted(origins) or None,
            max_http_buffer_size=MAX_MESSAGE,
            http_compression=False,
        )
        self._server.eio._async = {**self._server.eio._async, "websocket": _bounded_socket}  # noqa: SLF001 (see there)
        self._server.on("connect", self._enter_rooms)
        self._server.on("disconnect", self._forget)
        self._listener: threading.Thread | None = None
        self._lock = threading.Lock()

    def answer(self, rooms: list[str], token: str) -> Response:
        """What serves this request as a member of the rooms. Raises RequestError when all places are taken."""
        caller = tuple(rooms)
        self._limit.take(caller)
        self._start_listener()

        def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            try:
                return list(self._server.handle_request({**environ, ROOMS: rooms, TOKEN: token}, start_response))
            finally:
                self._limit.give_back(caller)

        return _Upgrade(serve)

    def _enter_rooms(self, client: str, environ: dict[str, Any]) -> None:
        self._clients[client] = (environ[TOKEN], environ[ROOMS])
        for room in environ[ROOMS]:
            self._server.enter_room(client, room)

    def _forget(self, client: str, *_: object) -> None:
        self._clients.pop(client, None)

    def _end_strangers(self, phone: str) -> None:
        """Disconnect who would see something of a number that his token opens no longer. Raises Postponed."""
        for client, (token, rooms) in list(self._clients.items()):
            if (phone in rooms or EVERYTHING in rooms) and not self._sees(token, phone):
                log.info("socket_ended", why="its token does not open the number any more", phone=phone)
                self._forget(client)
                self._server.disconnect(client)

    def _start_listener(self) -> None:
        with self._lock:
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="broadcast", daemon=True)
                self._listener.start()

    def _listen(self) -> None:
        logged = -LOG_EVERY_S
        while True:
            try:
                for message in self._subscribe(CHANNEL):
                    self._emit(json.loads(message))
            except StoreUnavailable as error:
                if time.monotonic() >= logged + LOG_EVERY_S:
                    logged = time.monotonic()
                    log.warning("broadcast_interrupted", error=f"{error}")
            except Exception as error:  # noqa: BLE001 (without this thread no front end hears anything any more)
                log.error("broadcast_failed", error=describe(error), traceback=safe_traceback(error))
            time.sleep(RECONNECT_PAUSE_S)

    def _emit(self, change: dict[str, Any]) -> None:
        shown = broadcast_of(change)
        try:
            self._end_strangers(change["phone"])
        except Postponed:  # nobody knows now who may see it
            return
        self._server.emit("broadcast", shown, room=change["phone"])
        self._server.emit("broadcast", shown, room=EVERYTHING)


def _bounded_socket(*args: Any) -> SimpleWebSocketWSGI:
    """The library's own, which looks at the size of a message when all of it lies in memory, however large it is."""
    return SimpleWebSocketWSGI(*args, max_message_size=MAX_MESSAGE)


class _Upgrade(Response):
    """A response that hands the connection to Socket.IO, which may go on with it as a WebSocket."""

    def __init__(self, serve: Callable[..., Iterable[bytes]]) -> None:
        super().__init__()
        self._serve = serve

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self._serve(environ, start_response)


def broadcast_of(change: dict[str, Any]) -> dict[str, Any]:
    """What front ends expect: `{"phone", "type": "qrcode" | "status" | "bulk", "content"}`; of a campaign its id."""
    content = change["content"]
    if change["type"] == "qr":
        return {"phone": change["phone"], "type": "qrcode", "content": data_url(content["code"])}
    if change["type"] == "state":
        return {"phone": change["phone"], "type": "status", "content": content["status"]}
    if change["type"] == "bulk":
        return {"phone": change["phone"], "type": "bulk", "content": content}
    code = content.get("code", "")
    return {"phone": change["phone"], "type": "status", "content": f"pairing code: {code[:4]}-{code[4:]}"}
