"""A run in several processes ends, whatever a test does, and says what it waited for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.constants import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import time; time.sleep(20)", "After 10 s this run is ended. What was running:\n  test_it.py::test_it\n"),
        ("import os; os._exit(9)", "crashed while running 'test_it.py::test_it'"),
    ],
    ids=["hangs", "crashes"],
)
def test_a_run_ends_with_the_name_of_the_test_that_would_not(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n\n\ndef test_another():\n    pass\n")
    [line] = [line for line in (ROOT / "Makefile").read_text().splitlines() if "-m pytest -n" in line]
    options = line.partition("-m pytest ")[2].partition(" ||")[0].split()

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "tests.support.long_run", *options, "-n", "1", tmp_path],
        cwd=tmp_path, text=True, capture_output=True, check=False, timeout=90,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TEST_RUN_DEADLINE_S": "10"},
    )  # fmt: skip

    assert said in done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.INTERRUPTED, "what did not run must not pass with the second chance"
