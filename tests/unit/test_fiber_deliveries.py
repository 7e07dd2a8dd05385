"""Events and deliveries in fibers: the same as in threads, with many under way at once."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import make_delivery, make_event, make_fan_out, make_session, make_webhook
from tests.support.fibers import fiber_loop
from tests.support.raw_http_server import LOOPBACK
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import eventually
from tests.support.worker import make_uno
from tests.unit.test_strategy import Consumer, message_of, put_back
from unoapi.http.webhook_client import WebhookClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.bootstrap import Uno

COUNT = 100
SLOW_MS = 300


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
def consumer() -> Iterator[Consumer]:
    """A consumer whose events and deliveries have fibers."""
    made = Consumer()
    with fiber_loop() as loop:
        made.pool.fibers = loop
        yield made


def uno_at(*urls: str, **settings: str) -> Uno:
    webhooks = [make_webhook(id=f"hook-{number}", urlAbsolute=url) for number, url in enumerate(urls)]
    settings = {"UNOAPI_FAST_PATH": "true", **settings}
    return make_uno(make_session(*webhooks), settings=settings, webhook_client=WebhookClient(LOOPBACK, most_idle=COUNT))


def deliveries(count: int = COUNT) -> list[Any]:
    return [make_delivery(id=f"delivery-{number}", webhook_id="hook-0") for number in range(count)]


def test_a_slow_receiver_is_waited_for_in_one_thread(receiver: Receiver, consumer: Consumer) -> None:
    uno = uno_at(receiver.url("/slow"))
    receiver.script("/slow", Behaviour(delay_ms=SLOW_MS))
    threads, begun = threading.active_count(), time.monotonic()

    for job in deliveries():
        consumer.handle(uno, message_of(uno, job))
    eventually(lambda: len(consumer.settled) == COUNT, within_s=10)

    assert consumer.settled == ["acknowledged"] * COUNT
    assert time.monotonic() - begun < COUNT * SLOW_MS / 1000 / 4
    assert threading.active_count() <= threads + 2
    assert sorted(receiver.ids("/slow")) == sorted(job.id for job in deliveries())


def test_a_failed_delivery_is_put_back_before_its_message_is_acknowledged(
    receiver: Receiver, consumer: Consumer
) -> None:
    uno = uno_at(receiver.url("/failing"))
    receiver.script("/failing", Behaviour(status=500))

    consumer.handle(uno, message_of(uno, deliveries(1)[0]))
    eventually(lambda: consumer.settled)

    (message,) = put_back(uno)
    assert message.headers["retries"] == 1
    assert consumer.names[-1] == "task-retried"


def test_what_leads_nowhere_is_dead_with_its_reason(receiver: Receiver, consumer: Consumer) -> None:
    uno = uno_at(receiver.url("/gone"))
    receiver.script("/gone", Behaviour(status=410))

    consumer.handle(uno, message_of(uno, deliveries(1)[0]))
    eventually(lambda: consumer.settled)

    publisher: Any = uno.publisher
    assert publisher.depth(uno.topology.dead) == 1
    assert consumer.names[-1] == "task-failed"


def test_an_event_for_one_webhook_arrives_and_one_for_two_is_queued_twice(
    receiver: Receiver, consumer: Consumer
) -> None:
    uno = uno_at(receiver.url("/one"), receiver.url("/two"))
    publisher: Any = uno.publisher

    for number, wanted in enumerate((["hook-0"], ["hook-0", "hook-1"])):
        job = make_fan_out(make_event(id=f"wamid.{number}"), webhook_ids=wanted)
        consumer.handle(uno, message_of(uno, job))
    eventually(lambda: len(consumer.settled) == 2)

    assert receiver.count("/one") == 1
    assert publisher.depth("unoapi.outgoing") == 2


def test_an_endpoint_has_at_most_half_of_the_window_while_others_have_work(
    receiver: Receiver, consumer: Consumer
) -> None:
    uno = uno_at(receiver.url("/greedy"), receiver.url("/other"), UNOAPI_WORKER_WINDOW="20", UNOAPI_WORKER_THREADS="1")
    receiver.script("/greedy", Behaviour(delay_ms=SLOW_MS))
    other = make_delivery(id="other", webhook_id="hook-1")

    for job in (other, *deliveries(20)):
        consumer.handle(uno, message_of(uno, job))
    eventually(lambda: len(consumer.settled) == 21)

    assert receiver.count("/greedy") <= 10
    assert len(put_back(uno)) >= 1


def test_with_the_switch_off_each_has_a_thread(receiver: Receiver, consumer: Consumer) -> None:
    uno = uno_at(receiver.url("/off"), UNOAPI_FAST_PATH="false")
    consumer.pool.fibers = SimpleNamespace()

    consumer.handle(uno, message_of(uno, deliveries(1)[0]))

    assert consumer.settled == ["acknowledged"]
    assert uno.settings.delivery_window == uno.settings.unoapi_worker_threads
