"""An endpoint that is down longer than its whole retry schedule, and what it costs: no attempts, no message."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import REGISTERED_S, Stack, eventually, stack
from unoapi.services.bulkhead import SEEN_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

RETRY_SCHEDULE_S = 0.2 + 0.4


@pytest.fixture
def short(servers: PrivateServers, receiver: Receiver, tmp_path: Path) -> Iterator[Stack]:
    settings = {
        "STATUS_FAILED_WEBHOOK_URL": receiver.url("/callback"),
        "UNOAPI_MESSAGE_RETRY_DELAY": "200",
    }
    with stack(servers, tmp_path, **settings) as running:
        running.web()
        running.worker()
        yield running


def test_an_outage_of_twenty_retry_schedules_kills_only_what_ended_before_the_breaker_opened(
    short: Stack, receiver: Receiver
) -> None:
    receiver.script("/crm", Behaviour(status=500))
    short.register([{"id": "crm", "urlAbsolute": receiver.url("/crm")}])

    ids = {short.contact_writes(f"hello {number}") for number in range(30)}
    time.sleep(20 * RETRY_SCHEDULE_S)
    failed = receiver.count("/crm")
    receiver.script("/crm", Behaviour(status=200))

    def delivered() -> set[str]:
        bodies = [json.loads(request.body) for request in receiver.requests("/crm")[failed:]]
        return {body["entry"][0]["changes"][0]["value"]["messages"][0]["id"] for body in bodies}

    eventually(lambda: len(delivered()) + short.depth("unoapi.dead") >= len(ids), within_s=40, every_s=0.5)
    eventually(lambda: short.waiting() == 0, within_s=10, every_s=0.5)
    dead = {dead_letter["message_id"] for dead_letter in short.dead()}
    assert delivered() | dead == ids
    assert not delivered() & dead
    assert len(dead) <= 4  # a fifth different failure opens the breaker
    assert failed <= 30 + 20  # the first wave, the retry schedules of four, and few probes
    reports = eventually(
        lambda: (
            len(types := [json.loads(request.body)["type"] for request in receiver.requests("/callback")]) >= 2
            and types
        )
    )
    assert reports.count("endpoint.down") == reports.count("endpoint.up") == 1


def test_a_number_with_several_slow_webhooks_leaves_threads_to_the_others(uno: Stack, receiver: Receiver) -> None:
    """They answer with 200, each at a host of its own, so that no endpoint is down and none has more than its share."""
    uno.web()
    uno.worker(threads=6)
    slow, quiet = "5511988880001", "5511988880002"
    with Receiver() as second, Receiver() as third:
        others = (receiver, second, third)
        for one in others:
            one.script("/slow", Behaviour(delay_ms=8_000))
        uno.register([{"id": "quiet", "urlAbsolute": receiver.url("/quiet")}], phone=quiet)
        webhooks = [
            {"id": f"slow-{number}", "urlAbsolute": one.url("/slow"), "timeoutMs": 20_000}
            for number, one in enumerate(others)
        ]
        uno.register(webhooks, phone=slow)
        time.sleep(REGISTERED_S)
        uno.contact_writes("before", phone=quiet)
        eventually(lambda: receiver.count("/quiet"))

        for number in range(12):
            uno.contact_writes(f"hello {number}", phone=slow)
        eventually(lambda: sum(one.count("/slow") for one in others) >= 3)
        uno.contact_writes("after", phone=quiet)

        eventually(lambda: receiver.count("/quiet") == 2, within_s=4)


def test_a_slow_webhook_that_was_alone_for_a_while_leaves_threads_to_the_others(uno: Stack, receiver: Receiver) -> None:
    uno.web()
    uno.worker(threads=4)
    slow, quiet = "5511988880003", "5511988880004"
    receiver.script("/slow", Behaviour(delay_ms=8_000))
    uno.register([{"id": "quiet", "urlAbsolute": receiver.url("/quiet")}], phone=quiet)
    uno.register([{"id": "slow", "urlAbsolute": receiver.url("/slow"), "timeoutMs": 20_000}], phone=slow)
    time.sleep(REGISTERED_S)
    uno.contact_writes("before", phone=quiet)
    eventually(lambda: receiver.count("/quiet"))
    time.sleep(SEEN_S + 0.5)

    for number in range(12):
        uno.contact_writes(f"hello {number}", phone=slow)
    eventually(lambda: receiver.count("/slow") >= 3)
    uno.contact_writes("after", phone=quiet)

    eventually(lambda: receiver.count("/quiet") == 2, within_s=5)
