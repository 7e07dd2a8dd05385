"""What the services need from the outside world: protocols only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from unoapi.models.attempts import Answer
    from unoapi.models.claims import Claim, KeyState
    from unoapi.models.cloud_api.messages import Command as MessageCommand
    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.connector.commands import ConnectorCommand
    from unoapi.models.connector.events import PairingCode, QrCode, SessionState
    from unoapi.models.endpoints import DeliveryState, Endpoint, EndpointChange, Permit
    from unoapi.models.jobs import DeliverWebhook, Envelope, EventJob, SendMessage
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

        Raises SessionUnknown when nobody can say: Redis is away or lost its data.
        """

    def resolve(self, phone: str, *, stored: bool) -> Session:
        """The session that an event was accepted for.

        Of one removed on purpose no webhook is left. Raises SessionUnknown when a stored one is gone without that.
        """

    def refresh(self, phone: str) -> None:
        """Read this phone from where it is stored next time, not from a cache."""


class SessionConfigurations(Protocol):
    """The stored configurations as clients wrote them. Every method raises StoreUnavailable."""

    def config(self, phone: str) -> dict[str, Any] | None:
        """The stored configuration; None for a phone that is not stored."""

    def save(self, phone: str, config: dict[str, Any]) -> Session:
        """Store a configuration. Raises ValidationError or RequestError before anything is written."""

    def remove(self, phone: str, *, remember_s: int) -> bool:
        """Remove a session on purpose, and remember that for `remember_s` seconds. Whether it was stored."""


class Breakers(Protocol):
    """Which endpoints are down. Never raises; with Redis away each process decides from its own memory."""

    def permit(self, delivery_id: str, endpoint: Endpoint, *, state: str | None, deadline_ms: int) -> Permit:
        """Whether this delivery may be posted now. `state` is that of `DeliveryState.breaker`."""

    def seen(self, endpoint: Endpoint, *, state: str) -> None:
        """Remember the state that was read."""

    def failed(self, delivery_id: str, endpoint: Endpoint) -> tuple[bool, EndpointChange | None]:
        """Count a failure. Whether the endpoint is down now, and the change if this failure made it so."""

    def succeeded(self, endpoint: Endpoint, *, notify: Callable[[EndpointChange], None]) -> None:
        """Forget the failures. `notify` gets the change if the endpoint was down, perhaps in another thread."""


class Deliveries(Protocol):
    """Deliveries that are done, and endpoints that are paused. Never raises; it fails open."""

    def state(self, delivery_id: str, endpoint: Endpoint) -> DeliveryState:
        """The state before an attempt."""

    def finish(self, delivery_id: str, entry: TraceEntry) -> None:
        """Remember that the delivery is done; a later copy is not posted."""

    def pause(self, endpoint: Endpoint, *, pause_ms: int) -> None:
        """Pause the endpoint for `pause_ms` milliseconds."""


class SendClaims(Protocol):
    """The rights to send, so that no message is sent twice. Raises StoreUnavailable."""

    def claim(self, job: SendMessage) -> Claim:
        """Ask for the right to send."""

    def settle(self, job: SendMessage, receipt: Receipt) -> None:
        """Save the outcome."""

    def release(self, job: SendMessage) -> None:
        """Give the right back: it is certain that nothing left."""


class MessageIds(Protocol):
    """Which of WhatsApp's message ids is which of ours. Fails open: an unknown id is its own."""

    def remember(self, phone: str, *, theirs: str, ours: str) -> None:
        """Save a pair."""

    def ours(self, phone: str, theirs: str) -> str:
        """Our id, or theirs when no pair is known."""

    def theirs(self, phone: str, ours: str) -> str:
        """Their id, or ours when no pair is known."""


class Connections(Protocol):
    """How the sessions are connected, and which commands are on their way to the connector. All of it may be lost."""

    def record(self, phone: str, change: SessionState | QrCode | PairingCode, *, at_ms: int, seq: int) -> None:
        """Save the change, unless a newer one is saved. Raises StoreUnavailable."""

    def status(self, phone: str) -> str:
        """The status word; `disconnected` when none is known. Raises StoreUnavailable."""

    def remember_key(  # noqa: PLR0913 (the fields of a key)
        self, phone: str, message_id: str, *, chat: str, participant: str = "", from_me: bool = False, theirs: str = ""
    ) -> None:
        """Save the key of a message. `theirs` is WhatsApp's id when it is not the message's. Never raises."""

    def key(self, phone: str, message_id: str) -> MessageKey | None:
        """The key of a message, if it is known. Raises StoreUnavailable."""

    def expect(self, phone: str, command_id: str, *, within_s: int) -> None:
        """Note that a command's result is awaited. Raises StoreUnavailable."""

    def settle(self, phone: str, command_id: str) -> bool:
        """Note that the result came. True when the wait for it was given up before. Never raises."""

    def give_up(self, phone: str, command_id: str) -> bool:
        """End the wait for a result. True when it has not come. Raises StoreUnavailable."""

    def is_new_call(self, phone: str, caller: str, call_id: str) -> bool:
        """Whether this is the caller's first call in ten seconds, or the same call again. Never raises."""


