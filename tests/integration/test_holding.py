"""What waits for an endpoint that is down stands in a queue of its own, and leaves it whole and in order."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import PHONE, Stack, eventually, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.devenv.servers import PrivateServers

CONTACTS = [f"55499000000{number:02d}" for number in range(6)]
EVENTS = 120
THREADS = 8
HEALED = Behaviour(delay_ms=60)


@pytest.fixture
def uno(faulty: PrivateServers, tmp_path: Path) -> Iterator[Stack]:
    settings = {"UNOAPI_MESSAGE_RETRY_LIMIT": "5", "UNOAPI_WORKER_THREADS": f"{THREADS}"}
    with stack(faulty, tmp_path, **settings) as running:
        running.web()
        yield running


@pytest.mark.timeout(240)
def test_what_waited_is_released_in_order_and_whole_though_a_worker_and_rabbitmq_are_killed(
    uno: Stack, receiver: Receiver, faulty: PrivateServers
) -> None:
    worker = uno.worker(threads=THREADS)
    uno.register([{"id": "ordered", "urlAbsolute": receiver.url("/ordered"), "ordered": True}])
    receiver.script("/ordered", Behaviour(status=500))
    ids = write(uno, "warm up", 6)
    eventually(lambda: state(uno) == "down", within_s=30, what="the endpoint to go down")
    receiver.clear()
    ids += write(uno, "waits", EVENTS)
    eventually(lambda: held(uno) >= EVENTS, within_s=60, what="all to wait in the queue")
    before = receiver.count("/ordered")
    time.sleep(5)
    assert receiver.count("/ordered") - before <= 6, "one at a time probes, and nothing else looks"

    receiver.clear()
    receiver.script("/ordered", HEALED)
    eventually(lambda: receiver.count("/ordered") >= EVENTS // 4, within_s=40, every_s=0.05, what="a release")
    ids += write(uno, "new", 6)
    worker.kill()
    uno.worker(threads=THREADS)
    eventually(lambda: receiver.count("/ordered") >= EVENTS // 2, within_s=60, every_s=0.05, what="more")
    faulty.rabbit.kill()
    faulty.rabbit.start()
    faulty.rabbit.wait_ready()

    eventually(lambda: taken(receiver) == set(ids), within_s=90, every_s=0.5, what="all of them")
    assert uno.depth("unoapi.dead") == 0
    for contact in CONTACTS:
        came = [text for sender, text in first_arrivals(receiver) if sender == contact and not text.startswith("warm")]
        assert came == sorted(came, key=written), contact


@pytest.mark.timeout(180)
@pytest.mark.parametrize("removed", [True, False])
def test_what_waits_for_an_ordered_webhook_that_will_never_take_it_is_given_up_once(
    uno: Stack, receiver: Receiver, removed: bool
) -> None:
    """It went round between its endpoint's queue and its own task, many times a second, or waited for days."""
    uno.worker(threads=THREADS)
    uno.register([{"id": "ordered", "urlAbsolute": receiver.url("/ordered"), "ordered": True}])
    receiver.script("/ordered", Behaviour(status=500))
    write(uno, "warm up", 6)
    eventually(lambda: state(uno) == "down", within_s=30, what="the endpoint to go down")
    ids = write(uno, "waits", 12)
    eventually(lambda: held(uno) >= len(ids), within_s=30, what="all to wait in the queue")

    receiver.clear()
    receiver.script("/ordered", Behaviour(status=410))
    if removed:
        uno.register([{"id": "other", "urlAbsolute": receiver.url("/other")}])

    eventually(lambda: uno.depth("unoapi.dead") >= len(ids), within_s=60, what="all to be given up")
    assert receiver.count("/ordered") <= 4 * (len(ids) + 6)
    for name in ids:
        steps = uno.get(f"/v15.0/{PHONE}/messages/{name}/trace").json()["trace"]
        assert len(steps) < 12, steps


def write(uno: Stack, text: str, amount: int) -> list[str]:
    """Contacts write in turn; the ids."""
    return [uno.contact_writes(f"{text} {n}", sender=CONTACTS[n % len(CONTACTS)]) for n in range(amount)]


def written(text: str) -> tuple[bool, int]:
    """The place of a text among those of its contact."""
    words = text.split()
    return words[0] == "new", int(words[-1])


def state(uno: Stack) -> str:
    return str(uno.get(f"/admin/endpoints/{PHONE}/ordered").json()["state"])


def held(uno: Stack) -> int:
    depths = {line["queue"]: line["ready"] for line in uno.get("/admin/queues").json()["data"]}
    return int(depths["unoapi.held.*"] or 0)


def taken(receiver: Receiver) -> set[str]:
    """The ids of the messages that were answered with 2xx: a probe before the end of the outage was not."""
    accepted = {name for name, (_, answers) in receiver.ids("/ordered").items() if answers}
    requests = receiver.requests("/ordered")
    return {message(request.body)["id"] for request in requests if request.headers["webhook-id"] in accepted}


def first_arrivals(receiver: Receiver) -> list[tuple[str, str]]:
    """The sender and the text of each message, in the order in which they came first."""
    first: dict[str, tuple[str, str]] = {}
    for request in receiver.requests("/ordered"):
        one = message(request.body)
        first.setdefault(one["id"], (one["from"], one["text"]["body"]))
    return list(first.values())


def message(body: str) -> Any:
    return json.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]
