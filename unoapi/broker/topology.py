"""Every exchange and queue. Every process declares all of them, so that the first message of a session is routable.

Arguments never depend on settings other than the prefix: a queue whose arguments change cannot be declared again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from amqp.exceptions import ChannelError, NotFound, PreconditionFailed

from unoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from unoapi.models.endpoints import Endpoint

DELAY_HEADER = "unoapi-delay"  # must not start with x-: a headers exchange ignores those
BUCKET_BOUNDS_S = (*(2**n for n in range(17)), 86_400)
"""Upper bounds of the waiting buckets, in seconds: powers of two up to a day. Longer waits hop."""

WORK_QUEUES = {
    "incoming": "commands to send through a provider",
    "bulk": "campaigns, and their messages",
    "outgoing": "events to fan out, and single deliveries",
    "media": "media download, upload, conversion, expiry",
    "notification": "notices to the session's own number",
    "webhook.status.failed": "failure callbacks",
    "incoming.whatsmeow": "events from the connector",
    "outgoing.whatsmeow": "commands to the connector",
    "transcribe": "audios to write down",
    "speech": "texts to say",
    "commander": "what numbers write to themselves",
    "suspect": "messages that were redelivered too often",
}
DELIVERY_LIMIT = 20
MAX_SESSION_COMMANDS = 10_000
MAX_WEBHOOK_CHARS = 100
LEAST_SEGMENTS, MOST_SEGMENTS = 10, 100
SEGMENT_BYTES, LARGEST_SEGMENT_BYTES = 10_000_000, 500_000_000
"""A stream is a chain of files, and forgets the oldest one as a whole, when another one is begun: so they are small."""
UNLIMITED_DELIVERIES = 2_147_483_647  # every read of a dead letter counts as a delivery; -1 is not safe on 3.10


@dataclass(frozen=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: str
    arguments: dict[str, Any] = field(default_factory=dict)
    purpose: str = ""


@dataclass(frozen=True)
class Queue:
    """A durable quorum queue with its only binding."""

    name: str
    exchange: str
    routing_key: str
    arguments: dict[str, Any]
    binding_arguments: dict[str, Any] = field(default_factory=dict)
    purpose: str = ""


@dataclass(frozen=True)
class EventBounds:
    """How long events are kept, and how many bytes they may take. Either of them 0: none is kept."""

    max_age_s: int
    max_bytes: int


class Topology:
    """All names and arguments for one installation's prefix."""

    def __init__(self, prefix: str, *, events: EventBounds | None = None) -> None:
        self.prefix = prefix
        self.events = f"{prefix}.events"
        self.broker = f"{prefix}.broker"
        self.delayed = f"{prefix}.delayed"
        self.dead = f"{prefix}.dead"
        self.holding_queues = f"{prefix}.held."
        to_dead = {"alternate-exchange": self.dead}
        self.exchanges = (
            Exchange(self.dead, "fanout", purpose="the dead-letter exchange of every work queue"),
            Exchange(self.broker, "topic", to_dead, purpose="all work; what cannot be routed is dead, not lost"),
            Exchange(self.delayed, "headers", to_dead, purpose="picks the waiting bucket"),
        )
        self.queues = (*self._work(), *self._buckets(), self._dead())
        self.streams = self._streams(events) if events and events.max_age_s and events.max_bytes else ()

    def queue(self, name: str) -> str:
        """The full name of a work queue, which is its routing key too."""
        return f"{self.prefix}.{name}"

    def session_queue(self, phone: str) -> Queue:
        """The queue with the commands of one session. Declared by the connector; it expires after a week without use.

        The number of deliveries is not limited: the connector's send log knows what it has tried.
        """
        name = f"{self.queue('outgoing.whatsmeow')}.{phone}"
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": self.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": UNLIMITED_DELIVERIES,
            "x-single-active-consumer": True,
            "x-max-length": MAX_SESSION_COMMANDS,
            "x-expires": 7 * 86_400_000,
        }
        return Queue(name, self.broker, name, arguments, purpose=f"commands to the connector for {phone}")

    def holding_queue(self, endpoint: Endpoint, token: str) -> Queue:
        """The queue in which deliveries wait for an endpoint that is down or paused. Made when it is needed.

        One that waits for too long, or is refused, goes to the work queue of deliveries. Each token has a queue of its
        own, so that nobody binds again what is being removed. Not limited in deliveries: each look counts as one.
        """
        webhook = quote(endpoint.webhook_id, safe="")[:MAX_WEBHOOK_CHARS]  # without the wildcards of binding keys
        name = f"{self.holding_queues}{endpoint.phone}.{webhook}.{token}"
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": self.broker,
            "x-dead-letter-routing-key": self.queue("outgoing"),
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": UNLIMITED_DELIVERIES,
        }
        return Queue(name, self.broker, name, arguments, purpose="waits for an endpoint that is down or paused")

    def _streams(self, bounds: EventBounds) -> tuple[Queue, ...]:
        """The stream of events, from which nothing is taken. Its bounds are those with which it was made first.

        Who publishes an event writes it a moment later (`event_recorder`). Where there is no stream nothing else is
        different.
        """
        segment = max(SEGMENT_BYTES, bounds.max_bytes // MOST_SEGMENTS)
        segment = min(segment, bounds.max_bytes // LEAST_SEGMENTS, LARGEST_SEGMENT_BYTES)
        arguments: dict[str, Any] = {
            "x-queue-type": "stream",
            "x-max-age": f"{bounds.max_age_s}s",
            "x-max-length-bytes": bounds.max_bytes - 2 * segment,  # the file that is written may grow somewhat larger
            "x-stream-max-segment-size-bytes": segment,
        }
        return (Queue(self.events, "", self.events, arguments, purpose="all events, to be replayed"),)

    def rpc_queue(self, phone: str) -> Queue:
        """The queue with the RPC requests to one session, on the default exchange. Nothing in it outlives 30 s."""
        name = f"{self.prefix}.whatsmeow.rpc.{phone}"
        arguments = {"x-message-ttl": 30_000, "x-expires": 60_000, "x-max-length": 100}
        return Queue(name, "", name, arguments, purpose=f"RPC requests to the connector about {phone}")

    def _work(self) -> list[Queue]:
        queues = []
        for name, purpose in WORK_QUEUES.items():
            arguments: dict[str, Any] = {
                "x-queue-type": "quorum",
                "x-dead-letter-exchange": self.dead,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                "x-delivery-limit": DELIVERY_LIMIT,
            }
            if name == "outgoing.whatsmeow":
                arguments["x-single-active-consumer"] = True  # commands keep their order
            full = self.queue(name)
            queues.append(Queue(full, self.broker, full, arguments, purpose=purpose))
        return queues

    def _buckets(self) -> list[Queue]:
        # No dead-letter-routing-key: an expired message goes back with the key it was published with.
        arguments = {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": self.broker,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        return [
            Queue(
                name=self.bucket_queue(number),
                exchange=self.delayed,
                routing_key="",
                arguments=arguments,
                binding_arguments={"x-match": "all", DELAY_HEADER: str(number)},
                purpose=f"waits of up to {bound} s",
            )
            for number, bound in enumerate(BUCKET_BOUNDS_S)
        ]

    def _dead(self) -> Queue:
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED_DELIVERIES}
        return Queue(self.dead, self.dead, "", arguments, purpose="given up, kept until replayed or purged")

    def declare(self, channel: Any, *, vhost: str) -> None:
        """Declare everything. Raises ConfigurationError that names the object which exists with other arguments."""
        try:
            for exchange in self.exchanges:
                name = f"exchange {exchange.name}"
                removal = f"rabbitmqadmin --vhost={vhost} delete exchange name={exchange.name}"
                channel.exchange_declare(
                    exchange.name, exchange.type, durable=True, auto_delete=False, arguments=exchange.arguments
                )
            for queue in self.queues:
                name = f"queue {queue.name}"
                removal = f"rabbitmqctl --vhost {vhost} delete_queue {queue.name}"
                channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
                channel.queue_bind(
                    queue.name, queue.exchange, queue.routing_key, arguments=queue.binding_arguments or None
                )
        except PreconditionFailed as error:
            raise ConfigurationError(
                f"The {name} exists already in the vhost {vhost!r} with other arguments "
                f"({str(error.reply_text)[:200]}). It belongs to another program, or to an older version. "
                "It was not changed. Use a vhost of its own:\n"
                "  rabbitmqctl add_vhost unoapi && rabbitmqctl set_permissions -p unoapi <user> '.*' '.*' '.*'\n"
                "and put /unoapi at the end of AMQP_URL. Where the server has one vhost alone, as in small plans, "
                "set UNOAPI_QUEUE_NAME=unoapi2. When nothing else uses the old objects, delete them instead:\n"
                f"  {removal}"
            ) from None
        except (ChannelError, NotFound) as error:
            raise ConfigurationError(
                f"The {name} cannot be declared in the vhost {vhost!r}: {str(error)[:200]}. "
                "Check the permissions of the user in AMQP_URL."
            ) from None

    def declare_streams(self, channel: Any) -> None:
        """Declare the stream. Raises one of AMQP's errors where there are none, or where it has other bounds."""
        for stream in self.streams:
            channel.queue_declare(stream.name, durable=True, auto_delete=False, arguments=stream.arguments)

    def bucket_queue(self, number: int | str) -> str:
        """The name of a waiting bucket."""
        return self.delayed if f"{number}" == "0" else f"{self.delayed}.{number}"

    def bucket(self, delay_ms: int) -> int:
        """The number of the bucket whose bound is the first at or above the delay."""
        return next(
            (number for number, bound in enumerate(BUCKET_BOUNDS_S) if delay_ms <= bound * 1000),
            len(BUCKET_BOUNDS_S) - 1,
        )
