"""The benchmarks at a small size: they run to their end and measure. They judge nothing, for other tests run beside."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.stack import ROOT

if TYPE_CHECKING:
    from unoapi.devenv.servers import PrivateServers


@pytest.mark.timeout(300)
def test_every_benchmark_that_is_short_runs_and_measures(servers: PrivateServers) -> None:
    command = [sys.executable, "-m", "tests.bench", "deliveries", "events", "api", "--quick"]
    command += ["--rabbitmq", str(servers.rabbit.folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    for row in ("one process : plain Celery", "two processes", "events/s end to end", "accepted requests/s"):
        assert row in done.stdout, done.stdout
