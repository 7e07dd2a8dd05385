"""What the services need from the outside world: protocols only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from unoapi.models.activity import Activity, LastError, Span
    from unoapi.models.alerts import Alert, AlertGroup, Digest
    from unoapi.models.attempts import Answer
    from unoapi.models.audit import AuditEntry
    from unoapi.models.bulk import Campaign, State
    from unoapi.models.chats import Chat, Menu, MenuState
    from unoapi.models.claims import Claim, KeyState, Turn
    from unoapi.models.cloud_api.messages import Command as MessageCommand
    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.connector.commands import ConnectorCommand
    from unoapi.models.connector.events import PairingCode, QrCode, SessionState
    from unoapi.models.dead_letters import Bounds, DeadLetter, DeadLetterQuery, DeadLetterWalk, Outcome
    from unoapi.models.endpoints import DeliveryState, Endpoint, EndpointChange, Holding, Permit
    from unoapi.models.first_look import FirstLook
    from unoapi.models.graph import GraphAnswer, GraphRequest
    from unoapi.models.jobs import DeliverWebhook, Envelope, EventJob, FanOut, HeldDelivery, MessageJob, SendMessage
    from unoapi.models.media import MediaFile, SavedFile
    from unoapi.models.message_keys import MessageKey
    from unoapi.models.message_log import LoggedMessage
    from unoapi.models.message_log import State as MessageState
    from unoapi.models.prepared import Film, LinkPreview, Pages, Picture, Sound
    from unoapi.models.processes import Process
    from unoapi.models.receipts import Receipt
    from unoapi.models.replays import Replay, StoredEvent, StreamBounds
    from unoapi.models.request_bin import BinnedRequest
    from unoapi.models.session import Session, Webhook
    from unoapi.models.timers import Conversation, TimerState
    from unoapi.models.trace import StuckMessage, TraceEntry
    from unoapi.models.voice import VoiceAccount


class Publisher(Protocol):
    """Puts jobs on queues."""

    def publish(self, envelopes: Sequence[Envelope], *, timeout_s: float = ...) -> None:
        """Return when all are confirmed; raise BrokerUnavailable otherwise."""


class SessionStore(Protocol):
    """The configured phones."""

    def find(self, phone: str) -> Session:
        """The stored session, or the environment's for a phone that was never stored.

        Raises SessionUnknown when nobody can say: Redis is away or lost its data.
        """

    def resolve(self, phone: str, *, stored: bool) -> Session:
        """The session that an event was accepted for.

        Of one removed on purpose no webhook is left. Raises SessionUnknown when a stored one is gone without that.
        """

    def refresh(self, phone: str) -> None:
        """Read this phone from where it is stored next time, not from a cache."""


class Sessions(SessionStore, Protocol):
    """The configured phones, and how they are changed. All but `load_marker` raise StoreUnavailable."""

    def load_marker(self) -> None:
        """Read at the start whether Redis has its data, so that a later loss is noticed. Never raises."""

    def indexed(self) -> list[str]:
        """The phones in the index: all but those that another program stored. Raises StoreUnavailable."""

    def phones(self) -> list[str]:
        """The stored phones, sorted."""

    def changes(self) -> str:
        """Another word after each session that was stored or removed by us."""

    def find_all(self, phones: Iterable[str]) -> dict[str, Session]:
        """What `find` returns for each of these phones, without those for which it raises."""

    def config(self, phone: str) -> dict[str, Any] | None:
        """What is stored of a phone, with its secrets; none when it is not stored."""

    def configs(self, phones: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is stored of each of these phones."""

    def changing(self, phone: str) -> AbstractContextManager[None]:
        """A time in which nobody else changes what is stored of a phone: what was read in it may be written."""

    def save(self, phone: str, config: dict[str, Any]) -> Session:
        """Store a phone's configuration. Raises ValidationError, and RequestError for addresses that are refused."""

    def remove(self, phone: str, *, remember_s: int) -> bool:
        """Remove a phone on purpose, which is remembered for so long. Whether it was stored."""

    def confirm(self) -> None:
        """Take the phones that are stored now for all there are."""


class SessionDirectory(Protocol):
    """Finds sessions by what a request names. Raises StoreUnavailable."""

    def phones_of(self, node: str) -> tuple[str, ...]:
        """The phones that a part of a path stands for: a phone, or an id that Meta gave."""

    def sessions_of(self, node: str) -> list[Session]:
        """The stored sessions that answer to an id, as they are now and not as a cache has them."""

    def all(self) -> list[Session]:
        """All stored sessions."""

    def opened_lately(self, token: str) -> list[Session]:
        """The same among the sessions that were loaded last: costs Redis nothing."""

    def opened_by(self, token: str) -> list[Session]:
        """The sessions that a token opens."""

    def statuses(self, phones: Sequence[str]) -> dict[str, str]:
        """The status word of each phone that has one."""

    def count_phones(self) -> dict[str, int]:
        """How many of the sessions that a connector keeps connected have which status."""


class Graph(Protocol):
    """The accounts of numbers at Meta."""

    def ask(self, session: Session, request: GraphRequest) -> GraphAnswer:
        """Pass a request on with the session's credentials. Raises RequestError when there is no answer of Meta's."""


