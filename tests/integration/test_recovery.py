"""An outage ends when it ends, and what hangs elsewhere does not hold up who is healthy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

HANGS_MS = 60_000
THREADS = 8


@pytest.fixture
def elsewhere() -> Iterator[Receiver]:
    """Another host: a receiver on another port."""
    with Receiver() as running:
        yield running


@pytest.fixture
def uno(servers: PrivateServers, elsewhere: Receiver, tmp_path: Path) -> Iterator[Stack]:
    settings = {"STATUS_FAILED_WEBHOOK_URL": elsewhere.url("/callback"), "UNOAPI_WORKER_THREADS": f"{THREADS}"}
    settings["UNOAPI_MESSAGE_RETRY_LIMIT"] = "5"  # the first failures, before it is down, use attempts
    with stack(servers, tmp_path, **settings) as running:
        running.web()
        running.worker(threads=THREADS)
        yield running


def test_after_an_outage_all_arrives_and_what_is_new_at_once(uno: Stack, receiver: Receiver) -> None:
    uno.register([{"id": "crm", "urlAbsolute": receiver.url("/crm")}])
    receiver.script("/crm", Behaviour(status=503))
    ids = [uno.contact_writes(f"before {number}") for number in range(40)]
    time.sleep(3)

    receiver.script("/crm", Behaviour())
    # A probe that the busy machine of the tests delays costs more, and so does the pause behind it.
    eventually(lambda: accepted(receiver, "/crm") > 0, within_s=40, what="a probe")
    since = time.monotonic()
    ids.append(uno.contact_writes("after"))
    eventually(lambda: any("after" in request.body for request in receiver.requests("/crm")), within_s=10, what="it")
    new_s = time.monotonic() - since
    eventually(lambda: accepted(receiver, "/crm") == len(ids), within_s=20, what="all events")

    assert new_s < 3  # it does not stand behind those that waited; beside many other tests 2.1 was seen
    assert uno.depth("unoapi.dead") == 0


def test_a_callback_address_that_hangs_leaves_half_of_the_threads_to_webhooks(
    uno: Stack, receiver: Receiver, elsewhere: Receiver
) -> None:
    elsewhere.script("/callback", Behaviour(delay_ms=HANGS_MS))
    receiver.script("/gone", Behaviour(status=410))
    uno.register(
        [{"id": "gone", "urlAbsolute": receiver.url("/gone")}, {"id": "crm", "urlAbsolute": receiver.url("/crm")}]
    )
    for number in range(5 * THREADS):
        uno.contact_writes(f"makes a callback {number}")
    eventually(lambda: elsewhere.count("/callback") >= THREADS // 2, within_s=20, what="callbacks that hang")
    time.sleep(1)
    busy = elsewhere.count("/callback")

    began = time.monotonic()
    before = receiver.count("/crm")
    for number in range(10):
        uno.contact_writes(f"healthy {number}")
    eventually(lambda: receiver.count("/crm") >= before + 10, within_s=30)

    assert time.monotonic() - began < 10  # a callback holds its thread for 15 s
    assert busy < THREADS


def accepted(receiver: Receiver, path: str) -> int:
    return sum(answers > 0 for _, answers in receiver.ids(path).values())
