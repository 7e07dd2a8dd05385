"""The supervisor on fakes: which sessions get a process, when a process is started again, what is published of it."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import PHONE, MemoryLeases, MemorySessions, make_session
from unoapi.connector import session_process
from unoapi.connector import supervisor as supervising
from unoapi.connector.engines.base import Exit
from unoapi.connector.session_folder import SessionFolder
from unoapi.connector.supervisor import Supervisor
from unoapi.errors import Postponed
from unoapi.models.connector.commands import ConnectorCommand
from unoapi.models.jobs import ReceiveEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unoapi.models.jobs import Envelope
    from unoapi.models.session import Session


class PublisherRecorder:
    """The states of sessions that were published."""

    def __init__(self) -> None:
        self.states: list[Any] = []
        self.reasons: list[Any] = []

    def publish(self, envelopes: Sequence[Envelope], *, timeout_s: float = 4.0) -> None:  # noqa: ARG002 (the port's)
        for envelope in envelopes:
            assert isinstance(envelope.job, ReceiveEvent)
            data = envelope.job.event["data"]
            assert isinstance(data, dict)
            self.states.append(data["state"])
            self.reasons.append(data["reason"])


class RunningProcess:
    """A session's process that runs until it is terminated, or ends with a code."""

    pid = 1
    stdin: io.StringIO | None = None

    def __init__(self) -> None:
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.code = int(Exit.STOPPED)


class Stage:
    """A supervisor of one session that is logged in, with the processes that it launched."""

    def __init__(self, folder: Path, session: Session | None = None, board: dict[str, str] | None = None) -> None:
        SessionFolder(folder, PHONE).save_login(f"{PHONE}:1@s.whatsapp.net")
        self.processes: list[RunningProcess] = []
        self.methods: list[str] = []
        self.published = PublisherRecorder()
        self.leases = MemoryLeases(board)
        self.supervisor = Supervisor(
            server="server_1",
            folder=folder,
            max_connect_retry=0,
            max_connect_time_s=300,
            sessions=MemorySessions(session or make_session(provider="whatsmeow")),
            leases=self.leases,
            publisher=self.published,
            launch=self._launch,
        )

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.supervisor.tick()

    def ask(self, kind: str, **data: Any) -> None:
        self.supervisor.submit(ConnectorCommand(type=kind, command_id="c-1", session=PHONE, data=data))
        self.tick(2)

    def end(self, code: Exit) -> None:
        self.processes[-1].code = int(code)
        self.tick(2)

    def _launch(self, phone: str, method: str, _pair_phone: str) -> Any:
        assert phone == PHONE
        self.methods.append(method)
        self.processes.append(RunningProcess())
        return self.processes[-1]


@pytest.mark.parametrize(("auto_restart_ms", "starts"), [(0, 1), (1, 2)])
def test_a_session_is_connected_anew_when_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auto_restart_ms: int, starts: int
) -> None:
    monkeypatch.setattr(supervising, "MIN_RECONNECT_S", 0.2)
    stage = Stage(tmp_path, make_session(provider="whatsmeow", autoRestartMs=auto_restart_ms))

    stage.tick(2)
    assert len(stage.processes) == 1
    time.sleep(0.25)
    stage.tick(2)

    assert len(stage.processes) == starts


def test_a_connector_runs_the_sessions_of_its_own_name(tmp_path: Path) -> None:
    stage = Stage(tmp_path, make_session(provider="whatsmeow", server="server_2"))

    stage.tick()

    assert stage.processes == []


def test_a_lost_lease_ends_the_process(tmp_path: Path) -> None:
    board: dict[str, str] = {}
    stage = Stage(tmp_path, board=board)
    stage.tick()
    board[PHONE] = "another connector"

    stage.tick(2)

    assert len(stage.processes) == 1
    assert stage.processes[0].code is not None
    assert board[PHONE] == "another connector"


