"""Messages on their way from Celery's consumer to a thread and back: run, settled, and seen by Flower."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery.worker import state
from kombu.message import Message

import tasks.strategy
from tasks.app import make_worker
from tests.support.fakes import WebhookRecorder, make_delivery, make_send, make_session
from tests.support.worker import make_uno
from unoapi.broker.messages import DELIVERIES_HEADER, to_message
from unoapi.errors import BrokerUnavailable
from unoapi.models.attempts import Answer, History
from unoapi.models.jobs import Envelope, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.bootstrap import Uno

SECRET = "body-of-the-message"


class Consumer:
    """What a strategy uses of Celery's consumer. Its threads run at once, in this one."""

    def __init__(self, *, threads: bool = True) -> None:
        executor = SimpleNamespace(submit=lambda work, *given: work(*given))
        self.pool = SimpleNamespace(executor=executor, num_processes=10) if threads else SimpleNamespace()
        self.connection_errors = ()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.event_dispatcher = SimpleNamespace(enabled=True, send=self._send)
        self.settled: list[object] = []
        self.ordinary: list[Message] = []
        self._handlers: dict[str, Callable[..., None]] = {}

    def _send(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def handle(self, uno: Uno, message: Message, *, callbacks: tuple[Any, ...] = ()) -> None:
        """Let the strategy of the message's task have it."""
        name = message.headers["task"]
        if name not in self._handlers:
            worker = make_worker(uno)
            task: Any = worker.tasks[name]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tasks.strategy, "default", lambda *_: self._ordinary)
                self._handlers[name] = task.start_strategy(worker, self)
        self._handlers[name](
            message,
            None,
            lambda *_: self.settled.append("acknowledged"),
            lambda _, __, requeue: self.settled.append(("rejected", requeue)),
            callbacks,
        )

    def _ordinary(self, message: Message, *_: Any) -> None:
        self.ordinary.append(message)

    @property
    def names(self) -> list[str]:
        """The events that were sent."""
        return [event for event, _ in self.events]


def message_of(uno: Uno, job: Any, *, retries: int = 0, **changes: Any) -> Message:
    """A job's message as the consumer gets it; `changes` are of its headers."""
    made = to_message(Envelope(job, retries=retries, history=History()), uno.topology)
    return Message(
        body=made.body,  # type: ignore[arg-type] # bytes or text
        headers=made.headers | changes,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": made.routing_key, "redelivered": False},
    )


def uno_with(answer: Answer, **settings: str) -> Uno:
    return make_uno(make_session(), settings=settings, webhook_client=WebhookRecorder(answer))


def put_back(uno: Uno) -> list[Any]:
    """The messages in the waiting buckets."""
    publisher: Any = uno.publisher
    buckets = [queue.name for queue in uno.topology.queues if queue.name.startswith(uno.topology.delayed)]
    return [publisher.take(bucket) for bucket in buckets if publisher.depth(bucket)]


@pytest.fixture
def uno() -> Iterator[Uno]:
    """A session with one webhook that answers 200."""
    parts = uno_with(Answer(status=200, duration_ms=7))
    yield parts
    parts.close()


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


def test_a_delivery_that_arrives_is_acknowledged_and_seen_by_flower(uno: Uno, consumer: Consumer) -> None:
    counted = state.all_total_count[0]
    delivery = make_delivery(body=json.dumps({"text": SECRET}))

    consumer.handle(uno, message_of(uno, delivery))

    assert consumer.settled == ["acknowledged"]
    assert consumer.names == ["task-received", "task-started", "task-succeeded"]
    assert {fields["uuid"] for _, fields in consumer.events} == {delivery.id}
    assert consumer.events[0][1]["args"] == delivery.summary
    assert SECRET not in repr(consumer.events)
    assert state.all_total_count[0] == counted + 1
    assert not [request for request in state.active_requests if request.id == delivery.id]


def test_while_it_runs_celery_inspect_shows_its_ids_alone(uno: Uno, consumer: Consumer) -> None:
    delivery = make_delivery(body=json.dumps({"text": SECRET}))
    shown: list[dict[str, Any]] = []
    consumer.event_dispatcher.send = lambda *_, **__: shown.extend(
        request.info() for request in state.active_requests if request.id == delivery.id
    )

    consumer.handle(uno, message_of(uno, delivery))

    assert shown[0]["args"] == delivery.summary
    assert SECRET not in repr(shown)


def test_a_failed_delivery_is_put_back_before_its_message_is_acknowledged(consumer: Consumer) -> None:
    uno = uno_with(Answer(status=500, duration_ms=7))

    consumer.handle(uno, message_of(uno, make_delivery()))

    (message,) = put_back(uno)
    assert message.headers["retries"] == 1
    assert consumer.settled == ["acknowledged"]
    assert consumer.names[-1] == "task-retried"


