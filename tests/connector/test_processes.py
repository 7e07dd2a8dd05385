"""The connector's processes: who loads the library, who ends with whom."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psutil

from tests.connector.phones import NOBODY, Phone, connected_phone
from tests.support.stack import ROOT, Stack, eventually

if TYPE_CHECKING:
    from pathlib import Path

LOADS = re.compile(r"(import neonize|from neonize|import_module\(.neonize)")


def sources() -> list[Path]:
    return [*(ROOT / "unoapi").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")]


def test_only_one_module_loads_the_library() -> None:
    modules = [path.name for path in sources() if LOADS.search(path.read_text("utf-8"))]

    assert modules == ["neonize.py"]


def test_a_session_does_not_outlive_a_killed_connector(uno: Stack) -> None:
    uno.web()
    uno.worker()
    phone = connected_phone(uno)
    connector = psutil.Process(uno.processes[-1].pid)
    _, child = sorted(connector.children(), key=lambda process: process.create_time())  # the first forks the others

    connector.kill()
    child.wait(20)
    eventually(lambda: phone.status() == "offline", within_s=20, what="offline")


def test_too_many_failed_connections_end_in_standby(uno: Stack) -> None:
    uno.web()
    uno.worker()
    phone = Phone(uno)
    phone.log_in()
    uno.register([{"id": "none", "urlAbsolute": NOBODY}], provider="whatsmeow")
    for _ in range(3):
        phone.simulate(do="end", code=11, reason="refused")
    uno.connector(MAX_CONNECT_RETRY="1")

    eventually(lambda: phone.status() == "standby", within_s=40, what="standby")

    assert uno.post(f"/session/{phone.phone}/connect", {"method": "resume"}).ok
    eventually(lambda: phone.status() == "online", within_s=40, what="online, because a client asked for it")


def test_a_number_that_is_banned_for_good_is_told_as_such_and_keeps_no_login(uno: Stack) -> None:
    uno.web()
    uno.worker()
    phone = connected_phone(uno)

    phone.simulate(do="end", code=22, reason="not for a while")

    eventually(lambda: phone.state()["state"] == "banned", within_s=20, what="banned")
    assert not (phone.folder.parent / "login").exists()


def test_a_phone_that_removes_the_device_needs_a_new_code(uno: Stack) -> None:
    uno.web()
    uno.worker()
    phone = connected_phone(uno)

    phone.simulate(do="end", code=20, reason="the phone removed this device")

    eventually(lambda: phone.status() == "disconnected", within_s=20, what="disconnected")
    assert not (phone.folder.parent / "login").exists()
    assert "removed" in phone.state()["reason"]