class Commands(Protocol):
    """The connector's entry."""

    def put(self, commands: Sequence[ConnectorCommand], *, then: Sequence[Envelope] = ()) -> None:
        """Publish commands, and jobs about them, all confirmed. Raises BrokerUnavailable."""


class Blacklist(Protocol):
    """Contacts whose events a webhook does not get."""

    def blocking(self, phone: str, webhook_ids: Sequence[str], contact: str) -> set[str]:
        """The webhooks, out of these, that get no events of the contact. Never raises; it fails open."""


class Timers(Protocol):
    """When a contact's timer was started or stopped last, and who wrote last."""

    def state(self, phone: str, contact: str) -> TimerState:
        """What is known when a timer runs out. Raises StoreUnavailable."""


class Notices(Protocol):
    """At most one notice per endpoint and time."""

    def claim(self, endpoint: Endpoint, *, notice_id: str) -> bool:
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
        """Take a key for a body, or get the state of one that is taken."""

    def settle(self, phone: str, key: str, *, digest: str) -> None:
        """Remember that the request was accepted. Never raises."""


class Statuses(Protocol):
    """The status that was published last of each message. Never raises; it fails open."""

    def admit(self, phone: str, message_id: str, *, status: str, event_id: str) -> bool:
        """Whether a status may be published: statuses never go backwards."""


class Provider(Protocol):
    """One way of being connected to WhatsApp."""

    def ready(self, phone: str) -> None:
        """Raise Postponed when nobody is there to take a message of this phone."""

    def send(self, message: OutboundMessage, *, phone: str, message_id: str) -> Receipt:
        """Send one Cloud API message.

        Raises MessageRejected (WhatsApp refused it), SendFailed (certain that nothing left). Anything else means that
        nobody knows.
        """

    def command(self, command: MessageCommand, *, phone: str) -> None:
        """Mark as read, show typing or delete. It may be repeated. Raises SendFailed, MessageRejected."""


@runtime_checkable
class KnowsContacts(Protocol):
    """A provider that knows who is on WhatsApp. Of others the form of the number decides."""

    def contacts(self, phone: str, numbers: Sequence[str]) -> list[bool]:
        """Whether each number is on WhatsApp, in order. Raises Postponed when nobody is there to ask."""


class MediaStore(Protocol):
    """Saves files by key, streamed both ways. Raises StoreUnavailable or OSError when its medium does not answer."""

    def save(self, key: str, chunks: Iterable[bytes], *, mime_type: str, limit: int) -> SavedFile:
        """Save a file whole or not at all. Raises MediaTooLarge beyond `limit` bytes."""

    def read(self, key: str) -> Iterator[bytes]:
        """The file in pieces. Raises MediaMissing at the call."""

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


class RemoteMedia(Protocol):
    """Files that WhatsApp's side stores for a while."""

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
    """The queues of events in front of ordered webhooks, one per webhook and conversation. Never raises.

    An event that is in no queue, or whose queue cannot be read, waits for nobody.
    """

    def join(self, events: Sequence[EventJob]) -> None:
        """Queue the events, in this order, at each ordered webhook. One that is queued already keeps its position."""

    def position(self, job: DeliverWebhook) -> int:
        """How many deliveries go before this one; 0: it is its turn. One that has to wait is saved for `leave`."""

    def leave(self, job: DeliverWebhook, *, take: bool) -> DeliverWebhook | None:
        """Take a finished delivery out of its queue. With `take`, the caller gets the next one, if it is deferred."""

    def skip(self, event: EventJob, webhook_ids: Sequence[str]) -> None:
        """Take an event out of the queues of webhooks that do not get it."""


class Rpc(Protocol):
    """Asking a connected phone."""

    def ask(self, phone: str, method: str, data: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The answer's data. Raises NobodyAnswers when there is none in time, or nobody to ask."""
