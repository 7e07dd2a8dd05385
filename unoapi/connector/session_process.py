"""One session in one process: `python -m unoapi.connector.session_process <phone> <method>`. Started by the supervisor.

A line on its standard input is an order: `logout` or `stop`. Its exit code says how it ended.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from unoapi.bootstrap import unoapi
from unoapi.broker.connector_commands import command_message
from unoapi.connector.command_handler import Dispatcher, NotConnected, RateLimiter, RetrySchedule
from unoapi.connector.consumer import Consumer, Reject, Requeue, note_taken
from unoapi.connector.engines.base import Ended, Exit, Login
from unoapi.connector.engines.registry import make_engine
from unoapi.connector.media import SessionFiles
from unoapi.connector.outbox import Outbox
from unoapi.connector.outbox_publisher import Identity, OutboxPublisher
from unoapi.connector.rpc_server import RpcServer
from unoapi.connector.session_folder import SessionFolder
from unoapi.errors import BrokerUnavailable, Postponed, describe
from unoapi.models.connector.options import ConnectorOptions
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.connector.engines.base import Engine

log = get_logger(__name__)

SEND_GRACE_S = 20.0
DRAIN_S = 0.5
FLUSH_S = 5.0
STATES = {
    Exit.STOPPED: "stopped",
    Exit.NETWORK: "disconnected",
    Exit.REFUSED: "disconnected",
    Exit.LOGGED_OUT: "logged_out",
    Exit.REPLACED: "replaced",
    Exit.BANNED: "banned",
    Exit.OUTDATED: "outdated",
    Exit.NOT_SCANNED: "logged_out",
    Exit.CONFLICT: "conflict",
    Exit.DISK: "crashed",
}


class SessionRunner:
    """The parts of one session's process."""

    def __init__(self, uno: Uno, phone: str, login: Login) -> None:
        settings = uno.settings
        self._uno = uno
        self._phone = phone
        self._login = login
        self._folder = SessionFolder(settings.unoapi_connector_store, phone)
        self._outbox = Outbox(self._folder.spool)
        self._engine: Engine = make_engine(settings, self._folder, phone)
        self._stopping = threading.Event()
        self._ended: Ended | None = None
        self._over = threading.Event()
        files = SessionFiles(uno, phone)
        who = Identity(phone, settings.unoapi_server_name, self._engine.name)
        self._publisher = OutboxPublisher(self._outbox, uno.publisher, self._engine, who, files.keep)
        ladder = RetrySchedule(
            settings.unoapi_message_retry_limit,
            settings.unoapi_message_retry_delay,
            settings.unoapi_message_retry_max_delay,
        )
        self._dispatcher = Dispatcher(
            self._engine,
            self._outbox,
            fetch=files.fetch,
            pace=RateLimiter(settings.unoapi_connector_sends_per_second),
            ladder=ladder,
            stopping=self._stopping,
        )
        amqp_url = settings.amqp_url.get_secret_value()
        self._queue = uno.topology.session_queue(phone)
        self._consumer = Consumer(
            amqp_url, self._queue, self._handle, name=phone, taken=partial(note_taken, uno, self._queue.name)
        )

        self._answerer = RpcServer(amqp_url, uno.topology.question_queue(phone), self._engine)

    def run(self) -> Exit:
        """Serve the session until it is over."""
        signal.signal(signal.SIGTERM, lambda *_: self._stopping.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._orders, name="orders", daemon=True).start()
        self._publisher.start()
        threading.Thread(target=self._connect, name="engine", daemon=True).start()
        self._consumer.start()
        self._answerer.start()
        while not self._over.wait(0.1):
            if self._stopping.is_set():
                break
        return self._end()

    def _connect(self) -> None:
        try:
            self._ended = self._engine.run(self._login, self._emit)
        except OSError as error:
            self._ended = Ended(Exit.NETWORK, describe(error))
        except BaseException as error:  # noqa: BLE001 (whatever ends it, the process must end, too)
            self._ended = Ended(Exit.REFUSED, describe(error))
        self._over.set()

    def _emit(self, kind: str, payload: bytes) -> None:
        try:
            self._outbox.append(kind, payload)
        except Exception as error:  # noqa: BLE001 (nothing may be taken from WhatsApp that is not on the disk)
            log.error("spool_not_written", error=describe(error), hint="check the disk of UNOAPI_CONNECTOR_STORE")
            os._exit(Exit.DISK)

    def _handle(self, body: bytes) -> None:
        try:
            again = self._dispatcher.handle(body)
            if again is not None:
                topology = self._uno.topology
                message = command_message(again.command, topology, key=self._queue.name, delay_ms=again.after_ms)
                self._uno.publisher.publish_messages([message])
        except (NotConnected, BrokerUnavailable) as error:
            raise Requeue from error
        except (ValueError, RecursionError) as error:
            raise Reject(describe(error)) from error

    def _end(self) -> Exit:
        """Take no more, finish what is in hand, keep what still comes, tell how it ended."""
        self._stopping.set()
        self._answerer.stop()
        self._consumer.stop(SEND_GRACE_S)
        if self._ended is None:
            self._engine.stop()
            self._drain()
        ended = self._ended or Ended(Exit.STOPPED)
        if ended.code in (Exit.LOGGED_OUT, Exit.CONFLICT):
            self._folder.forget_login()
        state = {"state": STATES[ended.code], "reason": ended.reason}
        self._outbox.tell("session", state | ({"until": ended.until} if ended.until else {}))
        self._publisher.stop(FLUSH_S)
        log.info("session_ended", phone=self._phone, code=int(ended.code), reason=ended.reason, left=len(self._outbox))
        return ended.code

    def _drain(self) -> None:
        """Wait until no event has come for a moment; WhatsApp counts them as received."""
        known, quiet_since = -1, time.monotonic()
        while not self._over.is_set() and time.monotonic() - quiet_since < DRAIN_S:
            rows = len(self._outbox)
            if rows > known:
                quiet_since = time.monotonic()
            known = rows
            self._over.wait(0.05)

    def _orders(self) -> None:
        for line in sys.stdin:
            if line.strip() == "logout":
                try:
                    self._engine.logout()
                except Exception as error:  # noqa: BLE001 (it stays logged in, and says so)
                    log.error("logout_failed", phone=self._phone, error=describe(error))
            elif line.strip() == "stop":
                self._stopping.set()
        if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
            self._stopping.set()  # the supervisor is gone: another one will start the session again


def _keep_the_output() -> None:
    """Our lines go on to the output; what a library prints by itself (pairing codes, messages) goes nowhere."""
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def main(arguments: list[str]) -> int:
    """Serve one session."""
    phone, method, pair_phone = (*arguments, "", "")[:3]
    _keep_the_output()
    uno = unoapi()
    options = ConnectorOptions()
    try:
        options = uno.sessions.find(phone)
    except Postponed:
        log.warning("session_options_unknown", phone=phone)  # Redis is away: the proxy may be missing
        if method == "resume":
            return Exit.NETWORK
    login = Login(
        method=method or "resume",
        phone=pair_phone or phone,
        proxy=options.proxy_url.get_secret_value(),
        qr_timeout_s=options.qr_timeout_ms / 1000,
    )
    code = SessionRunner(uno, phone, login).run()
    uno.close()
    return code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the library's own threads never end
