"""Messages on their way to WhatsApp, and what comes back of them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from unoapi.errors import (
    MessageRejected,
    NumberRemoved,
    OutcomeUnknown,
    Postponed,
    SendFailed,
    SendPostponed,
    StoreUnavailable,
    TooOld,
    TransientError,
    Unclaimed,
    UnknownMessage,
)
from unoapi.models.claims import Claim
from unoapi.models.cloud_api.events import error_object, message_event, read_document, status_event
from unoapi.models.cloud_api.messages import TYPING_S
from unoapi.models.cloud_api.messages.written import as_meant
from unoapi.models.identity import GROUP, Identity
from unoapi.models.jobs import Envelope, FetchFiles, MessageJob, RunCommand, SendMessage, now_ms
from unoapi.models.media import MEDIA_TYPES
from unoapi.models.message_keys import OWN_IDS
from unoapi.models.phones import STATUS_POSTS
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.models.trace import TraceEntry
from unoapi.services.media import as_received
from unoapi.services.message_parsing import command_of, message_of
from unoapi.services.preparation import PREPARED
from unoapi.services.retries import ensure_fresh, too_old
from unoapi.services.webhooks import to_fan_out, to_fan_outs
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unoapi.models.attempts import History
    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.ports import MediaIndex, Provider, SendClaims, SessionStore
    from unoapi.services.bulkhead import Bulkhead
    from unoapi.services.send_order import OwnTurn

log = get_logger(__name__)

WAIT_FOR_STORE_MS = 5000
UNKNOWN_WAIT_MS, LONGEST_UNKNOWN_WAIT_MS = 1000, 60_000
"""A command on a message of ours that is not known waits so long at first, then ever longer: it may not have left."""
UPLOAD_FAILED = 131053
"""Meta's code for a file that could not be had from its address."""
REFUSED_TO_THE_END = frozenset({SendFailed.reason, TooOld.reason})
"""Why a message was given up that WhatsApp may have refused each time, with an error of its own."""
TRACKER = "biz_opaque_callback_data"
"""The client's own mark on a message, which comes back in its statuses."""
EDIT = "message_edit"
SHOWN_AS = {EDIT: "text"}
"""The types of messages whose object has another name."""


def send(  # noqa: PLR0913 (collaborators)
    job: SendMessage,
    *,
    history: History,
    sessions: SessionStore,
    sends: SendClaims,
    turn: OwnTurn,
    providers: Mapping[str, Provider],
    bulkhead: Bulkhead,
    max_age_s: int,
) -> Receipt:
    """Send one message, in its turn and at most once. In `history`, `redelivered` is whether a worker stopped with it.

    Raises SendFailed (retry: nothing left), Postponed (wait), Unclaimed (mark the job, and come again), TooOld,
    NumberRemoved, MessageRejected (no message that could be sent), OutcomeUnknown (never repeated by itself).
    """
    if history.receipt is not None:
        return Receipt.model_validate(history.receipt)
    message = message_of(job)  # before the claim: what cannot be read is not left as claimed
    try:
        provider = _provider(job, sessions=sessions, providers=providers)
        _ensure_ready(job, provider, max_age_s=max_age_s)
    except Exception:
        # Nothing is claimed while a message only waits. But an earlier run may have sent it.
        again = history.redelivered or history.replay_count
        receipt = _earlier(job, history=history, sends=sends, max_age_s=max_age_s) if again else None
        if receipt is not None:
            return receipt
        raise
    name, unheard = secrets.token_hex(4), False
    try:
        while True:
            # Before the claim: what waits for a thread has none.
            with bulkhead.taken(provider.address(job.phone), phone=job.phone):
                claim = _claim(job, name, history=history, sends=sends, turn=turn, max_age_s=max_age_s)
                if claim.before is None:
                    turn.begin()
                    return _outcome(claim) or _send_claimed(job, message, name, provider=provider, sends=sends)
            unheard = claim.unheard
            turn.wait_for(claim.before)
    except Postponed as error:
        if unheard:
            _holding(name, error)
        raise


