"""The processes that fetch files, shared between the servers of the files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from tests.support.worker import make_uno
from unoapi.errors import FetchFailed, Postponed, ShareUsed
from unoapi.http.process_bulkhead import ProcessBulkhead
from unoapi.services.bulkhead import SEEN_S

if TYPE_CHECKING:
    from pathlib import Path

HANGS, FINE = "http://hangs.test/a.mp3", "https://fine.test/b.mp3"


def test_one_server_has_all_processes_while_no_other_has_work(tmp_path: Path) -> None:
    bulkhead = ProcessBulkhead(tmp_path / "new", processes=3)

    with ExitStack() as fetches:
        for number in range(3):
            fetches.enter_context(bulkhead.taken(f"http://hangs.test/{number}"))
        with pytest.raises(Postponed), bulkhead.taken(HANGS):
            pass
    with bulkhead.taken(HANGS):
        pass


@pytest.mark.parametrize(("processes", "share"), [(1, 1), (2, 1), (5, 2)])
def test_otherwise_it_has_at_most_half_and_never_none(tmp_path: Path, processes: int, share: int) -> None:
    bulkhead = ProcessBulkhead(tmp_path, processes=processes)
    with bulkhead.taken(FINE):
        pass

    with ExitStack() as fetches:
        for _ in range(share):
            fetches.enter_context(bulkhead.taken(HANGS))
        if processes > 1:
            with pytest.raises(Postponed), bulkhead.taken(HANGS):
                pass
        with bulkhead.taken("https://fine.test:8443/another.port"):
            pass


def test_who_had_work_long_ago_leaves_all_to_the_others(tmp_path: Path) -> None:
    bulkhead = ProcessBulkhead(tmp_path, processes=2)
    with bulkhead.taken(FINE):
        pass
    long_ago = time.time() - SEEN_S - 1
    for file in tmp_path.iterdir():
        os.utime(file, (long_ago, long_ago))

    with bulkhead.taken(HANGS), bulkhead.taken(HANGS):
        pass


def test_a_process_that_is_killed_gives_its_share_back(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from unoapi.http.process_bulkhead import ProcessBulkhead\n"
        f"with ProcessBulkhead(Path(sys.argv[1]), processes=1).taken({HANGS!r}): "
        "print('taken', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"taken\n"
    bulkhead = ProcessBulkhead(tmp_path, processes=1)
    with pytest.raises(Postponed), bulkhead.taken(HANGS):
        pass

    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    with bulkhead.taken(HANGS):
        pass


def test_a_folder_that_cannot_be_written_limits_nobody(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    bulkhead = ProcessBulkhead(file / "no folder", processes=1)

    with bulkhead.taken(HANGS), bulkhead.taken(HANGS):
        pass


def test_tasks_wait_for_a_share_and_connected_phones_do_not(tmp_path: Path) -> None:
    uno = make_uno(settings={"BASE_STORE": str(tmp_path), "UNOAPI_MEDIA_PROCESSES": "2"})
    bulkhead = ProcessBulkhead(tmp_path / "fetches", processes=2)

    with bulkhead.taken(HANGS), bulkhead.taken(HANGS):
        with pytest.raises(Postponed):
            uno.media_downloader.fetch(HANGS, BytesIO(), limit=1, timeout_ms=100)
        with pytest.raises(FetchFailed):
            uno.downloader.fetch(HANGS, BytesIO(), limit=1, timeout_ms=100)
    uno.close()


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessBulkhead:
    """Two processes, which two numbers used within the hour."""
    monkeypatch.setattr("unoapi.http.process_bulkhead.LONG_S", 0.2)
    bulkhead = ProcessBulkhead(tmp_path, processes=2)
    with bulkhead.taken_for("2"):
        pass
    _age(tmp_path)
    return bulkhead


def _age(folder: Path) -> None:
    for file in folder.iterdir():
        os.utime(file, (time.time() - SEEN_S - 1,) * 2)


def test_a_number_whose_files_take_long_leaves_a_process_to_the_others(numbers: ProcessBulkhead) -> None:
    """Ten thousand sounds of one number would be converted before the first of another one."""
    began = time.monotonic()
    with numbers.taken_for("1"):
        with pytest.raises(ShareUsed), numbers.taken_for("1"):
            pass
        waited_s = time.monotonic() - began
        with pytest.raises(ShareUsed), numbers.taken_for("1"):
            pass
        with numbers.taken_for("2"):
            pass

    assert 0.2 <= waited_s < 2
    assert time.monotonic() - began < waited_s + 0.2


def test_a_number_whose_files_are_done_in_a_moment_has_all_processes(numbers: ProcessBulkhead) -> None:
    with numbers.taken_for("1"):
        pass
    with numbers.taken_for("1"), numbers.taken_for("1"):
        time.sleep(0.3)
        with pytest.raises(ShareUsed), numbers.taken_for("1"):
            pass
    with numbers.taken_for("1"), pytest.raises(ShareUsed), numbers.taken_for("1"):
        pass  # the ones before took long


def test_what_has_to_wait_elsewhere_says_nothing_of_how_long_a_number_takes(numbers: ProcessBulkhead) -> None:
    """A server that has its share of the fetches says so in a moment, and the number's videos take long."""
    with pytest.raises(Postponed), numbers.taken_for("1"):
        raise Postponed("its server has its share", after_ms=1000)

    with numbers.taken_for("1"), pytest.raises(ShareUsed), numbers.taken_for("1"):
        pass


def test_a_number_that_is_alone_has_all_processes(tmp_path: Path) -> None:
    bulkhead = ProcessBulkhead(tmp_path, processes=2)

    with bulkhead.taken_for("1"), bulkhead.taken_for("1"):
        pass
