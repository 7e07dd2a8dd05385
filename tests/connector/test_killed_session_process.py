"""SIGKILL at each step of a session's process: nothing lost that is on the disk, nothing sent twice."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.phones import Phone, connected_phone, messages_with, statuses
from tests.connector.steps import STEPS
from tests.support.receiver import Receiver
from tests.support.stack import CONTACT, PHONE, Process, Stack, eventually, stack
from unoapi.telemetry.logging import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

RECEIVING = [step for step in STEPS if step.startswith("receive")]
SENDING = [step for step in STEPS if step.startswith("send")]


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory, hook: Receiver) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("killed"), UNOAPI_CONNECTOR_SENDS_PER_SECOND="1000") as running:
        running.web()
        running.worker()
        connected_phone(running, hook.url("/hook"))  # its connector routes commands, and restarts the killed session
        yield running


@pytest.fixture
def dying(uno: Stack) -> Iterator[Any]:
    """Starts a session's process that kills itself at a step, instead of the supervisor's process."""
    assert uno.post(f"/session/{PHONE}/disconnect", {}).ok
    phone = Phone(uno)
    eventually(lambda: phone.status() != "online", within_s=30, what="disconnected")

    def start(step: str) -> Process:
        command = [sys.executable, "-m", "tests.connector.steps", step, PHONE, "resume"]
        return Process("child", command, uno.environment, uno.folder)

    yield start
    eventually(lambda: phone.status() != "online", within_s=15, what="the state of the second process's end")
    assert uno.post(f"/session/{PHONE}/connect", {"method": "resume"}).ok
    phone.wait_online()


@pytest.mark.parametrize("step", RECEIVING)
def test_a_received_message_survives_a_kill(uno: Stack, hook: Receiver, dying: Any, step: str) -> None:
    phone, message_id = Phone(uno), f"3EB0{step.upper().replace(' ', '')}"

    phone.receives(message_id, {"kind": "text", "body": step})
    first = dying(step)
    assert first.wait(30) < 0, first.output()
    second = dying("never")
    eventually(lambda: PUBLISHED in second.output(), within_s=30, what="the second process runs")
    eventually(lambda: messages_with(hook, message_id), within_s=30, what="the message")
    time.sleep(1)
    second.stop()

    assert len(messages_with(hook, message_id)) == 1


@pytest.mark.parametrize("step", SENDING)
def test_a_message_is_sent_at_most_once_and_its_client_always_gets_a_status(
    uno: Stack, hook: Receiver, dying: Any, step: str
) -> None:
    phone = Phone(uno)
    before = len(phone.sent())
    first = dying(step)
    phone.wait_online()

    answer = uno.send(step, to=CONTACT)
    message_id = answer.json()["messages"][0]["id"]
    assert first.wait(30) < 0, first.output()
    second = dying("never")
    eventually(lambda: PUBLISHED in second.output(), within_s=30, what="the second process runs")
    got = eventually(lambda: statuses(hook, message_id), within_s=30, what="a status")
    time.sleep(0.7)
    second.stop()

    left = len(phone.sent()) - before
    assert left == (0 if step == "send: marked, not called" else 1)
    # Events are posted by many threads: `delivered` may be there before `sent`, or instead of it.
    assert ("failed" in got) is (step in ("send: marked, not called", "send: left, not logged"))


def test_the_steps_are_all_there() -> None:
    assert len(RECEIVING) >= 4
    assert len(SENDING) >= 5
