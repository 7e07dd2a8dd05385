"""The process of one session: `python -m unoapi.connector.session_process <phone> <method> [<phone to pair>]`.

The supervisor starts it. Each line on its standard input is an instruction: `logout` or `stop`. Its exit code is an
`Exit`.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from unoapi.bootstrap import unoapi
from unoapi.broker.connector_commands import ENTRY, command_message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.connector.chat_names import ChatNames
from unoapi.connector.command_handler import CommandHandler, RateLimiter, SendRetrySchedule
from unoapi.connector.consumer import ConsumerInRows
from unoapi.connector.engines.base import Ended, Exit, Login
from unoapi.connector.engines.registry import make_engine
from unoapi.connector.media import SessionMedia
from unoapi.connector.outbox import Outbox
from unoapi.connector.outbox_publisher import EventSource, OutboxPublisher
from unoapi.connector.rpc_server import RpcServer
from unoapi.connector.session_folder import SessionFolder
from unoapi.connector.unread import Unread
from unoapi.errors import NotSent, Postponed, describe
from unoapi.models.connector.options import ConnectorOptions
from unoapi.services.sessions import refuse_proxy
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.connector.engines.base import Engine
    from unoapi.models.connector.commands import ConnectorCommand

log = get_logger(__name__)

SEND_GRACE_S = 20.0
QUIET_S = 0.5
AT_ONCE = 10
"""Commands that are taken at once."""
OPTIONS_WAIT_S, OPTIONS_PAUSE_S = 5.0, 0.5
FLUSH_S = 5.0
STATES = {
    Exit.STOPPED: "stopped",
    Exit.NETWORK: "disconnected",
    Exit.REFUSED: "disconnected",
    Exit.PROXY: "disconnected",
    Exit.LOGGED_OUT: "logged_out",
    Exit.REPLACED: "replaced",
    Exit.BANNED: "banned",
    Exit.OUTDATED: "outdated",
    Exit.NOT_SCANNED: "not_scanned",
    Exit.LINK_FAILED: "link_failed",
    Exit.CONFLICT: "conflict",
    Exit.DISK: "crashed",
}


class SessionRunner:
    """Runs the parts of one session from the connection's start to its end. `stopping` is the command handler's too."""

    def __init__(  # noqa: PLR0913 (the parts)
        self,
        phone: str,
        *,
        login: Login,
        folder: SessionFolder,
        outbox: Outbox,
        engine: Engine,
        publisher: OutboxPublisher,
        consumer: ConsumerInRows,
        stopping: threading.Event,
    ) -> None:
        self._phone = phone
        self._login = login
        self._folder = folder
        self._outbox = outbox
        self._engine = engine
        self._publisher = publisher
        self._consumer = consumer
        self._stopping = stopping
        self._ended: Ended | None = None
        self._over = threading.Event()
        self._wake_up = threading.Event()

    def run(self) -> Exit:
        """Run until the connection is over, or until SIGTERM or an instruction stops it."""
        # By a thread: a handler that sets what it interrupts the wait for would wait for itself.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=self._leave, daemon=True).start())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._read_instructions, name="instructions", daemon=True).start()
        self._publisher.start()
        threading.Thread(target=self._connect, name="engine", daemon=True).start()
        self._consumer.start()
        self._wake_up.wait()
        return self._end()

    def _leave(self) -> None:
        self._stopping.set()
        self._wake_up.set()

    def _connect(self) -> None:
        try:
            self._ended = self._engine.run(self._login, self._emit)
        except OSError as error:
            self._ended = Ended(Exit.NETWORK, describe(error))
        except BaseException as error:  # noqa: BLE001 (whatever ends it, the process must end, too)
            self._ended = Ended(Exit.REFUSED, describe(error))
        self._over.set()
        self._wake_up.set()

    def _emit(self, kind: str, payload: bytes) -> None:
        try:
            self._outbox.append(kind, payload)
        except Exception as error:  # noqa: BLE001 (nothing may be taken from WhatsApp that is not on the disk)
            log.error("outbox_not_written", error=describe(error), hint="check the disk of UNOAPI_CONNECTOR_STORE")
            os._exit(Exit.DISK)

    def _end(self) -> Exit:
        """Take no more commands, finish the current one, save what still arrives, and publish how it ended."""
        self._stopping.set()
        self._consumer.stop(SEND_GRACE_S)
        if self._ended is None:
            self._engine.stop()
            self._wait_for_last_events()
        ended = self._ended or Ended(Exit.STOPPED)
        banned_for_good = ended.code == Exit.BANNED and not ended.until  # the library has removed its own then, too
        if ended.code in (Exit.LOGGED_OUT, Exit.CONFLICT) or banned_for_good:
            self._folder.remove_login()
        self._folder.save_ban(ended.until)
        state = {"state": STATES[ended.code], "reason": ended.reason}
        self._outbox.append_event("session", state | ({"until": ended.until} if ended.until else {}))
        self._publisher.stop(FLUSH_S)
        log.info("session_ended", phone=self._phone, code=int(ended.code), reason=ended.reason, left=len(self._outbox))
        return ended.code

    def _wait_for_last_events(self) -> None:
        """Return when no event has arrived for a moment: WhatsApp counts those on their way as received."""
        rows, quiet_since = -1, time.monotonic()
        while not self._over.is_set() and time.monotonic() - quiet_since < QUIET_S:
            if len(self._outbox) > rows:
                quiet_since = time.monotonic()
            rows = len(self._outbox)
            self._over.wait(0.05)

    def _read_instructions(self) -> None:
        for line in sys.stdin:
            if line.strip() == "logout":
                try:
                    self._engine.logout()
                except Exception as error:  # noqa: BLE001 (it stays logged in, and the log says so)
                    log.error("logout_failed", phone=self._phone, error=describe(error))
            elif line.strip() == "stop":
                self._leave()
        if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
            self._leave()  # the supervisor is gone: another one will start the session again


def make_runner(uno: Uno, phone: str, login: Login) -> SessionRunner:
    """Join the parts of a session's process."""
    settings, topology = uno.settings, uno.topology
    amqp_url = settings.amqp_url.get_secret_value()
    queue = topology.session_queue(phone)
    folder = SessionFolder(settings.unoapi_connector_store, phone)
    outbox = Outbox(folder.outbox)
    engine = make_engine(settings, folder, phone)
    stopping = threading.Event()
    media = SessionMedia(
        phone,
        files=uno.media_store,
        index=uno.media_index,
        downloader=uno.downloader,
        pictures=uno.downloader_through(login.proxy),
        link_to=uno.signed_urls.make,
        timeout_ms=settings.unoapi_fetch_timeout_ms,
    )

    unread = Unread()

    def republish(command: ConnectorCommand, delay_ms: int) -> None:
        # By the router's queue: a bucket must lead to no queue that may be full, or it stands still for everybody.
        entry = topology.queue(ENTRY)
        uno.publisher.publish_messages([command_message(command, topology, key=entry, delay_ms=delay_ms)])

    handler = CommandHandler(
        engine=engine,
        outbox=outbox,
        fetch_file=media.fetch,
        republish=republish,
        rate_limiter=RateLimiter(settings.unoapi_connector_sends_per_second),
        retry_schedule=SendRetrySchedule(
            settings.unoapi_message_retry_limit,
            settings.unoapi_message_retry_delay,
            settings.unoapi_message_retry_max_delay,
        ),
        stopping=stopping,
        new_chats_per_day=settings.unoapi_connector_new_chats_per_day,
        unread=unread,
    )
    return SessionRunner(
        phone,
        login=login,
        folder=folder,
        outbox=outbox,
        engine=engine,
        publisher=OutboxPublisher(
            outbox=outbox,
            publisher=uno.publisher,
            engine=engine,
            source=EventSource(phone, settings.unoapi_server_name, engine.name),
            save_file=media.save,
            fetch_open=media.fetch_open,
            unread=unread,
            ignores=lambda chat, from_me: bool(
                uno.sessions.find(phone).ignores(chat=chat, phone=phone, from_me=from_me)
            ),
            names=ChatNames(engine, options=lambda: uno.sessions.find(phone), save_picture=media.save_picture),
        ),
        consumer=ConsumerInRows(
            amqp_url,
            queue,
            handler.handle,
            name=phone,
            on_taken=uno.queue_ages.taken,
            most=AT_ONCE,
            rpc_server=RpcServer(topology.rpc_queue(phone), engine, media.fetch),
        ),
        stopping=stopping,
    )


