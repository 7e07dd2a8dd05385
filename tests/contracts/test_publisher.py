"""Publisher: it returns when the message is safe, and raises when it is not.

On the real RabbitMQ, and in memory as far as that is the same.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
from kombu import Connection

from tests.support.fakes import MemoryPublisher, make_fan_out, make_send
from tests.support.stack import TOPOLOGY, eventually
from tests.support.vhosts import own_vhost
from unoapi.broker.connection_pool import MAX_CONNECTIONS, PooledConnection
from unoapi.broker.dead_letters import to_dead_letter
from unoapi.broker.messages import Message, from_body, to_message
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.errors import BrokerUnavailable, ConfigurationError
from unoapi.models.jobs import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.broker.topology import Topology
    from unoapi.devenv.servers import PrivateServers

INCOMING = "unoapi.incoming"


class Broker:
    """One vhost, read from outside."""

    def __init__(self, servers: PrivateServers, url: str) -> None:
        self.url = url
        self._management = servers.management_url
        self._vhost = self.url.rpartition("/")[2]
        self._connection = Connection(self.url)
        self.channel: Any = self._connection.channel()

    def depth(self, queue: str = INCOMING) -> int:
        return int(self.channel.queue_declare(queue, passive=True).message_count)

    def take(self, queue: str = INCOMING) -> Any:
        return self.channel.basic_get(queue, no_ack=True)

    def limit(self, queue: str, length: int) -> None:
        """From now on the queue refuses what is more than so many messages."""
        policy = {"pattern": f"^{queue}$", "definition": {"max-length": length}, "apply-to": "queues"}
        answer = requests.put(f"{self._management}/api/policies/{self._vhost}/full", json=policy, timeout=10)
        assert answer.ok, answer.text

    def close(self) -> None:
        self._connection.release()


@pytest.fixture
def broker(servers: PrivateServers) -> Iterator[Broker]:
    with own_vhost(servers) as url:
        running = Broker(servers, url)
        yield running
        running.close()


@pytest.fixture
def publisher(broker: Broker) -> Iterator[ConfirmingPublisher]:
    running = ConfirmingPublisher(broker.url, TOPOLOGY)
    yield running
    running.close()


@pytest.fixture(params=["RabbitMQ", "memory"])
def queues(request: pytest.FixtureRequest) -> Broker | MemoryPublisher:
    """Where the messages are that `either` publishes."""
    real: Broker | MemoryPublisher = (
        request.getfixturevalue("broker") if request.param == "RabbitMQ" else MemoryPublisher()
    )
    return real


@pytest.fixture
def either(queues: Broker | MemoryPublisher, request: pytest.FixtureRequest) -> ConfirmingPublisher | MemoryPublisher:
    real: ConfirmingPublisher | MemoryPublisher = (
        queues if isinstance(queues, MemoryPublisher) else request.getfixturevalue("publisher")
    )
    return real


def envelope(number: int = 1) -> Envelope:
    return Envelope(make_send(id=f"wamid.{number}", message_id=f"wamid.{number}"))


def test_when_it_returns_the_message_is_on_its_queue(
    queues: Broker | MemoryPublisher, either: ConfirmingPublisher | MemoryPublisher
) -> None:
    either.publish([envelope()])

    message = queues.take()
    assert message is not None
    assert from_body("incoming.send", message.body).id == "wamid.1"
    assert message.properties["delivery_mode"] == 2


def test_nothing_to_publish_is_no_trouble(either: ConfirmingPublisher | MemoryPublisher) -> None:
    either.publish([])


def test_many_threads_publish_at_once_and_nothing_is_lost_or_doubled(
    queues: Broker | MemoryPublisher, either: ConfirmingPublisher | MemoryPublisher
) -> None:
    with ThreadPoolExecutor(32) as threads:
        list(threads.map(lambda number: either.publish([envelope(number), envelope(-number)]), range(1, 501)))

    taken = [from_body("incoming.send", queues.take().body).id for _ in range(1000)]
    assert queues.take() is None
    assert sorted(taken) == sorted(f"wamid.{number}" for number in range(-500, 501) if number)


def test_a_message_that_the_broker_refuses_is_an_error(broker: Broker, publisher: ConfirmingPublisher) -> None:
    publisher.publish([envelope()])
    broker.limit(INCOMING, 1)

    def refused() -> bool:
        try:
            publisher.publish([envelope(2)])
        except BrokerUnavailable as error:
            return "refused" in str(error)
        return False

    eventually(refused, every_s=0.1, what="the broker refuses more than the queue's length limit")
    accepted = broker.depth()
    with pytest.raises(BrokerUnavailable):
        publisher.publish([envelope(3)])
    assert broker.depth() == accepted


def test_of_each_of_several_jobs_it_is_said_whether_it_is_safe(
    queues: Broker | MemoryPublisher, either: ConfirmingPublisher | MemoryPublisher
) -> None:
    errors = either.publish_each([envelope(number) for number in range(1, 6)])

    assert errors == [None] * 5
    taken = [from_body("incoming.send", queues.take().body).id for _ in range(5)]
    assert taken == [f"wamid.{number}" for number in range(1, 6)]
    assert either.publish_each([]) == []


def test_of_several_jobs_only_the_refused_ones_failed(broker: Broker, publisher: ConfirmingPublisher) -> None:
    test_a_message_that_the_broker_refuses_is_an_error(broker, publisher)
    accepted = broker.depth()
    other = Envelope(make_fan_out())

    errors = publisher.publish_each([envelope(7), other, envelope(8), other])

    assert [type(error) for error in errors] == [BrokerUnavailable, type(None)] * 2
    assert (broker.depth(), broker.depth("unoapi.outgoing")) == (accepted, 2)


def test_without_a_broker_none_of_several_jobs_is_safe() -> None:
    publisher = ConfirmingPublisher("amqp://guest:guest@127.0.0.1:1", TOPOLOGY)

    errors = publisher.publish_each([envelope(1), envelope(2)])

    assert [type(error) for error in errors] == [BrokerUnavailable] * 2
    publisher.close()


def test_one_refused_message_does_not_spoil_the_others(broker: Broker, publisher: ConfirmingPublisher) -> None:
    test_a_message_that_the_broker_refuses_is_an_error(broker, publisher)
    fine = Message("unoapi.broker", "unoapi.outgoing", b"{}", {}, {"delivery_mode": 2})

    with ThreadPoolExecutor(20) as threads:
        outcomes = [threads.submit(publisher.publish_messages, [fine]) for _ in range(20)]
        refused = [threads.submit(publisher.publish, [envelope(number)]) for number in range(20)]

    assert [outcome.exception() for outcome in outcomes] == [None] * 20
    assert {type(outcome.exception()) for outcome in refused} == {BrokerUnavailable}
    assert broker.depth("unoapi.outgoing") == 20


def test_what_cannot_be_routed_is_saved_as_dead(broker: Broker, publisher: ConfirmingPublisher) -> None:
    publisher.publish_messages(
        [Message("unoapi.broker", "nowhere", "lost?", {}, {"content_encoding": "utf-8", "delivery_mode": 2})]
    )

    message = eventually(lambda: broker.take("unoapi.dead"))
    assert (message.body, message.delivery_info["routing_key"]) == ("lost?", "nowhere")


def test_a_wait_stands_in_a_bucket_and_comes_home_not_early(broker: Broker, publisher: ConfirmingPublisher) -> None:
    start = time.monotonic()

    publisher.publish([Envelope(make_send(), delay_ms=700)])
    bucket, queue = broker.depth("unoapi.delayed"), broker.depth()
    message = eventually(broker.take)

    assert (bucket, queue) == (1, 0)
    assert 0.7 <= time.monotonic() - start < 1.4
    assert message.delivery_info["routing_key"] == INCOMING


def test_a_short_wait_does_not_stand_behind_a_long_one(broker: Broker, publisher: ConfirmingPublisher) -> None:
    publisher.publish([Envelope(make_send(id="long"), delay_ms=60_000), Envelope(make_send(id="short"), delay_ms=1000)])

    message = eventually(broker.take, within_s=3)

    assert from_body("incoming.send", message.body).id == "short"


@pytest.mark.parametrize("bucket", ["unoapi.delayed", "unoapi.delayed.3"])
def test_a_wait_whose_bucket_is_missing_stands_in_a_new_one(
    broker: Broker, publisher: ConfirmingPublisher, bucket: str
) -> None:
    with ThreadPoolExecutor(8) as threads:  # so that several connections are idle, none of which knows
        list(threads.map(lambda number: publisher.publish([envelope(number)]), range(80)))
    broker.channel.queue_delete(bucket)

    publisher.publish([Envelope(make_send(), delay_ms=1000 if bucket == "unoapi.delayed" else 8000)])

    assert broker.depth(bucket) == 1
    assert broker.depth("unoapi.dead") == 0


def test_of_several_messages_none_is_doubled_or_cut_when_a_bucket_is_missing(
    broker: Broker, publisher: ConfirmingPublisher
) -> None:
    publisher.publish([envelope()])
    broker.channel.queue_delete("unoapi.delayed.3")
    long_body = "x" * 300_000  # more than two frames of AMQP

    long = Envelope(make_send(id="wamid.long", body=long_body))
    publisher.publish([long, Envelope(make_send(), delay_ms=30_000), Envelope(make_send(), delay_ms=8000), envelope(2)])

    buckets = [f"unoapi.delayed.{TOPOLOGY.bucket(wait_ms)}" for wait_ms in (30_000, 8000)]
    assert [broker.depth(bucket) for bucket in buckets] == [1, 1]
    taken = [from_body("incoming.send", message.body) for message in iter(broker.take, None)]
    assert [job.id for job in taken] == ["wamid.1", "wamid.long", "wamid.2"]
    assert taken[1].body == long_body  # type: ignore[attr-defined]


def test_a_dead_letter_without_a_dead_queue_makes_one(broker: Broker, publisher: ConfirmingPublisher) -> None:
    publisher.publish([envelope()])
    broker.channel.queue_delete("unoapi.dead")

    dead_letter = to_dead_letter(envelope(), TOPOLOGY, reason="refused", error="HTTP 500")
    publisher.publish_messages([dead_letter])

    assert broker.depth("unoapi.dead") == 1


def test_what_somebody_deletes_is_back_at_the_next_check(
    broker: Broker, publisher: ConfirmingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.broker.connection_pool.CHECK_S", 1.0)
    publisher.publish([envelope()])

    broker.channel.queue_delete("unoapi.delayed.5")
    broker.channel.queue_unbind("unoapi.media", "unoapi.broker", "unoapi.media")
    time.sleep(3)
    publisher.publish_messages([Message("unoapi.broker", "unoapi.media", "x", {}, {})])

    assert broker.depth("unoapi.delayed.5") == 0
    assert broker.depth("unoapi.media") == 1


def test_where_another_process_declares_the_topology_it_is_declared_after_an_error_only(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.broker.connection_pool.CHECK_S", 0.0)
    declared: list[int] = []
    declare = PooledConnection.declare

    def count(connection: PooledConnection, topology: Topology) -> None:
        declared.append(1)
        declare(connection, topology)

    monkeypatch.setattr(PooledConnection, "declare", count)
    relying = ConfirmingPublisher(broker.url, TOPOLOGY, declared=True)

    relying.publish([envelope()])  # there is nothing yet
    after_an_error = len(declared)
    time.sleep(1.5)
    relying.publish([envelope(2)])
    relying.close()

    assert (after_an_error, len(declared)) == (1, 1)
    assert broker.depth() == 2


def test_a_publisher_that_was_idle_for_long_tries_at_once_whether_rabbitmq_is_back(
    publisher: ConfirmingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.broker.connection_pool.IDLE_AFTER_S", 0.0)
    monkeypatch.setattr("unoapi.broker.connection_pool.IDLE_MAINTENANCE_S", 60.0)
    publisher.publish([envelope()])
    pool = publisher._pool.get()
    time.sleep(1.2)  # its maintenance rests now

    pool.away = True

    eventually(lambda: not pool.away, within_s=5, what="RabbitMQ is there again")


def test_the_maintenance_goes_on_after_an_error_that_nobody_foresaw(
    broker: Broker, publisher: ConfirmingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish([envelope()])
    pool = publisher._pool.made()
    assert pool is not None
    monkeypatch.setattr(pool, "_reconnect", lambda: 1 / 0)
    pool.away = True
    time.sleep(1.5)
    monkeypatch.undo()

    eventually(lambda: not pool.away, within_s=5)
    publisher.publish([envelope()])

    assert broker.depth() == 2


def test_a_broken_connection_is_made_again_by_itself(broker: Broker, publisher: ConfirmingPublisher) -> None:
    publisher.publish([envelope(1)])
    (connection,) = publisher._pool.get()._idle

    connection._connection.transport.close_connection(connection._connection.connection)
    publisher.publish([envelope(2)])

    assert broker.depth() == 2


def test_heartbeats_do_not_put_off_the_end_of_the_wait_for_a_confirm(publisher: ConfirmingPublisher) -> None:
    publisher.publish([envelope(1)])
    (connection,) = publisher._pool.get()._idle
    began = time.monotonic()

    def heartbeat() -> tuple[int, int, bytes]:
        time.sleep(0.05)
        if time.monotonic() > began + 3:
            raise TimeoutError
        return 8, 0, b""

    connection._inner.transport.read_frame = heartbeat
    with pytest.raises(TimeoutError):
        connection.publish({0: to_message(envelope(2), TOPOLOGY)}, began + 0.3)

    assert time.monotonic() - began < 2


def test_a_publish_that_breaks_off_in_the_middle_is_finished_on_another_connection(
    broker: Broker, publisher: ConfirmingPublisher
) -> None:
    publisher.publish([envelope(1)])
    (connection,) = publisher._pool.get()._idle
    transport: Any = connection._inner.transport
    write, sock = transport.write, transport.sock

    def breaks_in_the_middle(data: bytes) -> None:
        write(data[: len(data) // 2])
        sock.shutdown(socket.SHUT_RDWR)

    transport.write = breaks_in_the_middle
    publisher.publish([envelope(number) for number in range(2, 6)])

    taken = {from_body("incoming.send", message.body).id for message in iter(broker.take, None)}
    assert taken == {f"wamid.{number}" for number in range(1, 6)}


def test_no_more_connections_than_the_limit_and_none_broken_by_idleness(
    broker: Broker, publisher: ConfirmingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.broker.connection_pool.HEARTBEAT_S", 2)
    with ThreadPoolExecutor(40) as threads:
        list(threads.map(lambda number: publisher.publish([envelope(number)]), range(400)))
    connections = set(publisher._pool.get()._idle)

    assert 1 <= len(connections) <= MAX_CONNECTIONS
    time.sleep(6)  # RabbitMQ closes a connection that is silent for two heartbeats

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(lambda number: publisher.publish([envelope(number)]), range(400)))
    assert broker.depth() == 800
    assert connections & set(publisher._pool.get()._idle)


def test_after_a_close_it_can_be_used_again(
    queues: Broker | MemoryPublisher, either: ConfirmingPublisher | MemoryPublisher
) -> None:
    either.publish([envelope(1)])
    either.close()

    either.publish([envelope(2)])

    assert queues.depth() == 2


def _away_in_memory() -> MemoryPublisher:
    publisher = MemoryPublisher()
    publisher.away = True
    return publisher


@pytest.mark.parametrize(
    "make",
    [lambda: ConfirmingPublisher("amqp://guest:guest@127.0.0.1:1", TOPOLOGY), _away_in_memory],
    ids=["RabbitMQ", "memory"],
)
def test_without_a_broker_it_says_so_within_five_seconds(
    make: Callable[[], ConfirmingPublisher | MemoryPublisher],
) -> None:
    publisher = make()

    start = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        publisher.publish([envelope()])
    with pytest.raises(BrokerUnavailable):
        publisher.check(timeout_s=0.5)

    assert time.monotonic() - start < 6
    publisher.close()


def test_who_found_it_away_refuses_the_others_at_once() -> None:
    """A thread that waits for the whole time each is one that others need."""
    publisher = ConfirmingPublisher("amqp://guest:guest@127.0.0.1:1", TOPOLOGY)
    with pytest.raises(BrokerUnavailable):
        publisher.publish([envelope()], timeout_s=1.0)

    start = time.monotonic()
    for _ in range(50):
        with pytest.raises(BrokerUnavailable):
            publisher.publish([envelope()])

    assert time.monotonic() - start < 0.5
    publisher.close()


@pytest.mark.parametrize("stands_at", ["declare", "publish"])
def test_after_a_node_of_a_cluster_that_does_not_answer_the_next_one_is_asked(
    monkeypatch: pytest.MonkeyPatch, stands_at: str
) -> None:
    """One that is cut off from the others takes connections, and confirms nothing."""
    asked = []

    class Node:
        def __init__(self, url: str, **_: Any) -> None:
            asked.append(url.partition(";")[0])
            self.stands = asked[-1] == "amqp://one"

        def declare(self, _: Any) -> None:
            if self.stands and stands_at == "declare":
                raise TimeoutError

        def declare_streams(self, _: Any) -> None:
            pass

        def publish(self, waiting: dict[int, Message], _: float) -> None:
            if self.stands:
                raise TimeoutError
            waiting.clear()

        def close(self) -> None:
            pass

    monkeypatch.setattr("unoapi.broker.connection_pool.PooledConnection", Node)
    publisher = ConfirmingPublisher("amqp://one;amqp://two;amqp://three", TOPOLOGY)

    publisher.publish([envelope()])

    assert asked == ["amqp://one", "amqp://two"]
    publisher.close()


def test_a_slow_batch_does_not_refuse_the_others(
    broker: Broker, publisher: ConfirmingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ confirmed some in time, so it is there."""
    publisher.publish([envelope(0)])
    publish = PooledConnection.publish

    def confirms_one(self: PooledConnection, waiting: dict[int, Message], deadline: float) -> None:
        first = dict([waiting.popitem()])
        publish(self, first, deadline)
        time.sleep(max(0.0, deadline - time.monotonic()))
        raise TimeoutError

    monkeypatch.setattr(PooledConnection, "publish", confirms_one)
    with pytest.raises(BrokerUnavailable):
        publisher.publish([envelope(number) for number in range(1, 9)], timeout_s=0.5)
    monkeypatch.undo()

    publisher.publish([envelope(9)])

    assert broker.depth() == 3


def test_a_queue_with_other_arguments_is_named(broker: Broker, publisher: ConfirmingPublisher) -> None:
    broker.channel.queue_declare("unoapi.outgoing", durable=True, auto_delete=False)

    with pytest.raises(ConfigurationError, match=r"queue unoapi\.outgoing") as error:
        publisher.check()
    with pytest.raises(BrokerUnavailable):
        publisher.publish([envelope()])

    assert "add_vhost" in str(error.value)


def test_a_check_publishes_nothing(
    queues: Broker | MemoryPublisher, either: ConfirmingPublisher | MemoryPublisher
) -> None:
    either.check()

    assert [queues.depth(queue.name) for queue in TOPOLOGY.queues] == [0] * len(TOPOLOGY.queues)
