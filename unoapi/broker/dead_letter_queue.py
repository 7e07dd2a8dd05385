"""The dead queue: look, put back, throw away, while workers run.

A queue has no other way to be read than to take its messages and give them back. So one pass takes batches, holds what
it keeps unacknowledged (a process that dies gives everything back by itself), and ends by giving it back. When a queue
is too long to be held at once, what was kept goes to the queue's end: copied with a confirm, then acknowledged.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from amqp.exceptions import ResourceLocked

from unoapi.broker.connection import Connection
from unoapi.broker.connection_pool import CONNECT_TIMEOUT_S
from unoapi.broker.dead_letters import kept, read_dead_letter, replayed
from unoapi.errors import Busy, OutcomeUnknown
from unoapi.models.jobs import DeliverWebhook, SendMessage, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unoapi.broker.dead_letters import DeadLetter
    from unoapi.broker.publisher import ConfirmingPublisher
    from unoapi.broker.topology import Topology

BATCH = 200
HOLD = 10_000
"""Letters held unacknowledged at most, and seconds that they are held."""
HOLD_S = 30.0
QUIET_S = 2.0


@dataclass(frozen=True)
class DeadLetterQuery:
    """Which letters are meant. Empty fields match all."""

    id: str = ""
    queue: str = ""
    phone: str = ""
    webhook: str = ""
    reason: str = ""
    older_than: timedelta | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether this letter is meant."""
        return (
            self.id in ("", letter.id)
            and (not self.queue or letter.queue in (self.queue, f"{letter.queue.partition('.')[0]}.{self.queue}"))
            and self.phone in ("", letter.phone)
            and self.webhook in ("", letter.webhook)
            and self.reason in ("", letter.reason)
            and (self.older_than is None or _known_age(letter) >= self.older_than)
        )

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return self == DeadLetterQuery()


def _known_age(letter: DeadLetter) -> timedelta:
    """The broker does not date what it could not route; such a letter may be new, so it is never taken for old."""
    return datetime.now(UTC) - letter.died_at if letter.died_at else timedelta(0)


@dataclass(frozen=True)
class DeadLetterResult:
    """One matching letter and what was done with it."""

    letter: DeadLetter
    outcome: str  # kept, replayed, already_delivered, needs_force, purged