@cache
def silence_the_library() -> None:
    """The log still goes to the output; what a library prints by itself (pairing codes, messages) goes nowhere.

    Once, and before the log is set up: a forked process has it from the one that it was forked from.
    """
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def without_declaring(uno: Uno) -> Uno:
    """The parts with a publisher that takes the topology for declared: by the connector, which does it each minute.

    Hundreds of sessions that declare it, too, cost RabbitMQ more than all they publish.
    """
    amqp_url = uno.settings.amqp_url.get_secret_value()
    return replace(uno, publisher=ConfirmingPublisher(amqp_url, uno.topology, declared=True))


def proxy_of(options: ConnectorOptions, uno: Uno) -> str:
    """The proxy to connect through: the operator's own as it is, any other checked now. Raises NotSent."""
    proxy = options.proxy_url.get_secret_value()
    if not proxy or proxy == uno.settings.proxy_url.get_secret_value():
        return proxy
    if why := refuse_proxy(proxy, refusal=uno.address_guard.refusal):
        raise NotSent(why)
    return uno.address_guard.resolve(proxy)


def options_of(phone: str, uno: Uno) -> ConnectorOptions:
    """The session's options. Waits a moment for Redis: a start anew would cost more, and many at once make it slow.

    Raises Postponed.
    """
    deadline = time.monotonic() + OPTIONS_WAIT_S
    while True:
        try:
            return uno.sessions.find(phone)
        except Postponed:
            if time.monotonic() >= deadline:
                raise
            time.sleep(OPTIONS_PAUSE_S)


def login_of(method: str, phone: str, options: ConnectorOptions, *, proxy: str, history_days: int) -> Login:
    """How to log in, and for how many days back messages are wanted."""
    return Login(
        method=method or "resume",
        phone=phone,
        proxy=proxy,
        qr_timeout_s=options.qr_timeout_ms / 1000,
        history_days=0 if options.ignore_history_messages else history_days,
    )


def main(arguments: list[str]) -> int:
    """Run one session; the exit code."""
    phone, method, pair_phone = (*arguments, "", "")[:3]
    silence_the_library()
    uno = without_declaring(unoapi())
    options = ConnectorOptions()
    try:
        options = options_of(phone, uno)
    except Postponed:
        log.warning("session_options_unknown", phone=phone)  # Redis is away: the proxy may be missing
        if method == "resume":
            return Exit.NETWORK
    try:
        proxy = proxy_of(options, uno)
    except NotSent as error:
        log.error("proxy_refused", phone=phone, error=f"{error}", hint="correct proxyUrl of the session")
        return Exit.PROXY
    login = login_of(method, pair_phone or phone, options, proxy=proxy, history_days=uno.settings.history_max_age_days)
    code = make_runner(uno, phone, login).run()
    uno.close()
    return code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the library's own threads never end
