"""The stream of events: each event stands in it once, and can be read from any point, as often as one likes."""

from __future__ import annotations

import random
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import amqp
import pytest
from amqp.exceptions import AMQPNotImplementedError, PreconditionFailed

from tests.support.fakes import MemoryEventStream, make_delivery, make_event, make_fan_out
from tests.support.stack import eventually
from tests.support.vhosts import own_vhost
from unoapi.broker.connection import Connection
from unoapi.broker.connection_pool import ConnectionPool
from unoapi.broker.event_recorder import ENCODING, EventRecorder, line, together
from unoapi.broker.event_stream import PLACES, BrokerEventStream
from unoapi.broker.messages import DELIVERIES_HEADER, to_message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.topology import EventBounds, Topology
from unoapi.errors import BrokerUnavailable, EventsNotKept
from unoapi.models.attempts import History
from unoapi.models.jobs import Envelope, FanOut, now_ms
from unoapi.settings import MIN_EVENTS_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers
    from unoapi.ports import EventStream

PHONE, OTHER = "5511000000001", "5511000000002"
KEPT = Topology("unoapi", events=EventBounds(3600, 20_000_000))
HOUR_MS = 3_600_000


def fan_out(number: int, *, phone: str = PHONE) -> FanOut:
    event = make_event(text={"body": f'Event {number} of "phone":"{OTHER}"'})
    return make_fan_out(event, id=f"event-{number}", phone=phone)


class InMemory:
    def __init__(self) -> None:
        self.stream = MemoryEventStream()

    def publish(self, *jobs: FanOut) -> None:
        for job in jobs:
            self.stream.put(job, published_ms=now_ms())


class InRabbitMQ:
    def __init__(self, url: str) -> None:
        self.url = url
        self.recorder = EventRecorder(ConfirmingPublisher(url, KEPT))
        self.publisher = ConfirmingPublisher(url, KEPT, recorder=self.recorder)
        self.publisher.check(timeout_s=10)
        self.stream = BrokerEventStream(url, KEPT)

    def publish(self, *jobs: FanOut) -> None:
        self.publisher.publish([Envelope(job) for job in jobs], timeout_s=10)
        self.recorder.close()  # writes what waits, and begins anew with the next event


@pytest.fixture(scope="module")
def url(servers: PrivateServers) -> Iterator[str]:
    with own_vhost(servers) as made:
        yield made


@pytest.fixture
def rabbitmq(url: str) -> Iterator[InRabbitMQ]:
    """RabbitMQ with a new stream."""
    place = InRabbitMQ(url)
    yield place
    place.publisher.on_channel(lambda channel: channel.queue_delete(KEPT.events) and None)
    place.publisher.close()


@pytest.fixture(params=["memory", "rabbitmq"])
def place(request: pytest.FixtureRequest) -> Any:
    return InMemory() if request.param == "memory" else request.getfixturevalue("rabbitmq")


def read(stream: EventStream, phone: str = PHONE, **start: int) -> list[tuple[int, str]]:
    """Position and id of the events of a number, until the newest one."""
    bounds = stream.bounds()
    assert bounds is not None
    came = []
    with stream.read(phone, **start) as stored:
        deadline = time.monotonic() + 10
        while stored.position < bounds.newest and time.monotonic() < deadline:
            came += stored.take(wait_s=1.0)
    return [(event.position, event.job.id) for event in came]


def test_the_events_of_a_number_are_read_in_their_order_as_often_as_one_likes(place: Any) -> None:
    before_ms = now_ms()
    place.publish(*(fan_out(number, phone=OTHER if number % 2 else PHONE) for number in range(10)))

    bounds = place.stream.bounds()
    first, again = read(place.stream), read(place.stream)

    assert first == again == [(number, f"event-{number}") for number in range(0, 10, 2)]
    assert bounds is not None
    assert bounds.newest == 9
    assert before_ms <= bounds.oldest_ms <= bounds.newest_ms <= now_ms()


def test_reading_begins_behind_a_position_or_at_a_time(place: Any) -> None:
    place.publish(*(fan_out(number) for number in range(10)))

    assert read(place.stream, after=6) == [(number, f"event-{number}") for number in (7, 8, 9)]
    assert len(read(place.stream, since_ms=now_ms() - HOUR_MS)) == 10


