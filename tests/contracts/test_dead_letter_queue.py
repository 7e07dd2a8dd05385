"""The dead-letter queue: a walk sees everything once, leaves what is to stay, and is alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import MemoryDeadLetterHolder, MemoryDeadLetterQueue, make_delivery
from tests.support.stack import eventually
from tests.support.vhosts import own_vhost
from unoapi.broker.dead_letter_queue import BrokerDeadLetterQueue
from unoapi.broker.dead_letters import read_dead_letter, to_dead_letter
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.broker.topology import Topology
from unoapi.errors import DeadLettersBusy
from unoapi.models.dead_letters import Bounds, DeadLetterQuery
from unoapi.models.jobs import Envelope
from unoapi.stores.dead_letter_holder import RedisDeadLetterHolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unoapi.devenv.servers import PrivateServers
    from unoapi.models.dead_letters import DeadLetter, Outcome
    from unoapi.ports import DeadLetterHolder, DeadLetterQueue

TOPOLOGY = Topology("unoapi")
ALL = DeadLetterQuery()
MESSAGES = [
    to_dead_letter(Envelope(make_delivery(id=f"d-{n}", webhook_id=name)), TOPOLOGY, reason="refused", error="HTTP 500")
    for n, name in enumerate(["main", "crm", "main", "main"])
]


@pytest.fixture(params=["memory", "broker"])
def queue(request: pytest.FixtureRequest) -> Iterator[DeadLetterQueue]:
    """Four dead letters, one of them of the webhook `crm`."""
    if request.param == "memory":
        dead_letters = [read_dead_letter(m.body, m.headers, m.properties, m.routing_key) for m in MESSAGES]
        yield MemoryDeadLetterQueue(*dead_letters)
        return
    servers: PrivateServers = request.getfixturevalue("servers")
    with own_vhost(servers) as url:
        publisher = ConfirmingPublisher(url, TOPOLOGY)
        publisher.check(timeout_s=10)
        publisher.publish_messages(MESSAGES, timeout_s=10)
        yield BrokerDeadLetterQueue(url, TOPOLOGY, publisher)
        publisher.close()


def keep(dead_letters: Sequence[DeadLetter]) -> Sequence[Outcome]:
    return ["kept"] * len(dead_letters)


def purge(dead_letters: Sequence[DeadLetter]) -> Sequence[Outcome]:
    return ["purged"] * len(dead_letters)


def seen(queue: DeadLetterQueue, query: DeadLetterQuery = ALL) -> list[str]:
    return sorted(result.dead_letter.id for result in queue.walk(query, keep))


def test_a_walk_sees_every_dead_letter_once_and_says_that_it_did(queue: DeadLetterQueue) -> None:
    walk = queue.walk(ALL, keep)

    assert sorted(result.dead_letter.id for result in walk) == ["d-0", "d-1", "d-2", "d-3"]
    assert walk.complete
    assert eventually(lambda: queue.count() == 4)


def test_what_is_settled_leaves_and_what_is_not_selected_stays(queue: DeadLetterQueue) -> None:
    results = list(queue.walk(DeadLetterQuery(webhook="crm"), purge))

    assert [(result.dead_letter.id, result.outcome) for result in results] == [("d-1", "purged")]
    assert eventually(lambda: queue.count() == 3)
    assert seen(queue) == ["d-0", "d-2", "d-3"]


def test_a_walk_decides_on_a_batch_at_a_time(queue: DeadLetterQueue) -> None:
    batches: list[int] = []

    def settle(dead_letters: Sequence[DeadLetter]) -> Sequence[Outcome]:
        batches.append(len(dead_letters))
        return keep(dead_letters)

    list(queue.walk(ALL, settle, batch=3))

    assert batches == [3, 1]


def test_a_bounded_walk_ends_early_and_says_so(queue: DeadLetterQueue) -> None:
    walk = queue.walk(ALL, purge, bounds=Bounds(dead_letters=3))

    assert len(list(walk)) == 3
    assert not walk.complete
    assert eventually(lambda: queue.count() == 1)


def test_a_long_walk_keeps_its_connection(queue: DeadLetterQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """With heartbeats RabbitMQ notices a dead reader; so a living one that is busy has to send them."""
    monkeypatch.setattr("unoapi.broker.dead_letter_queue.HEARTBEAT_S", 1)

    def slowly(dead_letters: Sequence[DeadLetter]) -> Sequence[Outcome]:
        time.sleep(5)  # RabbitMQ ends a silent connection after 2 to 3 s
        return purge(dead_letters)

    results = []
    for result in queue.walk(ALL, slowly):
        results.append(result.outcome)
        time.sleep(1.5)

    assert results == ["purged"] * 4
    assert eventually(lambda: queue.count() == 0)


def test_a_walk_begins_when_it_is_iterated(queue: DeadLetterQueue) -> None:
    locked: list[bool] = []
    walk = queue.walk(ALL, keep, on_locked=lambda: locked.append(True))
    assert locked == []

    list(walk)

    assert locked == [True]


def test_a_second_walk_is_refused_while_the_first_goes_on(queue: DeadLetterQueue) -> None:
    locked: list[str] = []
    first: Any = iter(queue.walk(ALL, keep))
    next(first)

    with pytest.raises(DeadLettersBusy):
        list(queue.walk(ALL, keep, on_locked=lambda: locked.append("second")))
    first.close()

    assert locked == []
    assert eventually(lambda: queue.count() == 4)
    assert len(seen(queue)) == 4


@pytest.fixture(params=["memory", "redis"])
def holder(request: pytest.FixtureRequest) -> DeadLetterHolder:
    if request.param == "memory":
        return MemoryDeadLetterHolder()
    return RedisDeadLetterHolder(request.getfixturevalue("redis_client"))


def test_the_holder_is_named_until_it_is_done(holder: DeadLetterHolder) -> None:
    assert holder.read() == ""

    holder.write("`purge` on a host")
    assert eventually(lambda: holder.read() == "`purge` on a host")
    holder.clear()

    assert eventually(lambda: holder.read() == "")