def test_a_delivery_that_was_retried_is_counted_on(consumer: Consumer) -> None:
    uno = uno_with(Answer(status=500, duration_ms=7))

    consumer.handle(uno, message_of(uno, make_delivery(), retries=3))

    (message,) = put_back(uno)
    assert message.headers["retries"] == 4
    assert consumer.events[0][1]["retries"] == 3


def test_a_delivery_that_is_given_up_is_dead_before_its_message_is_acknowledged(consumer: Consumer) -> None:
    uno = uno_with(Answer(status=410, duration_ms=7))
    publisher: Any = uno.publisher

    consumer.handle(uno, message_of(uno, make_delivery()))

    assert publisher.depth(uno.topology.dead) == 1
    assert consumer.settled == ["acknowledged"]
    assert consumer.names[-1] == "task-failed"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[[],{},{}]", b'[["x"],{},{}]', b"[" * 100_000])
def test_what_is_no_job_goes_to_the_dead_queue(uno: Uno, consumer: Consumer, body: bytes) -> None:
    message = message_of(uno, make_delivery())
    message.body = body  # type: ignore[assignment] # what comes from the broker

    consumer.handle(uno, message)

    assert consumer.settled == [("rejected", False)]
    assert consumer.names[-1] == "task-rejected"


def test_a_message_whose_retry_cannot_be_published_goes_back_to_its_queue(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uno = uno_with(Answer(status=500, duration_ms=7))
    monkeypatch.setattr("tasks.base.PUBLISH_DEADLINE_S", 0.0)

    def refuse(*_: Any, **__: Any) -> None:
        raise BrokerUnavailable("away")

    monkeypatch.setattr(uno.publisher, "publish", refuse)

    consumer.handle(uno, message_of(uno, make_delivery()))

    assert consumer.settled == [("rejected", True)]


def test_a_thread_that_is_ended_in_the_middle_gives_the_message_back(uno: Uno, consumer: Consumer) -> None:
    def end(*_: Any, **__: Any) -> Answer:
        raise SystemExit

    uno.webhook_client.post = end  # type: ignore[method-assign]

    with pytest.raises(SystemExit):
        consumer.handle(uno, message_of(uno, make_delivery()))

    assert consumer.settled == [("rejected", True)]


@pytest.mark.parametrize(
    "changes",
    [
        {"eta": "2026-01-01T00:00:00+00:00"},
        {"expires": "2026-01-01T00:00:00+00:00"},
        {"timelimit": [1, None]},
        {"shadow": "another name"},
    ],
)
def test_a_message_that_asks_for_more_goes_celerys_own_way(
    uno: Uno, consumer: Consumer, changes: dict[str, Any]
) -> None:
    message = message_of(uno, make_delivery(), **changes)

    consumer.handle(uno, message)

    assert consumer.ordinary == [message]
    assert consumer.settled == []


def test_a_message_of_another_form_goes_celerys_own_way(uno: Uno, consumer: Consumer) -> None:
    message = message_of(uno, make_delivery())
    message.content_type = "application/x-python-serialize"

    consumer.handle(uno, message)

    assert consumer.ordinary == [message]


def test_processes_get_their_messages_celerys_own_way(uno: Uno) -> None:
    consumer = Consumer(threads=False)
    message = message_of(uno, make_delivery())

    consumer.handle(uno, message)

    assert consumer.ordinary == [message]


def test_without_anybody_who_listens_no_event_is_sent(uno: Uno, consumer: Consumer) -> None:
    consumer.event_dispatcher.enabled = False

    consumer.handle(uno, message_of(uno, make_delivery()))

    assert consumer.events == []
    assert consumer.settled == ["acknowledged"]


def test_a_message_that_may_have_ended_workers_goes_into_quarantine(uno: Uno, consumer: Consumer) -> None:
    publisher: Any = uno.publisher

    consumer.handle(uno, message_of(uno, make_delivery(), **{DELIVERIES_HEADER: 4}))

    assert publisher.depth("unoapi.suspect") == 1
    assert consumer.settled == ["acknowledged"]


def test_an_event_that_cannot_be_sent_keeps_no_message_from_being_delivered(uno: Uno, consumer: Consumer) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionResetError

    consumer.event_dispatcher.send = fail

    consumer.handle(uno, message_of(uno, make_delivery()))

    assert consumer.settled == ["acknowledged"]
    assert uno.deliveries.state("delivery-1", make_delivery().endpoint).done


def test_messages_to_one_contact_take_one_thread(uno: Uno, consumer: Consumer) -> None:
    begun: list[tuple[Any, ...]] = []
    consumer.pool.executor.submit = lambda *work: begun.append(work)
    jobs = [
        make_send(id=f"{number}", message_id=f"{number}", contact=contact, accepted_at_ms=now_ms() + number)
        for number, contact in enumerate(("a", "a", ""))
    ]

    for job in jobs:
        consumer.handle(uno, message_of(uno, job))

    assert len(begun) == 2, "the first to the contact, and the one to none"
    call, *given = begun[0]
    call(*given)
    assert len(begun) == 3
    assert consumer.settled == ["acknowledged"]
