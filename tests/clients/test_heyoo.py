"""heyoo: only 200 is success to it, and it parses every answer as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.conftest import TOKEN
from tests.clients.environments import call
from tests.clients.received import RECEIVED
from tests.support.stack import CONTACT, PHONE, Stack, eventually

if TYPE_CHECKING:
    from tests.support.receiver import Receiver

SENDS = (
    "text", "reply", "reaction", "location", "image", "sticker", "audio", "video", "document", "contacts", "list",
    "buttons",
)  # fmt: skip


@pytest.fixture(scope="module")
def talked(gateway: Stack, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of every call, and of reading one event of each type."""
    for message in RECEIVED.values():
        gateway.post(f"/sandbox/{PHONE}/messages", {"from": CONTACT, "profile": {"name": "Maria"}, **message})
    gateway.send("with statuses")
    eventually(lambda: hooks.count("/main") >= len(RECEIVED) + 3, within_s=20, what="the events")
    events = "".join(f"{request.body}\n" for request in hooks.requests("/main"))
    link = "https://files.example.com/a.png"
    folder = tmp_path_factory.mktemp("heyoo")
    return call("heyoo-0.1.2", "heyoo_talks.py", gateway.url, PHONE, TOKEN, link, folder=folder, stdin=events)


def test_everything_that_heyoo_sends_is_taken(talked: dict[str, Any]) -> None:
    assert {name: talked[name] for name in SENDS if "messages" not in talked[name]} == {}
    assert talked["read"] == {"success": True}


def test_an_error_is_read_as_json(talked: dict[str, Any]) -> None:
    assert talked["wrong"]["error"]["code"] in (131008, 131009, 100)


def test_media_go_up_and_come_down_as_they_were(talked: dict[str, Any]) -> None:
    assert str(talked["upload"]["id"]).isdigit()
    assert talked["downloaded"] == "a text"
    assert talked["delete"]


def test_its_helpers_read_every_event(talked: dict[str, Any]) -> None:
    assert len(talked["events"]) >= len(RECEIVED) + 3
    assert [json.dumps(event) for event in talked["events"] if "raised" in json.dumps(event)] == []
    assert {event["get_name"] for event in talked["events"] if event["is_message"]} == {"Maria"}
