"""What our consumer does otherwise than Celery's: it settles together, and shows task events a few times a second."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery.events.dispatcher import EventDispatcher
from kombu.serialization import dumps

from unoapi.broker import celery
from unoapi.broker.celery import DrainingPool, SafeConsumer, TaskEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Consumer(SafeConsumer):
    """Without its connection; the loop runs what waits when the test says so."""

    def __init__(self, *, connected: bool = True) -> None:
        self.soon: dict[object, Callable[[], object]] = {}  # as the loop has it: each callback once
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.writes: list[list[str]] = []
        self.done: list[str] = []
        self.hub = SimpleNamespace(call_soon=self._call_soon, call_later=lambda *call: self.later.append(call))
        transport = SimpleNamespace(one_write=self._one_write)
        self.connection = SimpleNamespace(connected=connected, connection=SimpleNamespace(transport=transport))
        self.connection_errors = (OSError,)
        self._begin()

    def _call_soon(self, call: Callable[..., object], *arguments: object) -> None:
        self.soon[call] = lambda: call(*arguments)

    @contextmanager
    def _one_write(self) -> Iterator[None]:
        yield
        self.writes.append([*self.done])

    def run_soon(self) -> None:
        soon, self.soon = self.soon, {}
        for call in soon.values():
            call()


def test_what_was_settled_since_the_last_turn_is_written_together() -> None:
    consumer = Consumer()
    for number in range(3):
        consumer.call_soon_ack(consumer.done.append, f"message {number}")
    assert len(consumer.soon) == 1

    consumer.run_soon()
    consumer.call_soon_ack(consumer.done.append, "another")
    consumer.run_soon()

    together = ["message 0", "message 1", "message 2"]
    assert consumer.writes == [together, [*together, "another"]]


def test_what_the_loop_lost_with_an_error_is_settled_with_the_next_one() -> None:
    consumer = Consumer()
    consumer.call_soon_ack(consumer.done.append, "lost")
    consumer.soon.clear()

    consumer.call_soon_ack(consumer.done.append, "next")
    consumer.run_soon()

    assert consumer.done == ["lost", "next"]


def test_task_events_leave_though_the_loop_lost_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "EVENTS_WITHIN_S", 0.0)
    consumer = Consumer()
    consumer.on_send_event_buffered()
    consumer.soon.clear()

    consumer.on_send_event_buffered()
    consumer.run_soon()

    assert len(consumer.later) == 1


def test_without_a_connection_each_message_says_so_itself() -> None:
    consumer = Consumer(connected=False)
    consumer.call_soon_ack(consumer.done.append, "message")

    consumer.run_soon()

    assert (consumer.done, consumer.writes) == (["message"], [])


def test_a_connection_that_ends_meanwhile_is_no_error_of_the_loop(capsys: pytest.CaptureFixture[str]) -> None:
    consumer = Consumer()

    @contextmanager
    def broken() -> Iterator[None]:
        yield
        raise BrokenPipeError("gone")

    consumer.connection.connection.transport.one_write = broken
    consumer.call_soon_ack(consumer.done.append, "message")

    consumer.run_soon()

    assert "not_acknowledged" in capsys.readouterr().out


def test_an_error_of_one_leaves_the_others_to_the_next_turn() -> None:
    consumer = Consumer()
    consumer.call_soon_ack(lambda: 1 / 0)
    consumer.call_soon_ack(consumer.done.append, "message")
    with pytest.raises(ZeroDivisionError):
        consumer.run_soon()

    consumer.call_soon_ack(consumer.done.append, "another")
    consumer.run_soon()

    assert consumer.done == ["message", "another"]


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (10, 12), (200, 250)])
def test_rabbitmq_sends_a_quarter_more_than_can_be_under_way(threads: int, most: int) -> None:
    consumer = Consumer()
    consumer.pool = DrainingPool(limit=threads)

    assert consumer.max_prefetch_count == most


def test_a_pool_of_processes_takes_no_more_than_it_has() -> None:
    consumer = Consumer()
    consumer.pool = SimpleNamespace(num_processes=8)

    assert consumer.max_prefetch_count == 8


def test_task_events_leave_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "EVENTS_WITHIN_S", 0.2)
    consumer = Consumer()
    flushed: list[bool] = []
    monkeypatch.setattr(consumer, "_flush_events", lambda: flushed.append(True))
    for _ in range(5):
        consumer.on_send_event_buffered()
    assert len(consumer.soon) == 1

    consumer.run_soon()
    [(seconds, send)] = consumer.later
    time.sleep(seconds)
    send()
    consumer.on_send_event_buffered()

    assert (seconds, flushed, len(consumer.soon)) == (celery.EVENTS_WITHIN_S, [True], 1)


class Producer:
    """Kombu's, as task events use it."""

    def __init__(self, channel: Any, **_: Any) -> None:
        self.connection = channel
        self.auto_declare = True
        self.sent: list[Any] = []

    def publish(self, events: Any, **options: Any) -> None:
        kind, _, body = dumps(events, options["serializer"]) if "content_type" not in options else (
            options["content_type"], options["content_encoding"], events
        )  # fmt: skip
        assert kind == "application/json"
        self.sent.append(json.loads(body))