def test_an_event_is_read_as_it_was_published_with_the_time_of_it(place: Any) -> None:
    job, before_ms = fan_out(1), now_ms()
    place.publish(job)

    with place.stream.read(PHONE) as stored:
        (event,) = stored.take(wait_s=2.0)

    assert event.job == job
    assert before_ms <= event.published_ms <= now_ms()


def test_a_stream_without_events_has_no_bounds(place: Any) -> None:
    assert place.stream.bounds() is None


# --- RabbitMQ's alone ---


def test_an_event_stands_in_it_once_however_often_its_job_is_retried_and_no_other_job_does(
    rabbitmq: InRabbitMQ,
) -> None:
    job = fan_out(1)
    rabbitmq.publish(job)
    failed = History().next_replay()

    rabbitmq.publisher.publish(
        [
            Envelope(job, retries=1),
            Envelope(job, history=failed),
            Envelope(job, delay_ms=1),
            Envelope(make_delivery(phone=PHONE)),
        ]
    )
    rabbitmq.recorder.close()

    assert read(rabbitmq.stream) == [(0, "event-1")]


def test_a_position_within_a_message_of_many_events_is_gone_on_from(rabbitmq: InRabbitMQ) -> None:
    rabbitmq.publish(*(fan_out(number) for number in range(4)))
    rabbitmq.publish(*(fan_out(number) for number in range(4, 7)))

    assert [position for position, _ in read(rabbitmq.stream)] == [0, 1, 2, 3, PLACES, PLACES + 1, PLACES + 2]
    assert [event for _, event in read(rabbitmq.stream, after=2)] == ["event-3", "event-4", "event-5", "event-6"]
    assert [event for _, event in read(rabbitmq.stream, after=PLACES + 2)] == []


def test_an_event_waits_for_its_work_queue_when_somebody_deleted_that(rabbitmq: InRabbitMQ) -> None:
    rabbitmq.publisher.on_channel(lambda channel: channel.queue_delete("unoapi.outgoing") and None)

    rabbitmq.publish(fan_out(1))

    message: Any = rabbitmq.publisher.on_channel(lambda channel: channel.basic_get("unoapi.outgoing", no_ack=True))
    assert message.headers["id"] == "event-1"


def test_a_broker_that_refuses_the_stream_is_said_so_once_and_events_go_their_way(
    servers: PrivateServers, rabbitmq: InRabbitMQ, url: str
) -> None:
    node, vhost = servers.rabbit, url.rpartition("/")[2]
    assert rabbitmq.stream.bounds() is None
    node.manage("PUT", "users/poor", {"password": "poor", "tags": ""})
    rights = {"configure": r"^(?!poor\.events)", "write": ".*", "read": ".*"}
    node.manage("PUT", f"permissions/{vhost}/poor", rights)
    topology, poor = (
        Topology("poor", events=EventBounds(3600, 20_000_000)),
        f"amqp://poor:poor@{url.rpartition('@')[2]}",
    )
    writer = ConfirmingPublisher(poor, topology)
    publisher = ConfirmingPublisher(poor, topology, recorder=EventRecorder(writer))

    publisher.check(timeout_s=10)
    publisher.publish([Envelope(fan_out(1))], timeout_s=10)
    eventually(lambda: writer.events_refused)
    message: Any = publisher.on_channel(lambda channel: channel.basic_get("poor.outgoing", no_ack=True))

    assert publisher.events_trouble == "RabbitMQ refuses to make a stream, so no event can be replayed"
    assert message.headers["id"] == "event-1"
    publisher.close()


@pytest.mark.parametrize(
    ("refusal", "ends"), [(AMQPNotImplementedError("no"), True), (PreconditionFailed("no"), False)]
)
def test_a_refusal_that_ends_the_connection_is_met_once(refusal: Exception, ends: bool) -> None:
    class Refusing:
        asked = 0

        def declare_streams(self, topology: Topology) -> None:  # noqa: ARG002 (the real one's)
            self.asked += 1
            raise refusal

    pool, connection = ConnectionPool("amqp://127.0.0.1:1", KEPT), Refusing()

    with pytest.raises(AMQPNotImplementedError) if ends else nullcontext():
        pool._declare_streams(connection)  # type: ignore[arg-type]
    pool._declare_streams(connection)  # type: ignore[arg-type]
    pool.close()

    assert connection.asked == 1
    assert "refuses to make a stream" in pool.events_trouble


