"""Reports of failures: callbacks to the operator and notices to the number. Neither causes another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.errors import CallbackFailed, NumberRemoved, Postponed, StoreUnavailable
from unoapi.models.cloud_api.events import read_document, serialise
from unoapi.models.jobs import (
    ConvertAudio,
    DeliverWebhook,
    Envelope,
    FanOut,
    Job,
    MessageJob,
    NotifyNumber,
    ReportFailure,
    SaveMedia,
    SendMessage,
    Transcribe,
    computed_id,
)
from unoapi.models.receipts import Receipt
from unoapi.services.alerts import collected
from unoapi.services.answers import asked_to_wait
from unoapi.services.received_media import without_media
from unoapi.services.sending import failed_envelope, status_envelopes

if TYPE_CHECKING:
    from unoapi.models.attempts import Attempt, History
    from unoapi.models.endpoints import EndpointChange
    from unoapi.ports import CallbackSender, SessionStore
    from unoapi.services.bulkhead import Bulkhead


def follow_up_jobs(  # noqa: PLR0913 (collaborators and switches)
    job: Job,
    *,
    reason: str,
    error: str,
    history: History,
    sessions: SessionStore,
    callbacks: bool,
    notices: bool,
    alerts: bool = False,
) -> list[Envelope]:
    """The jobs that follow from one that was given up. Nothing follows from what a report itself caused."""
    if isinstance(job, SendMessage) and history.receipt is not None:  # sent, though its statuses could not be made
        return status_envelopes(job, Receipt.model_validate(history.receipt), sessions=sessions)
    if isinstance(job, MessageJob):
        return (
            []  # who has it now never sent it
            if reason == NumberRemoved.reason
            else [failed_envelope(job, reason=reason, error=error, refusal=history.refusal, sessions=sessions)]
        )
    if isinstance(job, SaveMedia):
        return [Envelope(without_media(job))]  # no message is lost for a picture
    if isinstance(job, ConvertAudio):
        return [Envelope(FanOut.model_validate(job.model_dump()))]
    if not job.notify_on_failure or not isinstance(job, (DeliverWebhook, FanOut, Transcribe)):
        return []
    envelopes: list[Envelope] = []
    if callbacks or alerts:
        if isinstance(job, Transcribe):
            report = _transcription_report(job, reason=reason, error=error, history=history)
        else:
            report = _delivery_report(job, reason=reason, error=error, history=history)
        envelopes += map(Envelope, addressed(report, callbacks=callbacks, alerts=alerts))
    if notices and isinstance(job, DeliverWebhook) and not _is_number_removed(job, sessions):
        envelopes.append(Envelope(_notice(job, error=error, history=history)))
    return envelopes


def _is_number_removed(job: DeliverWebhook, sessions: SessionStore) -> bool:
    """Whether nobody has the number of a delivery any more, or somebody else: that is no matter of theirs."""
    try:
        session = sessions.find(job.phone)
    except (Postponed, StoreUnavailable):
        return False
    return job.is_of_before(session.began_ms) or (job.stored and not session.stored)


def _delivery_report(job: DeliverWebhook | FanOut, *, reason: str, error: str, history: History) -> ReportFailure:
    webhook = job.webhook_id if isinstance(job, DeliverWebhook) else "*"
    return _report(
        job,
        computed_id("webhook.failed", job.id, str(history.replay_count)),
        {
            "text": f"Session {job.phone}, webhook {_plain(webhook)}: {_tries(history)} ({_plain(error)})",
            "type": "webhook.failed",
            "webhook": webhook,
            "reason": reason,
            "error": error,
            "attempts": [_public(attempt) for attempt in history.attempts],
        },
    )


def _transcription_report(job: Transcribe, *, reason: str, error: str, history: History) -> ReportFailure:
    """One per audio: the audio itself went to its webhooks as any other event."""
    return _report(
        job,
        computed_id("transcription.failed", job.id, str(history.replay_count)),
        {
            "text": f"Session {job.phone}: an audio was not written down ({_plain(error)})",
            "type": "transcription.failed",
            "webhook": job.webhook_ids[0] if len(job.webhook_ids) == 1 else "*",
            "reason": reason,
            "error": error,
            "attempts": [_public(attempt) for attempt in history.attempts],
        },
    )


def addressed(report: ReportFailure, *, callbacks: bool, alerts: bool) -> list[Job]:
    """A report for those who want it: as the callback, and as a failure that an alert will tell."""
    return [*([report] if callbacks else []), *([collected(report)] if alerts else [])]


def status_reports(job: FanOut, *, superseded: bool, callbacks: bool, alerts: bool = False) -> list[Job]:
    """The reports of a status, if it is `failed`, is the latest, and somebody wants them."""
    report = status_report(job) if (callbacks or alerts) and not superseded else None
    return [] if report is None else addressed(report, callbacks=callbacks, alerts=alerts)


def attempt_report(job: DeliverWebhook, history: History, *, delay_ms: int) -> ReportFailure:
    """The callback about one attempt that failed and is followed by another. `history` ends with it."""
    attempt = history.attempts[-1]
    error = attempt.error or f"HTTP {attempt.status}"
    text = f"attempt {history.tries} failed ({_plain(error)}), again in {delay_ms / 1000:.0f} s"
    fields = {
        "text": f"Session {job.phone}, webhook {_plain(job.webhook_id)}: {text}",
        "type": "webhook.attempt",
        "webhook": job.webhook_id,
        "reason": attempt.outcome,
        "error": error,
        "attempts": [_public(attempt)],
    }
    return _report(job, computed_id("webhook.attempt", job.id, f"{history.replay_count}", f"{history.tries}"), fields)


def status_report(job: FanOut) -> ReportFailure | None:
    """The callback about a message whose WhatsApp status is `failed`."""
    if job.kind != "failed" or not job.notify_on_failure:
        return None
    (status, *_) = job.content.value.get("statuses") or [{}]
    errors = status.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    problem = first if isinstance(first, dict) else {}  # it comes from outside, and must not stop the fan-out
    title = str(problem.get("title") or "unknown error")[:200]
    code = problem.get("code", 0)
    return _report(
        job,
        computed_id("message.failed", job.id),
        {
            "text": f"Session {job.phone}: message {_plain(job.message_id)} failed ({code} {_plain(title)})",
            "type": "message.failed",
            "webhook": "",
            "reason": "failed",
            "error": f"{code} {title}",
            "attempts": [],
        },
    )


def endpoint_report(job: DeliverWebhook, change: EndpointChange) -> ReportFailure:
    """The callback that an endpoint went down or came back, with the same id for the same outage."""
    kind = "endpoint.down" if change.down else "endpoint.up"
    report_id = computed_id(kind, job.phone, job.webhook_id, str(change.since_ms))
    because = f" ({_plain(change.error)})" if change.error else ""
    what = f"is down: deliveries wait{because}" if change.down else "is up again"
    document = {
        "text": f"Session {job.phone}, webhook {_plain(job.webhook_id)} {what}",
        "type": kind,
        "id": report_id,
        "phone": job.phone,
        "webhook": job.webhook_id,
        "message_id": "",
        "reason": change.reason,
        "error": change.error,
        "attempts": [],
        "payload": {},
    }
    return ReportFailure(id=report_id, phone=job.phone, body=serialise(document), notify_on_failure=False)


def _plain(text: object) -> str:
    """What a tenant wrote, as Slack shows it and does not obey it: its markup begins with these three."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _report(job: DeliverWebhook | FanOut | Transcribe, report_id: str, fields: dict[str, Any]) -> ReportFailure:
    document = {
        "text": fields["text"],
        "type": fields["type"],
        "id": report_id,
        "phone": job.phone,
        "webhook": fields["webhook"],
        "message_id": job.message_id,
        "reason": fields["reason"],
        "error": fields["error"],
        "attempts": fields["attempts"],
        "payload": read_document(job.body),
    }
    return ReportFailure(
        id=report_id, phone=job.phone, message_id=job.message_id, body=serialise(document), notify_on_failure=False
    )