def test_a_session_that_another_connector_of_ours_took_over_is_not_suspended(tmp_path: Path) -> None:
    board: dict[str, str] = {}
    stage = Stage(tmp_path, board=board)
    stage.tick()
    board[PHONE] = "another connector"

    stage.end(Exit.REPLACED)

    assert f"suspended:{PHONE}" not in board


@pytest.mark.parametrize("error", [BlockingIOError("no more processes"), MemoryError(), OSError("too many files")])
def test_a_session_that_cannot_be_started_costs_no_other_its_process(
    tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path)
    launch, errors = stage._launch, [error]

    def fail_once(*arguments: str) -> Any:
        if errors:
            raise errors.pop()
        return launch(*arguments)

    monkeypatch.setattr(stage.supervisor, "_launch", fail_once)
    monkeypatch.setattr(supervising, "PAUSES_S", (0.0,))

    stage.tick()
    started_at_once = len(stage.processes)
    stage.tick()

    assert (started_at_once, len(stage.processes)) == (0, 1)


def test_a_login_that_cannot_be_read_ends_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    (tmp_path / PHONE / "login").write_bytes(b"\xff\xfe")

    stage.tick(2)

    assert stage.processes == []


@pytest.mark.parametrize("code", [Exit.LOGGED_OUT, Exit.NOT_SCANNED, Exit.LINK_FAILED, Exit.CONFLICT])
def test_a_session_that_ended_for_good_starts_only_when_a_command_says_so(tmp_path: Path, code: Exit) -> None:
    stage = Stage(tmp_path)
    stage.tick()

    stage.end(code)
    assert len(stage.processes) == 1
    assert stage.leases.suspended([PHONE]) == {PHONE}
    stage.ask("session.connect", method="resume")

    assert len(stage.processes) == 2
    assert stage.leases.suspended([PHONE]) == set()


def test_a_crashed_process_is_published_and_scheduled_for_later(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.tick()

    stage.end(Exit.DISK)

    assert stage.published.states == ["crashed"]
    assert len(stage.processes) == 1, "its first pause is a second"


def test_too_many_refused_connections_are_published_as_standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "PAUSES_S", (0,))
    stage = Stage(tmp_path)
    stage.tick()

    stage.end(Exit.REFUSED)

    assert stage.published.states == ["standby"]
    assert len(stage.processes) == 1


def test_a_suspended_session_without_a_process_is_published_as_stopped(tmp_path: Path) -> None:
    stage = Stage(tmp_path, make_session(provider="whatsmeow", autoConnect=False))
    stage.tick()

    stage.ask("session.disconnect")

    assert stage.processes == []
    assert stage.published.states == ["stopped"]


@pytest.mark.parametrize(("server", "left"), [("server_1", ""), ("server_2", f"{PHONE}:1@s.whatsapp.net")])
def test_the_login_of_a_session_that_was_removed_goes_from_the_connector_that_is_named(
    tmp_path: Path, server: str, left: str
) -> None:
    stage = Stage(tmp_path, make_session(provider="sandbox"))

    stage.ask("session.logout", server=server)

    assert SessionFolder(tmp_path, PHONE).login == left


