"""Runs one process per session: starts, watches, pauses, ends. Never loads a WhatsApp library itself."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.connector.engines.base import Exit
from unoapi.connector.leases import Leases
from unoapi.connector.session_folder import SessionFolder
from unoapi.errors import BrokerUnavailable, Postponed, StoreUnavailable
from unoapi.models.jobs import Envelope, ReceiveEvent, computed_id
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno
    from unoapi.models.connector.commands import Command
    from unoapi.models.session import Session

log = get_logger(__name__)

TICK_S = 0.2
LOOK_S = 2.0
PAUSES_S = (1, 2, 5, 15, 30, 60)
STEADY_S = 60.0
GRACE_S = 30.0
SHORTEST_S = 60.0
"""No session is connected anew more often, whatever `autoRestartMs` says."""
FINAL = frozenset(
    {Exit.LOGGED_OUT, Exit.REPLACED, Exit.BANNED, Exit.OUTDATED, Exit.NOT_SCANNED, Exit.CONFLICT, Exit.STOPPED}
)
"""After these only a person, or a command, starts the session again."""


@dataclass
class SessionProcess:
    """One session: what is wanted, and its process."""

    phone: str
    method: str = ""  # empty: nothing is wanted
    pair_phone: str = ""
    process: subprocess.Popen[str] | None = None
    due: float = 0.0
    started: float = 0.0
    deaths: int = 0
    attempts: list[float] = field(default_factory=list)
    held: bool = False  # stopped for good until somebody asks
    asked: bool = False  # by somebody, and not started yet
    restart: bool = False
    every_s: float = 0.0  # connect anew after so long; 0: never


class Supervisor:
    """All sessions of one connector."""

    def __init__(self, uno: Uno) -> None:
        settings = uno.settings
        self._uno = uno
        self._server = settings.unoapi_server_name
        self._store = settings.unoapi_connector_store
        self._retries = settings.max_connect_retry
        self._window_s = settings.max_connect_time
        self.leases = Leases(uno.store, self._server)
        self._seats: dict[str, SessionProcess] = {}
        self._asked: list[Command] = []
        self._news: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._looked = 0.0
        self.stopping = threading.Event()

    def ask(self, command: Command) -> None:
        """A person or a program wants something of a session. Any thread."""
        with self._lock:
            self._asked.append(command)

    def run(self) -> None:
        """Until told to stop; then every session is ended in order."""
        while not self.stopping.wait(TICK_S):
            self.tick()
        self._end_all()

    def tick(self) -> None:
        """One look at everything."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._look()
        with self._lock:
            asked, self._asked = self._asked, []
        for command in [*asked, *self.leases.asked()]:
            self._obey(command)
        for phone in self.leases.renew([seat.phone for seat in self._seats.values() if seat.process is not None]):
            log.error("lease_lost", phone=phone)
            self._stop(self._seats[phone])
        for seat in list(self._seats.values()):
            self._look_after(seat)
        self._tell_news()

    def _look(self) -> None:
        """Which sessions shall be connected: those of ours that are logged in."""
        try:
            phones = self._uno.sessions.phones()
        except StoreUnavailable:
            return  # what runs goes on
        held = self.leases.held(phones)
        for phone in phones:
            try:
                session = self._uno.sessions.find(phone)
            except Postponed:
                continue
            ours = session.provider == "whatsmeow" and session.server == self._server
            if ours:
                self._seat(session, held=phone in held)
            elif phone in self._seats:
                self._leave(self._seats[phone])
        for phone in set(self._seats) - set(phones):
            self._leave(self._seats[phone])

    def _seat(self, session: Session, *, held: bool) -> None:
        phone = session.phone
        seat = self._seats.setdefault(phone, SessionProcess(phone))
        seat.every_s = max(session.auto_restart_ms / 1000, SHORTEST_S) if session.auto_restart_ms else 0.0
        if seat.method or seat.held or held:
            return
        if session.auto_connect and SessionFolder(self._store, phone).login:
            seat.method = "resume"

    def _hold(self, seat: SessionProcess) -> None:
        seat.held, seat.method = True, ""
        self.leases.hold(seat.phone)

    def _leave(self, seat: SessionProcess) -> None:
        """The session is no longer ours."""
        seat.held, seat.method = True, ""
        self._stop(seat)
        if seat.process is None:
            del self._seats[seat.phone]

    def _obey(self, command: Command) -> None:
        seat = self._seats.get(command.session) or self._adopt(command.session)
        if seat is None:
            return
        log.info("session_asked", phone=seat.phone, what=command.type)
        if command.type in ("session.connect", "session.reload"):
            self._want(seat, command)
        elif command.type == "session.disconnect":
            self._hold(seat)
            self._stop(seat)
            if seat.process is None:
                self._tell(seat, "stopped", "")  # nobody else is there to tell
        elif command.type == "session.logout":
            self._hold(seat)
            if seat.process is None or not self._write(seat, "logout"):
                SessionFolder(self._store, seat.phone).forget_login()
                self._tell(seat, "logged_out", "logged out")

    def _want(self, seat: SessionProcess, command: Command) -> None:
        folder = SessionFolder(self._store, seat.phone)
        method = str(command.data.get("method") or "qr")
        seat.method = "resume" if folder.login else ("qr" if method == "resume" else method)
        seat.pair_phone = str(command.data.get("phone") or "")
        seat.asked, seat.held, seat.deaths, seat.due = True, False, 0, 0.0
        self.leases.free(seat.phone)
        seat.attempts.clear()
        if seat.process is not None and (command.type == "session.reload" or seat.method != "resume"):
            seat.restart = True
            self._stop(seat)

    def _adopt(self, phone: str) -> SessionProcess | None:
        """Take a session that was stored a moment ago, or hand the command to the connector that has it."""
        self._look()
        return self._seats.get(phone)

    def _look_after(self, seat: SessionProcess) -> None:
        if seat.process is not None:
            code = seat.process.poll()
            if code is None:
                if seat.every_s and not seat.restart and time.monotonic() - seat.started >= seat.every_s:
                    log.info("session_restarted", phone=seat.phone, after_s=seat.every_s)
                    seat.restart = True
                    self._stop(seat)
                return
            seat.process = None
            self._plan(seat, code)
        if seat.method and not seat.held and time.monotonic() >= seat.due:
            self._start(seat)

    def _start(self, seat: SessionProcess) -> None:
        now = time.monotonic()
        seat.attempts = [at for at in seat.attempts if now - at < self._window_s]
        if len(seat.attempts) > self._retries:
            seat.due = seat.attempts[0] + self._window_s
            self._tell(seat, "standby", f"{len(seat.attempts)} attempts within {self._window_s} s")
            return
        if not self.leases.take(seat.phone):
            seat.due = now + LOOK_S
            return
        if not seat.asked and self.leases.held([seat.phone]):
            seat.method = ""  # it waited for another connector's session, which was ended meanwhile
            self.leases.give_back(seat.phone)
            return
        command = [sys.executable, "-m", "unoapi.connector.session_process", seat.phone, seat.method, seat.pair_phone]
        seat.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=self._environment())  # noqa: S603 (our own program; the phone is digits)
        seat.started, seat.asked, seat.restart = now, False, False
        log.info("session_started", phone=seat.phone, method=seat.method, pid=seat.process.pid)

    def _plan(self, seat: SessionProcess, code: int) -> None:
        """Choose what follows from the way a process ended."""
        lived_s = time.monotonic() - seat.started
        wanted, seat.restart = seat.restart, False
        if wanted:
            seat.due = 0.0
            return
        if code in FINAL:
            self._hold(seat)
        self.leases.give_back(seat.phone)
        if code in FINAL:
            return
        if code == Exit.REFUSED:
            seat.attempts.append(time.monotonic())
        if lived_s >= STEADY_S:
            seat.deaths = 0
        pause_s = PAUSES_S[min(seat.deaths, len(PAUSES_S) - 1)]
        seat.deaths += 1
        seat.due = time.monotonic() + pause_s * random.uniform(0.9, 1.1)  # noqa: S311 (spreads load)
        if SessionFolder(self._store, seat.phone).login:
            seat.method = "resume"  # a code that was scanned is not needed again
        log.warning("session_process_ended", phone=seat.phone, code=code, lived_s=round(lived_s, 1), again_s=pause_s)
        if code not in (Exit.NETWORK, Exit.REFUSED):
            self._tell(seat, "crashed", f"the session's process ended with {code}; it starts again")

    def _tell(self, seat: SessionProcess, state: str, reason: str) -> None:
        self._news.append((seat.phone, {"state": state, "reason": reason}))

    def _tell_news(self) -> None:
        """Publish what the processes cannot tell themselves; keep it while RabbitMQ is away."""
        while self._news:
            phone, data = self._news[0]
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            event_id = computed_id("connector", phone, "session", data["state"], at)
            event: dict[str, object] = {
                "version": 1, "type": "session", "event_id": event_id, "session": phone, "server": self._server,
                "occurred_at": at, "data": data,
            }  # fmt: skip
            try:
                self._uno.publisher.publish([Envelope(ReceiveEvent(id=event_id, phone=phone, event=event))])
            except BrokerUnavailable:
                return
            self._news.pop(0)

    def _stop(self, seat: SessionProcess) -> None:
        if seat.process is not None:
            seat.process.terminate()

    def _write(self, seat: SessionProcess, order: str) -> bool:
        if seat.process is None or seat.process.stdin is None:
            return False
        try:
            seat.process.stdin.write(f"{order}\n")
            seat.process.stdin.flush()
        except OSError:
            return False
        return True

    def _end_all(self) -> None:
        running = [seat for seat in self._seats.values() if seat.process is not None]
        for seat in running:
            self._stop(seat)
        deadline = time.monotonic() + GRACE_S
        for seat in running:
            if seat.process is not None:
                try:
                    seat.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    seat.process.kill()
                self.leases.give_back(seat.phone)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "NEONIZE_BOT_TAG": "off"}
