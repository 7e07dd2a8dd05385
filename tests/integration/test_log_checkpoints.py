"""Following one message through the logs with grep, by the words of the guides."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.phones import Phone
from tests.support.receiver import Receiver
from tests.support.stack import BIN, CONTACT, ROOT, Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

CHECKPOINTS = ["messages.upsert", "Listener receive message", "Publishing at exchange"]
BODY = "the secret text of the message"


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, hook: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("logs"), LOG_LEVEL="debug") as running:
        running.web()
        running.worker()
        running.register([{"id": "crm", "urlAbsolute": hook.url("/hook"), "token": "t"}])
        yield running


def grep(uno: Stack, *words: str) -> list[str]:
    """The lines of all processes that contain all words, in the order of their time."""
    command = ["grep", "-h", "-e", words[0], *(str(process.log) for process in uno.processes)]
    matches = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return sorted(
        (line for line in matches if all(word in line for word in words)),
        key=lambda line: json.loads(line)["timestamp"],
    )


def checkpoints(uno: Stack, message_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in grep(uno, message_id)]
    return [line for line in lines if line["event"] in CHECKPOINTS]


def test_a_received_message_passes_all_checkpoints_on_its_way_from_a_phone(uno: Stack, hook: Receiver) -> None:
    phone = Phone(uno, "5521977776666")
    phone.log_in()
    uno.register([{"id": "crm", "urlAbsolute": hook.url("/phone")}], phone=phone.phone, provider="whatsmeow")
    uno.connector()
    phone.wait_online()
    message_id = "3EB0FOLLOWED"

    phone.receives(message_id, {"kind": "text", "body": BODY})
    eventually(lambda: message_id in str(hook.requests("/phone")))
    eventually(lambda: grep(uno, message_id, "webhook_delivered"))

    lines = checkpoints(uno, message_id)
    assert lines[0]["event"] == "messages.upsert"
    # Who publishes writes its line after the confirm: whoever receives may write first.
    assert Counter(line["event"] for line in lines[1:]) == {"Publishing at exchange": 2, "Listener receive message": 1}
    assert {(line["message_id"], line["level"]) for line in lines} == {(message_id, "debug")}
    published = [line for line in lines if line["event"] == CHECKPOINTS[2]]
    # The only webhook gets it from the task that has the event: no delivery is published.
    assert sorted(line["routing_key"] for line in published) == ["unoapi.incoming.whatsmeow", "unoapi.outgoing"]
    assert {line["exchange"] for line in published} == {"unoapi.broker"}
    assert grep(uno, BODY) == []


def test_a_message_of_the_sandbox_passes_the_same(uno: Stack, hook: Receiver) -> None:
    message_id = uno.contact_writes(BODY)

    eventually(lambda: hook.count("/hook") == 1)
    eventually(lambda: grep(uno, message_id, "webhook_delivered"))

    assert [line["event"] for line in checkpoints(uno, message_id)] == CHECKPOINTS
    for checkpoint in CHECKPOINTS:
        assert grep(uno, message_id, checkpoint), "the commands of the guide"


def test_a_sent_message_is_found_by_the_id_that_the_client_got(uno: Stack) -> None:
    message_id = uno.send(BODY, to=CONTACT).json()["messages"][0]["id"]

    eventually(lambda: len(checkpoints(uno, message_id)) > 1)

    # The worker may be faster than the API's own line about what it has queued.
    assert "unoapi.incoming" in {line.get("routing_key") for line in checkpoints(uno, message_id)}
    assert grep(uno, BODY) == []


def test_the_guide_has_these_words() -> None:
    for guide in ("docs/following-a-message.md", "docs/pt-BR/following-a-message.md"):
        words = re.findall(r'\| grep "([^"]+)"', (ROOT / guide).read_text())
        assert words == CHECKPOINTS


PROGRAM = """
from unoapi.telemetry.logging import configure_logging, get_logger
configure_logging("info", "auto")
get_logger("here").info("webhook_delivered", message_id="wamid.1")
get_logger("here").debug("messages.upsert")
"""


def test_a_terminal_gets_readable_lines_and_a_file_json() -> None:
    command = [str(BIN / "python"), "-c", PROGRAM]
    piped = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    reader, writer = pty.openpty()
    subprocess.run(command, stdout=writer, check=True, cwd=ROOT)
    os.close(writer)
    shown = os.read(reader, 65_536).decode()
    os.close(reader)

    assert json.loads(piped)["message_id"] == "wamid.1"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).strip()
    assert re.search(r"\[info\s*\] webhook_delivered\s+message_id=wamid\.1 module=here$", plain), plain
    assert "messages.upsert" not in piped + shown