def test_a_logout_removes_the_login_also_when_the_process_is_already_ending(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.tick()
    stage.processes[-1].stdin = io.StringIO()  # takes the instruction, and does nothing

    stage.ask("session.logout")
    stage.end(Exit.STOPPED)

    assert SessionFolder(tmp_path, PHONE).login == ""


def test_a_logout_without_a_process_removes_the_login(tmp_path: Path) -> None:
    stage = Stage(tmp_path, make_session(provider="whatsmeow", autoConnect=False))
    stage.tick()

    stage.ask("session.logout")

    assert SessionFolder(tmp_path, PHONE).login == ""
    assert stage.published.states == ["logged_out"]
    assert "remove the device on the phone, too" in stage.published.reasons[0]

    stage.ask("session.logout")

    assert stage.published.reasons[1:] == ["logged out"]  # there was nothing left


@pytest.mark.parametrize("code", [Exit.BANNED, Exit.OUTDATED])
def test_after_a_ban_or_a_refused_version_the_session_starts_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: Exit
) -> None:
    monkeypatch.setattr(supervising, "OUTDATED_S", 0.2)
    monkeypatch.setattr(supervising, "MIN_RECONNECT_S", 0.2)
    stage = Stage(tmp_path)
    stage.tick()

    SessionFolder(tmp_path, PHONE).save_ban(int(time.time()) if code == Exit.BANNED else 0)
    stage.end(code)
    assert len(stage.processes) == 1
    assert stage.leases.suspended([PHONE]) == set()
    time.sleep(0.3)
    stage.tick()

    assert len(stage.processes) == 2


def test_after_a_ban_for_good_only_a_person_starts_the_session_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.tick()

    stage.end(Exit.BANNED)

    assert stage.leases.suspended([PHONE]) == {PHONE}


def test_a_ban_outlives_the_connector(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    SessionFolder(tmp_path, PHONE).save_ban(int(time.time()) + 3600)

    stage.tick(2)

    assert stage.processes == []


class CountingSessions(MemorySessions):
    """How often all keys were walked."""

    walks = 0

    def phones(self) -> list[str]:
        self.walks += 1
        return super().phones()

    def indexed(self) -> list[str]:
        return []


def test_a_session_outside_of_the_index_is_found_by_a_walk_that_is_rare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "REFRESH_S", 0.0)
    stage = Stage(tmp_path)
    sessions = CountingSessions(make_session(provider="whatsmeow"))
    stage.supervisor._sessions = sessions

    stage.tick(20)

    assert (len(stage.processes), sessions.walks) == (1, 1)


def test_hundreds_of_sessions_do_not_log_in_at_once_and_a_requested_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phones = [f"55119{number:08}" for number in range(30)]
    for phone in phones:
        SessionFolder(tmp_path, phone).save_login(f"{phone}:1@s.whatsapp.net")
    launched: list[str] = []

    def launch(phone: str, *_: str) -> Any:
        launched.append(phone)
        time.sleep(0.05)  # on a busy machine
        return RunningProcess()

    monkeypatch.setattr(supervising, "START_EVERY_S", 0.01)
    monkeypatch.setattr(supervising, "START_AHEAD_S", 0.1)
    sessions = MemorySessions(
        *(make_session(provider="whatsmeow").model_copy(update={"phone": phone}) for phone in phones)
    )
    supervisor = Supervisor(
        server="server_1", folder=tmp_path, max_connect_retry=0, max_connect_time_s=300, sessions=sessions,
        leases=MemoryLeases(), publisher=PublisherRecorder(), launch=launch,
    )  # fmt: skip

    supervisor.tick()
    at_once = len(launched)
    supervisor.submit(ConnectorCommand(type="session.connect", command_id="c", session=phones[-1], data={}))
    supervisor.tick()

    assert at_once in (10, 11)
    assert phones[-1] in launched


@pytest.mark.parametrize(("misses", "waits"), [(2, True), (10_000, False)])
def test_a_session_waits_a_moment_for_redis_before_it_gives_up(
    monkeypatch: pytest.MonkeyPatch, misses: int, waits: bool
) -> None:
    monkeypatch.setattr(session_process, "OPTIONS_WAIT_S", 0.1)
    monkeypatch.setattr(session_process, "OPTIONS_PAUSE_S", 0.01)
    left = [misses]

    def find(_: str) -> Any:
        if left[0]:
            left[0] -= 1
            raise Postponed("Redis is slow", after_ms=1000)
        return make_session()

    uno: Any = SimpleNamespace(sessions=SimpleNamespace(find=find))

    if waits:
        assert session_process.options_of(PHONE, uno).phone == PHONE  # type: ignore[attr-defined]
    else:
        with pytest.raises(Postponed):
            session_process.options_of(PHONE, uno)


