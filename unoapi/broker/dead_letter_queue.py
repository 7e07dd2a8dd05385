"""The dead queue: read it, take out of it, put back, while workers run.

A queue has no other way to be read than to take its messages and give them back. So one walk takes batches, leaves
unacknowledged what stays (a process that dies gives everything back by itself), and ends by giving it back. When a
queue is too long to be left unacknowledged at once, what stays goes to the queue's end: copied with a confirm, then
acknowledged.

RabbitMQ passes about 32 acknowledgements of a channel on to a quorum queue, and the others when those are applied. It
forgets the others when the channel is closed first, and their messages come back. So what can be is acknowledged in
one run, and nothing is closed before all are applied.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self

from amqp.exceptions import ResourceLocked

from unoapi.broker.connection import BROKER_ERRORS, Connection, wait_until_applied
from unoapi.broker.connection_pool import CONNECT_TIMEOUT_S, HEARTBEAT_S
from unoapi.broker.dead_letters import moved_to_the_end, read_dead_letter, replayed
from unoapi.errors import BrokerBlocked, BrokerUnavailable, DeadLettersBusy
from unoapi.models.dead_letters import PASSED_OVER, STAYING, UNBOUNDED, Bounds, DeadLetterResult, DeadLetterWalk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unoapi.broker.publisher import ConfirmingPublisher
    from unoapi.broker.topology import Topology
    from unoapi.models.dead_letters import DeadLetter, DeadLetterQuery, Outcome

BATCH, FIRST_BATCH = 200, 25
"""Dead letters that are taken at once, and at first where few are wanted: those may be the first ones."""
MAX_UNACKED = 10_000
"""Dead letters left unacknowledged at most, and seconds that they are."""
MAX_UNACKED_S = 30.0
QUIET_S = 2.0
READ_TIMEOUT_S = 30.0
"""An answer that takes longer is not expected any more."""


class BrokerDeadLetterQueue:
    """The dead queue of one installation, in RabbitMQ. See the port `DeadLetterQueue`."""

    def __init__(self, amqp_url: str, topology: Topology, publisher: ConfirmingPublisher) -> None:
        self._url = amqp_url
        self._topology = topology
        self._publisher = publisher

    def count(self) -> int:
        """Dead letters in the queue, without those that another process has unacknowledged."""
        with self._connection() as connection:
            return self._count(connection.channel())

    def walk(
        self,
        query: DeadLetterQuery,
        settle: Callable[[Sequence[DeadLetter]], Sequence[Outcome]],
        *,
        on_locked: Callable[[], None] = lambda: None,
        batch: int | None = None,
        bounds: Bounds = UNBOUNDED,
    ) -> DeadLetterWalk:
        """Go through the queue once, from its head, and let `settle` decide on the selected dead letters.

        The work is done while the walk is iterated. One walk at a time over all processes: raises DeadLettersBusy
        while another one goes on; `on_locked` is called when the right to walk is ours.
        """
        walk = DeadLetterWalk()
        size = min(batch or BATCH, BATCH)
        walk.results = self._walk(walk, query, settle, on_locked=on_locked, size=size, bounds=bounds)
        return walk

    def put_back(self, dead_letters: Sequence[DeadLetter], *, accepted_at_ms: int) -> None:
        """Publish dead letters again on their queues, all confirmed. Raises BrokerUnavailable."""
        self._publisher.publish_messages(
            [replayed(dead_letter, self._topology, accepted_at_ms=accepted_at_ms) for dead_letter in dead_letters]
        )

    def _walk(  # noqa: PLR0913 (the walk's own, and what a caller may say)
        self,
        walk: DeadLetterWalk,
        query: DeadLetterQuery,
        settle: Callable[[Sequence[DeadLetter]], Sequence[Outcome]],
        *,
        on_locked: Callable[[], None],
        size: int,
        bounds: Bounds,
    ) -> Iterator[DeadLetterResult]:
        try:
            with self._connection() as connection, _Heartbeats(connection) as heartbeats:
                channel: Any = connection.channel()
                self._lock(connection)
                on_locked()
                taken = _Taken(channel)
                try:
                    yield from self._settled(
                        walk, query, settle, taken=taken, heartbeats=heartbeats, size=size, bounds=bounds
                    )
                finally:
                    if taken.acknowledged:
                        wait_until_applied(channel, self._topology.dead)
                # Closing the connection gives back what is unacknowledged.
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(f"the connection to RabbitMQ was lost: {type(error).__name__}") from error

    def _settled(  # noqa: PLR0913 (the walk's own, and what a caller may say)
        self,
        walk: DeadLetterWalk,
        query: DeadLetterQuery,
        settle: Callable[[Sequence[DeadLetter]], Sequence[Outcome]],
        *,
        taken: _Taken,
        heartbeats: _Heartbeats,
        size: int,
        bounds: Bounds,
    ) -> Iterator[DeadLetterResult]:
        total = walk.total = self._count(taken.channel)
        seen = 0
        unacked_since = started = time.monotonic()
        left = total if bounds.dead_letters is None else bounds.dead_letters
        while seen < total:
            if left <= 0 or (bounds.seconds is not None and time.monotonic() - started > bounds.seconds):
                return
            most = left if query.empty else size if bounds.dead_letters is None else max(FIRST_BATCH, seen)
            batch = self._take(taken, min(most, size, total - seen))
            if not batch:
                break
            seen += len(batch)
            walk.seen = seen
            matching = [(tag, dead_letter) for tag, dead_letter in batch if query.matches(dead_letter)]
            while matching and left > 0:
                selected, matching = matching[:left], matching[left:]
                with heartbeats.meanwhile():
                    outcomes = settle([dead_letter for _, dead_letter in selected])
                left -= sum(bool(query.id) or outcome not in PASSED_OVER for outcome in outcomes)
                results = list(zip(selected, outcomes, strict=True))
                taken.acknowledge({tag for (tag, _), outcome in results if outcome not in STAYING})
                with heartbeats.meanwhile():
                    for (_, dead_letter), outcome in results:
                        yield DeadLetterResult(dead_letter, outcome)
            if matching:
                return
            too_long = time.monotonic() - unacked_since >= MAX_UNACKED_S
            if seen < total and (len(taken.unacked) >= MAX_UNACKED or too_long):
                self._move_to_the_end(taken)
                unacked_since = time.monotonic()
        walk.complete = True

    def _take(self, taken: _Taken, count: int) -> list[tuple[int, DeadLetter]]:
        """The next dead letters, unacknowledged.

        Each batch has a consumer of its own, so what is unacknowledged does not block it.
        """
        batch: list[tuple[int, DeadLetter]] = []

        def on_message(message: Any) -> None:
            dead_letter = read_dead_letter(
                message.body, message.headers, message.properties, message.delivery_info["routing_key"]
            )
            batch.append((message.delivery_info["delivery_tag"], dead_letter))

        channel = taken.channel
        channel.basic_qos(0, count, False)
        tag = channel.basic_consume(self._topology.dead, no_ack=False, callback=on_message)
        deadline = time.monotonic() + QUIET_S
        while len(batch) < count and time.monotonic() < deadline:
            before = len(batch)
            try:
                channel.connection.drain_events(timeout=QUIET_S)
            except TimeoutError:
                break
            if len(batch) > before:
                deadline = time.monotonic() + QUIET_S
        channel.basic_cancel(tag)
        taken.unacked.update(batch)
        return batch

    def _move_to_the_end(self, taken: _Taken) -> None:
        unacked = list(taken.unacked.items())
        for start in range(0, len(unacked), BATCH):
            part = unacked[start : start + BATCH]
            self._publisher.publish_messages([moved_to_the_end(dead_letter, self._topology) for _, dead_letter in part])
            taken.acknowledge({tag for tag, _ in part})

    def _count(self, channel: Any) -> int:
        return int(channel.queue_declare(self._topology.dead, passive=True).message_count)

    def _connection(self) -> Connection:
        with suppress(BrokerBlocked):  # during an alarm dead letters can be read and purged
            self._publisher.check()  # declares the topology, and raises when RabbitMQ is away
        connection = Connection(
            self._url,
            connect_timeout=CONNECT_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
            transport_options={"read_timeout": READ_TIMEOUT_S, "write_timeout": READ_TIMEOUT_S},
        )
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        return connection

    def _lock(self, connection: Connection) -> None:
        """Take the right to walk for as long as the connection lives: RabbitMQ frees it when this process dies."""
        try:
            channel: Any = connection.channel()
            channel.queue_declare(f"{self._topology.dead}.lock", exclusive=True, durable=False, auto_delete=True)
        except ResourceLocked:
            raise DeadLettersBusy("another process") from None


class _Taken:
    """The dead letters that one channel has unacknowledged, by their tags, in the order in which they came."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.unacked: dict[int, DeadLetter] = {}
        self.acknowledged = False

    def acknowledge(self, tags: set[int]) -> None:
        """Acknowledge these: those before which nothing stays in one run, the others one by one."""
        if not tags:
            return
        self.acknowledged = True
        run = list(takewhile(tags.__contains__, self.unacked))
        if run:
            self.channel.basic_ack(run[-1], multiple=True)
        for tag in sorted(tags.difference(run)):
            self.channel.basic_ack(tag)
        for tag in tags:
            del self.unacked[tag]


class _Heartbeats:
    """Sends heartbeats while a walk does something else, so that RabbitMQ notices when the walk's host is gone.

    Anything that is sent counts as one, so none is needed while the walk itself uses the connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._in_use = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, name="dead-letters", daemon=True)

    def __enter__(self) -> Self:
        self._in_use.acquire()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._in_use.release()
        self._thread.join()

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Send heartbeats during this block, in which the walk does not use the connection."""
        self._in_use.release()
        try:
            yield
        finally:
            self._in_use.acquire()

    def _send(self) -> None:
        while not self._ended.wait(HEARTBEAT_S / 2):
            with self._in_use:
                if self._ended.is_set():
                    return
                try:
                    self._connection.connection.send_heartbeat()
                except BROKER_ERRORS:
                    return  # the walk meets the same error
