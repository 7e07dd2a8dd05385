"""A failure is reported, and no report causes another."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.fakes import (
    CONTACT,
    PHONE,
    SECRET,
    CallbackRecorder,
    MemorySessions,
    make_delivery,
    make_event,
    make_fan_out,
    make_send,
    make_session,
    make_status,
    make_webhook,
)
from unoapi.errors import CallbackFailed, Postponed
from unoapi.models.attempts import Answer, Attempt, History
from unoapi.models.cloud_api.events import error_object
from unoapi.models.endpoints import EndpointChange
from unoapi.models.jobs import Envelope, FanOut, Job, NotifyNumber, ReceiveEvent, ReportFailure, SendMessage, now_ms
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.failure_callbacks import (
    endpoint_report,
    follow_up_jobs,
    notice_message,
    report,
    status_report,
    status_reports,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
HISTORY = History().with_attempt(Attempt(at=AT, status=503, error="HTTP 503", duration_ms=12, timings_ms={"tls": 3}))
REPORT = ReportFailure(id="report-1", phone=PHONE, body='{"text":"x"}', notify_on_failure=False)


def given_up(
    job: Job,
    *,
    reason: str = "delivery_failed",
    callbacks: bool = True,
    notices: bool = True,
    history: History = HISTORY,
    sessions: MemorySessions | None = None,
) -> list[Envelope]:
    return follow_up_jobs(
        job,
        reason=reason,
        error="HTTP 503",
        history=history,
        sessions=sessions or MemorySessions(make_session(make_webhook(token=SECRET, secret=SECRET))),
        callbacks=callbacks,
        notices=notices,
    )


def document(envelope: Envelope) -> dict[str, Any]:
    assert isinstance(envelope.job, ReportFailure)
    return dict(json.loads(envelope.job.body))


def test_the_callback_of_a_delivery_holds_the_documented_fields() -> None:
    job = make_delivery()

    (callback,) = given_up(job, notices=False)

    report = document(callback)
    assert report.pop("id") == callback.job.id
    assert report == {
        "text": f"Session {PHONE}, webhook default: 1 attempt failed (HTTP 503)",
        "type": "webhook.failed",
        "phone": PHONE,
        "webhook": "default",
        "message_id": "wamid.1",
        "reason": "delivery_failed",
        "error": "HTTP 503",
        "attempts": [{"at": "2026-01-01T00:00:00Z", "status": 503, "error": "HTTP 503", "duration_ms": 12}],
        "payload": json.loads(job.body),
    }


def test_several_attempts_are_counted_in_the_text() -> None:
    history = HISTORY.with_attempt(Attempt(at=AT, error="connection refused"))

    (callback,) = given_up(make_delivery(), notices=False, history=history)

    report = document(callback)
    assert "2 attempts failed" in report["text"]
    assert report["attempts"][1]["status"] is None


def test_what_was_never_attempted_is_not_said_to_have_failed_zero_times() -> None:
    callback, notice = given_up(make_delivery(), history=History())

    assert "webhook default: given up before an attempt (HTTP 503)" in document(callback)["text"]
    assert "Last: given up before an attempt (HTTP 503)." in notice.job.text  # type: ignore[attr-defined]


def test_the_callback_has_one_id_per_failure_and_generation() -> None:
    first = given_up(make_delivery())[0].job.id
    again = given_up(make_delivery())[0].job.id
    replayed = given_up(make_delivery(), history=HISTORY.next_replay())[0].job.id
    other = given_up(make_delivery(id="delivery-2"))[0].job.id

    assert first == again
    assert len({first, replayed, other}) == 3


def test_a_given_up_fan_out_is_reported_for_all_its_webhooks() -> None:
    (callback,) = given_up(make_fan_out())

    assert document(callback)["webhook"] == "*"


def test_without_an_address_for_callbacks_none_is_queued() -> None:
    envelopes = given_up(make_delivery(), callbacks=False)

    assert [type(envelope.job) for envelope in envelopes] == [NotifyNumber]


def test_a_number_that_wants_no_notices_gets_none() -> None:
    envelopes = given_up(make_delivery(), notices=False)

    assert [type(envelope.job) for envelope in envelopes] == [ReportFailure]


@pytest.mark.parametrize("sessions", [MemorySessions(), MemorySessions(make_session(began_ms=now_ms() + DAY_MS))])
def test_a_number_that_was_removed_is_sent_no_notice_nor_is_who_has_it_now(sessions: MemorySessions) -> None:
    """It would wait for a phone that nobody connects, or tell of events of somebody else. The operator is told."""
    envelopes = given_up(make_delivery(), reason="webhook_removed", sessions=sessions)

    assert [type(envelope.job) for envelope in envelopes] == [ReportFailure]


def test_all_that_follows_is_marked_so_that_it_causes_nothing() -> None:
    envelopes = given_up(make_delivery())

    assert [envelope.job.notify_on_failure for envelope in envelopes] == [False, False]
    assert [given_up(envelope.job) for envelope in envelopes] == [[], []]


@pytest.mark.parametrize("job", [make_delivery(notify_on_failure=False), make_fan_out(notify_on_failure=False), REPORT])
def test_nothing_follows_from_what_a_report_caused(job: Job) -> None:
    assert given_up(job) == []


def test_nothing_is_reported_of_a_connectors_event_whose_owner_is_not_known_to_want_it() -> None:
    assert given_up(ReceiveEvent(id="1", phone=PHONE, event={})) == []


def test_a_given_up_message_becomes_a_failed_status_for_its_client() -> None:
    (envelope,) = given_up(make_send())

    assert isinstance(envelope.job, FanOut)
    assert (envelope.job.kind, envelope.job.notify_on_failure) == ("failed", True)


def test_who_has_a_number_now_reads_nothing_of_what_was_given_up_of_before() -> None:
    assert given_up(make_send(), reason="number_removed") == []


def test_a_given_up_notice_ends_without_an_echo() -> None:
    (envelope,) = given_up(notice_message(notice()))

    assert isinstance(envelope.job, FanOut)
    assert status_report(envelope.job) is None
    assert given_up(envelope.job) == []


def test_a_failed_status_is_reported_once_with_its_error() -> None:
    event = make_status("failed", error=error_object(131026, "Message undeliverable", "not on WhatsApp"))

    callback = status_report(make_fan_out(event))

    assert callback is not None
    report = json.loads(callback.body)
    assert (report["type"], report["webhook"], report["attempts"]) == ("message.failed", "", [])
    assert report["text"] == f"Session {PHONE}: message wamid.1 failed (131026 Message undeliverable)"
    assert report["payload"] == json.loads(event.body)
    again = status_report(make_fan_out(event))
    assert again is not None
    assert again.model_copy(update={"accepted_at_ms": callback.accepted_at_ms}) == callback


def test_a_failed_status_is_reported_only_to_who_wants_callbacks_and_only_while_it_is_the_latest() -> None:
    job = make_fan_out(make_status("failed"))

    assert len(status_reports(job, superseded=False, callbacks=True)) == 1
    assert status_reports(job, superseded=False, callbacks=False) == []
    assert status_reports(job, superseded=True, callbacks=True) == []


@pytest.mark.parametrize("errors", [None, [], [None], {"code": 1}, "text", [{}]])
def test_a_failed_status_with_a_strange_error_is_reported_all_the_same(errors: object) -> None:
    event = make_status("failed")
    body = json.loads(event.body)
    body["entry"][0]["changes"][0]["value"]["statuses"][0]["errors"] = errors

    callback = status_report(make_fan_out(event, body=json.dumps(body)))

    assert callback is not None
    assert "unknown error" in json.loads(callback.body)["text"]


def test_an_event_that_only_calls_itself_failed_does_not_stop_the_fan_out() -> None:
    body = json.dumps({"entry": [{"changes": [{"field": "failed", "value": {}}]}]})

    assert status_report(make_fan_out(kind="failed", body=body)) is not None


@pytest.mark.parametrize("event", [make_event(), make_status("delivered"), make_status("sent")])
def test_other_events_are_no_failure(event: Any) -> None:
    assert status_report(make_fan_out(event)) is None


def notice() -> NotifyNumber:
    job = given_up(make_delivery(), callbacks=False)[0].job
    assert isinstance(job, NotifyNumber)
    return job


def test_a_notice_names_the_endpoint_and_the_message_and_nothing_of_its_content() -> None:
    job = notice()

    assert "webhook default" in job.text
    assert "wamid.1" in job.text
    assert "HTTP 503" in job.text
    assert "hello" not in job.text
    assert SECRET not in job.text


def test_a_notice_with_the_longest_names_still_fits() -> None:
    (envelope,) = given_up(make_delivery(webhook_id="w" * 100, message_id="m" * 512), callbacks=False)

    assert isinstance(envelope.job, NotifyNumber)


def test_a_notice_goes_to_the_sessions_own_number_with_a_computed_id() -> None:
    job = notice()

    first, second = notice_message(job), notice_message(job)

    assert isinstance(first, SendMessage)
    assert first.id == second.id == first.message_id
    assert not first.notify_on_failure
    assert json.loads(first.body)["to"] == PHONE
    assert json.loads(first.body)["text"]["body"] == job.text


def test_a_callback_that_was_taken_is_done() -> None:
    sender = CallbackRecorder(Answer(status=204))

    attempt = report(REPORT, url="http://operator.test/", sender=sender, bulkhead=Bulkhead(10))

    assert attempt.status == 204
    assert sender.posts == [("http://operator.test/", REPORT.body)]


@pytest.mark.parametrize("answer", [Answer(status=500), Answer(status=302), Answer(error="connection refused")])
def test_a_callback_that_was_not_taken_is_retried(answer: Answer) -> None:
    with pytest.raises(CallbackFailed) as failure:
        report(REPORT, url="http://operator.test/", sender=CallbackRecorder(answer), bulkhead=Bulkhead(10))

    assert failure.value.attempt.status == answer.status
    assert answer.error in str(failure.value)


@pytest.mark.parametrize("status", [429, 503])
def test_a_callback_waits_as_its_receiver_asks_and_uses_up_no_retry(status: int) -> None:
    sender = CallbackRecorder(Answer(status=status, retry_after_s=30))

    with pytest.raises(Postponed) as wait:
        report(REPORT, url="http://operator.test/", sender=sender, bulkhead=Bulkhead(10))

    assert (wait.value.after_ms, wait.value.attempt and wait.value.attempt.status) == (30_000, status)


def test_the_callback_of_an_outage_says_why() -> None:
    change = EndpointChange(down=True, since_ms=7, reason="refused", error="HTTP 503")

    document = json.loads(endpoint_report(make_delivery(), change).body)

    assert (document["reason"], document["error"]) == ("refused", "HTTP 503")
    assert document["text"].endswith("is down: deliveries wait (HTTP 503)")


def test_a_message_that_was_sent_is_never_reported_as_failed() -> None:
    """A bug after the send: its statuses are published once more instead."""
    sent = Receipt(recipient=CONTACT, statuses=(StatusUpdate(status="sent"),))
    history = HISTORY.model_copy(update={"receipt": sent.packed()})

    (envelope,) = given_up(make_send(), history=history)

    assert isinstance(envelope.job, FanOut)
    assert envelope.job.kind == "sent"
