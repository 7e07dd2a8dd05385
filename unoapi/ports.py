"""What the services need from the outside world: protocols only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from unoapi.models.attempts import Answer
    from unoapi.models.claims import Claim, KeyState
    from unoapi.models.connector.commands import Command
    from unoapi.models.connector.events import PairingCode, QrCode, SessionState
    from unoapi.models.endpoints import DeliveryState, EndpointChange, Permit
    from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut, SendMessage
    from unoapi.models.media import MediaFile, SavedFile
    from unoapi.models.message_keys import MessageKey
    from unoapi.models.receipts import Receipt
    from unoapi.models.session import Session, Webhook
    from unoapi.models.timers import TimerState
    from unoapi.models.trace import TraceEntry


class Publisher(Protocol):
    """Puts jobs on queues."""

    def publish(self, envelopes: Sequence[Envelope], *, timeout_s: float = ...) -> None:
        """Return when all are confirmed; raise BrokerUnavailable otherwise."""


class SessionStore(Protocol):
    """The configured phones."""

    def find(self, phone: str) -> Session:
        """The stored session, or the environment's for a phone that was never stored.

        Raises SessionUnknown when it cannot be told: Redis is away or lost its data.
        """

    def resolve(self, phone: str, *, stored: bool) -> Session:
        """The session that an event was accepted for.

        Of one removed on purpose no webhook is left. Raises SessionUnknown when a stored one is gone without that.
        """

    def refresh(self, phone: str) -> None:
        """Take the next look at this phone from where it is stored, not from a memory of moments ago."""


class SessionConfigurations(Protocol):
    """The stored configurations as clients wrote them. Every method raises StoreUnavailable."""

    def config(self, phone: str) -> dict[str, Any] | None:
        """The stored configuration; None for a phone that is not stored."""

    def save(self, phone: str, config: dict[str, Any]) -> Session:
        """Store a configuration. Raises ValidationError or RequestError before anything is written."""

    def remove(self, phone: str, *, keep_s: int) -> bool:
        """Remove a session on purpose, and remember that for `keep_s` seconds. Whether it was stored."""


class Breakers(Protocol):
    """Which endpoints are down. Never raises; with Redis away each process decides from its own memory."""

    def turn(self, delivery_id: str, *, phone: str, webhook_id: str, state: str | None, deadline_ms: int) -> Permit:
        """Whether this delivery may be posted now. `state` is that of `DeliveryState.breaker`."""

    def seen(self, *, phone: str, webhook_id: str, state: str) -> None:
        """Remember the state that was read."""

    def failed(self, delivery_id: str, *, phone: str, webhook_id: str) -> tuple[bool, EndpointChange | None]:
        """Count a failure. Whether the endpoint is down now, and the news if this made it so."""

    def succeeded(self, *, phone: str, webhook_id: str, tell: Callable[[EndpointChange], None]) -> None:
        """Forget the failures. `tell` gets the news if the endpoint was down, perhaps in another thread."""


class Deliveries(Protocol):
    """Memory of deliveries that are done and of endpoints that asked for a pause. Never raises; it fails open."""

    def state(self, delivery_id: str, *, phone: str, webhook_id: str) -> DeliveryState:
        """What is known before an attempt."""

    def finish(self, delivery_id: str, entry: TraceEntry) -> None:
        """Remember that the delivery is done; a later copy is not posted."""

    def pause(self, *, phone: str, webhook_id: str, pause_ms: int) -> None:
        """Hold the endpoint for so many milliseconds."""


class SendClaims(Protocol):
    """Memory of sends, so that no message is sent twice. Raises StoreUnavailable."""

    def claim(self, job: SendMessage) -> Claim:
        """Ask for the right to send."""

    def settle(self, job: SendMessage, receipt: Receipt) -> None:
        """Remember what came of it."""

    def release(self, job: SendMessage) -> None:
        """Give the right back: it is certain that nothing left."""


class MessageIds(Protocol):
    """Which of WhatsApp's message ids is which of ours. Fails open: an unknown id is its own."""

    def remember(self, phone: str, *, theirs: str, ours: str) -> None:
        """Keep a pair."""

    def ours(self, phone: str, theirs: str) -> str:
        """Our id, or theirs when no pair is known."""

    def theirs(self, phone: str, ours: str) -> str:
        """Their id, or ours when no pair is known."""