def _tries(history: History) -> str:
    if not history.tries:
        return "given up before an attempt"
    return f"{history.tries} attempt{'' if history.tries == 1 else 's'} failed"


def _public(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": attempt.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": attempt.status,
        "error": attempt.error,
        "duration_ms": attempt.duration_ms,
    }


def _notice(job: DeliverWebhook, *, error: str, history: History) -> NotifyNumber:
    return NotifyNumber(
        id=computed_id("notice", job.id, str(history.replay_count)),
        phone=job.phone,
        message_id=job.message_id,
        webhook_id=job.webhook_id,
        text=(
            f"Uno API: events of {job.phone} do not reach the webhook {job.webhook_id[:100]}. "
            f"Last: {_tries(history)} ({error}). They are kept and can be replayed. "
            f"Message: {job.message_id[:200]}"
        ),
        notify_on_failure=False,
    )


def report(job: ReportFailure, *, url: str, sender: CallbackSender, bulkhead: Bulkhead) -> Attempt:
    """Post one failure callback. Raises CallbackFailed (retry), Postponed (wait)."""
    with bulkhead.taken(url):
        answer = sender.post(url, job.body)
    attempt = answer.as_attempt()
    if (wait := asked_to_wait(answer)) is not None:
        raise wait
    if not answer.delivered:
        raise CallbackFailed(answer.summary, attempt=attempt)
    return attempt


def notice_message(job: NotifyNumber) -> SendMessage:
    """The message to the session's own number."""
    message_id = f"wamid.{computed_id('notice-message', job.id).replace('-', '').upper()}"
    body = {"messaging_product": "whatsapp", "to": job.phone, "type": "text", "text": {"body": job.text}}
    return SendMessage(
        id=message_id, phone=job.phone, message_id=message_id, body=serialise(body), notify_on_failure=False
    )
