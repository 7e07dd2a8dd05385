"""The holding queues: what stands in one keeps its order, and leaves it settled, refused, too old, or not at all."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from kombu import Connection

from tests.support.fakes import PHONE, MemoryHoldingQueues, make_delivery
from tests.support.stack import TOPOLOGY, eventually
from unoapi.broker.holding_queues import BrokerHoldingQueues
from unoapi.broker.messages import from_body, history_of, was_refused
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.errors import BrokerUnavailable
from unoapi.models.attempts import Attempt, History
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import DeliverWebhook, Envelope, HeldDelivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.ports import HoldingQueues

CRM = Endpoint(PHONE, "crm #*.1")
TOKEN = "0123456789ab"
HOUR_MS = 3_600_000
HISTORY = History(attempts=(Attempt(status=500),))


class Place:
    """Queues, how one publishes to them, and what came to the work queue and to the dead one."""

    queues: HoldingQueues

    def put(self, *numbers: int, within_ms: int = HOUR_MS) -> None:
        raise NotImplementedError

    def work(self) -> list[str]:
        raise NotImplementedError


def delivery(number: int) -> DeliverWebhook:
    return make_delivery(id=f"d-{number}", webhook_id=CRM.webhook_id)


class InMemory(Place):
    def __init__(self) -> None:
        self.queues: MemoryHoldingQueues = MemoryHoldingQueues()

    def put(self, *numbers: int, within_ms: int = HOUR_MS) -> None:  # noqa: ARG002
        for number in numbers:
            self.queues.put(HeldDelivery(delivery(number), 3, HISTORY), TOKEN)

    def work(self) -> list[str]:
        return [held.job.id for held in self.queues.work]


class InRabbitMQ(Place):
    def __init__(self, url: str) -> None:
        self.publisher = ConfirmingPublisher(url, TOPOLOGY)
        self.publisher.check(timeout_s=10)
        self.queues = BrokerHoldingQueues(url, TOPOLOGY, self.publisher)
        self.connection = Connection(url)
        self.channel: Any = self.connection.channel()

    def put(self, *numbers: int, within_ms: int = HOUR_MS) -> None:
        envelopes = [
            Envelope(delivery(number), delay_ms=within_ms, retries=3, history=HISTORY, holding=TOKEN)
            for number in numbers
        ]
        self.publisher.publish(envelopes, timeout_s=10)

    def work(self) -> list[str]:
        return [from_body("outgoing.deliver", message.body).id for message in self.taken("unoapi.outgoing")]

    def taken(self, queue: str) -> list[Any]:
        messages = []
        while message := self.channel.basic_get(queue, no_ack=True):
            messages.append(message)
        return messages


@pytest.fixture
def rabbitmq(amqp_url: str) -> Iterator[InRabbitMQ]:
    """RabbitMQ with the queue."""
    place = InRabbitMQ(amqp_url)
    place.queues.make(CRM, TOKEN)
    yield place
    place.publisher.close()
    place.connection.release()


@pytest.fixture(params=["memory", "rabbitmq"])
def place(request: pytest.FixtureRequest) -> Place:
    """The queue, which is empty."""
    if request.param == "rabbitmq":
        made: Place = request.getfixturevalue("rabbitmq")
        return made
    place = InMemory()
    place.queues.make(CRM, TOKEN)
    return place


def take(place: Place, settle: Callable[[Any, list[HeldDelivery]], None], *, count: int) -> list[str]:
    """Take so many deliveries, settle them, and give the others back."""
    came: list[HeldDelivery] = []
    with place.queues.consume(CRM, TOKEN) as queue:
        deadline = time.monotonic() + 10
        while len(came) < count and time.monotonic() < deadline:
            came += queue.take(wait_s=0.5)
        settle(queue, came)
    return [held.job.id for held in came]


def all_done(queue: Any, came: list[HeldDelivery]) -> None:
    for held in came:
        queue.done(held)


def test_deliveries_come_in_their_order_and_with_their_history(place: Place) -> None:
    place.put(1, 2, 3)

    assert eventually(lambda: place.queues.peek(CRM, TOKEN, position=0)) == HeldDelivery(delivery_of(place), 3, HISTORY)
    assert take(place, all_done, count=3) == ["d-1", "d-2", "d-3"]
    assert place.queues.peek(CRM, TOKEN, position=0) is None


def delivery_of(place: Place) -> DeliverWebhook:
    """The oldest one, whose time of acceptance only the queue knows."""
    peeked = place.queues.peek(CRM, TOKEN, position=0)
    assert peeked is not None
    assert peeked.job.id == "d-1"
    return peeked.job


def test_looking_changes_nothing(place: Place) -> None:
    place.put(1, 2)

    ids = [peeked.job.id for position in (0, 1, 5) if (peeked := place.queues.peek(CRM, TOKEN, position=position))]

    assert sorted(ids) == ["d-1", "d-2", "d-2"]
    assert sorted(take(place, all_done, count=2)) == ["d-1", "d-2"]


def test_its_deliveries_can_be_counted(place: Place) -> None:
    place.put(1, 2)

    assert eventually(lambda: place.queues.count(CRM, TOKEN) == 2)
    assert place.queues.count(CRM, "another") == 0


def test_it_is_empty_when_all_of_it_was_taken(place: Place) -> None:
    place.put(1)
    eventually(lambda: place.queues.peek(CRM, TOKEN, position=0), within_s=10)

    with place.queues.consume(CRM, TOKEN) as queue:
        came = queue.take(wait_s=10)
        assert [held.job.id for held in came] == ["d-1"]
        assert queue.is_empty()
        place.put(2)
        assert eventually(lambda: not queue.is_empty(), within_s=10)
        all_done(queue, came)


def test_what_is_not_settled_stays_and_keeps_its_order(place: Place) -> None:
    place.put(*range(6))

    def settle(queue: Any, came: list[HeldDelivery]) -> None:
        queue.done(came[0])
        queue.done(came[3])

    take(place, settle, count=6)

    assert take(place, all_done, count=4) == ["d-1", "d-2", "d-4", "d-5"]


def test_the_task_of_what_was_refused_knows_where_it_comes_from(rabbitmq: InRabbitMQ) -> None:
    rabbitmq.put(1)
    take(rabbitmq, lambda queue, came: queue.refuse(came[0]), count=1)

    (refused,) = eventually(lambda: rabbitmq.taken("unoapi.outgoing"))
    rabbitmq.publisher.publish([Envelope(delivery(2))], timeout_s=10)
    (fresh,) = eventually(lambda: rabbitmq.taken("unoapi.outgoing"))

    assert (was_refused(refused.headers, TOPOLOGY), was_refused(fresh.headers, TOPOLOGY)) == (True, False)


def test_what_is_refused_goes_to_the_work_queue(place: Place) -> None:
    place.put(1, 2)

    take(place, lambda queue, came: queue.refuse(came[0]), count=2)

    assert eventually(place.work, within_s=10) == ["d-1"]
    assert take(place, all_done, count=1) == ["d-2"]


def test_what_is_too_old_goes_to_the_work_queue_by_itself_with_its_history(rabbitmq: InRabbitMQ) -> None:
    rabbitmq.put(1, within_ms=100)

    [message] = eventually(lambda: rabbitmq.taken("unoapi.outgoing"), within_s=10)

    assert from_body("outgoing.deliver", message.body).id == "d-1"
    assert history_of(message.headers) == HISTORY


def test_what_is_no_delivery_goes_to_the_work_queue_where_it_is_judged(rabbitmq: InRabbitMQ) -> None:
    name = TOPOLOGY.holding_queue(CRM, TOKEN).name
    rabbitmq.connection.Producer().publish({"no": "job"}, exchange=TOPOLOGY.broker, routing_key=name)
    rabbitmq.put(1)

    eventually(lambda: rabbitmq.queues.peek(CRM, TOKEN, position=1), within_s=10)
    assert take(rabbitmq, all_done, count=1) == ["d-1"]

    eventually(lambda: rabbitmq.taken("unoapi.outgoing"), within_s=10)


def test_it_is_not_deleted_while_somebody_takes_deliveries_from_it(place: Place) -> None:
    """A copy of the job that closes it, which a lost confirm makes, saw an empty queue: all was with the other one."""
    place.put(1)
    eventually(lambda: place.queues.peek(CRM, TOKEN, position=0), within_s=10)

    with place.queues.consume(CRM, TOKEN) as queue:
        came = queue.take(wait_s=10)
        assert not place.queues.delete(CRM, TOKEN)
        queue.refuse(came[0])

    assert eventually(place.work, within_s=10) == ["d-1"]
    assert eventually(lambda: place.queues.delete(CRM, TOKEN), within_s=10)
    assert place.queues.delete(CRM, TOKEN), "it is gone already"


def test_it_is_not_deleted_while_it_has_deliveries(place: Place) -> None:
    place.put(1)
    eventually(lambda: place.queues.peek(CRM, TOKEN, position=0), within_s=10)

    assert eventually(lambda: not place.queues.delete(CRM, TOKEN))
    assert take(place, all_done, count=1) == ["d-1"]


def test_after_it_is_closed_what_comes_too_late_is_a_dead_letter_and_never_lost(rabbitmq: InRabbitMQ) -> None:
    rabbitmq.put(1)
    rabbitmq.queues.close(CRM, TOKEN)
    rabbitmq.put(2)
    eventually(lambda: rabbitmq.queues.peek(CRM, TOKEN, position=0), within_s=10)
    assert take(rabbitmq, all_done, count=1) == ["d-1"]
    rabbitmq.queues.delete(CRM, TOKEN)
    rabbitmq.put(3)

    dead = rabbitmq.taken(TOPOLOGY.dead)

    assert [from_body("outgoing.deliver", message.body).id for message in dead] == ["d-2", "d-3"]


def test_one_that_somebody_deleted_is_made_again(rabbitmq: InRabbitMQ) -> None:
    rabbitmq.queues.delete(CRM, TOKEN)

    assert rabbitmq.queues.peek(CRM, TOKEN, position=0) is None
    rabbitmq.put(1)

    assert eventually(lambda: rabbitmq.queues.peek(CRM, TOKEN, position=0))


def test_a_connection_that_was_lost_since_the_last_release_costs_the_next_one_nothing(rabbitmq: InRabbitMQ) -> None:
    rabbitmq.put(1, 2)
    before = open_sockets()
    take(rabbitmq, lambda queue, came: all_done(queue, came[:1]), count=2)
    take(rabbitmq, all_done, count=1)
    rabbitmq.put(3)
    lost = open_sockets() - before
    for descriptor in lost:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            one.shutdown(socket.SHUT_RDWR)

    assert take(rabbitmq, all_done, count=1) == ["d-3"]
    assert len(lost) == 1, "one was kept"
    assert len(open_sockets() - before) == 1, "and gave way to another one"


def open_sockets() -> set[int]:
    return {connection.fd for connection in psutil.Process().net_connections("tcp")}


def test_without_rabbitmq_everything_says_so() -> None:
    nowhere = "amqp://127.0.0.1:1"
    publisher = ConfirmingPublisher(nowhere, TOPOLOGY)
    queues = BrokerHoldingQueues(nowhere, TOPOLOGY, publisher)

    with pytest.raises(BrokerUnavailable), queues.consume(CRM, TOKEN):
        pass
    with pytest.raises(BrokerUnavailable):
        queues.make(CRM, TOKEN)
    publisher.close()
