"""The real library, as far as it goes without WhatsApp. In processes of their own: it never leaves one cleanly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.library import library_path
from tests.connector.phones import NOBODY, Phone
from tests.support.stack import ROOT, Stack, eventually

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def library() -> str:
    """Its folder; without it the tests are skipped."""
    return library_path()


def run(folder: Path, *arguments: str, timeout_s: float = 60) -> Any:
    """What the checks beside this file print, as JSON."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "DOTENV_CONFIG_PATH": os.devnull}
    environment["PYTHONPATH"] = library_path()
    command = [sys.executable, "-m", "tests.connector.neonize_checks", *arguments, str(folder)]
    checks = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert checks.returncode == 0, checks.stderr[-2000:]
    return json.loads(checks.stdout.splitlines()[-1])


def test_events_of_the_real_library_become_events_of_the_contract(tmp_path: Path) -> None:
    results = run(tmp_path, "events")

    by_name = {result["name"]: result["events"] for result in results}
    (text,) = by_name["text"]
    assert text["data"]["content"] == {"kind": "text", "body": "hello"}
    assert (text["data"]["chat"]["phone"], text["data"]["chat"]["lid"]) == ("5549988887777", "24788516941@lid")
    assert text["data"]["timestamp_ms"] == 1_760_000_000_000
    assert by_name["image"][0]["data"]["content"]["media"]["descriptor"]["media_key"] == "a2V5"
    assert by_name["delivered"][0]["data"] | {"chat": 0} == {
        "status": "delivered", "ids": ["3EB0A", "3EB0B"], "chat": 0, "timestamp": 1_760_000_000,
    }  # fmt: skip
    assert by_name["sender receipt"] == []
    assert by_name["call"][0]["data"]["phase"] == "offer"
    assert by_name["undecryptable"][0]["type"] == "undecryptable"


def test_what_the_library_says_while_it_links_ends_the_session_with_its_reason(tmp_path: Path) -> None:
    result = run(tmp_path, "linking")

    codes = {word: end and end[0] for word, end in result["ends"].items()}
    assert codes == {
        "timeout": "NOT_SCANNED", "error": "LINK_FAILED", "err-client-outdated": "OUTDATED",
        "passkey-request": "LINK_FAILED", "success": None,
    }  # fmt: skip
    assert "passkey" in result["ends"]["passkey-request"][1]
    assert (result["silent"], result["restored"], result["states"]) == (False, True, ["disconnected", "connected"])


def test_every_field_of_a_message_becomes_something(tmp_path: Path) -> None:
    kinds = run(tmp_path, "fields")

    assert len(kinds) > 100
    assert all(kinds.values())


def test_every_kind_that_is_sent_is_a_message_of_the_real_library(tmp_path: Path) -> None:
    assert run(tmp_path, "sent") == []


def test_the_library_is_complete_and_opens_a_store(tmp_path: Path) -> None:
    result = run(tmp_path, "store")

    assert result["library_bytes"] > 1_000_000
    assert result["ended"] == "NETWORK"
    assert result["store_bytes"] > 0


def test_without_a_network_the_supervisor_backs_off_and_says_so(uno: Stack) -> None:
    uno.web()
    uno.worker()
    uno.register([{"id": "crm", "urlAbsolute": NOBODY}], provider="whatsmeow", proxyUrl="http://127.0.0.1:9")
    connector = uno.connector(UNOAPI_CONNECTOR_ENGINE="neonize", PYTHONPATH=library_path())
    phone = Phone(uno)

    answer = uno.post(f"/session/{phone.phone}/connect", {"method": "qr"})
    assert answer.ok, answer.text
    state = eventually(lambda: (current := phone.state()).get("reason") and current, within_s=30, what="a reason")

    assert state["status"] == "offline"
    assert "cannot be reached" in state["reason"]
    ended = [json.loads(line) for line in connector.output().splitlines() if "session_process_ended" in line]
    eventually(lambda: connector.output().count("session_process_ended") >= 2, within_s=20, what="a second try")
    assert [line["code"] for line in ended][:1] in ([], [10])