class Breakers(Protocol):
    """Which endpoints are down. Never raises; with Redis away each process decides from its own memory."""

    def permit(  # noqa: PLR0913 (what is known of the delivery)
        self,
        delivery_id: str,
        endpoint: Endpoint,
        *,
        state: str | None,
        deadline_ms: int,
        accepted_at_ms: int,
        may_probe: bool,
        releasing: bool = ...,
    ) -> Permit:
        """Whether this delivery may be posted now. `state` is that of `DeliveryState.breaker`.

        `releasing`: whether it comes out of the holding queue of its endpoint.
        """

    def next_probe_ms(self, state: str | None) -> int | None:
        """In how many milliseconds an endpoint of this state may be probed; none when it is not down."""

    def seen(self, endpoint: Endpoint, *, state: str) -> None:
        """Remember the state that was read."""

    def failed(self, delivery_id: str, endpoint: Endpoint, *, took_ms: int) -> tuple[bool, EndpointChange | None]:
        """Count a failure, and what it cost. Whether the endpoint is down now, and the change if this made it so."""

    def succeeded(self, endpoints: Sequence[Endpoint], *, notify: Callable[[Endpoint, EndpointChange], None]) -> None:
        """Forget the failures. `notify` gets the change of one that was down, perhaps in another thread."""

    def count_open(self) -> int:
        """How many endpoints are down. Raises StoreUnavailable."""

    def went_down(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those of the endpoints that went down, and perhaps came back. Raises StoreUnavailable."""


class Deliveries(Protocol):
    """Deliveries that are done, and endpoints that are paused.

    What a delivery needs never raises and fails open. What a person asks for raises StoreUnavailable.
    """

    def state(self, delivery_id: str, endpoint: Endpoint) -> DeliveryState:
        """The state before an attempt."""

    def is_done(self, delivery_id: str) -> bool:
        """Whether the delivery was done, for a person."""

    def finish(self, delivery_id: str, entry: TraceEntry) -> None:
        """Remember that the delivery is done, so that a later copy is not posted, and the step with which it was."""

    def note_done(self, delivery_id: str) -> None:
        """Remember at once that the delivery is done, for another process that waits for it."""

    def pause(self, endpoint: Endpoint, *, pause_ms: int) -> None:
        """Pause the endpoint for `pause_ms` milliseconds; a longer pause stays."""

    def suspend(self, endpoint: Endpoint, *, pause_ms: int) -> None:
        """Pause the endpoint, for a person."""

    def resume(self, endpoint: Endpoint) -> bool:
        """End a pause, or let an endpoint that is down be probed now, for a person. Whether it was one of both."""

    def drop(self, endpoint: Endpoint) -> int:
        """Give up what waits for a webhook now, for a person; returns the moment in Unix milliseconds."""

    def endpoints(self, endpoints: Sequence[Endpoint]) -> list[DeliveryState]:
        """The states of endpoints, for a person."""

    def paused(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those of the endpoints that are paused, for a person: of thousands in little time."""

    def holding(self, endpoint: Endpoint) -> Holding | None:
        """The holding queue of an endpoint, for a person."""


class Holdings(Protocol):
    """Which endpoint has which holding queue. Raises StoreUnavailable."""

    def begin(  # noqa: PLR0913 (the fields of an entry)
        self, endpoint: Endpoint, token: str, *, look: int, redelivered: bool, ready: bool, waiting: bool
    ) -> int:
        """The same as `keep`, at the beginning of a look. LOOK_ENDED or LOOK_BEGUN: it was made before."""

    def end(self, endpoint: Endpoint, token: str, *, look: int) -> None:
        """Note that a look has ended, so that it is not made again when its message comes. Never raises."""

    def keep(self, endpoint: Endpoint, token: str, *, ready: bool, waiting: bool) -> int:
        """Write that the endpoint has this queue; returns how many queues there are. 0: it may not have it."""

    def forget(self, endpoint: Endpoint, token: str) -> None:
        """Let nobody find this queue any more."""

    def all(self) -> list[tuple[Endpoint, str]]:
        """All queues, as endpoint and token."""

    def left_alone(self) -> list[tuple[Endpoint, str]]:
        """The queues at which nobody has looked for long."""


class HoldingQueues(Protocol):
    """The holding queues in RabbitMQ, each named by its endpoint and token. Raises BrokerUnavailable."""

    def make(self, endpoint: Endpoint, token: str) -> None:
        """Make the queue, if it is not there."""

    def peek(self, endpoint: Endpoint, token: str, *, position: int) -> HeldDelivery | None:
        """The delivery at this position, from 0, or the last one before it. It stays where it is. None: no delivery."""

    def consume(self, endpoint: Endpoint, token: str) -> AbstractContextManager[HeldDeliveries]:
        """Take deliveries, oldest first. Those that are not settled stay in the queue, in their order."""

    def count(self, endpoint: Endpoint, token: str) -> int:
        """How many deliveries the queue has."""

    def close(self, endpoint: Endpoint, token: str) -> None:
        """Let nothing be published to the queue any more. What comes too late is a dead letter."""

    def delete(self, endpoint: Endpoint, token: str) -> bool:
        """Delete the queue if it is empty and nobody takes deliveries from it. Whether it is gone."""


class HeldDeliveries(Protocol):
    """The deliveries of one queue, for one thread. Raises BrokerUnavailable."""

    def take(self, *, wait_s: float) -> list[HeldDelivery]:
        """Those that came, in the order of the queue; waits for the first one so many seconds."""

    def is_empty(self) -> bool:
        """Whether the queue has no deliveries but those that were taken."""

    def done(self, held: HeldDelivery) -> None:
        """Remove a delivery."""

    def refuse(self, held: HeldDelivery) -> None:
        """Move a delivery to the work queue."""


class EventStream(Protocol):
    """All events of the last time, in the order in which they were published. Raises BrokerUnavailable, EventsNotKept.

    A position is that of one event in the stream, whosever it is.
    """

    def read(self, phone: str, *, after: int | None = ..., since_ms: int = ...) -> AbstractContextManager[StoredEvents]:
        """The events of a number behind a position, or else those from a time on (Unix ms) and some before."""

    def bounds(self) -> StreamBounds | None:
        """The oldest and the newest event, whosever they are. None: there is no event."""


class StoredEvents(Protocol):
    """The events of one number, for one thread. Raises BrokerUnavailable."""

    position: int
    """Of the last event that was read, of any number; -1 before the first."""

    def take(self, *, wait_s: float) -> list[StoredEvent]:
        """Those that came, perhaps none though `position` moved; waits for any so many seconds."""


class Replays(Protocol):
    """The last replay of each endpoint. Raises StoreUnavailable."""

    def begin(self, replay: Replay) -> bool:
        """Write a new one. False: one goes on."""

    def save(self, replay: Replay, *, run: str) -> bool:
        """Write how far it is. False: it was cancelled, or another run of it goes on. An empty `run` is any."""

    def find(self, endpoint: Endpoint) -> Replay | None:
        """The last one."""


class SendClaims(Protocol):
    """The rights to send, so that no message is sent twice. Raises StoreUnavailable."""

    def claim(self, job: SendMessage, *, name: str = ..., held: Sequence[str] = ..., turn: Turn | None = ...) -> Claim:
        """Ask for the right to send, as a claim of this name. One of a name in `held` is the caller's to take over.

        With `turn` it is given to who is first in the line of the message's contact alone.
        """

    def settle(self, job: SendMessage, receipt: Receipt) -> None:
        """Save the outcome, before whatever is asked from now on. Never raises, never waits."""

    def state(self, job: SendMessage, *, held: Sequence[str] = ...) -> Claim:
        """What a claim would answer now; `free` when nobody else has the right."""

    def release(self, job: SendMessage, *, name: str = ...) -> None:
        """Give the right of this name back: it is certain that nothing left."""

    def reopen(self, job: SendMessage, *, force: bool, held: Sequence[str] = ...) -> bool:
        """Whether a person may have the job run again. A receipt stays; an unfinished claim goes with `force` alone.

        A claim that the job holds is not in its way.
        """


class MessageIds(Protocol):
    """Which of WhatsApp's message ids is which of ours. An unknown id is its own."""

    def remember(self, phone: str, *, theirs: str, ours: str) -> None:
        """Save a pair."""

    def remember_ours(self, phone: str, *, theirs: str, ours: str) -> None:
        """Save which of ours one of theirs is, and not the other way."""

    def remember_shown(self, phone: str, message_ids: Collection[str]) -> None:
        """Save by which of Meta's ids clients know messages that others wrote: later it may name them by other ones."""

    def ours(self, phone: str, theirs: str) -> str:
        """Our id, or theirs when no pair is known. Never raises; it fails open."""

    def all_ours(self, phone: str, theirs: Collection[str]) -> dict[str, str]:
        """The same for many at once."""

    def known_ours(self, phone: str, theirs: Collection[str]) -> dict[str, str]:
        """Our ids of those of which a pair is known. Raises StoreUnavailable: nobody knows."""

    def remember_mark(self, phone: str, ours: str, mark: str) -> None:
        """Save the client's own mark on a message."""

    def marks(self, phone: str, ours: Sequence[str]) -> dict[str, str]:
        """The marks of those messages that have one, by our ids."""

    def theirs(self, phone: str, ours: str) -> str:
        """Their id, or ours when no pair is known. Raises StoreUnavailable."""


class Connections(Protocol):
    """How the sessions are connected, and which commands are on their way to the connector. All of it may be lost."""

    def record(self, phone: str, change: SessionState | QrCode | PairingCode, *, at_ms: int, seq: int) -> None:
        """Save the change, unless a newer one is saved. Raises StoreUnavailable."""

    def status(self, phone: str) -> str:
        """The status word; `disconnected` when none is known. Raises StoreUnavailable."""

    def details(self, phone: str) -> dict[str, Any]:
        """The status and what is shown beside it, such as a QR code; `left`: no connector runs the number any more.

        Raises StoreUnavailable.
        """

    def remember_key(  # noqa: PLR0913 (the fields of a key)
        self, phone: str, message_id: str, *, chat: str, participant: str = "", from_me: bool = False, theirs: str = ""
    ) -> None:
        """Save the key of a message. `theirs` is WhatsApp's id when it is not the message's. Never raises."""

    def key(self, phone: str, message_id: str) -> MessageKey | None:
        """The key of a message, if it is known. Raises StoreUnavailable."""

    def expect(self, phone: str, command_id: str, *, within_s: int) -> None:
        """Note that a command's result is awaited. Raises StoreUnavailable."""

    def settle(self, phone: str, command_id: str, *, key: MessageKey | None = None) -> bool:
        """Note that the result came, and the key of the message that left. Raises StoreUnavailable.

        True when the wait for it was given up before. Who sees that nothing is awaited any more sees the key, too.
        """

    def is_awaited(self, phone: str, command_id: str) -> bool:
        """Whether a command's result may still come. Raises StoreUnavailable."""

    def give_up(self, phone: str, command_id: str) -> bool:
        """End the wait for a result. True when it has not come. Raises StoreUnavailable."""

    def is_served(self, phone: str) -> bool:
        """Whether a connector runs the session and is connected, or was a moment ago. Raises StoreUnavailable."""

    def is_new_call(self, phone: str, caller: str, call_id: str) -> bool:
        """Whether this is the caller's first call in ten seconds, or the same call again. Never raises."""


class ConsoleLogins(Protocol):
    """Logins of the console that were ended. Never raises; with Redis away it is what this process knows."""

    def end(self, login_id: str, *, within_s: int) -> None:
        """Let nobody use this login any more; it would work for at most so many seconds."""

    def is_ended(self, login_id: str) -> bool:
        """Whether it was ended."""


class Chats(Protocol):
    """What is remembered of chats. A chat has several names: a phone, a LID, a group's address. All may be lost."""

    def remember_menu(self, phone: str, chat: str, menu: Menu) -> None:
        """Save the menu that was sent last. Never raises."""

    def remember_menu_state(self, phone: str, chat: str, message_id: str, state: MenuState) -> None:
        """Save what became of a menu; of a later one nothing is known by that. Never raises."""

    def remember_timer(self, phone: str, chat: str, seconds: int) -> None:
        """Save after how long the chat's messages disappear; 0: they stay. Never raises."""

    def find(self, phone: str, chats: Sequence[str]) -> Chat:
        """What is known of a chat: the last menu, and the timer under the first of its names that has one.

        Never raises; it fails open.
        """


class Commands(Protocol):
    """The connector's entry."""

    def put(self, commands: Sequence[ConnectorCommand], *, then: Sequence[Envelope] = ()) -> None:
        """Publish commands, and jobs about them, all confirmed. Raises BrokerUnavailable."""


class Blacklist(Protocol):
    """Contacts whose events a webhook does not get."""

    def blocking(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> set[str]:
        """The webhooks, out of these, that get no events of any of the contacts. Never raises; it fails open."""


class BlacklistStore(Blacklist, Protocol):
    """The blacklist, and how it is changed."""

    def blocked_by_any(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> set[str]:
        """The contacts, out of these, whose events a webhook does not get. Never raises; it fails open."""

    def mute(self, phone: str, contact: str, seconds: Mapping[str, int]) -> None:
        """Give webhooks, by id, no events of the contact for so many seconds. Never raises."""

    def put(self, phone: str, webhook_id: str, contact: str, *, ttl_s: int) -> None:
        """Add a contact for a time, or remove it with 0. Raises RequestError for too many, StoreUnavailable."""

    def block(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> None:
        """Add contacts until they are removed. Raises RequestError for too many, StoreUnavailable."""

    def unblock(self, phone: str, webhook_ids: Sequence[str], contacts: Sequence[str]) -> None:
        """Remove contacts. Raises StoreUnavailable."""

    def blocked(self, phone: str) -> list[str]:
        """The contacts that were added until they are removed. Raises StoreUnavailable."""


class Backlog(Protocol):
    """How many messages of a session wait to be sent. It fails open."""

    def is_full(self, phone: str) -> bool:
        """Whether the session may not add another. Never raises."""

    def enter(self, phone: str, message_id: str, entry: TraceEntry) -> None:
        """Count a message that was accepted, and trace it. Never raises."""

    def leave(self, phone: str, message_id: str) -> None:
        """Count a message no more. Never raises."""


class Templates(Protocol):
    """The templates of each session. Raises StoreUnavailable."""

    def get(self, phone: str) -> list[dict[str, Any]] | None:
        """The stored templates; none when there are none of this phone."""

    def put(self, phone: str, templates: list[dict[str, Any]]) -> None:
        """Store all templates of a phone."""

    def change(
        self, phone: str, made: Callable[[list[dict[str, Any]] | None], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Store what is made of what is stored, and return it; no change of others' meanwhile is lost."""


class QueueAges(Protocol):
    """When the messages of each queue can have come."""

    def taken(self, queue: str, came_ms: int) -> None:
        """Record that a message was taken which had come then, in Unix milliseconds. Never raises."""

    def since(self, ready: Mapping[str, int], *, passing: Mapping[str, int]) -> dict[str, int]:
        """For each queue that is not empty the time before which nothing in it came, in Unix milliseconds.

        `ready` are the counts of just now, `passing` those of queues that come and go. Raises StoreUnavailable.
        """

    def rates(self, ready: Mapping[str, int]) -> Mapping[str, tuple[float, float]]:
        """How many messages a second came into each queue lately, and were taken out of it. Raises StoreUnavailable."""


class Processes(Protocol):
    """The processes that run, as each one reports itself."""

    def report(self, process: Process) -> None:
        """Say that it runs. Never raises, never waits."""

    def forget(self, name: str) -> None:
        """Say that it ended. Never raises."""

    def all(self) -> list[Process]:
        """Those that were heard of lately, by name; also such as ended without a word. Raises StoreUnavailable."""


class Timers(Protocol):
    """When a contact's timer was started or stopped last, who wrote last, and how many timers wait."""

    def state(self, phone: str, contact: str) -> TimerState:
        """What is known when a timer runs out. Raises StoreUnavailable."""

    def waits(self, phone: str, timer_id: str, *, until_ms: int) -> None:
        """Count a timer that waits until then. Never raises."""


class TimerStore(Timers, Protocol):
    """The timers, and how they are changed."""

    def touch(self, phone: str, contact: str, *, at_ms: int) -> None:
        """Start or stop the contact's timer: of those that run, only one started then is fired.

        Raises StoreUnavailable.
        """

    def waiting(self, phone: str) -> int:
        """How many timers of a number wait. Raises StoreUnavailable."""

    def wrote(self, last: Mapping[Conversation, bool]) -> None:
        """Record who wrote last: the number itself (true), or the contact. Never raises."""


class DeadLetterCounts(Protocol):
    """Which number makes how many dead letters a day."""

    def add(self, phone: str) -> None:
        """Count a dead letter. Never raises."""

    def today(self, phone: str) -> int:
        """How many a number made today. Raises StoreUnavailable."""

    def largest(self) -> int:
        """How many the number with the most made today. Raises StoreUnavailable."""


class Notices(Protocol):
    """At most one notice per endpoint and time."""

    def claim(self, endpoint: Endpoint, *, notice_id: str) -> bool:
        """Whether this notice may go out now; the same notice may always go again."""


class Traces(Protocol):
    """The life of messages. Writing never raises and never waits for long."""

    def add(self, *entries: TraceEntry) -> None:
        """Append steps."""

    def read(self, phone: str, message_id: str) -> list[TraceEntry]:
        """The last steps of a phone's message, oldest first. Raises StoreUnavailable."""

    def read_all(self, messages: Sequence[tuple[str, str]]) -> list[list[TraceEntry]]:
        """The last steps of each message, by phone and id, oldest first. Raises StoreUnavailable."""

    def find(self, message_id: str) -> list[TraceEntry]:
        """The last steps of a message of any phone, for an operator. Raises StoreUnavailable."""

    def stuck(self, state: MessageState, *, until_ms: int | None = ...) -> Iterator[StuckMessage]:
        """Messages of all phones that a step may have left in one of `STUCK`, the latest step first.

        As far as they are among the latest of them, and without those whose last such step is younger than `until_ms`.
        Raises StoreUnavailable.
        """


class ActivityCounts(Protocol):
    """How much happens, in buckets of a minute or an hour. All of it may be lost."""

    def count(self, phone: str, slot: int, times: int = ...) -> None:
        """Count things that are no steps of a message. Never raises, never waits."""

    def flush(self) -> None:
        """Write what was counted. Never raises."""

    def read(self, series: str, span: Span) -> Activity:
        """The counts of everything (`all`), of a number or of an endpoint (its key).

        Raises StoreUnavailable, and ValueError for a span that the series does not have.
        """

    def last_errors(self, endpoints: Sequence[Endpoint]) -> list[LastError | None]:
        """Why an attempt at each of the endpoints failed last. Raises StoreUnavailable."""


class MessageLog(Protocol):
    """The latest messages of each number, and of all together. All of it may be lost."""

    def add(self, message: LoggedMessage, body: str = ...) -> None:
        """Put a message in front. Never raises, never waits."""

    def add_all(self, messages: Sequence[tuple[LoggedMessage, str]]) -> None:
        """Put messages with their bodies in front, the last one first. Never raises, never waits."""

    def latest(self, phone: str = ...) -> Iterator[LoggedMessage]:
        """The messages of a number, or of all, the newest first. Raises StoreUnavailable."""

    def find(self, messages: Collection[tuple[str, str]]) -> dict[tuple[str, str], LoggedMessage]:
        """Messages by phone and id, as far as they are among the latest of their numbers. Raises StoreUnavailable."""

    def body(self, phone: str, message_id: str) -> str | None:
        """The body of a message, if bodies are saved. Raises StoreUnavailable."""


class Audit(Protocol):
    """What people changed. It is bounded, and may be lost."""

    def add(self, entry: AuditEntry) -> None:
        """Put an entry in front. Never raises, never waits."""

    def latest(
        self, limit: int = ..., *, phones: Collection[str] | None = ..., before_ms: int | None = ...
    ) -> list[AuditEntry]:
        """The newest entries, the newest first; of `phones` alone, if they are given. Raises StoreUnavailable."""


class RequestBin(Protocol):
    """What webhooks without a receiver get, for a while."""

    def add(self, phone: str, request: BinnedRequest) -> None:
        """Keep a request. Raises StoreUnavailable."""

    def read(self, phone: str, *, after: int = ...) -> list[BinnedRequest]:
        """The requests that came after the one with this number, the oldest first. Raises StoreUnavailable."""


class WebhookSender(Protocol):
    """One HTTP POST to a webhook."""

    def post(  # noqa: PLR0913 (the parts of one request)
        self, webhook: Webhook, *, phone: str, delivery_id: str, attempt: int, body: str, replay: bool = ...
    ) -> Answer:
        """Sign and send; a replay says so. Never raises for what the network or the receiver does."""


class WebhookLoop(Protocol):
    """Many POSTs to webhooks at once, for one thread, which calls everything but `wake`."""

    @property
    def under_way(self) -> int:
        """How many have not ended."""

    def takes(self, url: str) -> bool:
        """Whether an exchange with this address holds up no other one; else it is for a thread of its own."""

    def post(
        self, webhook: Webhook, *, phone: str, delivery_id: str, body: str, on_answer: Callable[[Answer], None]
    ) -> None:
        """Begin a first attempt. `on_answer` gets what came of it, in a later `turn`; at once if nothing can be sent.

        Never raises for what the network or the receiver does.
        """

    def turn(self, timeout_s: float) -> None:
        """Go on with all of them until something happened, `wake` was called, or the time is over."""

    def wake(self) -> None:
        """End the `turn` that waits, from any thread."""

    def close(self) -> None:
        """Break off what is under way; nobody is told."""


class FirstLooks(Protocol):
    """What new events and deliveries need to know, for many at once."""

    def begin(
        self, jobs: Sequence[FanOut | DeliverWebhook], on_ready: Callable[[], None]
    ) -> Callable[[], list[FirstLook | None]]:
        """Ask about jobs that have one webhook each. The result can be called after `on_ready` was, in any thread.

        It gives what is known of each job; none where the job has to ask for itself. Raises StoreUnavailable, and what
        the content of a job may raise.
        """


class CallbackSender(Protocol):
    """One HTTP POST to the operator's own address."""

    def post(self, url: str, body: str) -> Answer:
        """Send. Never raises for what the network or the receiver does."""


class AlertStore(Protocol):
    """Failures that were not told yet, in groups. May be lost. Raises StoreUnavailable."""

    def add(self, alert: Alert) -> int | None:
        """Gather one. In how many milliseconds a digest is due, unless one is on its way: then `began` follows."""

    def began(self, wait_ms: int) -> None:
        """A digest that is due in so many milliseconds was published."""

    def take(self, token: str) -> list[AlertGroup] | int:
        """All groups, the same again under the same token; in how many milliseconds, when it is too early."""

    def forget(self, token: str) -> None:
        """Those of a token are told."""


class AlertChannels(Protocol):
    """The operator's chats and mailboxes."""

    @property
    def names(self) -> tuple[str, ...]:
        """What each is called in jobs; never its address, which is a secret."""

    def unknown(self) -> list[str]:
        """The channels whose address cannot be read."""

    def post(self, name: str, digest: Digest) -> Answer:
        """Send, within a deadline. Never raises for what the network or the service does."""


class Idempotency(Protocol):
    """Which requests were made under which key. Raises StoreUnavailable."""

    def claim(self, phone: str, key: str, *, digest: str) -> KeyState:
        """Take a key for a body, or get the state of one that is taken."""

    def settle(self, phone: str, key: str, *, digest: str) -> None:
        """Remember that the request was accepted. Never raises."""

    def give_back(self, phone: str, key: str, *, digest: str) -> None:
        """Free the key of a request that was refused, unless another one was accepted under it. Never raises."""


class Statuses(Protocol):
    """The status that was published last of each message. Never raises; it fails open."""

    def admit(self, phone: str, message_id: str, *, status: str, event_id: str, member: str = "") -> bool:
        """Whether a status may be published: statuses never go backwards, in a group those of each member."""


class Provider(Protocol):
    """One way of being connected to WhatsApp. `takes_user_ids`: it can address somebody whose phone is not known."""

    takes_user_ids: bool

    def ready(self, phone: str) -> None:
        """Raise Postponed when nobody is there to take a message of this phone."""

    def address(self, phone: str) -> str:
        """The address of the server that takes this phone's messages; empty when none is asked."""

    def send(self, message: OutboundMessage, *, phone: str, message_id: str) -> Receipt:
        """Send one Cloud API message.

        Raises MessageRejected (WhatsApp refused it), SendFailed or SendPostponed (certain that nothing left). Anything
        else means that nobody knows.
        """

    def command(self, command: MessageCommand, *, phone: str) -> None:
        """Mark as read, show typing or delete. It may be repeated. Raises TransientError, MessageRejected."""


@runtime_checkable
class KnowsContacts(Protocol):
    """A provider that knows who is on WhatsApp. Of others the form of the number decides."""

    def contacts(self, phone: str, numbers: Sequence[str]) -> list[bool]:
        """Whether each number is on WhatsApp, in order. Raises Postponed when nobody is there to ask."""


@runtime_checkable
class ServesPhones(Protocol):
    """A provider whose numbers are accounts of phones: with groups, a list of blocked contacts, a profile."""

    def ask(self, phone: str, method: str, data: dict[str, Any]) -> dict[str, Any]:
        """A question of the connector's contract. Raises QuestionRefused, and NobodyAnswers."""

    def block(self, phone: str, contacts: Sequence[str], *, blocked: bool) -> None:
        """Let the phone block contacts, or unblock them, as soon as it is connected. Raises BrokerUnavailable."""

    def change_profile(self, phone: str, *, about: str | None, picture_id: str) -> None:
        """Let the phone show another text or picture of the number. Raises BrokerUnavailable."""


class MediaTools(Protocol):
    """Converts and measures files on the disk. Raises ConversionFailed for what is not what it should be."""

    def voice(self, source: Path, target: Path) -> None:
        """Write a voice note."""

    def audio(self, source: Path, target: Path) -> None:
        """Write sound that every phone plays."""

    def mp3(self, source: Path, target: Path) -> None:
        """Write sound that every browser plays."""

    def sound(self, source: Path, *, waveform: bool) -> Sound:
        """Measure a sound."""

    def film(self, source: Path, folder: Path) -> Film:
        """Measure a film; `folder` takes its first picture."""

    def picture(self, source: Path) -> Picture:
        """Measure a picture."""

    def jpeg(self, source: Path, target: Path) -> None:
        """Write a picture that every phone shows."""

    def show(self, source: Path, target: Path) -> None:
        """Write a film that every phone shows."""

    def pages(self, source: Path) -> Pages:
        """Measure a PDF."""

    def is_sticker(self, source: Path) -> bool | None:
        """Whether a file is a sticker as it is, and moves; none when it is no sticker."""

    def sticker(self, source: Path, target: Path) -> bool:
        """Write a sticker; whether it moves."""

    def page(self, link: str, html: bytes) -> tuple[LinkPreview, str]:
        """What a page says of itself, and the address of its picture."""


class MediaStore(Protocol):
    """Saves files by key, streamed both ways. Raises StoreUnavailable or OSError when its medium does not answer."""

    def save(self, key: str, chunks: Iterable[bytes], *, mime_type: str, limit: int) -> SavedFile:
        """Save a file whole or not at all. Raises MediaTooLarge beyond `limit` bytes."""

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The file in pieces, or `length` bytes of it from `start` on. Raises MediaMissing at the call."""

    def size(self, key: str) -> int:
        """Bytes of a file. Raises MediaMissing."""

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""

    def expire(self, *, older_than_s: int, most: int) -> int:
        """Remove up to `most` files that are older; returns how many."""


class MediaIndex(Protocol):
    """Metadata of files, by media id."""

    def write(self, media: MediaFile) -> None:
        """Save the metadata of a file."""

    def find(self, media_id: str, *, phone: str | None = None) -> MediaFile:
        """The metadata of a file. Raises MediaMissing."""

    def remove(self, media: MediaFile) -> None:
        """Remove the metadata of a file."""

    def counted_bytes(self, phone: str) -> int:
        """The bytes of the files that count against a number's quota. Never raises; it fails open."""

    def claim_sweep(self) -> bool:
        """Whether the caller may remove old files now: one process an hour. Raises StoreUnavailable."""


class RemoteMedia(Protocol):
    """Files that WhatsApp's side stores for a while."""

    def fetch(self, phone: str, media_id: str, target: BinaryIO, *, limit: int) -> FetchedFile:
        """Write a file to `target`. Raises FetchFailed."""


class FetchedFile(Protocol):
    """What is known of a file that was fetched."""

    @property
    def mime_type(self) -> str:
        """The media type that its server named."""

    @property
    def filename(self) -> str:
        """The name that its server gave it; empty for none."""


class FileDownloader(Protocol):
    """Fetches files from addresses that a client chose."""

    def fetch(self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int) -> FetchedFile:
        """Write the file to `target`. Raises FetchFailed."""

    def fetch_beginning(self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int) -> FetchedFile:
        """Write the first bytes of the file to `target`, `limit` at most. Raises FetchFailed."""


class VoiceService(Protocol):
    """Services that write down what is said, and say what is written.

    Raises VoiceFailed (retry), Postponed (as the service asks), VoiceRefused.
    """

    def transcribe(self, account: VoiceAccount, file: Path, *, mime_type: str) -> str:
        """What is said in a file."""

    def speak(self, account: VoiceAccount, text: str, target: BinaryIO, *, voice: str = ...) -> str:
        """Write a text as speech, from the beginning of `target`; returns the media type."""


class Usage(Protocol):
    """What numbers used on a day of services that cost something."""

    def spend(self, phone: str, kind: str, amount: int, *, most: int) -> bool:
        """Count an amount, unless the day's would be more than `most` then; 0 is no limit. Whether it was counted.

        Raises StoreUnavailable.
        """

    def give_back(self, phone: str, kind: str, amount: int) -> None:
        """Count an amount no more: nothing came of it. Never raises."""


class Ordering(Protocol):
    """The queues of events in front of ordered webhooks, one per webhook and conversation. Never raises.

    An event that is in no queue, or whose queue cannot be read, waits for nobody.
    """

    def join(self, events: Sequence[EventJob]) -> None:
        """Queue the events, in this order, at each ordered webhook. One that is queued already keeps its position."""

    def position(self, job: DeliverWebhook) -> int:
        """How many deliveries go before this one; 0: it is its turn. One that has to wait is saved for `leave`."""

    def leave(self, job: DeliverWebhook, *, take: bool, done: bool = ...) -> DeliverWebhook | None:
        """Take a finished delivery out of its queue. With `take`, the caller gets the next one, if it is deferred.

        One that is `done` is known as such from the moment at which it is not in the queue any more.
        """

    def give_back(self, job: DeliverWebhook) -> None:
        """Leave a delivery that was taken, and of which no attempt was made, to its own message; it stays in front."""

    def skip(self, skipped: Sequence[tuple[EventJob, str]]) -> None:
        """Take events out of the queues of webhooks that do not get them."""


class SendOrder(Protocol):
    """The messages to each contact that were accepted and have not left, in their order."""

    def join(self, job: MessageJob, *, accepted_at_us: int, prepared: bool) -> Callable[[], None]:
        """Put a message at the end of its line. With `prepared` it may take a while until it can be sent.

        Calling the result waits until the message is there, so that no later one can be accepted before.
        """

    def ahead(self, job: MessageJob) -> int:
        """How many messages go before this one; 0 when nobody knows."""

    def wait(self, job: MessageJob) -> None:
        """Keep the place of a message that waits."""

    def leave(self, job: MessageJob, *, on_written: Callable[[], None] = ...) -> None:
        """Let the next one go: the message has left, or will not, or tries again later.

        `on_written` is called when every process sees it; perhaps in another thread, perhaps never.
        """


class DeadLetterQueue(Protocol):
    """The dead letters of one installation. One walk at a time, over all processes."""

    def count(self) -> int:
        """How many there are, without those that a walk of another process has. Raises BrokerUnavailable."""

    def walk(
        self,
        query: DeadLetterQuery,
        settle: Callable[[Sequence[DeadLetter]], Sequence[Outcome]],
        *,
        on_locked: Callable[[], None] = ...,
        batch: int | None = ...,
        bounds: Bounds = ...,
    ) -> DeadLetterWalk:
        """Go through the queue once and let `settle` decide on the selected dead letters, a batch at a time.

        What `settle` does not leave there is removed. The work is done while the walk is iterated; that raises
        DeadLettersBusy while another walk goes on, and calls `on_locked` when it begins.
        """

    def put_back(self, dead_letters: Sequence[DeadLetter], *, accepted_at_ms: int) -> None:
        """Publish dead letters again on their queues, all confirmed. Raises BrokerUnavailable."""


class DeadLetterHolder(Protocol):
    """The name of whoever walks through the dead letters now. It may be lost."""

    def write(self, holder: str) -> None:
        """Say who does. Never raises."""

    def read(self) -> str:
        """Who does; empty when that is not known. Never raises."""

    def clear(self) -> None:
        """Nobody does any more. Never raises."""


class Campaigns(Protocol):
    """Where campaigns are, and who wants no more of them.

    All but `end_parsing`, `forget_look` and `remember_file` raise StoreUnavailable.
    """

    def create(self, campaign: Campaign) -> bool:
        """Save a new campaign. Whether it was not there before."""

    def parsed(self, campaign: Campaign) -> None:
        """Save what was counted in a campaign's file."""

    def find(self, phone: str, campaign_id: str) -> Campaign | None:
        """A campaign, if it is known."""

    def all(self, phone: str) -> list[Campaign]:
        """The campaigns of a number, the newest first."""

    def move(self, phone: str, campaign_id: str, state: State, *, reason: str = ..., of: Sequence[State] = ...) -> str:
        """Change the state, if it is one of these now. The state afterwards; empty when the campaign is not known."""

    def looked(self, phone: str, campaign_id: str, *, look: str, waits: str = ...) -> None:
        """Save which job looks next, and for what the campaign waits."""

    def left_alone(self) -> list[tuple[str, str]]:
        """Campaigns, by number and id, at which nobody has looked for long; each is named once in that time."""

    def forget_look(self, phone: str, campaign_id: str) -> None:
        """Nobody has to look at a campaign any more. Never raises."""

    def take_turn(self, phone: str, campaign_id: str, *, for_ms: int) -> str:
        """Let a campaign be the one of its number that sends, for so long. The one that is."""

    def take_parsing(self, campaign_id: str) -> bool:
        """Let a campaign be the only one whose file is read now, for two minutes more."""

    def end_parsing(self, campaign_id: str) -> None:
        """Let the next one be read. Never raises."""

    def lease(self, phone: str, campaign_id: str) -> bool:
        """Whether the caller may queue the next rows: one at a time, until it advances, for ten seconds at most."""

    def advance(self, campaign: Campaign, marks: Mapping[int, str]) -> None:
        """Save how far a campaign is and what became of these rows, and give the lease back."""

    def mark(self, phone: str, campaign_id: str, row: int, code: str, *, error: str = ...) -> None:
        """Save what became of a row. It goes forward alone: what was delivered is not sent again."""

    def codes(self, phone: str, campaign_id: str, first: int, count: int) -> str:
        """One letter for each of these rows; a space for one of which nothing is known."""

    def errors(self, phone: str, campaign_id: str, rows: Sequence[int]) -> dict[int, str]:
        """Why these rows failed, as far as it is known."""

    def remember_file(self, phone: str, campaign_id: str, link: str, media_id: str) -> None:
        """Remember which file an address of a campaign became. Never raises."""

    def files(self, phone: str, campaign_id: str, links: Sequence[str]) -> dict[str, str]:
        """The files of those addresses that were fetched before."""

    def opt_out(self, phone: str, contacts: Sequence[str]) -> None:
        """Remember who wants no campaigns. Raises RequestError when there are too many."""

    def opt_in(self, phone: str, contacts: Sequence[str]) -> int:
        """Forget that they want none. How many were on the list."""

    def opted_out(self, phone: str, contacts: Sequence[str]) -> set[str]:
        """Who of these wants no campaigns."""

    def opt_outs(self, phone: str) -> Iterator[tuple[str, int]]:
        """All who want none, with the time in Unix milliseconds, the first one first."""


class Rpc(Protocol):
    """Asking a connected phone."""

    def ask(self, phone: str, method: str, data: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The answer's data. Raises NobodyAnswers when there is none in time or nobody to ask, QuestionRefused."""
