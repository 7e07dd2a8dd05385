"""Our own commands of a Procfile are forks of one process, and look and end as if a shell had started them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.test_supervisor import QUICK, SCRIPT
from tests.support.constants import ROOT
from tests.support.harness import processes_of
from tests.support.stack import eventually
from unoapi.devenv.fork_server import words_of
from unoapi.devenv.processes import OWNER
from unoapi.devenv.supervisor import Supervisor, parse_procfile
from unoapi.forking import ForkServer

if TYPE_CHECKING:
    from pathlib import Path

PROCFILE = parse_procfile((ROOT / "Procfile").read_text())
PID = 4711
SERVES = "serves: python -m http.server --bind ${NOWHERE:-127.0.0.1} 0\nother: sleep 60\n"


def words_of_shell(command: str, environment: dict[str, str]) -> list[str]:
    printing = f"printf '%s\\n' {command}".replace("$$", str(PID))
    done = subprocess.run(["/bin/sh", "-c", printing], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "environment", [{}, {"UNOAPI_QUEUE_NAME": "other", "FLOWER_PORT": "", "UNOAPI_WORKER_THREADS": "7 8"}]
)
@pytest.mark.parametrize("name", PROCFILE)
def test_the_procfiles_words_are_those_of_a_shell(name: str, environment: dict[str, str]) -> None:
    words = words_of(PROCFILE[name], environment, pid=PID)

    assert words == words_of_shell(PROCFILE[name], environment)


@pytest.mark.parametrize(
    "command",
    [
        "sleep 60", "python web.py", "python -m", "", "/usr/bin/celery worker", "A=1 celery worker",
        "celery worker | tee log", "celery worker > log", "celery 'two words'", 'celery "$HOME"', "celery $(date)",
        "celery `date`", "celery *", "celery ~", "celery a; celery b", "celery &", "celery # no", "celery ${X:?gone}",
        "celery ${X%y}", "celery ${X:-${Y}}", "celery $1", "celery $?", "celery ${STAR}", "celery ${QUOTE}",
        "celery\nrm", "celery a\\ b",
    ],
)  # fmt: skip
def test_what_takes_a_shell_or_is_another_program_is_left_to_the_shell(command: str) -> None:
    assert words_of(command, {"STAR": "*", "QUOTE": "'"}, pid=PID) is None


def start(folder: Path, procfile: str) -> subprocess.Popen[bytes]:
    (folder / "Procfile").write_text(procfile)
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)], stdout=output, stderr=output, start_new_session=True
        )


def serving(folder: Path, *, but: int = 0) -> psutil.Process | None:
    """The process that serves, and has begun to."""
    record = folder / ".run" / "processes" / "serves.process"
    if not record.exists() or not record.read_text():
        return None
    with suppress(psutil.NoSuchProcess):  # the one before, which is just gone
        process = psutil.Process(int(record.read_text().split()[0]))
        return process if process.pid != but and process.net_connections() else None
    return None


def server_of(program: subprocess.Popen[bytes]) -> psutil.Process:
    [server] = [
        child for child in psutil.Process(program.pid).children() if "unoapi.devenv.fork_server" in child.cmdline()
    ]
    return server


def test_a_fork_looks_restarts_and_ends_like_any_other_command(tmp_path: Path) -> None:
    program = start(tmp_path, SERVES)
    try:
        first: psutil.Process = eventually(lambda: serving(tmp_path), within_s=60)
        output = tmp_path / "output"

        assert [word for word in first.cmdline() if word] == ["python", "-m", "http.server", "--bind", "127.0.0.1", "0"]
        assert (first.name(), server_of(program).name()) == ("python", "python")
        assert first.environ()[OWNER] == f"{tmp_path}/.run/processes/serves.process"
        assert (first.ppid(), os.getsid(first.pid), first.cwd()) == (program.pid, first.pid, f"{tmp_path}")
        assert first.memory_full_info().uss / 1e6 < 25, "what was loaded before the fork is shared"
        eventually(lambda: "serves | Serving HTTP on 127.0.0.1" in output.read_text())
        server = server_of(program)
        server.kill()
        eventually(lambda: server.status() == psutil.STATUS_ZOMBIE)
        first.kill()
        second: psutil.Process = eventually(lambda: serving(tmp_path, but=first.pid), within_s=60)
        assert "serves | *** killed by SIGKILL" in output.read_text()
        assert "started anew" not in output.read_text()
        assert second.ppid() == program.pid
        assert all(child.status() != psutil.STATUS_ZOMBIE for child in psutil.Process(program.pid).children())
        program.terminate()
        assert program.wait(15) == 0
        assert "did not end" not in output.read_text()
        assert processes_of(tmp_path) == []
    finally:
        program.kill()
        program.wait()


def test_forks_end_with_the_supervisor_whatever_ends_it(tmp_path: Path) -> None:
    program = start(tmp_path, SERVES)
    eventually(lambda: serving(tmp_path), within_s=60)

    program.send_signal(signal.SIGKILL)
    program.wait()

    eventually(lambda: processes_of(tmp_path) == [])


def test_without_the_server_commands_are_started_anew(tmp_path: Path) -> None:
    output = io.StringIO()
    supervisor = Supervisor({"quits": "python -m http.server --nonsense"}, folder=tmp_path, output=output, policy=QUICK)
    supervisor._forks = ForkServer([sys.executable, "-c", "pass"])

    def stop_when_it_ended() -> None:
        eventually(lambda: "*** ended" in output.getvalue())
        supervisor.stop()

    threading.Thread(target=stop_when_it_ended, daemon=True).start()
    supervisor.run()

    assert output.getvalue().count("cannot be forked, and is started anew instead") == 1
    assert "quits | *** ended with code 2" in output.getvalue()