@pytest.fixture
def raw() -> SimpleNamespace:
    """The connection below kombu's."""
    return SimpleNamespace()


@pytest.fixture
def events(raw: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("celery.events.dispatcher.Producer", Producer)
    connection = SimpleNamespace(connection=raw, transport=SimpleNamespace(driver_type="amqp"))
    app = SimpleNamespace(
        clock=SimpleNamespace(forward=lambda: 1),
        conf=SimpleNamespace(event_exchange="celeryev", event_serializer="json"),
    )
    events: Any = TaskEvents(connection, "worker", app=app, buffer_group=["task"])
    events.producer.sent.clear()
    return events


@pytest.mark.parametrize("text", ["phone=5511 message_id=wamid.é", "half of a pair: \ud800"])
def test_task_events_are_the_json_that_flower_reads(events: Any, text: str) -> None:
    events.send("task-received", uuid="1", args=text, eta=None)
    events.send("task-succeeded", uuid="1", runtime=0.25)
    events.flush()

    [[received, succeeded]] = events.producer.sent
    assert (received["type"], received["args"], received["eta"]) == ("task-received", text, None)
    assert (succeeded["type"], succeeded["runtime"]) == ("task-succeeded", 0.25)


def test_a_task_event_has_what_celery_gives_it(events: Any) -> None:
    events.send("task-succeeded", uuid="1", runtime=0.25)
    EventDispatcher.send(events, "task-succeeded", uuid="1", runtime=0.25)
    events.flush()

    [[ours, celerys]] = events.producer.sent
    assert ours.pop("timestamp") == pytest.approx(celerys.pop("timestamp"), abs=5)
    assert ours == celerys


def test_as_many_task_events_as_go_into_one_message_are_sent_at_once(events: Any) -> None:
    for number in range(celery.EVENTS_TOGETHER + 1):
        events.send("task-received", uuid=f"{number}")

    assert [len(together) for together in events.producer.sent] == [celery.EVENTS_TOGETHER]


def test_a_worker_that_sends_no_task_events_keeps_none(events: Any) -> None:
    events.groups = {"worker"}
    events.send("task-received", uuid="1")
    events.groups = set()
    events.enabled = False
    events.send("task-received", uuid="2")

    events.enabled = True
    events.flush()

    assert events.producer.sent == []


def test_events_that_were_kept_while_nobody_took_them_are_sent_once_as_they_were(
    events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionResetError

    events.send("task-received", uuid="1")
    with monkeypatch.context() as away:
        away.setattr(events.producer, "publish", refuse)
        events.flush()

    events.flush()

    assert [[event["uuid"] for event in together] for together in events.producer.sent] == [["1"]]


def test_task_events_are_left_out_while_rabbitmq_has_an_alarm(events: Any, raw: SimpleNamespace) -> None:
    sent = events.producer.sent

    def send(uuid: str) -> None:
        events.send("task-received", uuid=uuid)
        events.flush()

    send("before")
    raw.on_blocked("memory")
    send("meanwhile")
    raw.on_unblocked()
    send("after")

    assert [event["uuid"] for together in sent for event in together] == ["before", "after"]
