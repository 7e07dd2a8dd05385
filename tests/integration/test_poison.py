"""A message that ends every process which handles it: the others arrive, and it alone is dead, and reported."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.stack import PHONE, TOPOLOGY, Stack, eventually, stack
from unoapi.broker.dead_letters import read_dead_letter, replayed, to_dead_letter
from unoapi.broker.messages import history_of
from unoapi.models.attempts import Attempt, History
from unoapi.models.jobs import DeliverWebhook, Envelope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

WORD = "KILLER"
MESSAGES = 500
THREADS = 10
LOSSES = 5
"""A worker's: the event, whose delivery was made at once; then its delivery and three redeliveries."""


@pytest.fixture
def killing(servers: PrivateServers, receiver: Receiver, tmp_path: Path) -> Iterator[Stack]:
    with stack(
        servers, tmp_path, STATUS_FAILED_WEBHOOK_URL=receiver.url("/callback"), TESTS_KILLER_WORD=WORD
    ) as running:
        running.web()
        yield running


def arrived(receiver: Receiver) -> set[str]:
    return {
        json.loads(request.body)["entry"][0]["changes"][0]["value"]["messages"][0]["id"]
        for request in receiver.requests("/main")
    }


def test_among_many_messages_a_killer_ends_dead_and_nothing_else_does(killing: Stack, receiver: Receiver) -> None:
    killing.worker().stop()
    killing.register([{"id": "main", "urlAbsolute": receiver.url("/main")}])
    harmless = {killing.contact_writes(f"message {number}") for number in range(MESSAGES // 2)}
    killer = killing.contact_writes(f"the {WORD} is here")
    harmless |= {killing.contact_writes(f"message {number}") for number in range(MESSAGES // 2, MESSAGES - 1)}
    quarantine = killing.suspect(app="tests.support.killed_worker_app")

    losses = 0
    worker = killing.worker(threads=THREADS, app="tests.support.killed_worker_app")
    deadline = time.monotonic() + 90
    while killing.depth("unoapi.dead") == 0 or arrived(receiver) != harmless:
        assert time.monotonic() < deadline, (
            f"{losses} losses, {len(arrived(receiver))} arrived, {killing.depth('unoapi.suspect')} suspect"
        )
        if not worker.running():
            losses += 1
            worker = killing.worker(threads=THREADS, app="tests.support.killed_worker_app")
        time.sleep(0.2)

    assert losses == LOSSES
    assert quarantine.running()
    (dead_letter,) = killing.dead()
    assert (dead_letter["message_id"], dead_letter["reason"]) == (killer, "poison")
    assert "3 processes ended" in dead_letter["error"]
    receiver.wait(1, "/callback")
    (report,) = [json.loads(request.body) for request in receiver.requests("/callback")]
    assert (report["type"], report["message_id"], report["reason"]) == ("webhook.failed", killer, "poison")
    assert (
        receiver.count("/main") <= MESSAGES - 1 + LOSSES * 2 * THREADS
    )  # at most what was unacknowledged is made again
    assert "suspected" in killing.get(f"/v15.0/{PHONE}/messages/{killer}/trace").text


def test_a_harmless_message_is_delivered_from_quarantine(killing: Stack, receiver: Receiver) -> None:
    killing.worker().stop()
    killing.register([{"id": "main", "urlAbsolute": receiver.url("/main")}])
    message_id = killing.contact_writes(f"the {WORD} is here")
    for _ in range(LOSSES):
        worker = killing.worker(app="tests.support.killed_worker_app")
        eventually(lambda worker=worker: not worker.running())  # type: ignore[misc]
    killing.worker()  # the bug is mended meanwhile
    killing.suspect()

    eventually(lambda: arrived(receiver) == {message_id})
    eventually(lambda: killing.depth("unoapi.suspect") == 0)
    assert killing.depth("unoapi.dead") == 0


def test_a_poisonous_dead_letter_goes_back_to_the_process_for_suspects() -> None:
    job = DeliverWebhook(id="d", phone=PHONE, event_id="e", webhook_id="w", kind="message", stored=True, body="{}")
    history = History(worker_losses=3, internal_errors=1).with_attempt(Attempt(error="x"))
    message = to_dead_letter(Envelope(job, history=history), TOPOLOGY, reason="poison", error="x")
    dead_letter = read_dead_letter(message.body, message.headers, message.properties, message.routing_key)

    again = replayed(dead_letter, TOPOLOGY, accepted_at_ms=1)

    assert again.routing_key == "unoapi.suspect"
    fresh = history_of(again.headers)
    assert (fresh.replay_count, fresh.worker_losses, fresh.internal_errors, fresh.tries) == (1, 0, 0, 0)
