"""Supervises the sessions of one connector: starts, restarts and ends one process per session.

It never loads a WhatsApp library itself.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from unoapi.connector.engines.base import LOGGED_OUT, STILL_LISTED, Exit
from unoapi.connector.fork_server import ForkServer, SessionFork
from unoapi.connector.session_folder import SessionFolder
from unoapi.errors import BrokerUnavailable, StoreUnavailable, describe, safe_traceback
from unoapi.models.jobs import Envelope, ReceiveEvent, computed_id
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pydantic import SecretStr

    from unoapi.connector.leases import Leases
    from unoapi.models.connector.commands import ConnectorCommand
    from unoapi.models.session import Session
    from unoapi.ports import Publisher

    Launch = Callable[[str, str, str], SessionFork | subprocess.Popen[str]]
    """Starts a session's process: phone, login method, phone for the pairing code."""

log = get_logger(__name__)

TICK_S = 0.2
REFRESH_S, RELOAD_S = 2.0, 10.0
"""How often is asked whether a session was stored or removed, and all are read though none was, as far as we know:
there may be thousands."""
WALK_S = 60.0
"""All keys of Redis are walked no more often: there may be millions. Sessions of other programs are in no index."""
PAUSES_S = (1, 2, 5, 15, 30, 60)
STEADY_S = 60.0
START_EVERY_S, START_AHEAD_S = 0.3, 3.0
"""Sessions start three a second, and ten at once after a pause: WhatsApp must not see hundreds of logins of one address
in a second, and each costs processor time."""
GRACE_S = 30.0
MIN_RECONNECT_S = 60.0
"""No session is connected anew more often, whatever `autoRestartMs` says."""
FINAL = frozenset({Exit.LOGGED_OUT, Exit.REPLACED, Exit.NOT_SCANNED, Exit.LINK_FAILED, Exit.CONFLICT})
"""After these only a person, or a command, starts the session again."""
UNPUBLISHED = {
    int(Exit.NETWORK): None,
    int(Exit.REFUSED): None,
    int(Exit.PROXY): ("disconnected", "its proxyUrl may not be called, or is not found: correct it"),
}
"""What is said of an end that its process may not have reported; nothing of those that it has. Else it crashed."""
OUTDATED_S = 3600.0
"""So often a refused version of the library is tried again; a new one comes with a new connector: it starts at once."""


@dataclass
class SessionProcess:
    """A session of this connector: how it shall be connected, and its process while it runs."""

    phone: str
    method: str = ""  # how to log in; empty: it shall not be connected
    pair_phone: str = ""
    popen: SessionFork | subprocess.Popen[str] | None = None
    start_at: float = 0.0
    started_at: float = 0.0
    failures: int = 0  # ends in a row, each soon after its start
    refused_at: list[float] = field(default_factory=list)
    suspended: bool = False  # not started until a command wants it connected
    requested: bool = False  # a command wants it connected, and it is not started yet
    restarting: bool = False
    ending: bool = False  # its process was told to end
    dropped: bool = False  # the session is not this connector's now; nobody has disconnected it
    forgetting: bool = False  # its login is removed when its process has ended
    reconnect_every_s: float = 0.0  # 0: never
    proxy: SecretStr | None = None  # that it was configured to go through when that was read last


class SessionSource(Protocol):
    """Where the supervisor learns of sessions."""

    def phones(self) -> list[str]:
        """All stored phones, by a walk over all keys. Raises StoreUnavailable."""

    def indexed(self) -> list[str]:
        """The stored phones that the index has. Raises StoreUnavailable."""

    def changes(self) -> str:
        """Another word after each session that was stored or removed by us. Raises StoreUnavailable."""

    def find_all(self, phones: Iterable[str]) -> dict[str, Session]:
        """The sessions of these phones, without those that cannot be read now."""


class SessionLauncher:
    """Starts sessions' processes: by a fork of one that has loaded the program, and where that cannot be, each anew.

    They end when their standard input is closed, so with the connector. Raises OSError when there is no room for one.
    """

    def __init__(self) -> None:
        self._server = ForkServer()

    def __call__(self, phone: str, method: str, pair_phone: str) -> SessionFork | subprocess.Popen[str]:
        """Start the process of a session."""
        arguments, environment = [phone, method, pair_phone], {"NEONIZE_BOT_TAG": "off"}
        try:
            return self._server.launch(arguments, environment)
        except (ConnectionError, AttributeError) as error:  # AttributeError: a system without subreapers
            log.warning("session_not_forked", phone=phone, error=describe(error), hint="it is started anew instead")
        command = [sys.executable, "-m", "unoapi.connector.session_process", *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env={**os.environ, **environment})  # noqa: S603 (our own program; the phone is digits)

    def close(self) -> None:
        """Start no more."""
        self._server.close()


