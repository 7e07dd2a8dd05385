"""Events on their way to the client's webhooks: address, fan out, deliver."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from unoapi.errors import DeliveryFailed, DeliveryRefused, Postponed, StoreUnavailable
from unoapi.models.activity import IS_DOWN, RECEIVED
from unoapi.models.attempts import Attempt
from unoapi.models.contacts import contact_key
from unoapi.models.jobs import DeliverWebhook, FanOut, Transcribe
from unoapi.models.message_log import LoggedMessage
from unoapi.models.request_bin import BIN_URL, BIN_WEBHOOK
from unoapi.models.trace import TraceEntry
from unoapi.services import transcription
from unoapi.services.answers import THROTTLED, delivery_error
from unoapi.services.filters import mute_s, refusal
from unoapi.services.retries import ensure_fresh
from unoapi.services.webhook_profiles import PROFILE, body_for
from unoapi.telemetry.logging import get_logger
from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from unoapi.errors import UnoError
    from unoapi.models.attempts import Answer, EarlierAnswer, History
    from unoapi.models.cloud_api.events import Event
    from unoapi.models.endpoints import DeliveryState, EndpointChange
    from unoapi.models.first_look import FirstLook
    from unoapi.models.message_log import Direction
    from unoapi.models.session import Session, Webhook
    from unoapi.models.timers import Conversation
    from unoapi.ports import (
        ActivityCounts,
        Blacklist,
        BlacklistStore,
        Breakers,
        Deliveries,
        MessageLog,
        Ordering,
        SessionStore,
        Statuses,
        TimerStore,
        Traces,
        WebhookSender,
    )
    from unoapi.services.bulkhead import Bulkhead

log = get_logger(__name__)

DOWN_WAIT_MS = 1000
SHORT_PAUSE_MS = 5_000
"""What waits for a pause that is not longer does so in a bucket."""
LONGEST_PAUSE_MS = 300_000
"""A pause may be ended by hand: what waits checks this often."""


def to_fan_out(event: Event, *, phone: str, sessions: SessionStore, notify_on_failure: bool = True) -> FanOut:
    """The job for an event: see `to_fan_outs`."""
    (job,) = to_fan_outs([event], phone=phone, sessions=sessions, notify_on_failure=notify_on_failure)
    return job


def to_fan_outs(
    events: Sequence[Event],
    *,
    phone: str,
    sessions: SessionStore,
    notify_on_failure: bool = True,
    of_one_message: bool = False,
) -> list[FanOut]:
    """The jobs for events, addressed to the webhooks that the session has now: their ids, never tokens.

    Statuses `of_one_message` have the same facts, which are found once.
    When the session cannot be looked up they are addressed to none, and the fan-out waits until it can.
    """
    webhook_ids: tuple[str, ...] | None
    ordered: tuple[str, ...] = ()
    try:
        session = sessions.find(phone)
        webhook_ids, stored = tuple(webhook.id for webhook in session.webhooks), session.stored
        ordered = tuple(webhook.id for webhook in session.webhooks if webhook.ordered)
        account_id = session.entry_id or phone
        events = [event.addressed(number_id=session.phone_number_id, account_id=account_id) for event in events]
    except (Postponed, StoreUnavailable):
        webhook_ids, stored = None, False
    jobs, facts = [], None
    for event in events:
        if facts is None or not of_one_message:
            facts = event.content.facts(phone)
        contact = next(iter(facts.keys), "")[:256] if ordered else ""
        jobs.append(
            FanOut(
                id=event.event_id,
                phone=phone,
                message_id=event.message_id,
                kind=event.kind,
                body=event.body,
                webhook_ids=webhook_ids,
                stored=stored,
                notify_on_failure=notify_on_failure,
                ordered=ordered if contact else (),
                contact=contact,
                written_facts=facts.written,
            )
        )
    return jobs


@dataclass(slots=True)
class FannedOut:
    """What an event comes to: one delivery per webhook that wants it, and the filters of those that do not.

    `wrote` is who wrote ("own", "contact"; empty for what is no message) and `muted` for how many seconds which
    webhooks get nothing more of the contact. To be remembered after the deliveries are published: a fan-out that is
    repeated must choose the same.
    A status that is `superseded` goes to nobody: a later one was published already. `transcriptions` write an audio
    down for the webhooks that want that.
    """

    event: FanOut = field(compare=False)  # the same may travel in two ways: with its facts, or without
    deliveries: list[DeliverWebhook] = field(default_factory=list)
    filters: dict[str, str] = field(default_factory=dict)
    wrote: str = ""
    muted: dict[str, int] = field(default_factory=dict)
    superseded: bool = False
    transcriptions: list[Transcribe] = field(default_factory=list)

    @property
    def filtered(self) -> list[str]:
        """The webhooks that do not get the event."""
        return list(self.filters)

    @property
    def single(self) -> DeliverWebhook | None:
        """The delivery, if nothing else follows, and it waits for no other of its conversation."""
        if self.transcriptions:
            return None
        return self.deliveries[0] if len(self.deliveries) == 1 and not self.deliveries[0].contact else None

    @property
    def message(self) -> LoggedMessage | None:
        """The message, as it is listed; none for an event that is no message."""
        if not self.wrote:
            return None
        job, facts = self.event, self.event.facts
        direction: Direction = "sent" if self.wrote == "own" else "received"
        contact = facts.keys[0] if facts.keys else ""
        return LoggedMessage(job.accepted_at_ms, job.phone, direction, contact, facts.type, job.message_id)

    def trace(self) -> list[TraceEntry]:
        """The steps of the event at each webhook, in the order of the webhooks that get it."""
        job = self.event
        if self.superseded:
            return [TraceEntry.of(job, "superseded", detail="a later status was published already")]
        if not self.deliveries and not self.filters:
            return [TraceEntry.of(job, "filtered", detail="the number has no webhook")]
        filtered = [TraceEntry.of(job, "filtered", webhook=name, detail=why) for name, why in self.filters.items()]
        return filtered + [TraceEntry.of(job, "queued", webhook=delivery.webhook_id) for delivery in self.deliveries]


def fan_out(
    job: FanOut,
    *,
    sessions: SessionStore,
    max_age_s: int,
    statuses: Statuses | None = None,
    blacklist: Blacklist | None = None,
) -> FannedOut:
    """Choose the webhooks that want this event. Raises SessionUnknown when their filters cannot be read now."""
    facts = job.facts
    if statuses and not statuses.admit(
        job.phone, job.message_id, status=job.kind, event_id=job.id, member=facts.member
    ):
        return FannedOut(job, superseded=True)
    ensure_fresh(job, max_age_s=max_age_s)
    if job.webhook_ids is None:
        session = sessions.find(job.phone)
        webhook_ids, stored = tuple(webhook.id for webhook in session.webhooks), session.stored
    else:
        webhook_ids, stored = job.webhook_ids, job.stored
        session = _session_with(webhook_ids, job.phone, stored=stored, sessions=sessions)
    traits = facts.traits
    blocked = blacklist.blocking(job.phone, webhook_ids, facts.keys) if blacklist else set()
    wrote = "" if job.kind != "message" or traits.about != "chat" else "own" if traits.own else "contact"
    fanned = FannedOut(job, wrote=wrote)
    transcribed = []
    for webhook_id in webhook_ids:
        webhook = session.webhook(webhook_id)
        # A webhook that was removed meanwhile still gets its delivery: it ends dead, with that reason, and is reported.
        if webhook is not None:
            if facts.keys and (ttl_s := mute_s(webhook, traits)):
                fanned.muted[webhook_id] = ttl_s
            if why := refusal(webhook, traits, blocked=webhook_id in blocked):
                fanned.filters[webhook_id] = why
                continue
        body = body_for(webhook, job) if webhook is not None else job.body
        if body is None:
            fanned.filters[webhook_id] = PROFILE
            continue
        awaited = facts.has_audio and webhook is not None and webhook.send_transcribe_audio
        if awaited:
            transcribed.append(webhook_id)
        fanned.deliveries.append(DeliverWebhook.of(job, webhook_id, body=body, stored=stored, awaited=awaited))
    if transcribed:
        fanned.transcriptions.append(transcription.job_for(job, transcribed))
    return fanned


def remember(  # noqa: PLR0913 (each memory by itself)
    fanned_out: Iterable[FannedOut],
    *,
    ordering: Ordering,
    blacklist: BlacklistStore,
    activity: ActivityCounts,
    timers: TimerStore,
    message_log: MessageLog,
) -> None:
    """Record what published fan-outs mean for later events: who waits for nothing, who is muted, who wrote last.

    And what is shown of them: the messages, as they are listed, and how many were received.
    """
    skipped: list[tuple[FanOut, str]] = []
    writers: dict[Conversation, bool] = {}
    messages: list[tuple[LoggedMessage, str]] = []
    received = defaultdict[str, int](int)
    for fanned in fanned_out:
        job = fanned.event
        if job.ordered:
            skipped += [(job, name) for name in job.ordered if fanned.superseded or name in fanned.filters]
        if fanned.muted:
            for key in job.facts.keys:
                blacklist.mute(job.phone, key, fanned.muted)
        if (message := fanned.message) is not None:
            own = message.direction == "sent"
            messages.append((message, job.body))
            if not own:
                received[job.phone] += 1
            for key in job.facts.keys:
                # As memories write the names, so that the last event counts, however it writes a phone.
                writers[job.phone, contact_key(key)] = own
    ordering.skip(skipped)
    timers.wrote(writers)
    message_log.add_all(messages)
    for phone, times in received.items():
        activity.count(phone, RECEIVED, times)


def _session_with(webhook_ids: Sequence[str], phone: str, *, stored: bool, sessions: SessionStore) -> Session:
    """The session, read again when it seems to lack a webhook: that may be younger than what was read last.

    Raises SessionUnknown.
    """
    session = sessions.resolve(phone, stored=stored)
    for webhook_id in webhook_ids:
        if session.webhook(webhook_id) is None:
            sessions.refresh(phone)
            return sessions.resolve(phone, stored=stored)
    return session


class Wait(Protocol):
    """Makes the error with which a delivery waits for its endpoint, for `after_ms` at least where nobody ends that."""

    def __call__(
        self, job: DeliverWebhook, state: DeliveryState, message: str, *, after_ms: int, attempt: Attempt | None = None
    ) -> Postponed:
        """The error."""


def postponed(
    job: DeliverWebhook,  # noqa: ARG001 (as `Wait` has it)
    state: DeliveryState,  # noqa: ARG001
    message: str,
    *,
    after_ms: int,
    attempt: Attempt | None = None,
) -> Postponed:
    """A wait in the buckets."""
    return Postponed(message, after_ms=after_ms, attempt=attempt, jitter=False)


@dataclass(frozen=True)
class DeliveryContext:
    """What deliveries are made with. `notify` gets the change when an endpoint went down or came back.

    `wait` says how one waits whose endpoint is down or paused; `releasing` is whether it waited so before, `refused`
    whether its release left it to its own task: to wait again would bring it there again. `answered` is a delivery
    whose answer is there already: it takes no thread, and need not wait for one.
    """

    sessions: SessionStore
    deliveries: Deliveries
    sender: WebhookSender
    breakers: Breakers
    bulkhead: Bulkhead
    notify: Callable[[DeliverWebhook, EndpointChange], None]
    max_age_s: int
    wait: Wait = postponed
    releasing: bool = False
    refused: bool = False
    answered: str = ""


def deliver(job: DeliverWebhook, *, history: History, context: DeliveryContext) -> Attempt | None:
    """Make one attempt. None when the delivery was done before.

    Raises DeliveryFailed (retry), Postponed (wait, no retry used up), DeliveryRefused, TooOld (give up).
    """
    endpoint, breakers = job.endpoint, context.breakers
    state = context.deliveries.state(job.id, endpoint)
    if state.done and job.replay != "all":
        return None
    _ensure_wanted(job, state, context)
    session = _session_with((job.webhook_id,), job.phone, stored=job.stored, sessions=context.sessions)
    webhook = session.webhook(job.webhook_id)
    if job.is_of_before(session.began_ms):
        raise DeliveryRefused("the number was removed since then, and may be somebody else's", reason="webhook_removed")
    if webhook is None and job.webhook_id == BIN_WEBHOOK:
        return None  # somebody has listened for a while, and has seen enough
    if webhook is None:
        _end_outage(job, context)
        raise DeliveryRefused("the webhook was removed from the session", reason="webhook_removed")
    _ensure_due(job, state, context)
    if state.breaker is not None:
        breakers.seen(endpoint, state=state.breaker)
    with ExitStack() as place:
        if job.id != context.answered:
            place.enter_context(context.bulkhead.taken(webhook.address(job.phone), endpoint))
        permit = breakers.permit(
            job.id,
            endpoint,
            state=state.breaker,
            deadline_ms=webhook.deadline_ms,
            accepted_at_ms=job.accepted_at_ms,
            may_probe=context.releasing or (context.bulkhead.may_probe and state.holding is None),
            releasing=context.releasing or context.refused,
        )
        if permit.wait_ms:
            message = "the endpoint is down, or has just come back"
            raise context.wait(job, state, message, after_ms=permit.wait_ms)
        with context.bulkhead.probing(permit.probe and not context.releasing):
            answer = context.sender.post(
                webhook,
                phone=job.phone,
                delivery_id=job.id,
                attempt=history.tries + 1,
                body=job.body,
                replay=bool(job.replay),
            )
    if not answer.delivered:
        raise _failure(job, answer, state, context)
    breakers.succeeded([endpoint], notify=lambda _, change: context.notify(job, change))
    return answer.as_attempt()


class AnsweredBefore:
    """A sender for a delivery whose attempt was made already: what is left is what follows from the answer."""

    def __init__(self, earlier: EarlierAnswer, *, sender: WebhookSender) -> None:
        self._earlier = earlier
        self._sender = sender

    def post(  # noqa: PLR0913 (as WebhookSender has it)
        self, webhook: Webhook, *, phone: str, delivery_id: str, attempt: int, body: str, replay: bool = False
    ) -> Answer:
        """The answer that came; for any other delivery, a new attempt."""
        if delivery_id == self._earlier.delivery_id:
            return self._earlier.answer
        return self._sender.post(
            webhook, phone=phone, delivery_id=delivery_id, attempt=attempt, body=body, replay=replay
        )


def deliver_and_record(job: DeliverWebhook, *, history: History, context: DeliveryContext, traces: Traces) -> None:
    """Make one attempt, and record what became of it. Raises what `deliver` raises."""
    try:
        attempt = deliver(job, history=history, context=context)
    except (DeliveryFailed, DeliveryRefused, Postponed) as error:
        if error.attempt is not None:
            metrics().attempted(error.attempt.outcome, duration_ms=error.attempt.duration_ms)
            if context.releasing and not isinstance(error, DeliveryRefused):  # else its own task says it
                traces.add(_released(job, error, attempt=error.attempt, tries=history.tries + 1))
        raise
    if attempt is None:
        if not job.contact:  # there it is the message that waited, whose delivery another task has made
            traces.add(TraceEntry.of(job, "duplicate"))
        log.info("webhook_duplicate_skipped", webhook_id=job.webhook_id)
        return
    record_delivered(job, attempt, tries=history.tries + 1, deliveries=context.deliveries)


def _released(job: DeliverWebhook, error: UnoError, *, attempt: Attempt, tries: int) -> TraceEntry:
    """The step of an attempt out of the queue of its endpoint.

    A probe that failed is counted, and is the last error of the endpoint; it is no step of its message, which may make
    thousands.
    """
    entry = TraceEntry.of(job, "attempt", tries=tries, attempt=attempt, detail=f"{error}; out of the endpoint's queue")
    return entry if isinstance(error, DeliveryFailed) else replace(entry, message_id="")


def record_delivered(job: DeliverWebhook, attempt: Attempt | Answer, *, tries: int, deliveries: Deliveries) -> None:
    """Record an attempt that succeeded."""
    metrics().attempted(attempt.outcome, duration_ms=attempt.duration_ms)
    remark = attempt.error if isinstance(attempt, Attempt) else attempt.remark
    detail = "; ".join(filter(None, ("a replay" if job.replay else "", remark)))
    entry = TraceEntry.of(job, "delivered", tries=tries, attempt=attempt, detail=detail)
    if job.awaited:  # before the acknowledgement: nobody would write it after the death of this process
        deliveries.note_done(job.id)
    deliveries.finish(job.id, entry)
    log.info(
        "webhook_delivered",
        message_id=job.message_id,
        phone=job.phone,
        task_id=job.id,
        webhook_id=job.webhook_id,
        status=attempt.status,
        duration_ms=attempt.duration_ms,
    )


def plain_receiver(job: DeliverWebhook, look: FirstLook, *, releasing: bool = False) -> Webhook | None:
    """The webhook of a fresh delivery that may be posted at once; none when `deliver` has to look at it closely.

    `releasing`: it comes out of its endpoint's holding queue.
    """
    webhook = look.session.webhook(job.webhook_id)
    if job.is_of_before(look.session.began_ms):
        return None
    if webhook is None or webhook.address(job.phone) == BIN_URL or job.contact or job.replay or job.awaited:
        return None
    state = replace(look.state, holding=None) if releasing else look.state
    if not state.is_plain or job.accepted_at_ms <= look.state.dropped_until_ms:
        return None
    return webhook


def is_removed(job: DeliverWebhook, sessions: SessionStore) -> bool:
    """Whether the webhook of a delivery, or its number, is certainly there no more. Never raises."""
    try:
        session = _session_with((job.webhook_id,), job.phone, stored=job.stored, sessions=sessions)
    except (Postponed, StoreUnavailable):
        return False
    return session.webhook(job.webhook_id) is None or job.is_of_before(session.began_ms)


def _ensure_wanted(job: DeliverWebhook, state: DeliveryState, context: DeliveryContext) -> None:
    """Raise TooOld or DeliveryRefused when no attempt may be made any more."""
    ensure_fresh(job, max_age_s=context.max_age_s)
    if job.accepted_at_ms <= state.dropped_until_ms:
        raise DeliveryRefused("the operator dropped what waited for this webhook", reason="dropped")


def _ensure_due(job: DeliverWebhook, state: DeliveryState, context: DeliveryContext) -> None:
    """Raise Postponed when no attempt may be made now."""
    if state.paused_ms:
        raise _pause(job, state, "the endpoint is paused", context, pause_ms=state.paused_ms)
    stands_behind = job.contact and not (context.releasing or context.refused)
    if stands_behind and state.holding is not None and state.holding.waiting:
        # A bucket for a moment, where there is no queue: what waits there keeps no order.
        raise context.wait(job, state, "earlier events of the endpoint wait", after_ms=DOWN_WAIT_MS)


def _pause(  # noqa: PLR0913 (what is known of the delivery)
    job: DeliverWebhook,
    state: DeliveryState,
    message: str,
    context: DeliveryContext,
    *,
    pause_ms: int,
    attempt: Attempt | None = None,
) -> Postponed:
    """The error of a delivery to an endpoint that is paused. A short pause is waited for in a bucket."""
    if pause_ms <= SHORT_PAUSE_MS:
        return Postponed(message, after_ms=pause_ms, attempt=attempt)
    return context.wait(job, state, message, after_ms=min(pause_ms, LONGEST_PAUSE_MS), attempt=attempt)


def _end_outage(job: DeliverWebhook, context: DeliveryContext) -> None:
    """Count the endpoint no more among those that are down. Nobody is told: it has not come back."""
    context.breakers.succeeded([job.endpoint], notify=lambda *_: None)


def _failure(job: DeliverWebhook, answer: Answer, state: DeliveryState, context: DeliveryContext) -> UnoError:
    """The error that says what happens next, after an answer that is no 2xx."""
    error = delivery_error(answer)
    if isinstance(error, DeliveryRefused):
        _end_outage(job, context)  # what waits for its end ends as this does
        return error
    if answer.status in THROTTLED and answer.retry_after_s is not None:
        pause_ms = max(1000, answer.retry_after_s * 1000)
        context.deliveries.pause(job.endpoint, pause_ms=pause_ms)
        message = f"{answer.summary} with Retry-After"
        return _pause(job, state, message, context, pause_ms=pause_ms, attempt=error.attempt)
    down, went_down = context.breakers.failed(job.id, job.endpoint, took_ms=answer.duration_ms)
    if went_down is not None:
        context.notify(job, replace(went_down, reason=answer.outcome, error=answer.summary))
    if down:
        # An outage costs no attempts: neither a probe nor what was on its way when the endpoint went down.
        message = f"{error}; {IS_DOWN}"
        return context.wait(job, state, message, after_ms=DOWN_WAIT_MS, attempt=error.attempt)
    return error
