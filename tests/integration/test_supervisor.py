"""The supervisor restarts what ends, stops on wrong settings, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.support.harness import processes_of
from tests.support.stack import eventually
from unoapi.devenv import run as run_module
from unoapi.devenv import welcome
from unoapi.devenv.ports import free_port
from unoapi.devenv.supervisor import RestartPolicy, Supervisor, parse_procfile
from unoapi.errors import EX_CONFIG

if TYPE_CHECKING:
    from pathlib import Path

QUICK = RestartPolicy(grace_s=1, pauses_s=(0.05, 0.1), steady_s=60)
SCRIPT = """
import pathlib, sys
from unoapi.devenv.supervisor import RestartPolicy, Supervisor, parse_procfile, take_signals
folder = pathlib.Path(sys.argv[1])
supervisor = Supervisor(parse_procfile((folder / "Procfile").read_text()), folder=folder,
                        policy=RestartPolicy(grace_s=1))
take_signals(supervisor.stop)
sys.exit(supervisor.run())
"""


def test_a_procfile_is_names_and_commands() -> None:
    text = "# comment\n\nweb: serve --port ${PORT:-1}\nfailed-worker:work a: b\nnonsense\n"

    assert parse_procfile(text) == {"web": "serve --port ${PORT:-1}", "failed-worker": "work a: b"}


def test_a_process_that_ends_is_started_again_after_a_growing_pause_which_is_printed(tmp_path: Path) -> None:
    output = io.StringIO()
    commands = {"dies": 'sh -c "echo $COLOUR; echo x >> lives; kill -KILL \\$\\$"', "lives": "sleep 60"}
    supervisor = Supervisor(
        commands, folder=tmp_path, environment={**os.environ, "COLOUR": "green"}, output=output, policy=QUICK
    )

    def stop_after_three_lives() -> None:
        lives = tmp_path / "lives"
        while not lives.exists() or lives.read_text().count("x") < 3:
            time.sleep(0.02)
        supervisor.stop()

    threading.Thread(target=stop_after_three_lives, daemon=True).start()
    code = supervisor.run()

    assert code == 0
    assert "dies  | green\n" in output.getvalue()
    assert "dies  | *** killed by SIGKILL after 0 s; starts again in 0.05 s ***\n" in output.getvalue()
    assert "starts again in 0.1 s" in output.getvalue()
    assert processes_of(tmp_path) == []


def test_wrong_settings_stop_everything_and_stay_readable(tmp_path: Path) -> None:
    output = io.StringIO()
    commands = {"other": "sleep 60", "wrong": "sh -c 'echo PORT is wrong; exit 78'"}

    code = Supervisor(commands, folder=tmp_path, output=output, policy=QUICK).run()

    assert code == EX_CONFIG
    assert "wrong | PORT is wrong\n" in output.getvalue()
    assert output.getvalue().count("PORT is wrong") == 1
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_ends_all_even_the_stubborn(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "Procfile").write_text(
        "polite: sh -c 'trap \"echo bye; exit 0\" TERM; echo up; while :; do sleep 0.05; done'\n"
        "stubborn: sh -c 'trap \"\" TERM INT; setsid sleep 60 & while :; do sleep 0.1; done'\n"
    )
    with (tmp_path / "output").open("wb") as output:
        program = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=output, start_new_session=True)
    try:
        eventually(lambda: "up" in (tmp_path / "output").read_text() and len(processes_of(tmp_path)) >= 5)

        os.killpg(program.pid, number)

        assert program.wait(15) == 0
        assert "polite   | bye" in (tmp_path / "output").read_text()
        assert "stubborn | *** did not end within 1 s: killed ***" in (tmp_path / "output").read_text()
        assert processes_of(tmp_path) == []
    finally:
        program.kill()
        program.wait()


def test_nothing_survives_a_killed_supervisor_and_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: sh -c 'setsid sleep 60 & sleep 60'\n")
    program = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.DEVNULL)
    eventually(lambda: sum("sleep" in line for line in processes_of(tmp_path)) == 2)

    program.kill()
    program.wait()
    next_run = Supervisor({"quits": "sh -c 'exit 78'"}, folder=tmp_path, output=io.StringIO(), policy=QUICK)

    assert next_run.run() == EX_CONFIG
    assert processes_of(tmp_path) == []


STAND_IN = """
import http.server, json, os, pathlib
log = open("requests", "a")
class Api(http.server.BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        print(self.command, self.path, self.headers.get("Authorization"), self.rfile.read(length), file=log, flush=True)
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    do_GET = do_POST = answer
    def log_message(self, *words): pass
pathlib.Path("seen").write_text(json.dumps(dict(os.environ)))
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Api).serve_forever()
"""


def start_run(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    ours = {"AMQP_URL", "REDIS_URL", "UNOAPI_AUTH_TOKEN", "DOTENV_CONFIG_PATH"}
    clean = {key: value for key, value in os.environ.items() if key not in ours}
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "unoapi.devenv.run", str(folder)],
            env=clean | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def test_run_starts_servers_and_processes_welcomes_and_ends_with_its_group(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    (tmp_path / "Procfile").write_text("web: python stand_in.py\n")
    (tmp_path / ".env").write_text(f"PORT={port}\nREDIS_URL=redis://:secret@127.0.0.1:{free_port()}\n")
    program = start_run(tmp_path)
    try:
        eventually(lambda: "trace <id>" in (tmp_path / "output").read_text(), within_s=60)
        output = (tmp_path / "output").read_text()
        run_file = run_module.RunFile(tmp_path / ".run" / "environment").read()
        requests_seen = (tmp_path / "requests").read_text()
        environment_seen = (tmp_path / "seen").read_text()

        os.killpg(program.pid, signal.SIGINT)

        assert program.wait(60) == 0
        assert "REDIS_URL is set, but 127.0.0.1 does not answer" in output
        assert "secret" not in output
        assert run_file["UNOAPI_AUTH_TOKEN"] in output
        assert run_file["SANDBOX_TOKEN"] in output
        assert run_file["FLOWER_BROKER_API"] == run_file["RABBITMQ_MANAGEMENT_URL"] + "/api/"
        assert f"/v15.0/{welcome.SANDBOX_PHONE}/register" in requests_seen
        assert f"Bearer {run_file['UNOAPI_AUTH_TOKEN']}" in requests_seen
        for name in ("AMQP_URL", "REDIS_URL", "UNOAPI_AUTH_TOKEN", "BASE_URL"):
            assert run_file[name] in environment_seen
        assert run_file["BASE_URL"] == f"http://127.0.0.1:{port}"
        assert (tmp_path / ".run" / "environment").stat().st_mode & 0o777 == 0o600
        left = run_module.RunFile(tmp_path / ".run" / "environment").read()
        assert sorted(left) == ["SANDBOX_TOKEN", "UNOAPI_AUTH_TOKEN"]
        assert processes_of(tmp_path) == []
    finally:
        program.kill()
        program.wait()


def test_a_port_that_is_taken_is_one_clear_line_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: sleep 60\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as taken:
        program = start_run(tmp_path, PORT=str(taken.server_port))
        code = program.wait(30)

    assert code == EX_CONFIG
    assert (tmp_path / "output").read_text() == (
        f"unoapi: port {taken.server_port} is taken by another program: stop it, or set PORT to a free port\n"
    )


@pytest.mark.parametrize(
    ("terminal", "chosen", "form"), [(True, "", "console"), (True, "json", "json"), (False, "", None)]
)
def test_lines_are_readable_when_a_person_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, chosen: str, form: str | None
) -> None:
    monkeypatch.delenv("DOTENV_CONFIG_PATH", raising=False)
    monkeypatch.setenv("UNOAPI_LOG_FORMAT", chosen)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)

    assert run_module._environment(tmp_path).get("UNOAPI_LOG_FORMAT") == form
