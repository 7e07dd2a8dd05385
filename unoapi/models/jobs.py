"""Everything that travels on a work queue. A job is data: it names its task and its queue."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha1
from typing import ClassVar, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from unoapi.models.alerts import MAX_ALERT_CHARS, Alert, Level
from unoapi.models.attempts import History
from unoapi.models.cloud_api.event_content import EventContent, EventFacts
from unoapi.models.endpoints import Endpoint
from unoapi.models.replays import MAX_RATE, Progress

NAMESPACE = UUID("5c3ee5b8-5bd6-5a77-9a39-3f8a0b5a7d11")
"""Namespace of all computed ids of this program."""
_NAMESPACE_BYTES = NAMESPACE.bytes
_VARIANTS = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""A digit of a digest with the variant of UUIDs in its upper bits."""


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Job(BaseModel):
    """One piece of work on a queue.

    `queue` has no prefix: the broker adds the installation's. `id` is the task id; a repeated job has the same one.
    `notify_on_failure` is false for what a failure report caused: its own failure is reported to nobody, so that no
    report ever causes another. In stored jobs its name is `told`.
    """

    model_config = ConfigDict(
        frozen=True,
        hide_input_in_errors=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    task: ClassVar[str]
    queue: ClassVar[str]

    id: str = Field(min_length=1, max_length=128)
    phone: str = Field(pattern=r"^[0-9]{1,20}$")
    message_id: str = Field(default="", max_length=512)
    accepted_at_ms: int = Field(default_factory=now_ms, ge=0)
    notify_on_failure: bool = Field(default=True, alias="told")

    @property
    def summary(self) -> str:
        """What dashboards and logs may show: ids only."""
        return f"phone={self.phone} message_id={self.message_id}"

    @property
    def due_at_ms(self) -> int:
        """When it was to be done first: its age counts from then, in Unix milliseconds."""
        return self.accepted_at_ms


class MessageJob(Job):
    """A message that a client sends, on its way to WhatsApp. `id` is the message id that the client was given.

    `contact` is for whom it is: a contact's messages leave in the order in which they were accepted. Empty: in any.
    """

    body: str  # the client's message, as JSON
    claimed_only: bool = False  # whether a copy may be queued, by a client's key: never sent while Redis is away
    contact: str = Field(default="", max_length=256)
    marketing: bool = False  # whether it was posted to Meta's path of marketing messages
    any_type: bool = False  # whether its type may be one that Meta alone knows


class SendMessage(MessageJob):
    """A message that can be sent."""

    task: ClassVar[str] = "incoming.send"
    queue: ClassVar[str] = "incoming"


class SendBulkMessage(SendMessage):
    """A message of a campaign: behind all that people send."""

    task: ClassVar[str] = "bulk.send"
    queue: ClassVar[str] = "bulk"


class FetchFiles(MessageJob):
    """A message whose files are fetched from their addresses before it is sent."""

    task: ClassVar[str] = "incoming.fetch"
    queue: ClassVar[str] = "incoming"


class FireTimer(Job):
    """A timer that ran out. `accepted_at_ms` is its start; the steps are TimerStep as JSON."""

    task: ClassVar[str] = "timers.fire"
    queue: ClassVar[str] = "incoming"

    to: str = Field(min_length=1, max_length=128)
    step: dict[str, object]
    nexts: tuple[dict[str, object], ...] = ()

    @property
    def due_at_ms(self) -> int:
        """When the timer runs out."""
        timeout_ms = self.step.get("timeout")
        return self.accepted_at_ms + (timeout_ms if isinstance(timeout_ms, int) else 0)


class CampaignJob(Job):
    """A step of a campaign. `campaign` is what was known of it then: Redis may have lost it since."""

    campaign: dict[str, object]


class ParseCampaign(CampaignJob):
    """A campaign whose rows are read, checked and counted.

    They stand in the file `media_id`, or at the address `link`; with `is_json` each of its lines is a JSON object.
    `template` is the message of all rows, as JSON; empty: each row says what is sent.
    """

    task: ClassVar[str] = "bulk.parse"
    queue: ClassVar[str] = "media"

    media_id: str = Field(default="", max_length=512)
    link: str = Field(default="", max_length=2048)
    is_json: bool = False
    template: str = ""


class AdvanceCampaign(CampaignJob):
    """Queues a campaign's messages from a row on, which begins at byte `offset`; each look publishes the next one."""

    task: ClassVar[str] = "bulk.advance"
    queue: ClassVar[str] = "bulk"

    row: int = Field(default=0, ge=0)
    offset: int = Field(default=0, ge=0)
    chain: int = Field(default=0, ge=0)


class ReportCampaign(CampaignJob):
    """Sends a campaign's report to the number itself."""

    task: ClassVar[str] = "bulk.report"
    queue: ClassVar[str] = "media"


class RecordReaction(Job):
    """What campaigns have to know of an event while Redis is away: a row's status, or that a contact wants no more.

    `status` is empty for the second; then `contact` is who.
    """

    task: ClassVar[str] = "bulk.record"
    queue: ClassVar[str] = "bulk"

    status: str = Field(default="", max_length=32)
    error_code: int = 0
    error: str = Field(default="", max_length=300)
    contact: str = Field(default="", max_length=256)


class PostContacts(Job):
    """The answer of a contacts check on its way to an address that the client named."""

    task: ClassVar[str] = "contacts.tell"
    queue: ClassVar[str] = "outgoing"

    url: str = Field(max_length=2048)
    body: str  # exactly what is sent


class PostSessionState(Job):
    """A change of a session's connection on its way to its `sessionWebhook`, which is looked up when it is posted."""

    task: ClassVar[str] = "sessions.tell"
    queue: ClassVar[str] = "outgoing"

    body: str  # exactly what is sent


class PrepareMessage(MessageJob):
    """A message that is prepared before it is sent: see `services.preparation`.

    Its task is called as when only voice notes were made.
    """

    task: ClassVar[str] = "media.prepare_voice"
    queue: ClassVar[str] = "media"


class Speak(MessageJob):
    """A message whose text is said before it is sent."""

    task: ClassVar[str] = "speech.speak"
    queue: ClassVar[str] = "speech"


class Transcribe(Job):
    """An audio whose words become a text for webhooks. `event_id` and `body` are those of the audio's event.

    `text` is what was said, as soon as that is known: then this waits until the audio was delivered.
    """

    task: ClassVar[str] = "transcription.transcribe"
    queue: ClassVar[str] = "transcribe"

    event_id: str = Field(max_length=128)
    webhook_ids: tuple[str, ...]
    stored: bool = False
    ordered: tuple[str, ...] = ()
    contact: str = Field(default="", max_length=256)
    body: str
    text: str = ""


class RunCommand(Job):
    """A read mark, a typing indicator or a deletion. `message_id` is the message that it is about."""

    task: ClassVar[str] = "incoming.command"
    queue: ClassVar[str] = "incoming"

    body: str  # the client's command, as JSON


class ReceiveEvent(Job):
    """One event of the connector, as it comes."""

    task: ClassVar[str] = "incoming.receive"
    queue: ClassVar[str] = "incoming.whatsmeow"

    event: dict[str, object]


class ReceiveCallback(Job):
    """A part of a callback of Meta's that could not be placed at the door.

    `change` is one change, as it came. Its number is `phone` if it `is_placed`, else it has to be found first. `odd`
    says why no event can be made of it; empty for a change. `trusted`: the operator or the operator's app sent it.
    """

    task: ClassVar[str] = "outgoing.callback"
    queue: ClassVar[str] = "outgoing"

    kind: str = "callback"
    change: dict[str, object]
    entry_id: str = Field(default="", max_length=512)
    entry_time: int = 0
    trusted: bool = False
    is_placed: bool = True
    odd: str = Field(default="", max_length=300)


class HandleOwnMessage(Job):
    """A message of a number to itself, which may be a command: see `services/own_chat.py`."""

    task: ClassVar[str] = "commander.run"
    queue: ClassVar[str] = "commander"

    body: str  # the message, as JSON


class AwaitResult(Job):
    """Ends the wait for the result of a command to the connector, when it has not come by then."""

    task: ClassVar[str] = "incoming.await_result"
    queue: ClassVar[str] = "incoming"

    recipient: str = Field(default="", max_length=128)


class EventJob(Job):
    """One Cloud API event on its way to all webhooks that want it. `id` is the event id.

    `webhook_ids` are those that the accepting process saw; none when it could not read them. `stored` is whether they
    belong to a stored session or to the environment. `ordered` are those that want the events of a conversation one
    after the other, and `contact` is with whom it is; both are empty when there is none.
    """

    kind: str = Field(max_length=64)  # "message", the status, or the field of any other event
    body: str  # exactly what is signed and sent
    webhook_ids: tuple[str, ...] | None = None
    stored: bool = False
    ordered: tuple[str, ...] = ()
    contact: str = Field(default="", max_length=256)

    @cached_property
    def content(self) -> EventContent:
        """What the event says, decoded at the first use."""
        return EventContent.of(self.body, kind=self.kind)


class FanOut(EventJob):
    """An event of which each webhook that wants it gets a delivery.

    `written_facts` are those of `facts` that were known where it was made; none: the body is decoded.
    """

    task: ClassVar[str] = "outgoing.fan_out"
    queue: ClassVar[str] = "outgoing"

    written_facts: tuple[str, ...] = Field(default=(), alias="facts", exclude_if=lambda facts: not facts)

    @cached_property
    def facts(self) -> EventFacts:
        """What the fan-out asks of the event's content."""
        return EventFacts.of_written(self.written_facts) or self.content.facts(self.phone)


class SaveMedia(EventJob):
    """An event whose file is saved before it is fanned out."""

    task: ClassVar[str] = "media.keep"
    queue: ClassVar[str] = "media"


class ConvertAudio(EventJob):
    """An event whose sound is made an MP3 before it is fanned out."""

    task: ClassVar[str] = "media.convert_audio"
    queue: ClassVar[str] = "media"


class DeliverWebhook(Job):
    """One event on its way to one webhook. `id` is the delivery id, the header `webhook-id`.

    `replay` is empty, or says that it is an event of the past: to be delivered whether it was before or not (`all`), or
    only if it was not (`missing`). `awaited`: another event waits until this one was delivered.
    """

    task: ClassVar[str] = "outgoing.deliver"
    queue: ClassVar[str] = "outgoing"

    event_id: str
    webhook_id: str
    kind: str
    stored: bool
    contact: str = Field(default="", max_length=256)  # whose events come one after the other; empty: nobody's
    replay: Literal["", "all", "missing"] = Field(default="", exclude_if=lambda replay: not replay)
    awaited: bool = Field(default=False, exclude_if=lambda awaited: not awaited)
    body: str  # exactly what is signed and sent

    @classmethod
    def of(cls, event: FanOut, webhook_id: str, *, body: str, stored: bool, awaited: bool) -> Self:
        """The delivery of an event to one webhook. What was checked in the event is not checked again."""
        fields = {
            "id": delivery_id(event.id, webhook_id),
            "phone": event.phone,
            "message_id": event.message_id,
            "accepted_at_ms": event.accepted_at_ms,
            "notify_on_failure": event.notify_on_failure,
            "event_id": event.id,
            "webhook_id": webhook_id,
            "kind": event.kind,
            "stored": stored,
            "contact": event.contact if webhook_id in event.ordered else "",
            "replay": "",
            "awaited": awaited,
            "body": body,
        }
        job, put = cls.__new__(cls), object.__setattr__
        put(job, "__dict__", fields)  # as `model_construct` does, which takes longer than to check it all
        put(job, "__pydantic_fields_set__", fields.keys() - {"replay"})
        put(job, "__pydantic_extra__", None)
        put(job, "__pydantic_private__", None)
        return job

    @property
    def endpoint(self) -> Endpoint:
        """Where it goes."""
        return Endpoint(self.phone, self.webhook_id)

    def is_of_before(self, began_ms: int) -> bool:
        """Whether its number was removed since it was accepted, and may be somebody else's: see `Session.began_ms`."""
        return self.stored and self.accepted_at_ms <= began_ms

    @property
    def summary(self) -> str:
        """What dashboards and logs may show: ids only."""
        return f"{super().summary} webhook={self.webhook_id} kind={self.kind}"


class ReleaseEndpoint(Job):
    """Looks after the holding queue of one endpoint, which its `token` names: probes, releases, and removes it.

    One such job waits for the next look as long as the queue is there; each look publishes the next one. `made` says
    that RabbitMQ has the queue, `closing` that nobody finds it any more, and `unbound` that nothing is published to it
    by who found it before. It was found empty from `quiet_since_ms` on (0: it was not), and `probes` were made.
    `number` counts the looks. `watching`: another one has begun this look, and it is made again if that stopped.
    """

    task: ClassVar[str] = "outgoing.release"
    queue: ClassVar[str] = "outgoing"

    webhook_id: str
    token: str = Field(pattern=r"^[0-9a-f]{12}$")
    made: bool = False
    closing: bool = False
    unbound: bool = False
    quiet_since_ms: int = 0
    probes: int = 0
    number: int = 0
    watching: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """Whose queue it is."""
        return Endpoint(self.phone, self.webhook_id)

    @property
    def summary(self) -> str:
        """What dashboards and logs may show: ids only."""
        return f"phone={self.phone} webhook={self.webhook_id}"


class ReplayEvents(Job):
    """Delivers events of the past to one webhook, in their order: what of a number was published in a time.

    One such job is on its way for each replay; each run delivers some events, and publishes the next one. `stored` is
    whether the webhook belongs to a stored session. Times are Unix milliseconds.
    """

    task: ClassVar[str] = "outgoing.replay"
    queue: ClassVar[str] = "outgoing"

    webhook_id: str
    stored: bool
    since_ms: int
    until_ms: int
    only_missing: bool = False
    rate: int = Field(ge=1, le=MAX_RATE)
    progress: Progress = Progress()

    @property
    def endpoint(self) -> Endpoint:
        """Where it goes."""
        return Endpoint(self.phone, self.webhook_id)

    @property
    def summary(self) -> str:
        """What dashboards and logs may show: ids only."""
        return f"phone={self.phone} webhook={self.webhook_id}"


class ReportFailure(Job):
    """One failure callback. `id` is stable: one per failure and replay count."""

    task: ClassVar[str] = "failures.report"
    queue: ClassVar[str] = "webhook.status.failed"

    body: str  # the callback's JSON, exactly as it is posted


class CollectAlert(Job):
    """One failure, or its end, that an alert will tell together with others."""

    task: ClassVar[str] = "alerts.collect"
    queue: ClassVar[str] = "webhook.status.failed"

    alert: Alert


class SendDigest(Job):
    """Tells what was gathered since the last alert. `phone` is whose failure came first."""

    task: ClassVar[str] = "alerts.digest"
    queue: ClassVar[str] = "webhook.status.failed"


class PostAlert(Job):
    """One alert on its way to one channel of the operator's, which is looked up by its name when it is posted."""

    task: ClassVar[str] = "alerts.post"
    queue: ClassVar[str] = "webhook.status.failed"

    channel: str = Field(max_length=64)
    title: str = Field(max_length=250)
    body: str = Field(max_length=MAX_ALERT_CHARS)
    level: Level


class NotifyNumber(Job):
    """A notice to the session's own number about one endpoint."""

    task: ClassVar[str] = "notifications.notify"
    queue: ClassVar[str] = "notification"

    webhook_id: str
    text: str = Field(max_length=1000)

    @property
    def endpoint(self) -> Endpoint:
        """What the notice is about."""
        return Endpoint(self.phone, self.webhook_id)


JOBS: dict[str, type[Job]] = {
    job.task: job
    for job in (
        SendMessage,
        SendBulkMessage,
        FetchFiles,
        ParseCampaign,
        AdvanceCampaign,
        ReportCampaign,
        RecordReaction,
        FireTimer,
        PostContacts,
        PostSessionState,
        PrepareMessage,
        Speak,
        Transcribe,
        RunCommand,
        ReceiveEvent,
        ReceiveCallback,
        HandleOwnMessage,
        AwaitResult,
        FanOut,
        SaveMedia,
        ConvertAudio,
        DeliverWebhook,
        ReleaseEndpoint,
        ReplayEvents,
        ReportFailure,
        CollectAlert,
        SendDigest,
        PostAlert,
        NotifyNumber,
    )
}


def computed_id(*parts: str) -> str:
    """A UUID computed from the parts: the same parts give the same id, in every process."""
    # Half a surrogate pair is valid in JSON, but not in UTF-8.
    named = _NAMESPACE_BYTES + "\x1f".join(parts).encode("utf-8", "backslashreplace")
    # As `uuid5` does, which takes four times as long, once or twice for each event.
    text = sha1(named, usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANTS[text[16]]}{text[17:20]}-{text[20:32]}"


@lru_cache(maxsize=1024)  # asked for before the fan-out, and in it
def delivery_id(event_id: str, webhook_id: str) -> str:
    """The id of an event's delivery to a webhook: the header `webhook-id`."""
    return computed_id("delivery", event_id, webhook_id)


NO_HISTORY = History()


@dataclass(frozen=True)
class Envelope:
    """A job with what is written on its wrapping: when to run it, which retry it is, what happened before.

    With a `holding` a delivery waits in its endpoint's holding queue of that token, for `delay_ms` at most. With a
    `look_ms` it comes back once after so long, though it is not due before `delay_ms`.
    """

    job: Job
    delay_ms: int = 0
    retries: int = 0
    history: History = NO_HISTORY
    holding: str = ""
    look_ms: int = 0


@dataclass(frozen=True)
class HeldDelivery:
    """A delivery that stands in a holding queue. `tag` is the consumer's, for its settlement."""

    job: DeliverWebhook
    retries: int
    history: History
    tag: int = 0
