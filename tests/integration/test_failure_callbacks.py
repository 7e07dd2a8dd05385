"""A failure is reported once, and the report never causes another."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import PHONE, Stack, eventually, stack
from unoapi.broker.topology import WORK_QUEUES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers


@pytest.fixture
def reporting(servers: PrivateServers, receiver: Receiver, tmp_path: Path) -> Iterator[Stack]:
    settings = {
        "STATUS_FAILED_WEBHOOK_URL": receiver.url("/callback"),
        "NOTIFY_FAILED_MESSAGES": "true",
        "UNOAPI_MESSAGE_RETRY_LIMIT": "1",
        "UNOAPI_BREAKER_FAILURES": "0",
        "UNOAPI_MESSAGE_RETRY_DELAY": "300",
    }
    with stack(servers, tmp_path, **settings) as running:
        running.web()
        running.worker()
        yield running


def busy(uno: Stack) -> int:
    """Messages that still wait for something."""
    return uno.waiting() + sum(uno.depth(f"unoapi.{name}") for name in WORK_QUEUES)


def callbacks(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in receiver.requests("/callback")]


def test_a_webhook_that_always_fails_makes_no_echo(reporting: Stack, receiver: Receiver) -> None:
    receiver.script("/down", Behaviour(status=500))
    receiver.script("/callback", Behaviour(status=500))
    reporting.register([{"id": "down", "urlAbsolute": receiver.url("/down")}])

    for number in range(3):
        reporting.contact_writes(f"hello {number}")
    # 3 messages and the 3 statuses of one notice, each tried twice; 3 callbacks, each tried twice.
    eventually(lambda: receiver.count("/down") == 12 and receiver.count("/callback") == 6, within_s=40, every_s=0.2)
    eventually(lambda: busy(reporting) == 0, every_s=0.5)
    time.sleep(4)

    assert receiver.count("/down") == 12
    assert receiver.count("/callback") == 6
    assert busy(reporting) == 0
    reasons = [(dead_letter["task"], dead_letter["reason"]) for dead_letter in reporting.dead()]
    assert sorted(reasons) == [("failures.report", "callback_failed")] * 3 + [("outgoing.deliver", "refused")] * 6
    reports = [body for body in callbacks(receiver) if body["type"] == "webhook.failed"]
    assert len({body["id"] for body in reports}) == 3


def test_the_number_gets_one_notice_for_an_endpoint_without_the_message(reporting: Stack, receiver: Receiver) -> None:
    receiver.script("/down", Behaviour(status=500))
    reporting.register(
        [{"id": "down", "urlAbsolute": receiver.url("/down"), "sendUpdateMessages": False},
         {"id": "crm", "urlAbsolute": receiver.url("/crm"), "sendIncomingMessages": False}]
    )  # fmt: skip

    for number in range(5):
        reporting.contact_writes(f"a secret {number}")
    eventually(lambda: len(reporting.dead()) == 5, within_s=30, every_s=0.5)
    receiver.wait(3, "/crm")
    time.sleep(1)

    statuses = [json.loads(request.body)["entry"][0]["changes"][0]["value"]["statuses"][0]
                for request in receiver.requests("/crm")]  # fmt: skip
    assert sorted(status["status"] for status in statuses) == ["delivered", "read", "sent"]
    assert {status["recipient_id"] for status in statuses} == {PHONE}
    store = redis.Redis.from_url(reporting.environment["REDIS_URL"])
    assert 800_000 < store.pttl(f"unoapi-notice:{PHONE}:down") <= 900_000


def test_a_message_that_whatsapp_refuses_is_reported_once(reporting: Stack, receiver: Receiver) -> None:
    reporting.register([{"id": "crm", "urlAbsolute": receiver.url("/crm")}])

    message_id = reporting.send("hi", to="15550000001").json()["messages"][0]["id"]
    receiver.wait(1, "/callback")
    receiver.wait(1, "/crm")
    time.sleep(1)

    (callback,) = callbacks(receiver)
    assert callback["type"] == "message.failed"
    assert callback["message_id"] == message_id
    assert "131026" in callback["text"]
    (event,) = [json.loads(request.body) for request in receiver.requests("/crm")]
    (status,) = event["entry"][0]["changes"][0]["value"]["statuses"]
    assert status["status"] == "failed"
    assert status["errors"][0]["code"] == 131026
    assert reporting.dead() == []


def test_a_notice_that_is_refused_is_reported_to_nobody(reporting: Stack, receiver: Receiver) -> None:
    refused = "15550000001"  # the session's own number: the sandbox refuses every message to it
    receiver.script("/down", Behaviour(status=500))
    reporting.register(
        [{"id": "down", "urlAbsolute": receiver.url("/down"), "sendUpdateMessages": False},
         {"id": "crm", "urlAbsolute": receiver.url("/crm"), "sendIncomingMessages": False}], phone=refused
    )  # fmt: skip

    reporting.contact_writes("hello", phone=refused)
    receiver.wait(1, "/crm", timeout_s=20)
    receiver.wait(1, "/callback")
    eventually(lambda: busy(reporting) == 0, every_s=0.5)
    time.sleep(1)

    (request,) = receiver.requests("/crm")
    (status,) = json.loads(request.body)["entry"][0]["changes"][0]["value"]["statuses"]
    assert (status["status"], status["recipient_id"]) == ("failed", refused)
    assert [body["type"] for body in callbacks(receiver)] == ["webhook.failed"]


def test_a_callback_keeps_its_id_when_it_is_repeated_and_has_another_after_a_replay(
    reporting: Stack, receiver: Receiver
) -> None:
    receiver.script("/down", Behaviour(status=500))
    receiver.script("/callback", Behaviour(failures=1))
    reporting.register([{"id": "down", "urlAbsolute": receiver.url("/down"), "sendUpdateMessages": False}])
    reporting.contact_writes("hello")
    receiver.wait(2, "/callback", timeout_s=20)
    (dead_letter,) = eventually(reporting.dead, every_s=0.5)

    reporting.cli("dead", "replay", dead_letter["id"])
    receiver.wait(3, "/callback", timeout_s=20)

    first, repeated, replayed = callbacks(receiver)
    assert first == repeated
    assert replayed["id"] != first["id"]
    assert replayed["message_id"] == first["message_id"]
    assert len(replayed["attempts"]) == 4
    (again,) = eventually(reporting.dead, every_s=0.5)
    assert (again["id"], again["generation"], len(again["attempts"])) == (dead_letter["id"], 1, 4)


def test_without_an_address_no_callback_is_queued(uno: Stack, receiver: Receiver) -> None:
    uno.environment["UNOAPI_MESSAGE_RETRY_LIMIT"] = "0"
    receiver.script("/down", Behaviour(status=500))
    uno.web()
    uno.worker(queues=("incoming", "outgoing"))
    uno.register([{"id": "down", "urlAbsolute": receiver.url("/down")}])

    uno.contact_writes("hello")
    eventually(uno.dead, every_s=0.5)

    assert uno.depth("unoapi.webhook.status.failed") == 0
    assert uno.depth("unoapi.notification") == 0
