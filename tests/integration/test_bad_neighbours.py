"""An endpoint that is down longer than its whole retry schedule, and what it costs: no attempts, no message."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import Stack, eventually, stack

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