class DeadLetterQueue:
    """The dead queue of one installation. One verb at a time, over all processes: a second one raises Busy.

    `on_locked` is called when the turn of a verb has come. `most` bounds the letters that a verb takes up, `within_s`
    the seconds; `complete` then tells whether the whole queue was seen.
    """

    def __init__(
        self,
        amqp_url: str,
        topology: Topology,
        publisher: ConfirmingPublisher,
        *,
        on_locked: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = amqp_url
        self._topology = topology
        self._publisher = publisher
        self._on_locked = on_locked
        self.complete = False

    def count(self) -> int:
        """Letters that wait in the queue, without those that another process holds."""
        with self._connection() as connection:
            return self._count(connection.channel())

    def look(
        self, wanted: DeadLetterQuery, *, most: int | None = None, within_s: float | None = None
    ) -> Iterator[DeadLetterResult]:
        """All matching letters; every one stays."""
        return self._walk(
            wanted, lambda letters: dict.fromkeys(range(len(letters)), "kept"), most=most, within_s=within_s
        )

    def purge(
        self, wanted: DeadLetterQuery, *, most: int | None = None, within_s: float | None = None
    ) -> Iterator[DeadLetterResult]:
        """Throw the matching letters away."""
        return self._walk(
            wanted, lambda letters: dict.fromkeys(range(len(letters)), "purged"), most=most, within_s=within_s
        )

    def replay(  # noqa: PLR0913 (collaborators and bounds)
        self,
        wanted: DeadLetterQuery,
        *,
        force: bool,
        rate: float | None,
        is_done: Callable[[DeliverWebhook], bool],
        release: Callable[[SendMessage], None],
        most: int | None = None,
        within_s: float | None = None,
    ) -> Iterator[DeadLetterResult]:
        """Put the matching letters back on their queues; each is removed only after the confirmed publish.

        `rate` is in letters per second. `is_done` tells of a delivery that went well meanwhile: its letter is removed.
        A send whose outcome is unknown stays unless `force`; then `release` gives its claim back.
        """

        def put_back(letters: Sequence[DeadLetter]) -> dict[int, str]:
            outcomes: dict[int, str] = {}
            messages = []
            for number, letter in enumerate(letters):
                if isinstance(letter.job, DeliverWebhook) and is_done(letter.job):
                    outcomes[number] = "already_delivered"
                    continue
                if letter.reason == OutcomeUnknown.reason and not force:
                    outcomes[number] = "needs_force"
                    continue
                if isinstance(letter.job, SendMessage):
                    release(letter.job)
                outcomes[number] = "replayed"
                messages.append(replayed(letter, self._topology, accepted_at_ms=now_ms()))
            if messages:
                self._publisher.publish_messages(messages)
            if rate:
                time.sleep(len(messages) / rate)
            return outcomes

        size = BATCH if rate is None else max(1, min(BATCH, int(rate)))
        return self._walk(wanted, put_back, size=size, most=most, within_s=within_s)

    def _walk(
        self,
        wanted: DeadLetterQuery,
        visit: Callable[[Sequence[DeadLetter]], dict[int, str]],
        *,
        size: int = BATCH,
        most: int | None = None,
        within_s: float | None = None,
    ) -> Iterator[DeadLetterResult]:
        with self._connection() as connection:
            channel: Any = connection.channel()
            self._lock(connection)
            total = self._count(channel)
            seen = 0
            held: list[tuple[int, DeadLetter]] = []
            held_since = started = time.monotonic()
            left = total if most is None else most
            self.complete = False
            while seen < total:
                if left <= 0 or (within_s is not None and time.monotonic() - started > within_s):
                    return
                batch = self._take(connection, channel, min(size, total - seen))
                if not batch:
                    break
                seen += len(batch)
                matching = [(tag, letter) for tag, letter in batch if wanted.matches(letter)]
                meant = matching[:left]
                outcomes = visit([letter for _, letter in meant]) if meant else {}
                left -= sum(outcome != "needs_force" for outcome in outcomes.values())
                gone = set()
                for number, (tag, letter) in enumerate(meant):
                    if outcomes[number] not in ("kept", "needs_force"):
                        channel.basic_ack(tag)
                        gone.add(tag)
                    yield DeadLetterResult(letter, outcomes[number])
                if len(meant) < len(matching):
                    return
                held.extend((tag, letter) for tag, letter in batch if tag not in gone)
                if seen < total and (len(held) >= HOLD or time.monotonic() - held_since >= HOLD_S):
                    self._to_the_end(channel, held)
                    held, held_since = [], time.monotonic()
            self.complete = True
            # Closing the connection gives back what is held.

    def _take(self, connection: Connection, channel: Any, count: int) -> list[tuple[int, DeadLetter]]:
        """The next letters, unacknowledged. Each batch has a consumer of its own, so what is held does not block it."""
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

    def _to_the_end(self, channel: Any, held: list[tuple[int, DeadLetter]]) -> None:
        for start in range(0, len(held), BATCH):
            part = held[start : start + BATCH]
            self._publisher.publish_messages([kept(letter, self._topology) for _, letter in part])
            for tag, _ in part:
                channel.basic_ack(tag)

    def _count(self, channel: Any) -> int:
        return int(channel.queue_declare(self._topology.dead, passive=True).message_count)

    def _connection(self) -> Connection:
        self._publisher.check()  # declares the topology, and tells whether RabbitMQ is there
        connection = Connection(self._url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=0)
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        return connection

    def _lock(self, connection: Connection) -> None:
        """Hold the right to be at the queue for as long as the connection lives: RabbitMQ frees it when we die."""
        try:
            channel: Any = connection.channel()
            channel.queue_declare(f"{self._topology.dead}.lock", exclusive=True, durable=False, auto_delete=True)
        except ResourceLocked:
            raise Busy("another process is at the dead queue") from None
        self._on_locked()


def who() -> str:
    """This process, for the message to a second one."""
    return f"{socket.gethostname()} process {os.getpid()} since {datetime.now(UTC):%H:%M:%S} UTC"
