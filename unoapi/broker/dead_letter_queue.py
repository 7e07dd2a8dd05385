"""The dead queue: read it, take out of it, put back, while workers run.

A queue has no other way to be read than to take its messages and give them back. So one walk takes batches, leaves
unacknowledged what stays (a process that dies gives everything back by itself), and ends by giving it back. When a
queue is too long to be left unacknowledged at once, what stays goes to the queue's end: copied with a confirm, then
acknowledged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from amqp.exceptions import ResourceLocked

from unoapi.broker.connection import Connection
from unoapi.broker.connection_pool import CONNECT_TIMEOUT_S
from unoapi.broker.dead_letters import moved_to_the_end, read_dead_letter, replayed
from unoapi.errors import DeadLettersBusy
from unoapi.models.dead_letters import STAYING, UNBOUNDED, Bounds, DeadLetterResult, DeadLetterWalk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unoapi.broker.publisher import ConfirmingPublisher
    from unoapi.broker.topology import Topology
    from unoapi.models.dead_letters import DeadLetter, DeadLetterQuery, Outcome

BATCH = 200
MAX_UNACKED = 10_000
"""Dead letters left unacknowledged at most, and seconds that they are."""
MAX_UNACKED_S = 30.0
QUIET_S = 2.0


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

    def put_back(self, letters: Sequence[DeadLetter], *, accepted_at_ms: int) -> None:
        """Publish dead letters again on their queues, all confirmed. Raises BrokerUnavailable."""
        self._publisher.publish_messages(
            [replayed(letter, self._topology, accepted_at_ms=accepted_at_ms) for letter in letters]
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
        with self._connection() as connection:
            channel: Any = connection.channel()
            self._lock(connection)
            on_locked()
            total = self._count(channel)
            seen = 0
            unacked: list[tuple[int, DeadLetter]] = []
            unacked_since = started = time.monotonic()
            left = total if bounds.letters is None else bounds.letters
            while seen < total:
                if left <= 0 or (bounds.seconds is not None and time.monotonic() - started > bounds.seconds):
                    return
                batch = self._take(connection, channel, min(size, total - seen))
                if not batch:
                    break
                seen += len(batch)
                matching = [(tag, letter) for tag, letter in batch if query.matches(letter)]
                selected = matching[:left]
                outcomes = settle([letter for _, letter in selected]) if selected else ()
                left -= sum(outcome != "needs_force" for outcome in outcomes)
                gone = set()
                for (tag, letter), outcome in zip(selected, outcomes, strict=True):
                    if outcome not in STAYING:
                        channel.basic_ack(tag)
                        gone.add(tag)
                    yield DeadLetterResult(letter, outcome)
                if len(selected) < len(matching):
                    return
                unacked.extend((tag, letter) for tag, letter in batch if tag not in gone)
                too_long = time.monotonic() - unacked_since >= MAX_UNACKED_S
                if seen < total and (len(unacked) >= MAX_UNACKED or too_long):
                    self._move_to_the_end(channel, unacked)
                    unacked, unacked_since = [], time.monotonic()
            walk.complete = True
            # Closing the connection gives back what is unacknowledged.

    def _take(self, connection: Connection, channel: Any, count: int) -> list[tuple[int, DeadLetter]]:
        """The next dead letters, unacknowledged.

        Each batch has a consumer of its own, so what is unacknowledged does not block it.
        """
        batch: list[tuple[int, DeadLetter]] = []

        def on_message(message: Any) -> None:
            letter = read_dead_letter(
                message.body, message.headers, message.properties, message.delivery_info["routing_key"]
            )
            batch.append((message.delivery_info["delivery_tag"], letter))

        channel.basic_qos(0, count, False)
        tag = channel.basic_consume(self._topology.dead, no_ack=False, callback=on_message)
        deadline = time.monotonic() + QUIET_S
        while len(batch) < count and time.monotonic() < deadline:
            before = len(batch)
            try:
                connection.drain_events(timeout=QUIET_S)
            except TimeoutError:
                break
            if len(batch) > before:
                deadline = time.monotonic() + QUIET_S
        channel.basic_cancel(tag)
        return batch

    def _move_to_the_end(self, channel: Any, unacked: list[tuple[int, DeadLetter]]) -> None:
        for start in range(0, len(unacked), BATCH):
            part = unacked[start : start + BATCH]
            self._publisher.publish_messages([moved_to_the_end(letter, self._topology) for _, letter in part])
            for tag, _ in part:
                channel.basic_ack(tag)

    def _count(self, channel: Any) -> int:
        return int(channel.queue_declare(self._topology.dead, passive=True).message_count)

    def _connection(self) -> Connection:
        self._publisher.check()  # declares the topology, and raises when RabbitMQ is away
        connection = Connection(self._url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=0)
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        return connection

    def _lock(self, connection: Connection) -> None:
        """Take the right to walk for as long as the connection lives: RabbitMQ frees it when this process dies."""
        try:
            channel: Any = connection.channel()
            channel.queue_declare(f"{self._topology.dead}.lock", exclusive=True, durable=False, auto_delete=True)
        except ResourceLocked:
            raise DeadLettersBusy("another process") from None
