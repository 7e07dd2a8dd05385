"""Waiting happens in RabbitMQ: never early, not behind longer waits, and not in a worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection

from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import PHONE, TOPOLOGY, Stack, eventually
from unoapi.broker.messages import NOT_BEFORE_HEADER, to_message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.models.jobs import Envelope, NotifyNumber, ReportFailure, now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

BROKER_S = 0.6
"""What the way through a loaded RabbitMQ may take on top of a wait."""


@pytest.fixture
def publisher(uno: Stack) -> Iterator[ConfirmingPublisher]:
    opened = ConfirmingPublisher(uno.environment["AMQP_URL"], TOPOLOGY)
    yield opened
    opened.close()


def notice(name: str) -> NotifyNumber:
    return NotifyNumber(id=name, phone=PHONE, webhook_id="main", text="waits")


def arrivals(uno: Stack, queue: str, *, seconds: float, wanted: int) -> dict[str, float]:
    """When each message came home, by its id."""
    came: dict[str, float] = {}
    with Connection(uno.environment["AMQP_URL"]) as connection:
        channel: Any = connection.channel()
        channel.basic_consume(
            queue, no_ack=True, callback=lambda message: came.setdefault(message.headers["id"], time.monotonic())
        )
        end = time.monotonic() + seconds
        while len(came) < wanted and time.monotonic() < end:
            try:
                connection.drain_events(timeout=0.2)
            except TimeoutError:
                continue
    return came


def test_the_wait_of_a_retry_stands_in_rabbitmq_and_needs_no_worker(uno: Stack, receiver: Receiver) -> None:
    receiver.script("/main", Behaviour(failures=1))
    uno.environment["UNOAPI_MESSAGE_RETRY_DELAY"] = "4000"
    uno.web()
    worker = uno.worker()
    uno.register([{"id": "main", "urlAbsolute": receiver.url("/main")}])
    uno.contact_writes("wait for me")
    receiver.wait(1, "/main")
    eventually(lambda: uno.waiting() == 1, within_s=3)

    worker.stop()

    assert uno.waiting() == 1
    assert receiver.count("/main") == 1
    uno.worker()
    receiver.wait(2, "/main", timeout_s=15)
    first, second = receiver.times("/main")
    assert second - first >= 4.0
    assert uno.waiting() == 0


def test_short_waits_are_not_held_up_behind_long_ones(uno: Stack, publisher: ConfirmingPublisher) -> None:
    long = [Envelope(notice(f"long-{number}"), delay_ms=60_000) for number in range(20)]
    short = [Envelope(notice(f"short-{number}"), delay_ms=1000) for number in range(20)]
    mixed = [envelope for pair in zip(long, short, strict=True) for envelope in pair]
    started = time.monotonic()
    publisher.publish(mixed)

    came = arrivals(uno, "unoapi.notification", seconds=10, wanted=20)

    assert sorted(came) == sorted(envelope.job.id for envelope in short)
    assert all(1.0 <= at - started < 2.2 for at in came.values())
    assert uno.waiting() == 20


def test_no_wait_is_early_or_more_than_twice_as_long(uno: Stack, publisher: ConfirmingPublisher) -> None:
    waits = {f"wait-{ms}": ms for ms in (300, 900, 1100, 1900, 2100, 3900, 4100, 6000, 9000)}
    started = time.monotonic()
    publisher.publish([Envelope(notice(name), delay_ms=ms) for name, ms in reversed(waits.items())])

    came = arrivals(uno, "unoapi.notification", seconds=20, wanted=len(waits))

    for name, ms in waits.items():
        # The shortest bucket is a second long: a wait of 300 ms may stand behind one of 900 ms.
        assert ms / 1000 <= came[name] - started <= max(1.0, 2 * ms / 1000) + BROKER_S, name


def test_a_message_that_comes_home_before_its_time_waits_on(
    uno: Stack, receiver: Receiver, publisher: ConfirmingPublisher
) -> None:
    uno.environment["STATUS_FAILED_WEBHOOK_URL"] = receiver.url("/callback")
    uno.worker()
    message = to_message(Envelope(ReportFailure(id="early", phone=PHONE, body="{}")), TOPOLOGY)
    message.headers[NOT_BEFORE_HEADER] = now_ms() + 3000
    started = time.time()
    publisher.publish_messages([message])

    eventually(lambda: uno.waiting() == 1, within_s=2.5, what="it is put back")
    receiver.wait(1, "/callback", timeout_s=15)

    assert receiver.times("/callback")[0] - started >= 3.0
    assert receiver.count("/callback") == 1
    assert uno.dead() == []


def test_retry_after_pauses_the_whole_endpoint_and_uses_up_no_retry(uno: Stack, receiver: Receiver) -> None:
    uno.environment["UNOAPI_MESSAGE_RETRY_LIMIT"] = "0"
    uno.web()
    uno.worker()
    uno.register([{"id": name, "urlAbsolute": receiver.url(f"/{name}")} for name in ("main", "other")])
    receiver.script("/main", Behaviour(status=429, headers={"Retry-After": "4"}))
    uno.contact_writes("first")
    receiver.wait(1, "/main")
    paused_at = receiver.times("/main")[0]
    receiver.script("/main", Behaviour(status=200))

    for number in range(10):
        uno.contact_writes(f"next {number}")
    receiver.wait(11, "/other", timeout_s=3)
    receiver.wait(12, "/main", timeout_s=30)

    assert min(at for at in receiver.times("/main")[1:]) - paused_at >= 4.0
    assert sorted(receiver.ids("/main").values()) == [(1, 1)] * 10 + [(2, 1)]
    assert max(receiver.times("/other")) < min(receiver.times("/main")[1:])
    assert uno.dead() == []
