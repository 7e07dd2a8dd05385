"""Events go into their stream many at once, a moment later, and nobody waits for it, whatever becomes of the stream."""

from __future__ import annotations

import threading
import time
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import make_delivery, make_fan_out
from tests.support.stack import eventually
from unoapi.broker import event_recorder
from unoapi.broker.event_recorder import AT_ONCE, EventRecorder
from unoapi.broker.messages import Message, to_message
from unoapi.broker.topology import EventBounds, Topology
from unoapi.errors import BrokerUnavailable
from unoapi.models.jobs import Envelope, FanOut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEPT = Topology("unoapi", events=EventBounds(3600, 20_000_000))


class Stream:
    """The publisher of a recorder. `away`: RabbitMQ does not take what is published; `stands`: not yet."""

    def __init__(self) -> None:
        self.topology = KEPT
        self.events_refused = False
        self.away = False
        self.stands = threading.Event()
        self.stands.set()
        self.messages: list[Message] = []
        self.tries = 0
        self.closed = False

    def publish_messages(self, messages: Sequence[Message], *, timeout_s: float) -> None:
        self.tries += 1
        assert self.stands.wait(timeout_s)
        if self.away:
            raise BrokerUnavailable("RabbitMQ is away")
        self.messages += messages

    def close(self) -> None:
        self.closed = True

    def events(self) -> list[str]:
        """The ids of the events, in their order."""
        lines = [event for message in self.messages for event in zlib.decompress(message.body).split(b"\n")]  # type: ignore[arg-type]
        return [FanOut.model_validate_json(event.partition(b" ")[2]).id for event in lines]


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def recorder(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventRecorder]:
    monkeypatch.setattr(event_recorder, "WINDOW_S", 0.05)
    monkeypatch.setattr(event_recorder, "PAUSE_S", 0.05)
    one = EventRecorder(stream)  # type: ignore[arg-type]
    yield one
    stream.stands.set()
    one.close()


def messages(*numbers: int, size: int = 10) -> list[Message]:
    jobs = [make_fan_out(id=f"event-{number}").model_copy(update={"body": "x" * size}) for number in numbers]
    return [to_message(Envelope(job), KEPT) for job in jobs]


def test_events_of_a_moment_are_one_message_in_their_order(stream: Stream, recorder: EventRecorder) -> None:
    for number in range(5):
        recorder.add(messages(number))

    eventually(lambda: len(stream.events()) == 5, within_s=5)

    assert stream.events() == [f"event-{number}" for number in range(5)]
    assert len(stream.messages) == 1
    assert (stream.messages[0].exchange, stream.messages[0].routing_key) == ("", "unoapi.events")
    assert stream.messages[0].into == "unoapi.events"


def test_nothing_but_first_events_is_written(stream: Stream, recorder: EventRecorder) -> None:
    recorder.add([to_message(Envelope(make_delivery()), KEPT), to_message(Envelope(make_fan_out(), retries=1), KEPT)])
    recorder.add(messages(1))
    recorder.close()

    assert stream.events() == ["event-1"]


def test_many_events_are_several_messages(stream: Stream, recorder: EventRecorder) -> None:
    recorder.add(messages(*range(AT_ONCE + 1)))
    recorder.add(messages(*range(5), size=event_recorder.AT_ONCE_BYTES // 2))
    recorder.close()

    counts = [zlib.decompress(message.body).count(b"\n") + 1 for message in stream.messages]  # type: ignore[arg-type]
    assert counts[0] == AT_ONCE
    assert sum(counts) == AT_ONCE + 6
    assert max(counts[2:]) == 1


def test_who_publishes_never_waits_for_the_stream(stream: Stream, recorder: EventRecorder) -> None:
    stream.stands.clear()

    began = time.monotonic()
    for number in range(100):
        recorder.add(messages(number))
    took_s = time.monotonic() - began
    eventually(lambda: stream.tries == 1, within_s=5)
    stream.stands.set()

    eventually(lambda: len(stream.events()) == 100, within_s=5)
    assert took_s < 1.0


def test_what_rabbitmq_does_not_take_is_tried_again(stream: Stream, recorder: EventRecorder) -> None:
    stream.away = True
    recorder.add(messages(1, 2))
    eventually(lambda: stream.tries >= 2, within_s=5)
    recorder.add(messages(3))
    stream.away = False

    eventually(lambda: len(stream.events()) == 3, within_s=5)
    assert stream.events() == ["event-1", "event-2", "event-3"]


def test_when_they_are_too_many_the_oldest_are_missing_and_it_is_said_once_a_minute(
    stream: Stream, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_recorder, "MOST_BYTES", 10_000)
    stream.stands.clear()
    recorder.add(messages(0))
    eventually(lambda: stream.tries == 1, within_s=5)  # it has the first in hand
    for number in range(1, 100):
        recorder.add(messages(number, size=1_000))
    stream.stands.set()
    recorder.close()

    written = stream.events()
    assert written[0] == "event-0"
    assert written[1:] == [f"event-{number}" for number in range(100 - len(written) + 1, 100)]
    assert 4 < len(written) < 12
    log = capsys.readouterr().out
    assert log.count("events_not_kept") == 1
    assert f"missed={100 - len(written)}" in log or f'"missed": {100 - len(written)}' in log


def test_one_event_that_is_larger_than_the_bound_is_written(
    stream: Stream, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_recorder, "MOST_BYTES", 10)

    recorder.add(messages(1, size=1_000))
    recorder.close()

    assert stream.events() == ["event-1"]


def test_where_there_is_no_stream_nothing_is_held(stream: Stream, recorder: EventRecorder) -> None:
    stream.away = stream.events_refused = True

    recorder.add(messages(*range(3)))
    time.sleep(0.2)

    assert stream.tries == 0


def test_a_stream_that_is_refused_ends_the_attempts(stream: Stream, recorder: EventRecorder) -> None:
    stream.away = True
    recorder.add(messages(1))
    eventually(lambda: stream.tries >= 1, within_s=5)
    stream.events_refused = True
    time.sleep(0.2)
    tries = stream.tries
    time.sleep(0.2)

    assert stream.tries == tries


def test_a_process_that_ends_writes_what_waits_and_tries_no_longer_than_once(
    stream: Stream, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_recorder, "WINDOW_S", 60.0)
    recorder.add(messages(1))
    began = time.monotonic()
    recorder.close()
    stream.away = True
    recorder.add(messages(2))  # begins anew
    recorder.close()

    assert time.monotonic() - began < 2.0
    assert stream.events() == ["event-1"]
    assert stream.tries == 2
    assert stream.closed


def test_an_error_that_nobody_foresaw_ends_nothing(
    stream: Stream, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "publish_messages", lambda *_, **__: 1 / 0)
    recorder.add(messages(1))
    time.sleep(0.2)
    monkeypatch.undo()

    recorder.add(messages(2))
    recorder.close()

    assert stream.events() == ["event-2"]