def test_sessions_are_read_again_only_when_one_changed_or_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be thousands; a change that this program did not make is seen later."""
    monkeypatch.setattr(supervising, "REFRESH_S", 0.0)
    stage, reads = Stage(tmp_path), list[int]()
    sessions: Any = stage.supervisor._sessions
    find_all = sessions.find_all

    def counted(phones: list[str]) -> Any:
        reads.append(len(phones))
        return find_all(phones)

    monkeypatch.setattr(sessions, "find_all", counted)

    stage.tick(3)
    sessions.stored["5511999990002"] = make_session().model_copy(update={"phone": "5511999990002"})
    stage.tick(3)
    sessions.away = True
    stage.tick(2)
    sessions.away = False
    stage.tick()
    after_changes = list(reads)
    monkeypatch.setattr(supervising, "RELOAD_S", 0.0)
    stage.tick(2)

    assert (after_changes, reads) == ([1, 2], [1, 2, 2, 2])


def test_a_session_that_cannot_be_read_now_is_read_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "REFRESH_S", 0.0)
    stage = Stage(tmp_path)
    sessions: Any = stage.supervisor._sessions
    answers: Any = iter([{}, {}])
    find_all = sessions.find_all
    monkeypatch.setattr(sessions, "find_all", lambda phones: next(answers, None) or find_all(phones))

    stage.tick(3)

    assert len(stage.processes) == 1


@pytest.mark.parametrize(("auto_connect", "starts"), [(True, 1), (False, 0)])
def test_a_message_connects_a_number_that_does_not_connect_by_itself(
    tmp_path: Path, *, auto_connect: bool, starts: int
) -> None:
    stage = Stage(tmp_path, make_session(provider="whatsmeow", autoConnect=auto_connect))
    stage.tick(2)
    assert len(stage.processes) == starts

    stage.ask("session.connect", method="resume", wake=True)
    stage.ask("session.connect", method="resume", wake=True)

    assert len(stage.processes) == 1


def test_a_message_does_not_connect_a_number_that_somebody_disconnected(tmp_path: Path) -> None:
    board: dict[str, str] = {}
    session = make_session(provider="whatsmeow", autoConnect=False)
    first = Stage(tmp_path, session, board)
    first.ask("session.connect", method="resume")
    first.ask("session.disconnect")

    later = Stage(tmp_path, session, board)
    for stage in (first, later):
        stage.ask("session.connect", method="resume", wake=True)

    assert (len(first.processes), len(later.processes)) == (1, 0)


def test_a_message_shows_no_code(tmp_path: Path) -> None:
    stage = Stage(tmp_path, make_session(provider="whatsmeow", autoConnect=False))
    SessionFolder(tmp_path, PHONE).remove_login()

    stage.ask("session.connect", method="resume", wake=True)

    assert stage.processes == []


def test_a_session_that_was_scanned_is_connected_anew_without_another_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "MIN_RECONNECT_S", 0.2)
    stage = Stage(tmp_path, make_session(provider="whatsmeow", autoRestartMs=1))
    SessionFolder(tmp_path, PHONE).remove_login()
    stage.ask("session.connect", method="qr")
    SessionFolder(tmp_path, PHONE).save_login(f"{PHONE}:1@s.whatsapp.net")

    time.sleep(0.25)
    stage.tick(2)

    assert stage.methods == ["qr", "resume"]


@pytest.mark.parametrize(("proxy", "starts"), [("", 1), ("http://proxy.test:3128", 2)])
def test_a_session_goes_through_another_proxy_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, starts: int
) -> None:
    monkeypatch.setattr(supervising, "REFRESH_S", 0.0)
    sessions = MemorySessions(make_session(provider="whatsmeow"))
    stage = Stage(tmp_path)
    stage.supervisor._sessions = sessions
    stage.tick(2)

    sessions.save(PHONE, {"provider": "whatsmeow", "proxyUrl": proxy})
    stage.tick(3)

    assert len(stage.processes) == starts
    assert stage.methods == ["resume"] * starts


@pytest.mark.parametrize("is_slow", [True, False])
@pytest.mark.parametrize(
    "away", [{"provider": "sandbox"}, {"provider": "whatsmeow", "server": "server_2"}, None], ids=str
)
def test_a_session_that_is_this_connectors_again_connects_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: dict[str, Any] | None, *, is_slow: bool
) -> None:
    """As after a Redis that lost its data, whose sessions were imported again."""
    monkeypatch.setattr(supervising, "REFRESH_S", 0.0)
    sessions = MemorySessions(make_session(provider="whatsmeow"))
    stage = Stage(tmp_path)
    stage.supervisor._sessions = sessions
    stage.tick(2)
    if is_slow:
        monkeypatch.setattr(stage.processes[0], "terminate", lambda: None)

    if away is None:
        sessions.stored.clear()
    else:
        sessions.save(PHONE, away)
    stage.tick(2)
    sessions.save(PHONE, {"provider": "whatsmeow"})
    stage.tick(2)
    if is_slow:
        assert len(stage.processes) == 1
        stage.end(Exit.STOPPED)

    assert stage.methods == ["resume", "resume"]
    assert stage.leases.suspended([PHONE]) == set()


def test_a_process_that_somebody_else_stopped_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a service manager ends the connector and the processes of its sessions at the same moment."""
    monkeypatch.setattr(supervising, "PAUSES_S", (0,))
    stage = Stage(tmp_path)
    stage.tick(2)

    stage.end(Exit.STOPPED)

    assert stage.leases.suspended([PHONE]) == set()
    assert len(stage.processes) == 2