class Supervisor:
    """The session processes of one connector.

    A session is `suspended` after it ended for good or was disconnected; then only a command connects it again.
    More than `max_connect_retry` refused connections within `max_connect_time_s` make it `standby` for the rest of
    that time.
    """

    def __init__(  # noqa: PLR0913 (collaborators)
        self,
        *,
        server: str,
        folder: Path,
        max_connect_retry: int,
        max_connect_time_s: float,
        sessions: SessionSource,
        leases: Leases,
        publisher: Publisher,
        launch: Launch,
    ) -> None:
        self._server = server
        self._folder = folder
        self._max_connect_retry = max_connect_retry
        self._max_connect_time_s = max_connect_time_s
        self._sessions = sessions
        self._leases = leases
        self._publisher = publisher
        self._launch = launch
        self._processes: dict[str, SessionProcess] = {}
        self._commands: list[ConnectorCommand] = []
        self._states: list[tuple[str, dict[str, Any]]] = []  # to be published
        self._lock = threading.Lock()
        self._refreshed_at = 0.0
        self._changes = ""
        self._read_at = self._walked_at = float("-inf")
        self._tick_at = self._next_start_at = float("-inf")
        self._unindexed: set[str] = set()
        self.stopping = threading.Event()

    def submit(self, command: ConnectorCommand) -> None:
        """Take a `session.*` command; the next tick carries it out. Any thread."""
        with self._lock:
            self._commands.append(command)

    def run(self) -> None:
        """Supervise until `stopping` is set; then end every process."""
        while not self.stopping.wait(TICK_S):
            self.tick()
        self._end_all()

    def tick(self) -> None:
        """Refresh the sessions, carry out commands, renew leases, start and restart processes."""
        now = self._tick_at = time.monotonic()
        if now - self._refreshed_at >= REFRESH_S:
            self._refreshed_at = now
            if self._may_have_changed():
                self._refresh_sessions()
        with self._lock:
            commands, self._commands = self._commands, []
        for command in [*commands, *self._leases.take_forwarded()]:
            self._carry_out(command)
        running = [process.phone for process in self._processes.values() if process.popen is not None]
        for phone in self._leases.renew(running):
            log.error("lease_lost", phone=phone)
            self._terminate(self._processes[phone])
        for process in list(self._processes.values()):
            try:
                self._supervise(process)
            except Exception as error:  # noqa: BLE001 (one broken session must not end the others)
                process.start_at = time.monotonic() + PAUSES_S[-1]
                log.error(
                    "session_not_supervised",
                    phone=process.phone,
                    error=describe(error),
                    traceback=safe_traceback(error),
                )
        self._publish_states()

    def _may_have_changed(self) -> bool:
        """Whether the sessions have to be read again. Of what changes while they are read the next call says so."""
        try:
            changes = self._sessions.changes()
        except StoreUnavailable:
            return False  # running processes go on
        before, self._changes = self._changes, changes
        return changes != before or time.monotonic() - self._read_at >= RELOAD_S

    def _refresh_sessions(self) -> None:
        """Read which sessions are this connector's, and what they are configured to."""
        self._read_at = float("-inf")
        try:
            phones = self._stored_phones()
        except StoreUnavailable:
            return  # running processes go on
        sessions = self._sessions.find_all(phones)
        if len(sessions) == len(phones):
            self._read_at = time.monotonic()
        suspended = self._leases.suspended(phones)
        for phone, session in sessions.items():
            if session.provider == "whatsmeow" and session.server == self._server:
                self._include(session, suspended=phone in suspended)
            elif phone in self._processes:
                self._drop(self._processes[phone])
        for phone in set(self._processes) - set(phones):
            self._drop(self._processes[phone])

    def _stored_phones(self) -> list[str]:
        indexed = set(self._sessions.indexed())
        if time.monotonic() - self._walked_at >= WALK_S:
            self._unindexed = set(self._sessions.phones()) - indexed
            self._walked_at = time.monotonic()
        return sorted(indexed | self._unindexed)

    def _include(self, session: Session, *, suspended: bool) -> None:
        phone, every_s = session.phone, session.auto_restart_ms / 1000
        process = self._processes.setdefault(phone, SessionProcess(phone))
        if process.dropped:  # it is back before its process has ended
            process.dropped, process.suspended, process.restarting = False, False, process.popen is not None
        process.reconnect_every_s = max(every_s, MIN_RECONNECT_S) if every_s else 0.0
        before, process.proxy = process.proxy, session.proxy_url
        if before not in (None, session.proxy_url) and process.popen is not None and not process.restarting:
            log.info("session_restarted", phone=phone, because="its proxy was changed")
            process.restarting = True
            self._terminate(process)
        if process.method or process.suspended or suspended:
            return
        if session.auto_connect:
            self._resume(process)

    def _resume(self, process: SessionProcess) -> None:
        """Let a session that is logged in connect."""
        folder = SessionFolder(self._folder, process.phone)
        if folder.login:
            process.method = "resume"
            process.start_at = time.monotonic() + max(0.0, folder.banned_until - time.time())

    def _drop(self, process: SessionProcess) -> None:
        """The session is no longer this connector's."""
        process.dropped, process.suspended, process.method = True, True, ""
        self._terminate(process)
        if process.popen is None:
            del self._processes[process.phone]

    def _suspend(self, process: SessionProcess) -> None:
        process.suspended, process.method = True, ""
        self._leases.suspend(process.phone)

    def _carry_out(self, command: ConnectorCommand) -> None:
        if command.session not in self._processes:
            self._refresh_sessions()  # it may have been stored a moment ago
        process = self._processes.get(command.session)
        if process is None:
            if command.type == "session.logout" and command.data.get("server") == self._server:
                SessionFolder(self._folder, command.session).remove_login()  # the session was removed on purpose
            return
        log.info("session_command", phone=process.phone, type=command.type)
        if command.type in ("session.connect", "session.reload"):
            self._connect(process, command)
        elif command.type == "session.disconnect":
            self._suspend(process)
            self._terminate(process)
            if process.popen is None:
                self._add_state(process, "stopped", "")  # there is no process that could
        elif command.type == "session.logout":
            self._suspend(process)
            process.forgetting = process.ending = True
            if process.popen is None or not self._instruct(process, "logout"):
                folder = SessionFolder(self._folder, process.phone)
                reason = STILL_LISTED if folder.login else LOGGED_OUT
                folder.remove_login()
                self._add_state(process, "logged_out", reason)

    def _connect(self, process: SessionProcess, command: ConnectorCommand) -> None:
        if command.data.get("wake"):
            if not (process.method or process.suspended or self._leases.suspended([process.phone])):
                self._resume(process)
            return
        method = str(command.data.get("method") or "qr")
        is_ending = process.popen is not None and process.ending
        process.forgetting = process.forgetting and is_ending
        has_login = SessionFolder(self._folder, process.phone).login and not process.forgetting
        process.method = "resume" if has_login else ("qr" if method == "resume" else method)
        process.pair_phone = str(command.data.get("phone") or "")
        process.requested, process.suspended, process.failures, process.start_at = True, False, 0, 0.0
        self._leases.resume(process.phone)
        process.refused_at.clear()
        if is_ending:
            process.restarting = True  # it starts anew when it has ended
        elif process.popen is not None and (command.type == "session.reload" or process.method != "resume"):
            process.restarting = True
            self._terminate(process)

    def _supervise(self, process: SessionProcess) -> None:
        if process.popen is not None:
            code = process.popen.poll()
            if code is None:
                self._reconnect_if_due(process)
                return
            process.popen = None
            if process.forgetting:
                process.forgetting = False
                SessionFolder(self._folder, process.phone).remove_login()
            if process.dropped:
                self._leases.release(process.phone)
            else:
                self._schedule_restart(process, code)
        if process.method and not process.suspended and time.monotonic() >= process.start_at:
            self._start(process)

    def _reconnect_if_due(self, process: SessionProcess) -> None:
        every_s = process.reconnect_every_s
        if every_s and not process.restarting and time.monotonic() - process.started_at >= every_s:
            log.info("session_restarted", phone=process.phone, after_s=every_s)
            process.restarting = True
            self._terminate(process)

    def _start(self, process: SessionProcess) -> None:
        now, window_s = time.monotonic(), self._max_connect_time_s
        process.refused_at = [at for at in process.refused_at if now - at < window_s]
        if len(process.refused_at) > self._max_connect_retry:
            process.start_at = process.refused_at[0] + window_s
            self._add_state(process, "standby", f"{len(process.refused_at)} attempts within {window_s} s")
            return
        # By the time of the tick: where starts take long, one tick would start them all, and look after none meanwhile.
        if not process.requested and self._tick_at < self._next_start_at:
            return  # the next tick asks again; whom somebody waits for goes first
        self._next_start_at = max(self._next_start_at, self._tick_at - START_AHEAD_S) + START_EVERY_S
        if not self._leases.take(process.phone):
            process.start_at = now + REFRESH_S
            return
        if not process.requested and self._leases.suspended([process.phone]):
            process.method = ""  # suspended while another connector had the lease
            self._leases.release(process.phone)
            return
        try:
            process.popen = self._launch(process.phone, process.method, process.pair_phone)
        except (OSError, ValueError) as error:  # no memory, no process, no file left: the others go on
            self._leases.release(process.phone)
            process.start_at = now + _pause_after_failure(process)
            hint = "give the connector more memory or processes, or spread the sessions over several (server)"
            log.error("session_not_started", phone=process.phone, error=describe(error), hint=hint)
            return
        process.started_at, process.requested, process.restarting, process.ending = now, False, False, False
        log.info("session_started", phone=process.phone, method=process.method, pid=process.popen.pid)

    def _schedule_restart(self, process: SessionProcess, code: int) -> None:
        """Decide by the exit code whether and when an ended process is started again."""
        lived_s = time.monotonic() - process.started_at
        folder = SessionFolder(self._folder, process.phone)
        if process.method and folder.login:
            process.method = "resume"  # the code was scanned: no new one is needed
        restarting, process.restarting = process.restarting, False
        if restarting:
            process.start_at = 0.0
            return
        if code in (Exit.REPLACED, Exit.STOPPED) and self._leases.other_owner(process.phone):
            process.start_at = time.monotonic() + REFRESH_S  # by another connector of ours: nobody else has the login
            return
        # What nobody here has stopped, as when a service manager ends all its processes at once, starts again.
        banned_for_good = code == Exit.BANNED and not folder.banned_until  # the login is void
        is_final = process.suspended or code in FINAL or banned_for_good
        if is_final:
            self._suspend(process)
        self._leases.release(process.phone)
        if is_final:
            return
        if code in (Exit.BANNED, Exit.OUTDATED):
            self._pause(process, code, folder)
            return
        if code == Exit.REFUSED:
            process.refused_at.append(time.monotonic())
        if lived_s >= STEADY_S:
            process.failures = 0
        pause_s = _pause_after_failure(process)
        process.start_at = time.monotonic() + pause_s * random.uniform(0.9, 1.1)  # noqa: S311 (spreads load)
        log.warning(
            "session_process_ended", phone=process.phone, code=code, lived_s=round(lived_s, 1), restart_in_s=pause_s
        )
        crashed = ("crashed", f"the session's process ended with {code}; it starts again")
        if state := UNPUBLISHED.get(code, crashed):
            self._add_state(process, *state)

    def _pause(self, process: SessionProcess, code: int, folder: SessionFolder) -> None:
        """Start the session again when WhatsApp's ban is over, or when another version may be there."""
        pause_s = OUTDATED_S
        if code == Exit.BANNED:
            pause_s = max(folder.banned_until - time.time(), MIN_RECONNECT_S)
        process.method, process.failures = "resume", 0
        process.start_at = time.monotonic() + pause_s
        log.warning("session_paused", phone=process.phone, code=code, for_s=round(pause_s))

    def _add_state(self, process: SessionProcess, state: str, reason: str) -> None:
        self._states.append((process.phone, {"state": state, "reason": reason}))

    def _publish_states(self) -> None:
        """Publish the state changes that no session process can publish; those of an outage of RabbitMQ later."""
        while self._states:
            phone, data = self._states[0]
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            event_id = computed_id("connector", phone, "session", data["state"], at)
            event: dict[str, object] = {
                "version": 1, "type": "session", "event_id": event_id, "session": phone, "server": self._server,
                "occurred_at": at, "data": data,
            }  # fmt: skip
            try:
                self._publisher.publish([Envelope(ReceiveEvent(id=event_id, phone=phone, event=event))])
            except BrokerUnavailable:
                return
            self._states.pop(0)

    def _terminate(self, process: SessionProcess) -> None:
        if process.popen is not None:
            process.popen.terminate()
            process.ending = True

    def _instruct(self, process: SessionProcess, instruction: str) -> bool:
        """Write a line to the process's standard input. False when it does not read it any more."""
        if process.popen is None or process.popen.stdin is None:
            return False
        try:
            process.popen.stdin.write(f"{instruction}\n")
            process.popen.stdin.flush()
        except OSError:
            return False
        return True

    def _end_all(self) -> None:
        running = [(process.phone, process.popen) for process in self._processes.values() if process.popen is not None]
        for _, popen in running:
            popen.terminate()
        deadline = time.monotonic() + GRACE_S
        for phone, popen in running:
            try:
                popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                popen.kill()
            self._leases.release(phone)


def _pause_after_failure(process: SessionProcess) -> float:
    """Seconds until a session that failed is started again: longer after each failure."""
    pause_s = PAUSES_S[min(process.failures, len(PAUSES_S) - 1)]
    process.failures += 1
    return pause_s
