"""In-memory fakes of the ports, which pass the same contract suites as the real parts, and makers of test data."""

from __future__ import annotations

import copy
import functools
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.broker.dead_letters import read_dead_letter, replayed
from unoapi.broker.messages import from_body, to_message
from unoapi.broker.publisher import events_in
from unoapi.broker.topology import DELAY_HEADER, Topology
from unoapi.errors import (
    BrokerUnavailable,
    DeadLettersBusy,
    EventsNotKept,
    MediaMissing,
    NoConnector,
    SessionUnknown,
    StoreUnavailable,
)
from unoapi.models.activity import ALL, FAILED, SLOTS, Activity, LastError, Point, added, counted_in, error_of
from unoapi.models.alerts import AlertGroup
from unoapi.models.attempts import Answer
from unoapi.models.bulk import OPEN, RANKS
from unoapi.models.chats import NO_CHAT, Chat, last_of
from unoapi.models.claims import Claim, Predecessor, Turn
from unoapi.models.cloud_api.events import Event, contact, message_event, status_event
from unoapi.models.connector.events import STATUS_WORDS, PairingCode, QrCode, SessionState
from unoapi.models.contacts import contact_key, contact_keys
from unoapi.models.dead_letters import PASSED_OVER, STAYING, UNBOUNDED, DeadLetterResult, DeadLetterWalk
from unoapi.models.endpoints import LOOK_BEGUN, LOOK_ENDED, DeliveryState, Endpoint, EndpointChange, Holding, Permit
from unoapi.models.first_look import FirstLook
from unoapi.models.identity import Identity
from unoapi.models.jobs import DeliverWebhook, EventJob, FanOut, HeldDelivery, SendMessage, delivery_id, now_ms
from unoapi.models.message_keys import MessageKey, message_token
from unoapi.models.message_log import stuck_by
from unoapi.models.provenance import Environment
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.models.replays import STANDS_MS, Replay, StoredEvent, StreamBounds
from unoapi.models.session import Session, Webhook
from unoapi.models.trace import StuckMessage, completed
from unoapi.services.send_order import OwnTurn, SendTurns
from unoapi.stores.activity import SPANS
from unoapi.stores.alerts import EARLY_MS, GATHER_MS, GRACE_MS, MAX_GROUPS, OVERFLOW
from unoapi.stores.campaigns import LEFT_ALONE_MS
from unoapi.stores.connections import is_left
from unoapi.stores.request_bin import MAX_BODY_CHARS, MAX_REQUESTS
from unoapi.stores.send_order import LOST_AFTER_US

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from unoapi.broker.messages import Message
    from unoapi.models.activity import Span
    from unoapi.models.alerts import Alert, Digest
    from unoapi.models.audit import AuditEntry
    from unoapi.models.bulk import Campaign, State
    from unoapi.models.chats import Menu, MenuState
    from unoapi.models.cloud_api.messages import Command as MessageCommand
    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.connector.commands import ConnectorCommand
    from unoapi.models.dead_letters import Bounds, DeadLetter, DeadLetterQuery, Outcome
    from unoapi.models.jobs import Envelope, MessageJob
    from unoapi.models.media import MediaFile
    from unoapi.models.message_log import LoggedMessage
    from unoapi.models.message_log import State as MessageState
    from unoapi.models.processes import Process
    from unoapi.models.request_bin import BinnedRequest
    from unoapi.models.trace import TraceEntry
    from unoapi.ports import Ordering

PHONE = "5511999990000"
CONTACT = "5549988887777"
GROUP = "120363040468224422@g.us"
SECRET = "token-that-must-not-show"


