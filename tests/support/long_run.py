"""What a whole run in several processes needs: compiled files for all of them, little for the collector, and an end.

A plugin of pytest, registered by `tests/conftest.py`.
"""

from __future__ import annotations

import _thread
import gc
import importlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.constants import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

DEADLINE_S = float(os.environ.get("TEST_RUN_DEADLINE_S", "2400"))
"""So long may a run in several processes take before it is taken for one that hangs."""
_running: dict[str, None] = {}
_crashed: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Keep what is collected from the collector of garbage: hardly anything of it is some, and it stays to the end."""
    gc.disable()
    try:
        _compile_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart(session: pytest.Session) -> Iterator[None]:
    """End a run that hangs: pytest's own limits are those of single tests, and of processes that still answer."""
    yield
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who started this may have it ignore Ctrl-C
        timer = threading.Timer(DEADLINE_S, _end)
        timer.daemon = True
        timer.start()


def pytest_runtest_logstart(nodeid: str) -> None:
    """Remember that this one began."""
    _running[nodeid] = None


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Forget it: it ended."""
    _running.pop(nodeid, None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A process that ended in the middle leaves tests that did not run: a second chance for one is not enough then."""
    if error:
        _crashed.append(node.gateway.id)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Say that the run was cut short; pytest-xdist says that a test failed."""
    if _crashed:
        session.exitstatus = pytest.ExitCode.INTERRUPTED


def _compile_share(config: pytest.Config) -> None:
    """Compile a share of the test files, so that the processes do not all compile all of them at the same time."""
    worker = getattr(config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode or config.args != config.getini("testpaths"):
        return
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    files = sorted(path.relative_to(ROOT).with_suffix("") for path in (ROOT / "tests").rglob("test_*.py"))
    for file in files[number::count]:
        importlib.import_module(".".join(file.parts))


def _end() -> None:
    sys.stderr.write(f"\nAfter {DEADLINE_S:.0f} s this run is ended. What was running:\n")
    sys.stderr.writelines(f"  {nodeid}\n" for nodeid in _running)
    sys.stderr.flush()
    _thread.interrupt_main()
