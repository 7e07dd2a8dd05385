"""Two connectors of one name: one is killed, the other takes its session. Nothing sent twice, nothing lost."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.connector.phones import Phone, messages, statuses
from tests.support.receiver import Receiver
from tests.support.stack import CONTACT, PHONE, Process, Stack, eventually, stack
from unoapi.connector.engines.registry import SIMULATED
from unoapi.connector.supervisor import REFRESH_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers


SENT, RECEIVED = 30, 12


@pytest.fixture
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("takeover")
    with stack(
        servers, folder, UNOAPI_CONNECTOR_SENDS_PER_SECOND="10", UNOAPI_CONNECTOR_ENGINE=SIMULATED,
        UNOAPI_CONNECTOR_STORE=str(folder / "phones"),
    ) as running:  # fmt: skip
        running.web()
        running.worker()
        yield running


def connector(uno: Stack, name: str) -> Process:
    process = Process(name, [sys.executable, "-m", "tests.connector.short_leases"], uno.environment, uno.folder)
    uno.processes.append(process)
    eventually(lambda: "connector_started" in process.output(), within_s=30, what=name)
    return process


def test_a_session_moves_when_its_connector_is_killed(uno: Stack) -> None:
    with Receiver() as hook:
        phone = Phone(uno)
        phone.log_in()
        uno.register([{"id": "crm", "urlAbsolute": hook.url("/hook")}], provider="whatsmeow")
        first = connector(uno, "first")
        phone.wait_online()
        second = connector(uno, "second")
        texts = {f"text {number}": "" for number in range(SENT)}

        for number, text in enumerate(texts):
            texts[text] = uno.send(text, to=CONTACT).json()["messages"][0]["id"]
            if number < RECEIVED:
                phone.receives(f"3EB0{number:04}", {"kind": "text", "body": f"received {number}"})
        eventually(lambda: len(phone.sent()) >= 8, what="some have left")
        assert "session_started" not in second.output(), "one connector alone runs the session"
        first.kill()

        eventually(lambda: "session_started" in second.output(), within_s=20, what="the other one takes it")
        got = eventually(
            lambda: (
                (so_far := {text: statuses(hook, message_id) for text, message_id in texts.items()})
                and all(so_far.values())
                and so_far
            ),
            within_s=40,
            what="a status of every message",
        )
        left = Counter(str(sent["message"].get("conversation")) for sent in phone.sent())
        assert max(left.values()) == 1, "nothing is sent twice"
        failed = {text for text, words in got.items() if "failed" in words}
        assert len(failed) <= 1, "only of the one that was being sent the outcome may be unknown"
        assert texts.keys() - left.keys() <= failed, "what did not leave has the status failed"

        ids = {f"3EB0{number:04}" for number in range(RECEIVED)}
        eventually(
            lambda: {message["id"] for message in messages(hook)} >= ids, within_s=20, what="all that was received"
        )
        assert max(Counter(message["id"] for message in messages(hook)).values()) == 1

        third = connector(uno, "third")
        assert uno.post(f"/session/{PHONE}/disconnect", {}).ok
        eventually(
            lambda: phone.status() == "offline",
            within_s=20,
            what="whichever connector gets the command, it is carried out",
        )
        time.sleep(REFRESH_S + 1)
        assert "session_started" not in third.output(), "no connector starts it before a client asks for it"
        assert uno.post(f"/session/{PHONE}/connect", {"method": "resume"}).ok
        phone.wait_online()