class MemorySessions:
    """Sessions. `away` and `lost` stand for Redis that does not answer, and that forgot."""

    def __init__(
        self,
        *stored: Session,
        environment: tuple[Webhook, ...] = (),
        check: Callable[[Session], None] = lambda _: None,
    ) -> None:
        self.stored = {session.phone: session for session in stored}
        self.environment = environment
        self._check = check
        self._configs: dict[str, dict[str, Any]] = {}
        self.removed: set[str] = set()
        self.began: dict[str, int] = {}
        self.changed: dict[str, Session] = {}  # seen after a refresh only
        self.refreshed: list[str] = []
        self.away = False
        self.lost = False
        self.lost_keys: set[str] = set()

    def find(self, phone: str) -> Session:
        session = self._look_up(phone)
        if session is not None:
            return session
        if self.lost or phone in self.lost_keys:
            raise SessionUnknown("Redis lost its data")
        return Session(phone=phone, webhooks=self.environment)

    def changes(self) -> str:
        self._ensure_there()
        return f"{[(phone, id(session)) for phone, session in self.stored.items()]}"

    def find_all(self, phones: Iterable[str]) -> dict[str, Session]:
        found = {}
        for phone in phones:
            with suppress(SessionUnknown):
                found[phone] = self.find(phone)
        return found

    def resolve(self, phone: str, *, stored: bool) -> Session:
        if not stored:
            return Session(phone=phone, webhooks=self.environment)
        session = self._look_up(phone)
        if session is not None:
            return session
        if phone in self.removed:
            return Session(phone=phone, stored=True)
        raise SessionUnknown("gone from Redis")

    def load_marker(self) -> None:
        """There is none."""

    def indexed(self) -> list[str]:
        return self.phones()

    def phones(self) -> list[str]:
        self._ensure_there()
        return sorted(self.stored)

    def config(self, phone: str) -> dict[str, Any] | None:
        self._ensure_there()
        return copy.deepcopy(self._configs.get(phone))

    def configs(self, phones: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {phone: config for phone in phones if (config := self.config(phone)) is not None}

    def refresh(self, phone: str) -> None:
        self.refreshed.append(phone)
        if phone in self.changed:
            self.stored[phone] = self.changed.pop(phone)

    def _look_up(self, phone: str) -> Session | None:
        if self.away:
            raise SessionUnknown("Redis is away")
        return self.stored.get(phone)

    @contextmanager
    def changing(self, phone: str) -> Iterator[None]:  # noqa: ARG002 (the port's)
        self._ensure_there()
        yield

    def save(self, phone: str, config: dict[str, Any]) -> Session:
        if phone in self.began:
            config = {**config, "beganMs": self.began[phone]}
        session = Environment(webhook=next(iter(self.environment), None)).complete(phone, config)
        self._check(session)
        self._ensure_there()
        self.stored[phone], self._configs[phone] = session, copy.deepcopy(config)
        self.removed.discard(phone)
        self.lost_keys.discard(phone)
        return session

    def remove(self, phone: str, *, remember_s: int = 60) -> bool:  # noqa: ARG002 (the port's)
        self._ensure_there()
        self._configs.pop(phone, None)
        self.lost_keys.discard(phone)
        self.removed.add(phone)
        self.began[phone] = now_ms()
        return self.stored.pop(phone, None) is not None

    def _ensure_there(self) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")

    def forget_everything(self) -> None:
        self.stored.clear()
        self._configs.clear()
        self.removed.clear()
        self.lost = True

    def lose(self, phone: str) -> None:
        del self.stored[phone]
        self._configs.pop(phone, None)
        self.lost_keys.add(phone)

    def confirm(self) -> None:
        self.lost = False
        self.lost_keys.clear()


class MemoryDirectory:
    """SessionDirectory, over sessions in memory."""

    def __init__(self, sessions: MemorySessions) -> None:
        self._sessions = sessions
        self.recorded: dict[str, str] = {}

    def phones_of(self, node: str) -> tuple[str, ...]:
        try:
            phones = tuple(session.phone for session in self.sessions_of(node))
        except StoreUnavailable:
            return (node,)
        return (node,) if node in phones else phones or (node,)

    def sessions_of(self, node: str) -> list[Session]:
        return [session for session in self.all() if session.answers_to(node)]

    def all(self) -> list[Session]:
        return [self._sessions.stored[phone] for phone in self._sessions.phones()]

    def opened_by(self, token: str) -> list[Session]:
        return [session for session in self.all() if token in session.tokens_at(time.time())]

    def opened_lately(self, token: str) -> list[Session]:
        return self.opened_by(token)

    def statuses(self, phones: Sequence[str]) -> dict[str, str]:
        return {phone: self.recorded[phone] for phone in phones if phone in self.recorded}

    def count_phones(self) -> dict[str, int]:
        phones = [session for session in self.all() if session.provider == "whatsmeow" and session.auto_connect]
        return {"disconnected": len(phones)} if phones else {}


class MemorySendOrder:
    """SendOrder. `waiting` are the ids of those that wait; `away` stands for Redis that does not answer."""

    def __init__(self) -> None:
        self.away = False
        self.lines: dict[str, dict[str, int]] = {}
        self.waiting: set[str] = set()
        self.left: set[str] = set()
        self._lock = threading.Lock()

    def join(self, job: MessageJob, *, accepted_at_us: int, prepared: bool) -> Callable[[], None]:
        with self._lock:
            self._line(job).setdefault(job.id, accepted_at_us)
            self.waiting |= {job.id} if prepared else set()
        return lambda: None

    def before(self, job: MessageJob, turn: Turn) -> Predecessor | None:
        """What MemorySends asks."""
        with self._lock:
            line = self._line(job)
            line.setdefault(job.id, job.accepted_at_ms * 1000)
            for name in turn.gone:
                if name != job.id:
                    line.pop(name, None)
            while (first := min(line, key=lambda name: line[name])) != job.id:
                recent = line[first] > turn.now_us - LOST_AFTER_US
                if first not in self.left and (recent or first in self.waiting):
                    return Predecessor(first, waits=first in self.waiting)
                del line[first]
            return None

    def ahead(self, job: MessageJob) -> int:
        with self._lock:
            line = self._line(job)
            return sum(at < line[job.id] for at in line.values()) if job.id in line and not self.away else 0

    def wait(self, job: MessageJob) -> None:
        self.waiting.add(job.id)

    def leave(self, job: MessageJob, *, on_written: Callable[[], None] = lambda: None) -> None:
        with self._lock:
            self._line(job).pop(job.id, None)
            self.waiting.discard(job.id)
            self.left.add(job.id)
        on_written()

    def _line(self, job: MessageJob) -> dict[str, int]:
        return self.lines.setdefault(f"{job.phone}:{job.contact}", {})


def of_no_line(job: MessageJob) -> OwnTurn:
    """The turn of a message that waits for no other one."""
    return OwnTurn(SendTurns(MemorySendOrder(), threads=2), job, "")


class MemoryPublisher:
    """Publisher: the queues are lists. `away` stands for RabbitMQ that does not answer."""

    events_trouble = ""

    def __init__(self, topology: Topology | None = None, *, ordering: Ordering | None = None) -> None:
        self.topology = topology or Topology("unoapi")
        self.away = False
        self._ordering = ordering
        self._queues: dict[str, list[Message]] = {queue.name: [] for queue in self.topology.queues}

    def publish(
        self, envelopes: Sequence[Envelope], *, messages: Sequence[Message] = (), timeout_s: float = 4.0
    ) -> None:
        if self._ordering is not None:
            self._ordering.join(events_in(envelopes))
        made = [to_message(envelope, self.topology) for envelope in envelopes]
        self.publish_messages([*messages, *made], timeout_s=timeout_s)

    def publish_each(self, envelopes: Sequence[Envelope]) -> list[BrokerUnavailable | None]:
        try:
            self.publish(envelopes)
        except BrokerUnavailable as error:
            return [error] * len(envelopes)
        return [None] * len(envelopes)

    def publish_messages(self, messages: Sequence[Message], *, timeout_s: float = 4.0) -> None:
        self.check(timeout_s=timeout_s)
        for message in messages:
            self._queues[self._queue_of(message)].append(message)

    def check(self, *, timeout_s: float = 2.0) -> None:  # noqa: ARG002 (the real one's)
        if self.away:
            raise BrokerUnavailable("RabbitMQ is away")

    def close(self) -> None:
        pass

    def depth(self, queue: str = "unoapi.incoming") -> int:
        return len(self._queues[queue])

    def take(self, queue: str = "unoapi.incoming") -> Any:
        """The oldest message, which leaves the queue; None when there is none."""
        return self._queues[queue].pop(0) if self._queues[queue] else None

    def jobs(self, *queues: str) -> list[Any]:
        """The jobs of all messages, which leave the queues."""
        return [
            from_body(message.headers["task"], message.body)
            for queue in queues
            for message in iter(functools.partial(self.take, queue), None)
        ]

    def _queue_of(self, message: Message) -> str:
        if message.exchange == self.topology.delayed:
            number = message.headers[DELAY_HEADER]
            return self.topology.delayed if number == "0" else f"{self.topology.delayed}.{number}"
        if message.exchange == self.topology.dead or message.routing_key not in self._queues:
            return self.topology.dead
        return message.routing_key


class MemoryOrdering:
    """Ordering: the lines are lists."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str, str], list[str]] = {}
        self._waiting: dict[str, DeliverWebhook] = {}
        self._taken: set[str] = set()

    def join(self, events: Sequence[EventJob]) -> None:
        for event in events:
            for webhook_id in event.ordered:
                line = self._line(event.phone, webhook_id, event.contact)
                if (delivery := delivery_id(event.id, webhook_id)) not in line:
                    line.append(delivery)

    def position(self, job: DeliverWebhook) -> int:
        line = self._line(job.phone, job.webhook_id, job.contact)
        position = line.index(job.id) if job.id in line else 0
        if position:
            self._waiting[job.id] = job
            return position
        self._waiting.pop(job.id, None)
        return int(job.id in self._taken)

    def leave(self, job: DeliverWebhook, *, take: bool, done: bool = False) -> DeliverWebhook | None:  # noqa: ARG002
        line = self._line(job.phone, job.webhook_id, job.contact)
        self._taken.discard(job.id)
        if job.id not in line:
            return None
        line.remove(job.id)
        if not take or not line or line[0] not in self._waiting:
            return None
        self._taken.add(line[0])
        return self._waiting.pop(line[0])

    def give_back(self, job: DeliverWebhook) -> None:
        self._taken.discard(job.id)

    def skip(self, skipped: Sequence[tuple[EventJob, str]]) -> None:
        for event, webhook_id in skipped:
            line = self._line(event.phone, webhook_id, event.contact)
            if (delivery := delivery_id(event.id, webhook_id)) in line:
                line.remove(delivery)

    def _line(self, phone: str, webhook_id: str, contact: str) -> list[str]:
        return self.lines.setdefault((phone, webhook_id, contact), [])


class MemoryDeliveries:
    """Deliveries. `away` stands for Redis that does not answer a person's question. `trace` gets the last step."""

    def __init__(self, *, trace: Callable[[TraceEntry], None] = lambda _: None) -> None:
        self.away = False
        self._trace = trace
        self.finished: list[str] = []
        self.noted: list[str] = []
        self.pauses: dict[Endpoint, float] = {}
        self.drops: dict[Endpoint, int] = {}
        self.breakers: dict[Endpoint, str] = {}
        """What the breakers wrote."""

    def state(self, delivery_id: str, endpoint: Endpoint) -> DeliveryState:
        done = delivery_id in self.finished or delivery_id in self.noted
        paused_ms = max(0, int((self.pauses.get(endpoint, 0.0) - time.monotonic()) * 1000))
        return DeliveryState(done, paused_ms, self.drops.get(endpoint, 0), self.breakers.get(endpoint, ""))

    def is_done(self, delivery_id: str) -> bool:
        if self.away:
            raise StoreUnavailable("Redis is away")
        return delivery_id in self.finished or delivery_id in self.noted

    def finish(self, delivery_id: str, entry: TraceEntry) -> None:
        self.finished.append(delivery_id)
        self._trace(entry)

    def note_done(self, delivery_id: str) -> None:
        self.noted.append(delivery_id)

    def suspend(self, endpoint: Endpoint, *, pause_ms: int) -> None:
        self.pauses[endpoint] = time.monotonic() + pause_ms / 1000

    def resume(self, endpoint: Endpoint) -> bool:
        return self.pauses.pop(endpoint, None) is not None

    def drop(self, endpoint: Endpoint) -> int:
        self.drops[endpoint] = now_ms()
        return self.drops[endpoint]

    def endpoints(self, endpoints: Sequence[Endpoint]) -> list[DeliveryState]:
        return [self.state("", endpoint) for endpoint in endpoints]

    def paused(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        return [endpoint for endpoint in endpoints if self.state("", endpoint).paused_ms]

    def holding(self, endpoint: Endpoint) -> Holding | None:  # noqa: ARG002 (the port's)
        return None

    def pause(self, endpoint: Endpoint, *, pause_ms: int) -> None:
        self.pauses[endpoint] = max(self.pauses.get(endpoint, 0.0), time.monotonic() + pause_ms / 1000)


class MemoryBreakers:
    """Breakers, without probes by time: what is open stays so until a success."""

    def __init__(self, *, failures: int = 5) -> None:
        self.failures = failures
        self.failing: set[str] = set()
        self.open = False
        self.wait_ms = 0

    def permit(self, delivery_id: str, endpoint: Endpoint, **_: object) -> Permit:  # noqa: ARG002
        return Permit(wait_ms=self.wait_ms)

    def next_probe_ms(self, state: str | None) -> int | None:  # noqa: ARG002
        return 0 if self.open else None

    def seen(self, endpoint: Endpoint, *, state: str) -> None:
        pass

    def count_open(self) -> int:
        return int(self.open)

    def went_down(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        return list(endpoints) if self.open else []

    def failed(self, delivery_id: str, endpoint: Endpoint, *, took_ms: int) -> tuple[bool, EndpointChange | None]:  # noqa: ARG002
        self.failing.add(delivery_id)
        was_open, self.open = self.open, self.open or len(self.failing) >= self.failures
        return self.open, EndpointChange(down=True, since_ms=1) if self.open and not was_open else None

    def succeeded(self, endpoints: Sequence[Endpoint], *, notify: Callable[[Endpoint, EndpointChange], None]) -> None:
        was_open, self.open = self.open, False
        self.failing.clear()
        if was_open:
            notify(endpoints[0], EndpointChange(down=False, since_ms=1))


class MemoryHoldings:
    """Holdings, at most `most`. `away` stands for Redis that does not answer."""

    def __init__(self, *, most: int = 1_000) -> None:
        self.most = most
        self.away = False
        self.queues: dict[Endpoint, Holding] = {}
        self.looks: dict[str, int] = {}
        self.ended: set[str] = set()
        self.lost: list[tuple[Endpoint, str]] = []

    def begin(self, endpoint: Endpoint, token: str, *, look: int, redelivered: bool, ready: bool, waiting: bool) -> int:
        self._ensure_there()
        following = self.looks.get(token, 0)
        mine = endpoint not in self.queues or self.queues[endpoint].token == token
        if mine and (following > look + 1 or (following == look + 1 and token in self.ended)):
            return LOOK_ENDED
        if mine and following == look + 1 and not redelivered:
            return LOOK_BEGUN
        count = self.keep(endpoint, token, ready=ready, waiting=waiting)
        if count:
            self.looks[token] = look + 1
            self.ended.discard(token)
        return count

    def end(self, endpoint: Endpoint, token: str, *, look: int) -> None:  # noqa: ARG002
        if not self.away and self.looks.get(token) == look + 1:
            self.ended.add(token)

    def keep(self, endpoint: Endpoint, token: str, *, ready: bool, waiting: bool) -> int:
        self._ensure_there()
        present = self.queues.get(endpoint)
        if (present and present.token != token) or (present is None and len(self.queues) >= self.most):
            return 0
        self.queues[endpoint] = Holding(token, ready, waiting)
        return len(self.queues)

    def forget(self, endpoint: Endpoint, token: str) -> None:
        self._ensure_there()
        if (present := self.queues.get(endpoint)) and present.token == token:
            del self.queues[endpoint]
            self.looks.pop(token, None)
            self.ended.discard(token)

    def left_alone(self) -> list[tuple[Endpoint, str]]:
        return self.lost

    def all(self) -> list[tuple[Endpoint, str]]:
        self._ensure_there()
        return [(endpoint, holding.token) for endpoint, holding in self.queues.items()]

    def _ensure_there(self) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")


class MemoryHoldingQueues:
    """HoldingQueues. What is refused goes to `work`; the first `slow` reads of deliveries give none yet."""

    def __init__(self) -> None:
        self.slow = 0
        self.queues: dict[tuple[Endpoint, str], list[HeldDelivery]] = {}
        self.closed: set[tuple[Endpoint, str]] = set()
        self.consumed: list[tuple[Endpoint, str]] = []
        self.work: list[HeldDelivery] = []
        self.dead: list[HeldDelivery] = []

    def put(self, held: HeldDelivery, token: str) -> None:
        """As a publisher does, with RabbitMQ's exchanges."""
        key = (held.job.endpoint, token)
        (self.dead if key in self.closed else self.queues[key]).append(held)

    def make(self, endpoint: Endpoint, token: str) -> None:
        self.queues.setdefault((endpoint, token), [])

    def peek(self, endpoint: Endpoint, token: str, *, position: int) -> HeldDelivery | None:
        queue = self.queues.setdefault((endpoint, token), [])
        return queue[min(position, len(queue) - 1)] if queue else None

    @contextmanager
    def consume(self, endpoint: Endpoint, token: str) -> Iterator[_MemoryHeld]:
        held = _MemoryHeld(self, endpoint, token)
        self.consumed.append((endpoint, token))
        try:
            yield held
        finally:
            self.consumed.remove((endpoint, token))
        left = self.queues[endpoint, token]
        self.queues[endpoint, token] = [one for tag, one in enumerate(left) if tag not in held.settled]

    def count(self, endpoint: Endpoint, token: str) -> int:
        return len(self.queues.get((endpoint, token), []))

    def close(self, endpoint: Endpoint, token: str) -> None:
        self.closed.add((endpoint, token))

    def delete(self, endpoint: Endpoint, token: str) -> bool:
        key = (endpoint, token)
        if self.queues.get(key) or key in self.consumed:
            return False
        self.queues.pop(key, None)
        return True


class _MemoryHeld:
    """HeldDeliveries. The tag is the position in the queue."""

    def __init__(self, queues: MemoryHoldingQueues, endpoint: Endpoint, token: str) -> None:
        self._queues = queues
        self._key = (endpoint, token)
        self._given = 0
        self.settled: set[int] = set()

    def take(self, *, wait_s: float) -> list[HeldDelivery]:  # noqa: ARG002
        if self._queues.slow:
            self._queues.slow -= 1
            return []
        came = self._queues.queues[self._key][self._given :]
        came = [replace(one, tag=self._given + number) for number, one in enumerate(came)]
        self._given += len(came)
        return came

    def is_empty(self) -> bool:
        return self._given >= len(self._queues.queues[self._key])

    def done(self, held: HeldDelivery) -> None:
        self.settled.add(held.tag)

    def refuse(self, held: HeldDelivery) -> None:
        self.settled.add(held.tag)
        self._queues.work.append(held)


class MemoryEventStream:
    """EventStream. `batch` is how many messages one `take` reads."""

    def __init__(self, *, batch: int = 10) -> None:
        self.batch = batch
        self.away = False
        self.switched_off = False
        self.events: list[StoredEvent] = []

    def put(self, job: FanOut, *, published_ms: int) -> None:
        """As a publisher does, with RabbitMQ's exchange."""
        self.events.append(StoredEvent(len(self.events), published_ms, job))

    @contextmanager
    def read(self, phone: str, *, after: int | None = None, since_ms: int = 0) -> Iterator[_MemoryStored]:
        self._ensure_there()
        times = (event.position for event in self.events if event.published_ms >= since_ms)
        start = after + 1 if after is not None else next(times, len(self.events))
        yield _MemoryStored(self, phone, start)

    def bounds(self) -> StreamBounds | None:
        self._ensure_there()
        if not self.events:
            return None
        first, last = self.events[0], self.events[-1]
        return StreamBounds(first.published_ms, last.published_ms, last.position)

    def _ensure_there(self) -> None:
        if self.switched_off:
            raise EventsNotKept("events are not kept")
        if self.away:
            raise BrokerUnavailable("RabbitMQ is away")


class _MemoryStored:
    """StoredEvents."""

    def __init__(self, stream: MemoryEventStream, phone: str, start: int) -> None:
        self.position = -1
        self._stream = stream
        self._phone = phone
        self._next = start

    def take(self, *, wait_s: float) -> list[StoredEvent]:  # noqa: ARG002
        came = self._stream.events[self._next : self._next + self._stream.batch]
        self._next += len(came)
        self.position = came[-1].position if came else self.position
        return [event for event in came if event.job.phone == self._phone]


class MemoryProcesses:
    """Processes."""

    def __init__(self) -> None:
        self.reported: dict[str, Process] = {}

    def report(self, process: Process) -> None:
        self.reported[process.name] = process.model_copy(update={"seen_ms": now_ms()})

    def forget(self, name: str) -> None:
        self.reported.pop(name, None)

    def all(self) -> list[Process]:
        return [self.reported[name] for name in sorted(self.reported)]


class MemoryReplays:
    """Replays."""

    def __init__(self) -> None:
        self.away = False
        self.replays: dict[Endpoint, Replay] = {}

    def begin(self, replay: Replay) -> bool:
        known = self.find(replay.endpoint)
        if known is not None and known.state == "running" and known.updated_ms > replay.updated_ms - STANDS_MS:
            return False
        self.replays[replay.endpoint] = replay
        return True

    def save(self, replay: Replay, *, run: str) -> bool:
        known = self.find(replay.endpoint)
        if known is not None and (known.id != replay.id or known.state != "running" or run not in {"", known.run}):
            return False
        self.replays[replay.endpoint] = replay
        return True

    def find(self, endpoint: Endpoint) -> Replay | None:
        if self.away:
            raise StoreUnavailable("Redis is away")
        return self.replays.get(endpoint)


FREE = Claim(free=True)


class MemorySends:
    """SendClaims, with the lines of `order`. `away` stands for Redis that does not answer."""

    def __init__(self, *, lease_ms: int = 60_000, order: MemorySendOrder | None = None) -> None:
        self.lease_ms = lease_ms
        self.order = order or MemorySendOrder()
        self.claims: dict[tuple[str, str], int | Receipt] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.away = False
        self.unheard = False
        """Redis carries a claim out, and its answer is lost."""

    def claim(self, job: SendMessage, *, name: str = "", held: Sequence[str] = (), turn: Turn | None = None) -> Claim:
        self._ensure_there()
        key = (job.phone, job.id)
        claim = self.claims.get(key)
        if turn is not None and (before := self.order.before(job, turn)):
            if self._is_held(key, held):
                del self.claims[key]
            return Claim(before=before)
        if claim is None or self._is_held(key, held):
            self.claims[key], self.names[key] = now_ms() + self.lease_ms, name
            if self.unheard:
                raise StoreUnavailable("Redis did not answer")
            return FREE
        return self._read(claim)

    def reopen(self, job: SendMessage, *, force: bool, held: Sequence[str] = ()) -> bool:
        self._ensure_there()
        key = (job.phone, job.id)
        claim = self.claims.get(key)
        if isinstance(claim, Receipt) or self._is_held(key, held):
            return True
        if claim is not None and force:
            del self.claims[key]
        return force or claim is None

    def _is_held(self, key: tuple[str, str], held: Sequence[str]) -> bool:
        return not isinstance(self.claims.get(key), Receipt) and self.names.get(key) in held

    def _read(self, claim: int | Receipt) -> Claim:
        if isinstance(claim, Receipt):
            return Claim(receipt=claim)
        left_ms = claim - now_ms()
        return Claim(busy_ms=left_ms) if left_ms > 0 else Claim(lost=True)

    def state(self, job: SendMessage, *, held: Sequence[str] = ()) -> Claim:
        self._ensure_there()
        claim = self.claims.get((job.phone, job.id))
        return FREE if claim is None or self._is_held((job.phone, job.id), held) else self._read(claim)

    def settle(self, job: SendMessage, receipt: Receipt) -> None:
        if not self.away:
            self.claims[job.phone, job.id] = receipt

    def release(self, job: SendMessage, *, name: str = "") -> None:
        self._ensure_there()
        if (
            not isinstance(self.claims.get((job.phone, job.id)), Receipt)
            and self.names.get((job.phone, job.id)) == name
        ):
            self.claims.pop((job.phone, job.id), None)

    def _ensure_there(self) -> None:
        if self.away or self.order.away:
            raise StoreUnavailable("Redis is away")


class MemoryIds:
    """MessageIds. `away` stands for Redis that does not answer."""

    def __init__(self) -> None:
        self.away = False
        self.pairs: dict[tuple[str, str], str] = {}
        self._marks: dict[tuple[str, str], str] = {}

    def remember(self, phone: str, *, theirs: str, ours: str) -> None:
        self.pairs[phone, theirs] = ours
        self.pairs[phone, ours] = theirs
        if token := message_token(theirs):
            self.pairs[phone, f"~{token}"] = ours

    def remember_mark(self, phone: str, ours: str, mark: str) -> None:
        self._marks[phone, ours] = mark

    def marks(self, phone: str, ours: Sequence[str]) -> dict[str, str]:
        return {message_id: self._marks[phone, message_id] for message_id in ours if (phone, message_id) in self._marks}

    def remember_ours(self, phone: str, *, theirs: str, ours: str) -> None:
        self.pairs[phone, theirs] = ours

    def remember_shown(self, phone: str, message_ids: Collection[str]) -> None:
        for message_id in message_ids:
            if token := message_token(message_id):
                self.pairs.setdefault((phone, f"~{token}"), message_id)

    def ours(self, phone: str, theirs: str) -> str:
        by_token = self.pairs.get((phone, f"~{message_token(theirs)}"), theirs)
        return theirs if self.away else self.pairs.get((phone, theirs), by_token)

    def all_ours(self, phone: str, theirs: Collection[str]) -> dict[str, str]:
        return {one: self.ours(phone, one) for one in theirs}

    def known_ours(self, phone: str, theirs: Collection[str]) -> dict[str, str]:
        if self.away and theirs:
            raise StoreUnavailable("Redis is away")
        return {one: ours for one in theirs if (ours := self.ours(phone, one)) != one}

    def theirs(self, phone: str, ours: str) -> str:
        if self.away:
            raise StoreUnavailable("Redis is away")
        return self.pairs.get((phone, ours), ours)


class MemoryConnections:
    """Connections."""

    def __init__(self) -> None:
        self.away = False
        self.leased: set[str] = set()
        self._changes: dict[str, tuple[int, int, dict[str, Any]]] = {}
        self._statuses: dict[str, str] = {}
        self._keys: dict[tuple[str, str], MessageKey] = {}
        self._waits: dict[tuple[str, str], bool] = {}
        self._calls: dict[tuple[str, str], str] = {}

    def record(self, phone: str, change: SessionState | QrCode | PairingCode, *, at_ms: int, seq: int) -> None:
        self._ensure_there()
        last_ms, last_seq, shown = self._changes.get(phone, (0, 0, {}))
        if last_ms < now_ms() + 60_000 and (at_ms, seq) < (last_ms, last_seq):
            return
        kind = {QrCode: "qr", PairingCode: "pairing_code"}.get(type(change), "state")
        shown = {} if kind == "state" else dict(shown)
        if isinstance(change, SessionState):
            self._statuses[phone] = STATUS_WORDS[change.state]
        self._changes[phone] = (at_ms, seq, shown | {kind: change.model_dump(mode="json", exclude_defaults=True)})

    def status(self, phone: str) -> str:
        self._ensure_there()
        return self._statuses.get(phone, "disconnected")

    def details(self, phone: str) -> dict[str, Any]:
        at_ms, _, shown = self._changes.get(phone, (0, 0, {}))
        status = self.status(phone)
        return {"status": status, "left": is_left(status, leased=phone in self.leased, at_ms=at_ms), **shown}

    def remember_key(
        self, phone: str, message_id: str, *, chat: str, participant: str = "", from_me: bool = False, theirs: str = ""
    ) -> None:
        if not self.away:
            self._keys[phone, message_id] = MessageKey(theirs or message_id, chat, participant, from_me)

    def key(self, phone: str, message_id: str) -> MessageKey | None:
        self._ensure_there()
        return self._keys.get((phone, message_id))

    def expect(self, phone: str, command_id: str, *, within_s: int) -> None:  # noqa: ARG002 (the port's)
        self._ensure_there()
        self._waits[phone, command_id] = False

    def settle(self, phone: str, command_id: str, *, key: MessageKey | None = None) -> bool:
        self._ensure_there()
        if key is not None:
            self._keys[phone, command_id] = key
        return self._waits.pop((phone, command_id), False)

    def is_awaited(self, phone: str, command_id: str) -> bool:
        self._ensure_there()
        return self._waits.get((phone, command_id)) is False

    def give_up(self, phone: str, command_id: str) -> bool:
        self._ensure_there()
        if (phone, command_id) not in self._waits:
            return False
        self._waits[phone, command_id] = True
        return True

    def is_served(self, phone: str) -> bool:
        at_ms, _, _ = self._changes.get(phone, (0, 0, {}))
        return (self.status(phone) == "online" and phone in self.leased) or now_ms() - at_ms < 120_000

    def is_new_call(self, phone: str, caller: str, call_id: str) -> bool:
        return self.away or self._calls.setdefault((phone, caller), call_id) == call_id

    def _ensure_there(self) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")


class MemoryConsoleLogins:
    """ConsoleLogins."""

    def __init__(self) -> None:
        self.ended: set[str] = set()

    def end(self, login_id: str, *, within_s: int) -> None:  # noqa: ARG002 (the port's)
        self.ended.add(login_id)

    def is_ended(self, login_id: str) -> bool:
        return login_id in self.ended


class MemoryChats:
    """Chats."""

    def __init__(self) -> None:
        self.away = False
        self._chats: dict[tuple[str, str], Chat] = {}
        self._states: dict[tuple[str, str], tuple[str, MenuState]] = {}

    def remember_menu(self, phone: str, chat: str, menu: Menu) -> None:
        self._change(phone, chat, menu=menu)

    def remember_menu_state(self, phone: str, chat: str, message_id: str, state: MenuState) -> None:
        if not self.away:
            self._states[phone, contact_key(chat)] = (message_id, state)

    def remember_timer(self, phone: str, chat: str, seconds: int) -> None:
        self._change(phone, chat, timer_s=max(0, seconds))

    def find(self, phone: str, chats: Sequence[str]) -> Chat:
        keys = [(phone, contact_key(chat)) for chat in chats if not self.away]
        known = [self._chats.get(key, NO_CHAT) for key in keys]
        states = [self._states[key] for key in keys if key in self._states]
        return Chat(
            menu=last_of((chat.menu for chat in known), states),
            timer_s=next((chat.timer_s for chat in known if chat.timer_s), 0),
        )

    def _change(self, phone: str, chat: str, **fields: object) -> None:
        if not self.away:
            key = (phone, contact_key(chat))
            self._chats[key] = self._chats.get(key, NO_CHAT).model_copy(update=fields)


class MemoryLeases:
    """Leases. Those of several connectors share one board."""

    def __init__(
        self,
        board: dict[str, str] | None = None,
        forwarded: dict[str, list[ConnectorCommand]] | None = None,
        *,
        server: str = "server_1",
    ) -> None:
        self.board = {} if board is None else board
        self.forwarded = {} if forwarded is None else forwarded
        self.away = False
        self._server = server
        self._owner = f"{server}:{id(self)}"
        self._others: set[str] = set()
        self._suspended: set[str] = set()

    def take(self, phone: str) -> bool:
        if self.away:
            return phone not in self._others
        ours = self.board.setdefault(phone, self._owner) == self._owner
        (self._others.discard if ours else self._others.add)(phone)
        return ours

    def renew(self, phones: list[str]) -> list[str]:
        return [phone for phone in phones if not self.take(phone)]

    def release(self, phone: str) -> None:
        if not self.away and self.board.get(phone) == self._owner:
            del self.board[phone]

    def suspend(self, phone: str) -> None:
        self.board[f"suspended:{phone}"] = ""

    def resume(self, phone: str) -> None:
        self.board.pop(f"suspended:{phone}", None)

    def suspended(self, phones: list[str]) -> set[str]:
        if not self.away:
            self._suspended = {phone for phone in phones if f"suspended:{phone}" in self.board}
        return self._suspended & set(phones)

    def other_owner(self, phone: str) -> str:
        owner = self.board.get(phone, self._owner)
        return "" if self.away or owner == self._owner else owner

    def forward(self, command: ConnectorCommand, connector: str) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")
        self.forwarded.setdefault(connector, []).append(command)

    def take_forwarded(self) -> list[ConnectorCommand]:
        return [] if self.away else self.forwarded.pop(self._server, []) + self.forwarded.pop(self._owner, [])


class MemoryNotices:
    """Notices, in a window that never ends."""

    def __init__(self) -> None:
        self.holders: dict[tuple[str, str], str] = {}

    def claim(self, endpoint: Endpoint, *, notice_id: str) -> bool:
        return self.holders.setdefault(endpoint, notice_id) == notice_id


class MemoryUsage:
    """Usage, of a day that never ends."""

    def __init__(self) -> None:
        self.amounts: Counter[tuple[str, str]] = Counter()

    def spend(self, phone: str, kind: str, amount: int, *, most: int) -> bool:
        if most and self.amounts[phone, kind] + amount > most:
            return False
        self.amounts[phone, kind] += amount
        return True

    def give_back(self, phone: str, kind: str, amount: int) -> None:
        self.amounts[phone, kind] -= amount

    def used(self, phone: str, kind: str) -> int:
        return self.amounts[phone, kind]


class MemoryMediaIndex:
    """Metadata of files. `away` stands for Redis that does not answer."""

    def __init__(self) -> None:
        self.away = False
        self.entries: dict[str, MediaFile] = {}

    def write(self, media: MediaFile) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")
        self.entries[media.id] = media

    def find(self, media_id: str, *, phone: str | None = None) -> MediaFile:
        if self.away:
            raise StoreUnavailable("Redis is away")
        media = self.entries.get(media_id)
        if media is None or phone not in (None, media.phone):
            raise MediaMissing("no such file")
        return media

    def remove(self, media: MediaFile) -> None:
        self.entries.pop(media.id, None)

    def counted_bytes(self, phone: str) -> int:
        return sum(media.file_size for media in self.entries.values() if media.phone == phone and media.counted_on)

    def claim_sweep(self) -> bool:
        return False


class MemoryDeadLetterQueue:
    """DeadLetterQueue. `taken` while a walk goes on, perhaps in another process.

    With `queues` its dead letters are those that are published there, and what is put back is published again.
    """

    def __init__(self, *dead_letters: DeadLetter, queues: MemoryPublisher | None = None) -> None:
        self.dead_letters = list(dead_letters)
        self._queues = queues
        self.put: list[tuple[DeadLetter, int]] = []
        self.batches: list[int] = []
        self.taken = False

    def count(self) -> int:
        self._collect()
        return len(self.dead_letters)

    def _collect(self) -> None:
        if self._queues is not None:
            self._queues.check()
            self.dead_letters += [
                read_dead_letter(message.body, message.headers, message.properties, message.routing_key)
                for message in iter(functools.partial(self._queues.take, self._queues.topology.dead), None)
            ]

    def walk(
        self,
        query: DeadLetterQuery,
        settle: Callable[[Sequence[DeadLetter]], Sequence[Outcome]],
        *,
        on_locked: Callable[[], None] = lambda: None,
        batch: int | None = None,
        bounds: Bounds = UNBOUNDED,
    ) -> DeadLetterWalk:
        walk = DeadLetterWalk()
        walk.results = self._walk(walk, query, settle, on_locked=on_locked, batch=batch or 200, bounds=bounds)
        return walk

    def put_back(self, dead_letters: Sequence[DeadLetter], *, accepted_at_ms: int) -> None:
        self.put.extend((dead_letter, accepted_at_ms) for dead_letter in dead_letters)
        if self._queues is not None:
            topology = self._queues.topology
            self._queues.publish_messages(
                [replayed(dead_letter, topology, accepted_at_ms=accepted_at_ms) for dead_letter in dead_letters]
            )

    def _walk(
        self,
        walk: DeadLetterWalk,
        query: DeadLetterQuery,
        settle: Callable[[Sequence[DeadLetter]], Sequence[Outcome]],
        *,
        on_locked: Callable[[], None],
        batch: int,
        bounds: Bounds,
    ) -> Iterator[DeadLetterResult]:
        if self.taken:
            raise DeadLettersBusy("another process")
        self._collect()
        self.taken, walk.total, walk.seen = True, len(self.dead_letters), len(self.dead_letters)
        on_locked()
        selected = [dead_letter for dead_letter in self.dead_letters if query.matches(dead_letter)]
        left = len(selected) if bounds.dead_letters is None else bounds.dead_letters
        try:
            while selected and left > 0:
                size = min(batch, left)
                part, selected = selected[:size], selected[size:]
                self.batches.append(len(part))
                for dead_letter, outcome in zip(part, settle(part), strict=True):
                    left -= bool(query.id) or outcome not in PASSED_OVER
                    if outcome not in STAYING:
                        self.dead_letters.remove(dead_letter)
                    yield DeadLetterResult(dead_letter, outcome)
            walk.complete = not selected
        finally:
            self.taken = False


class MemoryDeadLetterHolder:
    """DeadLetterHolder."""

    def __init__(self) -> None:
        self.holder = ""

    def write(self, holder: str) -> None:
        self.holder = holder

    def read(self) -> str:
        return self.holder

    def clear(self) -> None:
        self.holder = ""


class MemoryCampaigns:
    """Campaigns."""

    def __init__(self) -> None:
        self.saved: dict[tuple[str, str], Campaign] = {}
        self.rows: dict[str, dict[int, str]] = {}
        self.why: dict[str, dict[int, str]] = {}
        self.fetched: dict[tuple[str, str], str] = {}
        self.out: dict[str, dict[str, int]] = {}
        self.turns: dict[str, str] = {}
        self.leased: set[str] = set()
        self.looks: dict[tuple[str, str], float] = {}
        self.parsing = ""
        self.away = False

    def _ask(self) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")

    def create(self, campaign: Campaign) -> bool:
        self._ask()
        key = (campaign.phone, campaign.id)
        if key in self.saved:
            return False
        self.saved[key] = campaign
        return True

    def parsed(self, campaign: Campaign) -> None:
        self._ask()
        fields = ("read", "total", "bad", "duplicates", "rows_key", "bad_key")
        self._change(campaign.phone, campaign.id, **{name: getattr(campaign, name) for name in fields})

    def find(self, phone: str, campaign_id: str) -> Campaign | None:
        self._ask()
        found = self.saved.get((phone, campaign_id))
        counts = Counter(self.rows.get(campaign_id, {}).values())
        return found and found.model_copy(update={"counts": dict(counts)})

    def all(self, phone: str) -> list[Campaign]:
        self._ask()
        own = [campaign for (owner, _), campaign in self.saved.items() if owner == phone]
        return sorted(own, key=lambda campaign: -campaign.created_ms)

    def move(self, phone: str, campaign_id: str, state: State, *, reason: str = "", of: Sequence[State] = OPEN) -> str:
        self._ask()
        found = self.saved.get((phone, campaign_id))
        if found is None or found.state not in of:
            return found.state if found else ""
        changed: dict[str, Any] = {"state": state, "reason": reason, "waits": ""}
        if state == "running":
            changed |= {"chain": found.chain + 1, "look": "", "started_ms": found.started_ms or now_ms()}
        elif self.turns.get(phone) == campaign_id:
            del self.turns[phone]
        if state in ("done", "stopped", "failed"):
            changed["finished_ms"] = now_ms()
        self._change(phone, campaign_id, **changed)
        return state

    def looked(self, phone: str, campaign_id: str, *, look: str, waits: str = "") -> None:
        self._ask()
        self._change(phone, campaign_id, look=look, waits=waits)
        self.looks[phone, campaign_id] = time.monotonic()

    def left_alone(self) -> list[tuple[str, str]]:
        self._ask()
        left = [name for name, at in self.looks.items() if time.monotonic() - at > LEFT_ALONE_MS / 1000]
        self.looks |= dict.fromkeys(left, time.monotonic())
        return left

    def forget_look(self, phone: str, campaign_id: str) -> None:
        self.looks.pop((phone, campaign_id), None)

    def take_turn(self, phone: str, campaign_id: str, *, for_ms: int) -> str:  # noqa: ARG002 (the port's)
        self._ask()
        return self.turns.setdefault(phone, campaign_id)

    def take_parsing(self, campaign_id: str) -> bool:
        self._ask()
        self.parsing = self.parsing or campaign_id
        return self.parsing == campaign_id

    def end_parsing(self, campaign_id: str) -> None:
        self.parsing = "" if self.parsing == campaign_id else self.parsing

    def lease(self, phone: str, campaign_id: str) -> bool:  # noqa: ARG002 (the port's)
        self._ask()
        free = campaign_id not in self.leased
        self.leased.add(campaign_id)
        return free

    def advance(self, campaign: Campaign, marks: Mapping[int, str]) -> None:
        self._ask()
        found = self.saved[campaign.phone, campaign.id]
        for row, code in marks.items():
            self._mark(campaign.id, row, code)
        self.leased.discard(campaign.id)
        self.looks[campaign.phone, campaign.id] = time.monotonic()
        place = {"row": campaign.row, "offset": campaign.offset} if campaign.row > found.row else {}
        changed = {**place, "due_ms": campaign.due_ms, "last_ms": campaign.last_ms, "waits": "", "look": campaign.look}
        self._change(campaign.phone, campaign.id, **changed)

    def mark(self, phone: str, campaign_id: str, row: int, code: str, *, error: str = "") -> None:
        self._ask()
        if (phone, campaign_id) in self.saved and self._mark(campaign_id, row, code) and error:
            self.why.setdefault(campaign_id, {})[row] = error[:200]

    def codes(self, phone: str, campaign_id: str, first: int, count: int) -> str:  # noqa: ARG002 (the port's)
        self._ask()
        return "".join(self.rows.get(campaign_id, {}).get(row, " ") for row in range(first, first + count))

    def errors(self, phone: str, campaign_id: str, rows: Sequence[int]) -> dict[int, str]:  # noqa: ARG002 (the port's)
        self._ask()
        return {row: error for row, error in self.why.get(campaign_id, {}).items() if row in rows}

    def remember_file(self, phone: str, campaign_id: str, link: str, media_id: str) -> None:  # noqa: ARG002 (the port's)
        self.fetched.setdefault((campaign_id, link), media_id)

    def files(self, phone: str, campaign_id: str, links: Sequence[str]) -> dict[str, str]:  # noqa: ARG002 (the port's)
        self._ask()
        return {link: self.fetched[campaign_id, link] for link in links if (campaign_id, link) in self.fetched}

    def opt_out(self, phone: str, contacts: Sequence[str]) -> None:
        self._ask()
        for one in contacts:
            self.out.setdefault(phone, {}).setdefault(contact_key(one), now_ms())

    def opt_in(self, phone: str, contacts: Sequence[str]) -> int:
        self._ask()
        out = self.out.get(phone, {})
        return sum(out.pop(key, None) is not None for one in contacts for key in contact_keys(one))

    def opted_out(self, phone: str, contacts: Sequence[str]) -> set[str]:
        self._ask()
        return {one for one in contacts if contact_key(one) in self.out.get(phone, {})}

    def opt_outs(self, phone: str) -> Iterator[tuple[str, int]]:
        self._ask()
        yield from self.out.get(phone, {}).items()

    def _mark(self, campaign_id: str, row: int, code: str) -> bool:
        rows = self.rows.setdefault(campaign_id, {})
        if RANKS.get(rows.get(row, ""), 0) >= RANKS[code]:
            return False
        rows[row] = code
        return True

    def _change(self, phone: str, campaign_id: str, **fields: Any) -> None:
        found = self.saved.get((phone, campaign_id))
        if found is not None:
            self.saved[phone, campaign_id] = found.model_copy(update=fields)


class MemoryTraces:
    """Traces. `count` gets each step."""

    def __init__(self, *, count: Callable[[TraceEntry], None] = lambda _: None, most_stuck: int = 5000) -> None:
        self._most_stuck = most_stuck
        self.entries: list[TraceEntry] = []
        self._count = count

    def add(self, *entries: TraceEntry) -> None:
        for entry in entries:
            self._count(entry)
        self.entries.extend(entry for entry in entries if entry.message_id)

    def read(self, phone: str, message_id: str) -> list[TraceEntry]:
        return [entry for entry in self.find(message_id) if entry.phone == phone]

    def read_all(self, messages: Sequence[tuple[str, str]]) -> list[list[TraceEntry]]:
        return [self.read(phone, message_id) for phone, message_id in messages]

    def find(self, message_id: str) -> list[TraceEntry]:
        entries = [entry for entry in self.entries if entry.message_id == message_id]
        return completed(sorted(entries, key=lambda entry: entry.at))

    def stuck(self, state: MessageState, *, until_ms: int | None = None) -> Iterator[StuckMessage]:
        latest = {
            (entry.phone, entry.message_id): round(entry.at.timestamp() * 1000)
            for entry in self.entries
            if stuck_by(entry) == state
        }
        found = sorted((StuckMessage(at_ms, *key) for key, at_ms in latest.items()), reverse=True)
        return iter([one for one in found if until_ms is None or one.at_ms <= until_ms][: self._most_stuck])


class MemoryActivity:
    """ActivityCounts. `now_s` is the clock."""

    def __init__(self, *, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._counts: dict[tuple[str, int], list[int]] = {}
        self._errors: dict[str, LastError] = {}

    def note(self, entry: TraceEntry) -> None:
        slots = counted_in(entry)
        for slot in slots:
            self._count((ALL, entry.phone, *([f"{entry.phone}:{entry.webhook}"] if entry.webhook else [])), slot)
        if entry.webhook and FAILED in slots:
            error = LastError(entry.at, entry.status, error_of(entry), entry.duration_ms)
            self._errors[f"{entry.phone}:{entry.webhook}"] = error

    def count(self, phone: str, slot: int, times: int = 1) -> None:
        for _ in range(times):
            self._count((ALL, phone), slot)

    def flush(self) -> None:
        """It is written already."""

    def read(self, series: str, span: Span) -> Activity:
        if series != ALL and span != "week":
            raise ValueError(span)
        _, step_s, count = SPANS[span]
        first = int(self._now_s()) // step_s * step_s - (count - 1) * step_s
        points = [
            Point(
                datetime.fromtimestamp(start, UTC),
                added(
                    tuple(counts)
                    for (name, minute), counts in self._counts.items()
                    if name == series and start <= minute * 60 < start + step_s
                ),
            )
            for start in range(first, first + count * step_s, step_s)
        ]
        return Activity(span, step_s, points)

    def last_errors(self, endpoints: Sequence[Endpoint]) -> list[LastError | None]:
        return [self._errors.get(endpoint.key) for endpoint in endpoints]

    def _count(self, names: tuple[str, ...], slot: int) -> None:
        for name in names:
            self._counts.setdefault((name, int(self._now_s()) // 60), [0] * SLOTS)[slot] += 1


class MemoryMessageLog:
    """MessageLog."""

    def __init__(self, *, most: int = 5000, bodies: bool = False) -> None:
        self._most = most
        self._bodies = bodies
        self._messages: list[LoggedMessage] = []
        self._saved: dict[tuple[str, str], str] = {}

    def add(self, message: LoggedMessage, body: str = "") -> None:
        self.add_all([(message, body)])

    def add_all(self, messages: Sequence[tuple[LoggedMessage, str]]) -> None:
        for message, body in messages:
            self._messages.insert(0, message)
            if self._bodies and body:
                self._saved[message.phone, message.id] = body

    def latest(self, phone: str = "") -> Iterator[LoggedMessage]:
        messages = [message for message in self._messages if phone in ("", message.phone)]
        return iter(messages[: self._most])

    def find(self, messages: Collection[tuple[str, str]]) -> dict[tuple[str, str], LoggedMessage]:
        logged = {(phone, one.id): one for phone, _ in messages for one in self.latest(phone)}
        return {key: logged[key] for key in messages if key in logged}

    def body(self, phone: str, message_id: str) -> str | None:
        return self._saved.get((phone, message_id))


class MemoryAudit:
    """Audit."""

    def __init__(self, *, most: int = 10_000) -> None:
        self._most = most
        self._entries: list[AuditEntry] = []

    def add(self, entry: AuditEntry) -> None:
        self._entries = [entry, *self._entries][: self._most]

    def latest(
        self, limit: int = 100, *, phones: Collection[str] | None = None, before_ms: int | None = None
    ) -> list[AuditEntry]:
        return [
            entry
            for entry in self._entries
            if (phones is None or entry.phone in phones) and (before_ms is None or entry.at_ms < before_ms)
        ][:limit]


class MemoryRequestBin:
    """RequestBin. `away` stands for Redis that does not answer."""

    def __init__(self) -> None:
        self.away = False
        self._requests: dict[str, list[BinnedRequest]] = {}

    def add(self, phone: str, request: BinnedRequest) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")
        kept = request.model_copy(update={"body": request.body[:MAX_BODY_CHARS]})
        self._requests[phone] = [*self._requests.get(phone, []), kept][-MAX_REQUESTS:]

    def read(self, phone: str, *, after: int = 0) -> list[BinnedRequest]:
        return [request for request in self._requests.get(phone, []) if request.seq > after]


class MemoryFirstLooks:
    """What the memories of sessions and deliveries know of jobs, and what a test says of contacts and statuses."""

    def __init__(self, sessions: MemorySessions, deliveries: MemoryDeliveries) -> None:
        self._sessions = sessions
        self._deliveries = deliveries
        self.blocked: set[str] = set()
        self.superseded: set[str] = set()
        self.batches: list[int] = []
        self.held: list[Callable[[], None]] | None = None
        """Answers that do not come before a test lets them; none: they come at once."""

    def begin(
        self, jobs: Sequence[FanOut | DeliverWebhook], on_ready: Callable[[], None]
    ) -> Callable[[], list[FirstLook | None]]:
        self.batches.append(len(jobs))
        looks = [self._look(job) for job in jobs]
        if self.held is None:
            on_ready()
        else:
            self.held.append(on_ready)
        return lambda: looks

    def _look(self, job: FanOut | DeliverWebhook) -> FirstLook | None:
        if self._sessions.away or self._deliveries.away:
            raise StoreUnavailable("Redis is away")
        if isinstance(job, DeliverWebhook):
            delivered, endpoint = job.id, job.endpoint
        else:
            (webhook_id,) = job.webhook_ids or ("",)
            delivered, endpoint = delivery_id(job.id, webhook_id), Endpoint(job.phone, webhook_id)
        session = self._sessions.stored.get(job.phone) if job.stored else self._sessions.find(job.phone)
        if session is None:
            return None
        contact_names = job.content.counterparty(job.phone).keys if isinstance(job, FanOut) else ()
        return FirstLook(
            session,
            self._deliveries.state(delivered, endpoint),
            admitted=job.message_id not in self.superseded,
            blocked=not self.blocked.isdisjoint(contact_names),
        )


class ScriptedLoop:
    """WebhookLoop: each turn gives what was posted the next answers; the last one again and again.

    `most_answers` come in one turn.
    """

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers) or [Answer(status=200, duration_ms=7)]
        self._waiting: list[Callable[[Answer], None]] = []
        self._woken = threading.Event()
        self._held = False
        self.most_answers = 1_000
        self.on_post: Callable[[str], None] = lambda _: None
        self.refused: set[str] = set()
        self.ids: list[str] = []
        self.most = 0

    @property
    def under_way(self) -> int:
        return len(self._waiting)

    @property
    def held(self) -> bool:
        """Whether no answer comes."""
        return self._held

    @held.setter
    def held(self, held: bool) -> None:
        self._held = held
        self._woken.set()  # the answers come now

    def takes(self, url: str) -> bool:
        return url not in self.refused

    def post(
        self,
        webhook: Webhook,  # noqa: ARG002 (the port's)
        *,
        phone: str,  # noqa: ARG002
        delivery_id: str,
        body: str,  # noqa: ARG002
        on_answer: Callable[[Answer], None],
    ) -> None:
        self.ids.append(delivery_id)
        self._waiting.append(on_answer)
        self.most = max(self.most, len(self._waiting))
        self.on_post(delivery_id)

    def turn(self, timeout_s: float) -> None:
        if self._held or not self._waiting:
            self._woken.wait(timeout_s)
        self._woken.clear()
        if self._held:
            return
        waiting, self._waiting = self._waiting[: self.most_answers], self._waiting[self.most_answers :]
        for on_answer in waiting:
            on_answer(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        self._waiting.clear()


class WebhookRecorder:
    """WebhookSender: gives the next answer, and remembers the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.attempts: list[int] = []
        self.bodies: list[str] = []
        self.ids: list[str] = []
        self.replays: list[bool] = []
        self.webhooks: list[Webhook] = []

    def post(
        self,
        webhook: Webhook,
        *,
        phone: str,  # noqa: ARG002 (the port's)
        delivery_id: str,
        attempt: int,
        body: str,
        replay: bool = False,
    ) -> Answer:
        self.webhooks.append(webhook)
        self.replays.append(replay)
        self.ids.append(delivery_id)
        self.attempts.append(attempt)
        self.bodies.append(body)
        return self.answers.pop(0)


class CallbackRecorder:
    """CallbackSender: gives the next answer, and remembers the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.posts: list[tuple[str, str]] = []

    def post(self, url: str, body: str) -> Answer:
        self.posts.append((url, body))
        return self.answers.pop(0)


class MemoryAlerts:
    """AlertStore, with a clock of its own; raises StoreUnavailable while `away`."""

    def __init__(self, *, spacing_ms: int = 300_000) -> None:
        self.now_ms = 1_767_225_600_000
        self.away = False
        self._spacing_ms = spacing_ms
        self._groups: dict[str, AlertGroup] = {}
        self._taken: dict[str, list[AlertGroup]] = {}
        self._sent_ms = self._began_until_ms = 0

    def add(self, alert: Alert) -> int | None:
        self._ensure_there()
        known = alert.group in self._groups or len(self._groups) < MAX_GROUPS
        name = alert.group if known else OVERFLOW
        first = self._groups[name].first if name in self._groups else alert
        count = self._groups[name].count if name in self._groups else 0
        self._groups[name] = AlertGroup(count + 1, first, alert, overflow=not known)
        if self.now_ms < self._began_until_ms:
            return None
        return max(GATHER_MS, self._left_ms)

    def began(self, wait_ms: int) -> None:
        self._began_until_ms = self.now_ms + wait_ms + GRACE_MS

    def take(self, token: str) -> list[AlertGroup] | int:
        self._ensure_there()
        if token not in self._taken:
            if self._left_ms > EARLY_MS:
                return self._left_ms
            self._began_until_ms = 0
            if not self._groups:
                return []
            self._taken[token], self._groups = list(self._groups.values()), {}
            self._sent_ms = self.now_ms
        return self._taken[token]

    def forget(self, token: str) -> None:
        self._taken.pop(token, None)

    @property
    def _left_ms(self) -> int:
        return min(self._sent_ms + self._spacing_ms - self.now_ms, self._spacing_ms) if self._sent_ms else 0

    def _ensure_there(self) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")


class ChannelRecorder:
    """AlertChannels: gives the next answer, then 200, and remembers what was posted."""

    def __init__(self, *names: str, answers: Sequence[Answer] = ()) -> None:
        self.names = names
        self.answers = list(answers)
        self.posts: list[tuple[str, Digest]] = []

    def unknown(self) -> list[str]:
        return []

    def post(self, name: str, digest: Digest) -> Answer:
        self.posts.append((name, digest))
        return self.answers.pop(0) if self.answers else Answer(status=200)


class ScriptedProvider:
    """Provider: raises `trouble`, else sends. Without `connected` nobody takes a message."""

    takes_user_ids = True

    def __init__(self, trouble: Exception | None = None, *, connected: bool = True) -> None:
        self.trouble = trouble
        self.connected = connected
        self.sent: list[OutboundMessage | MessageCommand] = []

    def ready(self, phone: str) -> None:
        if not self.connected:
            raise NoConnector(phone)

    def address(self, phone: str) -> str:  # noqa: ARG002
        return ""

    def send(self, message: OutboundMessage, *, phone: str, message_id: str) -> Receipt:  # noqa: ARG002 (the port's)
        if self.trouble is not None:
            raise self.trouble
        self.sent.append(message)
        return Receipt(recipient=message.addressee, statuses=(StatusUpdate(status="sent"),))

    def command(self, command: MessageCommand, *, phone: str) -> None:  # noqa: ARG002 (the port's)
        if self.trouble is not None:
            raise self.trouble
        self.sent.append(command)


def make_webhook(**fields: Any) -> Webhook:
    """A webhook with an address."""
    return Webhook.model_validate({"id": "default", "urlAbsolute": "http://receiver.test/hook", **fields})


def make_session(*webhooks: Webhook, **fields: Any) -> Session:
    """A stored session; with one webhook when none is given."""
    aliases = {name: field.alias or name for name, field in Session.model_fields.items()}
    stored = {
        aliases.get(name, name): value for name, value in fields.items()
    }  # configurations are read by alias alone
    return Session(phone=PHONE, stored=True, webhooks=webhooks or (make_webhook(),), **stored)


def make_event(**message: Any) -> Event:
    """A text that a contact wrote."""
    text = {"from": CONTACT, "id": "wamid.1", "timestamp": "1767225600", "type": "text", "text": {"body": "hello"}}
    return message_event(PHONE, {**text, **message}, contacts=[contact(CONTACT, "Maria")])


def make_status(status: str = "delivered", *, recipient: str = CONTACT, error: dict[str, Any] | None = None) -> Event:
    """A status of a sent message."""
    whose = Identity.of(recipient)
    return status_event(
        PHONE, message_id="wamid.1", status=status, recipient=whose, timestamp_s=1767225600, error=error
    )


def make_fan_out(event: Event | None = None, **fields: Any) -> FanOut:
    """The job of an event that was accepted for the only webhook of a stored session."""
    event = event or make_event()
    identity = {"id": event.event_id, "phone": PHONE, "message_id": event.message_id, "kind": event.kind}
    return FanOut.model_validate({**identity, "body": event.body, "webhook_ids": ["default"], "stored": True, **fields})


def make_delivery(**fields: Any) -> DeliverWebhook:
    """One event on its way to the webhook `default` of a stored session."""
    event = make_event()
    identity = {
        "id": "delivery-1",
        "phone": PHONE,
        "message_id": "wamid.1",
        "event_id": event.event_id,
        "kind": "message",
    }
    return DeliverWebhook.model_validate(
        {**identity, "webhook_id": "default", "stored": True, "body": event.body, **fields}
    )


def make_send(**fields: Any) -> SendMessage:
    """A text on its way to WhatsApp."""
    body = json.dumps({"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "hello"}})
    return SendMessage.model_validate(
        {"id": "wamid.1", "phone": PHONE, "message_id": "wamid.1", "body": body, **fields}
    )