def _send_claimed(
    job: SendMessage, message: OutboundMessage, claim: str, *, provider: Provider, sends: SendClaims
) -> Receipt:
    try:
        receipt = provider.send(message, phone=job.phone, message_id=job.id)
    except MessageRejected as error:
        receipt = rejection(message.addressee, error)
    except (SendFailed, SendPostponed) as error:
        try:
            sends.release(job, name=claim)
        except StoreUnavailable:
            _holding(claim, error)
        raise
    except OutcomeUnknown:
        raise
    except Exception as error:
        raise OutcomeUnknown("the provider failed while sending: it may have left or not") from error
    sends.settle(job, receipt)
    codes = [update.error.get("code") for update in receipt.statuses if update.error]
    if codes:
        log.info("message_refused", type=message.type, code=codes[0])
    else:
        log.info("message_sent", type=message.type)
    return receipt


def command(
    job: RunCommand,
    *,
    sessions: SessionStore,
    providers: Mapping[str, Provider],
    bulkhead: Bulkhead,
    max_age_s: int,
) -> None:
    """Carry out one command; it may be repeated. What waited so long that nobody writes any more shows no typing.

    Raises SendFailed (retry), Postponed or StoreUnavailable (wait), TooOld, NumberRemoved, MessageRejected.
    """
    provider = _provider(job, sessions=sessions, providers=providers)
    _ensure_ready(job, provider, max_age_s=max_age_s)
    wanted = command_of(job)
    if wanted.typing_indicator is not None and too_old(job, max_age_s=TYPING_S):
        if wanted.status is None:
            return
        wanted = wanted.without_typing()
    try:
        with bulkhead.taken(provider.address(job.phone), phone=job.phone):
            provider.command(wanted, phone=job.phone)
    except UnknownMessage as error:
        # While the phone is away both wait, and come back in any order.
        if not job.message_id.startswith(OWN_IDS) or too_old(job, max_age_s=max_age_s):
            raise
        after_ms = min(max(UNKNOWN_WAIT_MS, (now_ms() - job.accepted_at_ms) // 2), LONGEST_UNKNOWN_WAIT_MS)
        raise Postponed("the message that it is about may not have left yet", after_ms=after_ms) from error


def _provider(job: SendMessage | RunCommand, *, sessions: SessionStore, providers: Mapping[str, Provider]) -> Provider:
    session = sessions.find(job.phone)
    if job.accepted_at_ms <= session.began_ms:
        raise NumberRemoved("the number was removed since then, and may be somebody else's")
    return providers[session.provider]


def _ensure_ready(job: SendMessage | RunCommand, provider: Provider, *, max_age_s: int) -> None:
    try:
        provider.ready(job.phone)
    except Postponed as error:
        if too_old(job, max_age_s=max_age_s):
            raise TooOld(f"{error}") from error
        raise
    ensure_fresh(job, max_age_s=max_age_s)


def _claim(  # noqa: PLR0913 (what a claim depends on)
    job: SendMessage, name: str, *, history: History, sends: SendClaims, turn: OwnTurn, max_age_s: int
) -> Claim:
    """The right to send. Without Redis the job itself has to carry that it was begun, before it is begun.

    It carries the claim as well, which Redis may have taken all the same. Two copies that a client's repetition made do
    not know of each other: they wait.
    """
    try:
        claim = _asked(job, name, held=(*history.held_claims, name), sends=sends, turn=turn)
    except StoreUnavailable as error:
        if (before := turn.before_here) is not None:
            return Claim(before=before, unheard=True)
        if history.redelivered:
            raise _holding(name, _undecided(job, error, max_age_s=max_age_s)) from error
        if job.claimed_only:
            waiting = Postponed("a message with an Idempotency-Key waits for Redis", after_ms=WAIT_FOR_STORE_MS)
            raise _holding(name, waiting) from error
        if not history.unclaimed:
            raise _holding(name, Unclaimed()) from error
        return Claim(free=True)
    return _unless_begun(claim, history)


def _asked(job: SendMessage, name: str, *, held: Sequence[str], sends: SendClaims, turn: OwnTurn) -> Claim:
    """What Redis says. Raises StoreUnavailable."""
    try:
        return sends.claim(job, name=name, held=held, turn=turn.to_ask())
    except StoreUnavailable:  # a blink should not cost the order; one that is away answers this at once
        return sends.claim(job, name=name, held=held, turn=turn.to_ask())


def _earlier(job: SendMessage, *, history: History, sends: SendClaims, max_age_s: int) -> Receipt | None:
    """The outcome of an earlier copy. Raises OutcomeUnknown, or Postponed while it cannot be known."""
    try:
        return _outcome(_unless_begun(sends.state(job, held=history.held_claims), history))
    except StoreUnavailable as error:
        raise _undecided(job, error, max_age_s=max_age_s) from error


def _unless_begun(claim: Claim, history: History) -> Claim:
    """A copy that was marked as sent without a claim, and whose worker stopped, is not free."""
    return Claim(lost=True) if claim.free and history.unclaimed and history.redelivered else claim


def _outcome(claim: Claim) -> Receipt | None:
    """The receipt of a message that was sent; none when nobody has the right to send it, or the caller has it now."""
    if claim.lost:
        raise OutcomeUnknown("a worker stopped while it was sending this message: it may have left or not")
    if claim.busy_ms:
        raise Postponed("another worker is sending this message", after_ms=claim.busy_ms)
    return claim.receipt


def _holding(claim: str, error: TransientError) -> TransientError:
    """The error with the claim that goes with the job: nothing left under it, and Redis may have it."""
    error.held_claim = claim
    return error


def _undecided(job: SendMessage, error: StoreUnavailable, *, max_age_s: int) -> Postponed:
    """Only the claim knows whether the first copy left. Raises OutcomeUnknown when it is too late to wait for it."""
    if too_old(job, max_age_s=max_age_s):
        unknown = f"a worker stopped with this message, and whether it left cannot be read: {error}"
        raise OutcomeUnknown(unknown) from error
    return Postponed("a second copy waits until Redis answers", after_ms=WAIT_FOR_STORE_MS)


def rejection(recipient: str, error: MessageRejected) -> Receipt:
    """The receipt of a message that was refused for good."""
    failed = StatusUpdate(status="failed", error=error_object(error.code, error.title, error.details))
    return Receipt(recipient=recipient, statuses=(failed,))


def event_envelopes(
    job: SendMessage, receipt: Receipt, *, sessions: SessionStore, hold_ms: int, index: MediaIndex | None = None
) -> list[Envelope]:
    """All events of a sent message: its statuses, none before `hold_ms`, and the message itself where it is wanted."""
    return [
        *status_envelopes(job, receipt, sessions=sessions, hold_ms=hold_ms),
        *new_message_envelopes(job, receipt, sessions=sessions, index=index),
    ]


def status_envelopes(job: MessageJob, receipt: Receipt, *, sessions: SessionStore, hold_ms: int = 0) -> list[Envelope]:
    """The events of a receipt, each at its time, none before `hold_ms`. The same receipt gives the same event ids."""
    message = read_document(job.body)
    recipient, tracker = receiver(message, receipt), message.get(TRACKER)
    events = [
        status_event(
            job.phone,
            message_id=job.id,
            status=update.status,
            recipient=recipient,
            timestamp_s=(receipt.at_ms + update.after_ms) // 1000,
            error=update.error,
            tracker=tracker,
        )
        for update in receipt.statuses
    ]
    jobs = to_fan_outs(
        events, phone=job.phone, sessions=sessions, notify_on_failure=job.notify_on_failure, of_one_message=True
    )
    return [
        Envelope(event_job, delay_ms=max(update.after_ms, hold_ms))
        for event_job, update in zip(jobs, receipt.statuses, strict=True)
    ]


def receiver(message: dict[str, Any], receipt: Receipt | None = None) -> Identity:
    """To whom a message went, by the provider's word if there is one."""
    address = receipt.recipient if receipt else str(message.get("to") or message.get("recipient") or "")
    identity = Identity.of(address, group=message.get("recipient_type") == GROUP)
    return identity.joined(Identity(user_id=receipt.user_id if receipt else ""))


def new_message_envelopes(
    job: SendMessage, receipt: Receipt, *, sessions: SessionStore, index: MediaIndex | None = None
) -> list[Envelope]:
    """The event of a sent message itself, for the webhooks that want such (`sendNewMessages`).

    With `index` its file is told as those of received messages are.
    """
    message = read_document(job.body)
    kind = SHOWN_AS.get(str(message.get("type")), str(message.get("type") or "text"))
    if not job.notify_on_failure or kind not in message or any(update.error for update in receipt.statuses):
        return []
    try:
        wanting = tuple(webhook.id for webhook in sessions.find(job.phone).webhooks if webhook.send_new_messages)
    except (Postponed, StoreUnavailable):
        return []  # its status is published all the same
    if not wanting:
        return []
    message = as_meant(message)
    content = message[kind]
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if name not in PREPARED and value is not None}
    if index is not None and kind in MEDIA_TYPES:
        content = as_received(content, phone=job.phone, index=index)
    recipient = receiver(message, receipt)
    group = {"group_id": recipient.chat} if recipient.chat and recipient.chat != STATUS_POSTS else {}
    sent = {"from": job.phone, "id": job.id, "timestamp": str(receipt.at_ms // 1000), **group}
    sent |= {"type": kind, kind: content, **_about(message)}
    event = message_event(job.phone, sent, contacts=[recipient.as_contact() | group])
    job_of_event = to_fan_out(event, phone=job.phone, sessions=sessions)
    return (
        [Envelope(job_of_event.model_copy(update={"webhook_ids": wanting}))]
        if job_of_event.webhook_ids is not None
        else []
    )


def _about(message: dict[str, Any]) -> dict[str, Any]:
    """The fields by which a sent message says that it answers to another one, or is one anew: as in received ones."""
    context = message.get("context")
    quoted = (context.get("message_id") or context.get("id")) if isinstance(context, dict) else None
    marks = {"message_type": EDIT} if message.get("type") == EDIT else {}
    return ({"context": {"message_id": quoted, "id": quoted}} if quoted else {}) | marks


def trace(job: MessageJob, receipt: Receipt) -> list[TraceEntry]:
    """The step of a sent message, with why it failed. None when its provider reports the first status later."""
    return [
        TraceEntry.of(job, "failed", detail=_why(update.error)) if update.error else TraceEntry.of(job, "sent")
        for update in receipt.statuses[:1]
    ]


def _why(error: dict[str, Any]) -> str:
    """A status's error in a line: code, title, details."""
    details = str((error.get("error_data") or {}).get("details") or "")
    return ": ".join(filter(None, (f"{error.get('code', '')} {error.get('title', '')}".strip(), details)))


def failed_envelope(
    job: MessageJob, *, reason: str, error: str, sessions: SessionStore, refusal: dict[str, Any] | None = None
) -> Envelope:
    """The `failed` status of a message that was given up, with WhatsApp's own error if it gave one at the last try."""
    if reason == OutcomeUnknown.reason:
        failure = error_object(131000, "Outcome unknown", f"{error}. It is not sent again by itself.")
    elif isinstance(job, FetchFiles):
        failure = error_object(UPLOAD_FAILED, "Media upload error", error)
    elif refusal is not None and reason in REFUSED_TO_THE_END:
        failure = refusal
    else:
        failure = error_object(131000, "Message not sent", error)
    message = read_document(job.body)
    event = status_event(
        job.phone,
        message_id=job.id,
        status="failed",
        recipient=receiver(message),
        timestamp_s=job.accepted_at_ms // 1000,
        error=failure,
        tracker=message.get(TRACKER),
    )
    return Envelope(to_fan_out(event, phone=job.phone, sessions=sessions, notify_on_failure=job.notify_on_failure))