def test_the_work_queue_has_the_event_too_as_where_there_is_no_stream(rabbitmq: InRabbitMQ) -> None:
    rabbitmq.publisher.on_channel(lambda channel: channel.queue_purge("unoapi.outgoing") and None)
    job = fan_out(1)
    rabbitmq.publish(job)

    message: Any = rabbitmq.publisher.on_channel(lambda channel: channel.basic_get("unoapi.outgoing", no_ack=True))

    without = to_message(Envelope(job), Topology("unoapi"))
    assert message.headers.keys() - {DELIVERIES_HEADER} == without.headers.keys()
    assert message.body == without.body


def test_a_stream_with_other_bounds_stays_as_it_is_and_everything_works(rabbitmq: InRabbitMQ, url: str) -> None:
    topology = Topology("unoapi", events=EventBounds(60, 20_000_000))
    other = ConfirmingPublisher(url, topology, recorder=EventRecorder(ConfirmingPublisher(url, topology)))

    other.check(timeout_s=10)
    other.publish([Envelope(fan_out(1))], timeout_s=10)
    trouble = other.events_trouble
    other.close()

    assert trouble == "the stream unoapi.events keeps the bounds with which it was made"
    assert read(rabbitmq.stream) == [(0, "event-1")]


def test_where_there_is_no_stream_reading_says_so_and_the_next_event_has_it_made_anew(
    rabbitmq: InRabbitMQ, url: str
) -> None:
    def change(channel: Any) -> None:
        channel.queue_purge("unoapi.outgoing")
        channel.queue_delete(KEPT.events)

    rabbitmq.publisher.on_channel(change)

    with pytest.raises(EventsNotKept, match="no stream"):
        rabbitmq.stream.bounds()
    with pytest.raises(EventsNotKept, match="UNOAPI_EVENTS_MAX_AGE"):
        BrokerEventStream(url, Topology("unoapi")).bounds()
    rabbitmq.publish(fan_out(1))

    message: Any = rabbitmq.publisher.on_channel(lambda channel: channel.basic_get("unoapi.outgoing", no_ack=True))
    assert message.headers["id"] == "event-1"
    assert read(rabbitmq.stream) == [(0, "event-1")]


def test_its_files_take_no_more_than_their_bound_however_much_is_published(
    servers: PrivateServers, rabbitmq: InRabbitMQ, url: str
) -> None:
    small = Topology("small", events=EventBounds(3600, MIN_EVENTS_BYTES))
    publisher = ConfirmingPublisher(url, small)
    publisher.check(timeout_s=10)
    job = fan_out(1).model_copy(update={"body": random.Random(1).randbytes(80_000).hex()})  # half of it, compressed
    events = [line(job.model_dump_json(), published_ms=now_ms())] * 4

    for _ in range(50):
        publisher.publish_messages([together(events, small)], timeout_s=30)
    publisher.close()

    [folder] = servers.rabbit.folder.glob("data/*/stream/*small?events*")  # beside folders that others make and delete
    files = [file for file in folder.iterdir() if file.is_file()]
    assert MIN_EVENTS_BYTES // 2 < sum(file.stat().st_size for file in files) <= MIN_EVENTS_BYTES
    assert rabbitmq.stream.bounds() is None


def test_a_broker_that_is_away_is_said_so() -> None:
    with pytest.raises(BrokerUnavailable):
        BrokerEventStream("amqp://guest:guest@127.0.0.1:1/", KEPT).bounds()


def test_what_others_wrote_into_it_is_passed_over(rabbitmq: InRabbitMQ, url: str) -> None:
    with Connection(url) as connection:
        channel: Any = connection.channel()
        strange = to_message(Envelope(fan_out(1)), KEPT)
        for body, headers in ((b"\xff\x00", {}), (strange.body, strange.headers), (b"[]", {"id": 5})):
            channel.basic_publish(amqp.Message(body, application_headers=headers), "", KEPT.events)
        known, later = (line(fan_out(number).model_dump_json(), published_ms=now_ms()) for number in (1, 2))
        for events in ([b""], [b"\xff \x00"], [known[:-20], b"1 " + known, b"soon" + known, later], [b"1 2"] * 2_000):
            good = together(events, KEPT)
            channel.basic_publish(amqp.Message(good.body, **good.properties), "", KEPT.events)
            channel.basic_publish(amqp.Message(good.body[:-9], content_encoding=ENCODING), "", KEPT.events)
    rabbitmq.publish(fan_out(3))

    assert [event for _, event in read(rabbitmq.stream)] == ["event-2", "event-3"]