class Connections(Protocol):
    """How the sessions are connected, and what is on its way through the connector. All of it may be lost."""

    def record(self, phone: str, news: SessionState | QrCode | PairingCode, *, at_ms: int, seq: int) -> None:
        """Keep the newest state. What is older than the known one changes nothing. Raises StoreUnavailable."""

    def status(self, phone: str) -> str:
        """The status word; `disconnected` when none is known. Raises StoreUnavailable."""

    def remember_key(  # noqa: PLR0913 (the fields of a key)
        self, phone: str, message_id: str, *, chat: str, participant: str = "", from_me: bool = False, theirs: str = ""
    ) -> None:
        """Keep where a message stands. `theirs` is WhatsApp's id when it is not the message's. Never raises."""

    def key(self, phone: str, message_id: str) -> MessageKey | None:
        """Where a message stands, when it is known. Raises StoreUnavailable."""

    def expect(self, phone: str, command_id: str, *, within_s: int) -> None:
        """A command is on its way; its result is wanted. Raises StoreUnavailable."""

    def settle(self, phone: str, command_id: str) -> bool:
        """The result is there. True when the wait for it was given up before. Never raises."""

    def give_up(self, phone: str, command_id: str) -> bool:
        """End the wait for a result. True when it has not come. Raises StoreUnavailable."""

    def is_new_call(self, phone: str, caller: str, call_id: str) -> bool:
        """Whether this call counts: the caller's first in ten seconds, however often it is told. Never raises."""


class Commands(Protocol):
    """The connector's entry."""

    def put(self, commands: Sequence[Command], *, then: Sequence[Envelope] = ()) -> None:
        """Publish commands, and jobs about them, all confirmed. Raises BrokerUnavailable."""


class Blacklist(Protocol):
    """Which contact's events which webhook does not get."""

    def blocking(self, phone: str, webhook_ids: Sequence[str], contact: str) -> set[str]:
        """The webhooks, out of these, that get no events of the contact. Never raises; it fails open."""


class Timers(Protocol):
    """When a contact's timer was started or stopped last, and who wrote last."""

    def state(self, phone: str, contact: str) -> TimerState:
        """What is known when a timer runs out. Raises StoreUnavailable."""


class Notices(Protocol):
    """At most one notice per endpoint and time."""

    def claim(self, *, phone: str, webhook_id: str, notice_id: str) -> bool:
        """Whether this notice may go out now; the same notice may always go again."""


class Traces(Protocol):
    """The life of messages. Writing never raises and never waits for long."""

    def add(self, *entries: TraceEntry) -> None:
        """Append steps."""

    def read(self, message_id: str) -> list[TraceEntry]:
        """All steps of a message, oldest first. Raises StoreUnavailable."""


class WebhookSender(Protocol):
    """One HTTP POST to a webhook."""

    def post(self, webhook: Webhook, *, phone: str, delivery_id: str, attempt: int, body: str) -> Answer:
        """Sign and send. Never raises for what the network or the receiver does."""


class CallbackSender(Protocol):
    """One HTTP POST to the operator's own address."""

    def post(self, url: str, body: str) -> Answer:
        """Send. Never raises for what the network or the receiver does."""


class Idempotency(Protocol):
    """Which requests were made under which key. Raises StoreUnavailable."""

    def claim(self, phone: str, key: str, *, digest: str) -> KeyState:
        """Take a key for a body, or learn what it stands for already."""

    def settle(self, phone: str, key: str, *, digest: str) -> None:
        """Remember that the request was accepted. Never raises."""


