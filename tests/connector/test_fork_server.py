"""Sessions are forked: their exit codes arrive, they outlive the server, and without it they start all the same."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support.stack import eventually
from unoapi.connector.engines.base import Exit
from unoapi.connector.fork_server import ForkServer
from unoapi.connector.supervisor import SessionLauncher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOWHERE = {
    "AMQP_URL": "amqp://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1", "UNOAPI_CONNECTOR_ENGINE": "twin",
    "UNOAPI_AUTH_TOKEN": "token-of-the-operator", "DOTENV_CONFIG_PATH": os.devnull,
}  # fmt: skip
PHONE = "5511999990000"
ENDED = (Exit.STOPPED, Exit.NOT_SCANNED)
"""How a session ends that shows a code and is stopped."""
TALKS = """
import os, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
connection.send({ready!r})
while connection.recv(4096):
    {answer}
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    for name, value in {**NOWHERE, "UNOAPI_CONNECTOR_STORE": f"{tmp_path}", "BASE_STORE": f"{tmp_path}"}.items():
        monkeypatch.setenv(name, value)
    running = ForkServer()
    yield running
    running.close()


def test_a_forked_session_logs_to_the_output_and_is_never_taken_for_ended(
    server: ForkServer, capfd: pytest.CaptureFixture[str]
) -> None:
    sessions = []
    for last in range(1, 9):
        sessions.append(server.launch([f"{PHONE[:-1]}{last}", "qr", ""], {}))
        assert sessions[-1].poll() is None, "the supervisor is its parent as soon as it knows its number"
    asked = server.launch([PHONE, "resume", ""], {})
    assert asked.wait(60) == Exit.NETWORK
    for session in sessions:
        session.kill()

    assert [session.wait(60) for session in sessions] == [-9] * len(sessions)
    output = capfd.readouterr().out
    assert [line for line in output.splitlines() if "session_options_unknown" in line and PHONE in line]


def test_a_forked_session_ends_with_its_own_code_and_outlives_the_server(server: ForkServer) -> None:
    asked = server.launch([PHONE, "resume", ""], {})  # Redis is away: it may not resume
    waiting = server.launch([PHONE[:-1] + "1", "qr", ""], {})
    killed = server.launch([PHONE[:-1] + "2", "qr", ""], {})
    orphan = server.launch([PHONE[:-1] + "3", "qr", ""], {})
    time.sleep(0.5)
    own_mb = psutil.Process(orphan.pid).memory_full_info().uss / 1e6

    killed.kill()
    server.close()
    waiting.stdin.close()

    assert asked.wait(60) == Exit.NETWORK
    assert killed.wait(60) == -9
    assert waiting.wait(60) in ENDED, "the supervisor is gone, as far as it can see"
    assert orphan.poll() is None
    orphan.terminate()
    assert orphan.wait(60) in ENDED
    assert own_mb < 25, "what was loaded before the fork is shared"


def test_traces_that_are_exported_keep_no_session_from_being_forked(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry", reason="the extra `otel` is not installed: make otel")
    monkeypatch.setenv("UNOAPI_OTLP_ENDPOINT", "http://127.0.0.1:1")

    session = server.launch([PHONE, "resume", ""], {})

    assert session.wait(60) == Exit.NETWORK


def test_a_server_that_was_killed_is_started_anew(server: ForkServer) -> None:
    first = server.launch([PHONE, "resume", ""], {})
    assert server._server is not None
    server._server.kill()
    server._server.wait()

    second = server.launch([PHONE, "resume", ""], {})

    assert (first.wait(60), second.wait(60)) == (Exit.NETWORK, Exit.NETWORK)


def strange(ready: bytes, answer: str) -> ForkServer:
    return ForkServer([sys.executable, "-c", TALKS.format(ready=ready, answer=answer)])


@pytest.mark.parametrize(
    ("ready", "answer", "error"),
    [
        (b"ready", f"connection.send(b'-{errno.EAGAIN}')", BlockingIOError),
        (b"ready", f"connection.send(b'-{errno.ENOMEM}')", OSError),
        (b"ready", "sys.exit()", ConnectionError),
        (b"ready", "connection.send(b'nonsense')", ConnectionError),
        (b"no", "pass", ConnectionError),
    ],
)
def test_whatever_the_server_answers_is_an_error_or_a_process(ready: bytes, answer: str, error: type[OSError]) -> None:
    server = strange(ready, answer)

    before = psutil.Process().num_fds()
    for _ in range(3):
        with pytest.raises(error):
            server.launch([PHONE, "resume", ""], {})
    server.close()

    assert psutil.Process().num_fds() <= before, "no pipe is left open"


def test_without_the_server_a_session_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    launcher = SessionLauncher()
    launcher._server = strange(b"ready", "sys.exit()")

    def start(command: list[str], **_: Any) -> str:
        started.append(command)
        return "process"

    monkeypatch.setattr("unoapi.connector.supervisor.subprocess.Popen", start)
    monkeypatch.setattr(launcher._server, "launch", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))

    assert launcher(PHONE, "resume", "") == "process"  # type: ignore[comparison-overlap]
    assert started[0][-3:] == [PHONE, "resume", ""]


def test_the_server_ends_with_the_supervisor() -> None:
    program = (
        "import os, sys, time\n"
        "from unoapi.connector.fork_server import ForkServer\n"
        "server = ForkServer(); server._connected(); print(server._server.pid, flush=True); os._exit(0)"
    )
    environment = {**os.environ, **NOWHERE}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    pid = int(done.stdout.split()[-1])

    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", what="ended")