@pytest.mark.parametrize("code", [Exit.STOPPED, -9])
def test_what_a_person_disconnected_stays_so_however_its_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(supervising, "PAUSES_S", (0,))
    stage = Stage(tmp_path)
    stage.tick(2)

    stage.supervisor.submit(ConnectorCommand(type="session.disconnect", command_id="c-1", session=PHONE))
    stage.tick()
    stage.processes[-1].code = int(code)
    stage.tick(3)

    assert stage.leases.suspended([PHONE]) == {PHONE}
    assert (len(stage.processes), stage.published.states) == (1, [])


@pytest.mark.parametrize(
    ("verb", "code", "methods"),
    [
        ("session.disconnect", Exit.STOPPED, ["resume", "resume"]),
        ("session.logout", Exit.LOGGED_OUT, ["resume", "qr"]),
        ("session.reload", Exit.STOPPED, ["resume", "resume"]),
    ],
)
def test_who_asks_for_a_connection_before_the_last_one_has_ended_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, code: Exit, methods: list[str]
) -> None:
    stage = Stage(tmp_path)
    stage.tick(2)
    process = stage.processes[0]
    monkeypatch.setattr(process, "stdin", io.StringIO())
    monkeypatch.setattr(process, "terminate", lambda: None)  # it finishes a send, or tells WhatsApp

    stage.ask(verb)
    stage.ask("session.connect", method="qr")
    assert len(stage.processes) == 1
    stage.end(code)

    assert stage.methods == methods
    assert stage.leases.suspended([PHONE]) == set()
    assert stage.published.states == []


def test_a_session_whose_proxy_is_refused_says_so_and_uses_up_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "PAUSES_S", (0,))
    stage = Stage(tmp_path)
    stage.tick(2)

    for _ in range(3):
        stage.end(Exit.PROXY)

    assert len(stage.processes) == 4
    assert set(stage.published.states) == {"disconnected"}
    assert "proxyUrl" in stage.published.reasons[0]
