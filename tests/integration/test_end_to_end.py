"""The main job on real servers: a message in, webhooks out, retried, given up, reported, replayed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import PHONE, Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers


@pytest.fixture
def reporting(servers: PrivateServers, receiver: Receiver, tmp_path: Path) -> Iterator[Stack]:
    with stack(servers, tmp_path, STATUS_FAILED_WEBHOOK_URL=receiver.url("/callback")) as running:
        running.web()
        running.worker()
        yield running


def test_three_webhooks_get_one_three_and_three_requests_the_dead_one_comes_back_and_a_new_one_gets_what_it_missed(
    reporting: Stack, receiver: Receiver
) -> None:
    receiver.script("/flaky", Behaviour(failures=2, failure_statuses=(503,)))
    receiver.script("/down", Behaviour(status=500))
    reporting.register([{"id": name, "urlAbsolute": receiver.url(f"/{name}")} for name in ("fine", "flaky", "down")])

    message_id = reporting.contact_writes("hello")
    dead_letters = eventually(reporting.dead, within_s=20, every_s=0.5)
    receiver.wait(1, "/callback")
    receiver.wait(3, "/flaky")

    assert [receiver.count(f"/{name}") for name in ("fine", "flaky", "down")] == [1, 3, 3]
    for name in ("flaky", "down"):
        first, second, third = receiver.times(f"/{name}")
        assert 1.0 <= second - first < 2.2
        assert 2.0 <= third - second < 4.2
    (dead_letter,) = dead_letters
    assert dead_letter["webhook"] == "down"
    assert dead_letter["message_id"] == message_id
    assert [attempt["status"] for attempt in dead_letter["attempts"]] == [500, 500, 500]
    (callback,) = [json.loads(request.body) for request in receiver.requests("/callback")]
    assert callback["type"] == "webhook.failed"
    assert callback["phone"] == PHONE
    assert callback["webhook"] == "down"
    assert callback["message_id"] == message_id
    assert callback["text"] == f"Session {PHONE}, webhook down: 3 attempts failed (HTTP 500)"
    assert [set(attempt) for attempt in callback["attempts"]] == [{"at", "status", "error", "duration_ms"}] * 3
    value = callback["payload"]["entry"][0]["changes"][0]["value"]
    assert value["messages"][0]["text"]["body"] == "hello"

    receiver.script("/down", Behaviour(status=200))
    reporting.cli("dead", "replay", dead_letter["id"])
    receiver.wait(4, "/down")

    ids = {request.headers["webhook-id"] for request in receiver.requests("/down")}
    assert ids == {dead_letter["id"]}
    eventually(lambda: reporting.depth("unoapi.dead") == 0)
    assert reporting.dead() == []

    reporting.register([{"id": "new", "urlAbsolute": receiver.url("/new")}])
    replay = ("events", "replay", "--phone", PHONE, "--webhook", "new", "--since", "1h", "--only-missing")
    assert reporting.cli(*replay).stdout.startswith("done: 1 delivered, 0 skipped")
    assert reporting.cli(*replay).stdout.startswith("done: 0 delivered, 1 skipped")

    (missed,), (fine,) = receiver.requests("/new"), receiver.requests("/fine")
    assert missed.body == fine.body
    assert missed.headers["webhook-replay"] == "true"
    assert "webhook-replay" not in fine.headers
