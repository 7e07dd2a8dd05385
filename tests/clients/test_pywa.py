"""pywa, the newest release and the last 3.x: sends, uploads, downloads, fails and receives over real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.conftest import SECRET, TOKEN
from tests.clients.environments import HERE, call, python_of
from tests.clients.received import RECEIVED
from tests.support.stack import CONTACT, PHONE, Stack, eventually
from unoapi.devenv.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.receiver import Receiver

VERSIONS = ("4.5.0", "3.9.0")
LINK = "https://files.example.com/a.png"
ERRORS = {
    "error: empty text": (131008, 131009, 100),
    "error: too long": (131009, 100),
    "error: no such media": (100,),
    "error: wrong token": (190,),
    "media gone": (100,),
}
TYPED = {"error: wrong token": {"ExpiredAccessToken", "AuthorizationError", "AuthException"}}
HANDLERS = {"button": "callback_button", "button_reply": "callback_button", "list_reply": "callback_selection"}


@pytest.fixture(scope="module", params=VERSIONS)
def talked(
    request: pytest.FixtureRequest, gateway: Stack, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What came of every call of one version."""
    folder = tmp_path_factory.mktemp(f"pywa-{request.param}")
    return call(f"pywa-{request.param}", "pywa_sends.py", gateway.url, PHONE, TOKEN, LINK, folder=folder)


def test_everything_that_pywa_sends_is_taken(talked: dict[str, dict[str, Any]]) -> None:
    calls = {name: result for name, result in talked.items() if name != "version" and name not in ERRORS}

    failed = {name: result["message"][:200] for name, result in calls.items() if not result["ok"]}
    assert [f"{name}: {text}" for name, text in failed.items()] == []
    assert len(calls) >= 30


def test_media_go_up_and_come_down_as_they_were(talked: dict[str, dict[str, Any]]) -> None:
    assert str(talked["upload"]["id"]).isdigit()
    assert talked["media url"]["mime_type"] == "image/png"
    assert len(talked["media url"]["sha256"]) == 64
    assert {name: talked[name]["equal"] for name in ("media bytes", "media download", "media stream")} == {
        "media bytes": True,
        "media download": True,
        "media stream": True,
    }


def test_our_errors_are_its_typed_exceptions(talked: dict[str, dict[str, Any]]) -> None:
    refused = {name: talked[name] for name in ERRORS}

    assert {name for name, result in refused.items() if result["ok"]} == set()
    assert {name: result for name, result in refused.items() if result["code"] not in ERRORS[name]} == {}
    for name, classes in TYPED.items():
        assert refused[name]["error"] in classes


@pytest.fixture(params=VERSIONS)
def webhook(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[dict[str, Any]]]]]:
    """pywa's own webhook server: its address, and the notes of its handlers."""
    port, notes = free_port(), tmp_path / "notes"
    command = [str(python_of(f"pywa-{request.param}")), str(HERE / "programs" / "pywa_receives.py")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(port), PHONE, SECRET, str(notes)],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []

    try:
        eventually(read, what=(tmp_path / "log").read_text())
        yield f"http://127.0.0.1:{port}/hook", read
    finally:
        process.kill()
        process.wait(10)


def test_the_typed_handler_runs_for_every_event(
    gateway: Stack, hooks: Receiver, webhook: tuple[str, Callable[[], list[dict[str, Any]]]]
) -> None:
    address, notes = webhook
    # An id of its own: for half a second a worker may still know the address of the version before.
    gateway.register([{"id": f"pywa-{address.split(':')[2][:-5]}", "urlAbsolute": address, "secret": SECRET}])
    try:
        written: dict[str, str] = {}
        for name, message in RECEIVED.items():
            answer = gateway.post(
                f"/sandbox/{PHONE}/messages", {"from": CONTACT, "profile": {"name": "Maria"}, **message}
            )
            assert answer.status_code == 200, (name, answer.text)
            written[name] = answer.json()["messages"][0]["id"]
        sent = gateway.send("with statuses").json()["messages"][0]["id"]
        refused = gateway.send("refused", to="15550000001").json()["messages"][0]["id"]

        def missing() -> dict[str, str]:
            noted = {(note["handler"], note["id"]) for note in notes()}
            return {
                name: message_id
                for name, message_id in written.items()
                if (HANDLERS.get(name, "message"), message_id) not in noted
            }

        def statuses(message_id: str) -> set[str]:
            return {note["status"] for note in notes() if note["id"] == message_id}

        eventually(
            lambda: not missing() and statuses(sent) >= {"sent", "delivered", "read"}, within_s=30, what="handlers"
        )
        eventually(lambda: statuses(refused) == {"failed"}, within_s=15, what="failed")
    finally:
        gateway.register([{"id": "main", "urlAbsolute": hooks.url("/main"), "secret": SECRET}])

    by_id = {note["id"]: note for note in notes() if note["handler"] != "ready"}
    text = by_id[written["text"]]
    assert (text["text"], text["from"], text["name"]) == (RECEIVED["text"]["text"]["body"], CONTACT, "Maria")
    assert by_id[written["image"]]["media"] == RECEIVED["image"]["image"]["id"]
    assert by_id[written["button_reply"]]["data"] == "y"
    assert by_id[written["list_reply"]]["data"] == "1"
    assert by_id[refused]["error"] == 131026
