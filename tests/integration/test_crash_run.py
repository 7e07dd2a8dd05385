"""The crash run at a small size, with its bars; and whatever ends it, nothing stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.crash.run import SMALL, crash_run
from tests.support.harness import processes_of
from tests.support.stack import ROOT, eventually

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(240)
def test_killing_workers_rabbitmq_and_redis_data_loses_nothing() -> None:
    console = Console(width=110)

    outcome = crash_run(SMALL, console)

    console.print(outcome.table())  # shown when an assertion below fails
    assert outcome.lost == frozenset()
    assert outcome.left_in_queues == 0
    assert len(outcome.accepted) == SMALL.events
    assert outcome.dead == frozenset()
    assert outcome.duplicates <= outcome.most_duplicates
    assert set(outcome.refusals) <= {"503"}
    assert outcome.slowest_request_s < 5.5
    assert outcome.ok


def test_ctrl_c_stops_everything_that_the_crash_run_started(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.crash", "--small"],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "AMQP_URL": "amqp://127.0.0.1:1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        eventually(lambda: list(tmp_path.glob("*/web-*.log")), within_s=60, what="the web process")

        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=60)
    finally:
        run.kill()

    assert run.returncode == 130, output
    # What a process that is ended while it begins has started may end a moment later.
    eventually(lambda: not processes_of(tmp_path), within_s=20, what="the end of all processes")
    assert list(tmp_path.iterdir()) == []