class Statuses(Protocol):
    """How far the told status of each message is. Never raises; it fails open."""

    def admit(self, phone: str, message_id: str, *, status: str, event_id: str) -> bool:
        """Whether a status may be told: statuses never go backwards."""


class Provider(Protocol):
    """One way of being connected to WhatsApp."""

    def ready(self, phone: str) -> None:
        """Raise Postponed when nobody is there to take a message of this phone."""

    def send(self, message: dict[str, Any], *, phone: str, message_id: str) -> Receipt:
        """Send one Cloud API message.

        Raises MessageRejected (WhatsApp refused it), SendFailed (certain that nothing left). Anything else means that
        nobody knows.
        """

    def command(self, command: dict[str, Any], *, phone: str) -> None:
        """Mark as read, show typing or delete. It may be repeated. Raises SendFailed, MessageRejected."""


@runtime_checkable
class KnowsContacts(Protocol):
    """A provider that can tell who is on WhatsApp. Of others the form of the number decides."""

    def contacts(self, phone: str, numbers: Sequence[str]) -> list[bool]:
        """Whether each number is on WhatsApp, in order. Raises Postponed when nobody is there to ask."""


class MediaStore(Protocol):
    """Keeps files by key, streamed both ways. Raises StoreUnavailable or OSError when its medium does not answer."""

    def save(self, key: str, chunks: Iterable[bytes], *, mime_type: str, limit: int) -> SavedFile:
        """Keep a file whole or not at all. Raises MediaTooLarge beyond `limit` bytes."""

    def read(self, key: str) -> Iterator[bytes]:
        """The file in pieces. Raises MediaMissing at the call."""

    def size(self, key: str) -> int:
        """Bytes of a file. Raises MediaMissing."""

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""

    def expire(self, *, older_than_s: int, most: int) -> int:
        """Remove up to `most` files that are older; returns how many."""


class MediaIndex(Protocol):
    """What is known of files, by media id."""

    def write(self, media: MediaFile) -> None:
        """Keep a note."""

    def find(self, media_id: str, *, phone: str | None = None) -> MediaFile:
        """The note of a file. Raises MediaMissing."""

    def remove(self, media: MediaFile) -> None:
        """Forget a file."""


class RemoteMedia(Protocol):
    """Files that WhatsApp's side keeps for a while."""

    def fetch(self, phone: str, media_id: str, target: BinaryIO, *, limit: int) -> FetchedFile:
        """Write a file to `target`. Raises FetchFailed."""


class FetchedFile(Protocol):
    """What is known of a file that was fetched."""

    @property
    def mime_type(self) -> str:
        """The media type that its server named."""


class FileDownloader(Protocol):
    """Fetches files from addresses that a client chose."""

    def fetch(self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int) -> object:
        """Write the file to `target`. Raises FetchFailed."""


class Ordering(Protocol):
    """The lines of events in front of ordered webhooks, one per webhook and conversation. Never raises.

    An event that stands in no line, or whose line cannot be asked, waits for nobody.
    """

    def join(self, events: Sequence[FanOut]) -> None:
        """Stand in line, in this order, at each ordered webhook. Who stands there already keeps the place."""

    def place(self, job: DeliverWebhook) -> int:
        """How many are before this delivery, or at it; 0: it is its turn. Who waits is kept for `leave` to find."""

    def leave(self, job: DeliverWebhook, *, take: bool) -> DeliverWebhook | None:
        """Make room. With `take`, whoever is next now and waits is the caller's to deliver."""

    def skip(self, event: FanOut, webhook_ids: Sequence[str]) -> None:
        """Make room at webhooks that do not get the event."""


class Rpc(Protocol):
    """Asking a connected phone."""

    def ask(self, phone: str, method: str, data: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The answer's data. Raises NobodyAnswers when there is none in time, or nobody to ask."""
