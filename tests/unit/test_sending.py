"""Messages on their way to WhatsApp: never sent twice, always with a status."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from tests.support.fakes import (
    CONTACT,
    PHONE,
    MemorySends,
    MemorySessions,
    ScriptedProvider,
    make_send,
    make_session,
    of_no_line,
)
from unoapi.errors import (
    MessageRejected,
    NoConnector,
    NumberRemoved,
    OutcomeUnknown,
    Postponed,
    SendFailed,
    SendPostponed,
    SessionUnknown,
    StoreUnavailable,
    TooOld,
    Unclaimed,
    UnknownMessage,
)
from unoapi.models.attempts import MAX_HELD_CLAIMS, History
from unoapi.models.jobs import Envelope, FanOut, RunCommand, SendMessage, now_ms
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.retries import with_failure
from unoapi.services.sending import command, failed_envelope, send, status_envelopes, trace

SENT = Receipt(recipient=CONTACT, statuses=(StatusUpdate(status="sent"),))


def send_once(
    provider: ScriptedProvider,
    *,
    sends: MemorySends | None = None,
    job: SendMessage | None = None,
    sessions: MemorySessions | None = None,
    redelivered: bool = False,
    **history: Any,
) -> Receipt:
    job = job or make_send()
    return send(
        job,
        history=History(redelivered=redelivered, **history),
        sessions=sessions or MemorySessions(make_session(provider="sandbox")),
        sends=sends or MemorySends(),
        turn=of_no_line(job),
        providers={"sandbox": provider},
        max_age_s=600,
        bulkhead=Bulkhead(10),
    )


def status_of(envelope: Envelope) -> dict[str, Any]:
    assert isinstance(envelope.job, FanOut)
    (status,) = json.loads(envelope.job.body)["entry"][0]["changes"][0]["value"]["statuses"]
    return dict(status)


def test_a_message_is_sent_once_and_a_copy_returns_the_same_receipt() -> None:
    provider, sends = ScriptedProvider(), MemorySends()

    first = send_once(provider, sends=sends)
    copy = send_once(provider, sends=sends, redelivered=True)

    assert len(provider.sent) == 1
    assert copy == first


def test_a_copy_waits_while_another_worker_is_sending() -> None:
    provider, sends = ScriptedProvider(), MemorySends()
    sends.claim(make_send())

    with pytest.raises(Postponed) as wait:
        send_once(provider, sends=sends)

    assert 0 < wait.value.after_ms <= 60_000
    assert provider.sent == []


def test_a_copy_after_a_worker_died_while_sending_is_never_sent() -> None:
    provider, sends = ScriptedProvider(), MemorySends(lease_ms=0)
    sends.claim(make_send())

    with pytest.raises(OutcomeUnknown):
        send_once(provider, sends=sends)

    assert provider.sent == []


def test_with_the_store_away_a_first_copy_is_marked_before_it_is_sent() -> None:
    provider, sends = ScriptedProvider(), MemorySends()
    sends.away = True

    with pytest.raises(Unclaimed):
        send_once(provider, sends=sends)
    receipt = send_once(provider, sends=sends, unclaimed=True)

    assert [update.status for update in receipt.statuses] == ["sent"]
    assert len(provider.sent) == 1


def test_with_the_store_away_a_message_with_a_clients_key_waits() -> None:
    """Its repetition would be marked, too, and both would be sent."""
    provider, sends = ScriptedProvider(), MemorySends()
    sends.away = True

    for unclaimed in (False, True):
        with pytest.raises(Postponed) as waits:
            send_once(provider, sends=sends, job=make_send(claimed_only=True), unclaimed=unclaimed)
        assert not isinstance(waits.value, Unclaimed)

    assert provider.sent == []


def test_with_the_store_away_a_second_copy_waits() -> None:
    provider, sends = ScriptedProvider(), MemorySends()
    sends.away = True

    with pytest.raises(Postponed):
        send_once(provider, sends=sends, redelivered=True)

    assert provider.sent == []


def test_a_marked_copy_whose_worker_stopped_is_never_sent_again() -> None:
    """Redis is there again, and knows nothing of a message that was sent without it."""
    provider, sends = ScriptedProvider(), MemorySends()

    with pytest.raises(OutcomeUnknown):
        send_once(provider, sends=sends, job=make_send(accepted_at_ms=0), unclaimed=True, redelivered=True)
    with pytest.raises(OutcomeUnknown):
        send_once(provider, sends=sends, unclaimed=True, redelivered=True)

    assert provider.sent == []


def test_a_marked_copy_that_nobody_began_is_sent_with_a_claim() -> None:
    provider, sends = ScriptedProvider(), MemorySends()

    receipt = send_once(provider, sends=sends, unclaimed=True)

    assert sends.state(make_send()).receipt == receipt


def test_what_the_job_says_was_sent_is_not_sent_again() -> None:
    provider, sends = ScriptedProvider(connected=False), MemorySends()
    sends.away = True

    receipt = send_once(provider, sends=sends, receipt=SENT.packed())

    assert receipt == SENT
    assert provider.sent == []


@pytest.mark.parametrize("again", [{"redelivered": True}, {"replay_count": 1}])
@pytest.mark.parametrize("age_ms", [0, 601_000])
def test_a_copy_of_a_sent_message_does_not_wait_for_its_connector(again: dict[str, Any], age_ms: int) -> None:
    sends, job = MemorySends(), make_send(accepted_at_ms=now_ms() - age_ms)
    sends.settle(job, SENT)

    assert send_once(ScriptedProvider(connected=False), sends=sends, job=job, **again) == SENT


def test_what_a_stopped_worker_may_have_sent_is_unknown_though_it_is_too_old() -> None:
    sends, job = MemorySends(lease_ms=0), make_send(accepted_at_ms=now_ms() - 601_000)
    sends.claim(job)

    with pytest.raises(OutcomeUnknown):
        send_once(ScriptedProvider(connected=False), sends=sends, job=job, redelivered=True)


def test_what_waits_for_its_connector_is_not_claimed() -> None:
    """A claim that could not be given back would be an unknown outcome a minute later."""
    sends = MemorySends()

    with pytest.raises(NoConnector):
        send_once(ScriptedProvider(connected=False), sends=sends)

    assert sends.claims == {}


def test_what_whatsapp_refuses_is_a_failed_status_with_its_code() -> None:
    provider = ScriptedProvider(MessageRejected("Message undeliverable", code=131026, details="not on WhatsApp"))

    receipt = send_once(provider)

    (update,) = receipt.statuses
    assert update.status == "failed"
    assert update.error == {
        "code": 131026,
        "title": "Message undeliverable",
        "message": "Message undeliverable",
        "error_data": {"details": "not on WhatsApp"},
    }


def test_a_refused_message_is_not_sent_again_by_a_copy() -> None:
    sends = MemorySends()
    refused = send_once(ScriptedProvider(MessageRejected("No", code=131026, details="")), sends=sends)
    later = ScriptedProvider()

    copy = send_once(later, sends=sends, redelivered=True)

    assert copy == refused
    assert later.sent == []


@pytest.mark.parametrize("trouble", [SendFailed("not reachable"), SendPostponed("a pause is asked for", after_ms=1000)])
def test_what_certainly_did_not_leave_may_be_sent_again(trouble: Exception) -> None:
    sends, later = MemorySends(), ScriptedProvider()

    with pytest.raises(type(trouble)):
        send_once(ScriptedProvider(trouble), sends=sends)
    send_once(later, sends=sends)

    assert len(later.sent) == 1


class LostRelease(MemorySends):
    """Redis is away exactly when a claim is given back."""

    def release(self, job: SendMessage, *, name: str = "") -> None:  # noqa: ARG002 (the port's)
        raise StoreUnavailable("Redis is away")


def history_after(error: pytest.ExceptionInfo[Exception], **before: Any) -> dict[str, Any]:
    """What the job carries after this error."""
    return with_failure(History(**before), error.value).model_dump(include={"held_claims", "unclaimed"})


@pytest.mark.parametrize("lease_ms", [60_000, 0])
@pytest.mark.parametrize("trouble", [SendFailed("not reachable"), SendPostponed("a pause is asked for", after_ms=1000)])
def test_what_did_not_leave_is_sent_again_though_its_claim_could_not_be_given_back(
    trouble: Exception, lease_ms: int
) -> None:
    sends, later = LostRelease(lease_ms=lease_ms), ScriptedProvider()

    with pytest.raises(type(trouble)) as failure:
        send_once(ScriptedProvider(trouble), sends=sends)
    send_once(later, sends=sends, **history_after(failure))

    assert len(later.sent) == 1


@pytest.mark.parametrize("claimed_only", [False, True], ids=["a mark", "a client's key"])
@pytest.mark.parametrize("redelivered", [False, True])
def test_a_claim_whose_answer_was_lost_is_no_unknown_outcome(*, claimed_only: bool, redelivered: bool) -> None:
    job, sends, provider = make_send(claimed_only=claimed_only), MemorySends(lease_ms=0), ScriptedProvider()
    sends.unheard = True

    with pytest.raises(Postponed) as wait:
        send_once(provider, sends=sends, job=job, redelivered=redelivered)
    sends.unheard = False
    send_once(provider, sends=sends, job=job, redelivered=redelivered, **history_after(wait))

    assert len(provider.sent) == 1


def test_of_two_copies_that_hold_one_claim_only_one_is_sent() -> None:
    """A publish whose confirm was lost is repeated, so that a retry may come twice."""
    sends, provider = LostRelease(), ScriptedProvider()
    with pytest.raises(SendFailed) as failure:
        send_once(ScriptedProvider(SendFailed("not reachable")), sends=sends)
    held = history_after(failure)

    with pytest.raises(OutcomeUnknown):
        send_once(ScriptedProvider(OutcomeUnknown("no answer")), sends=sends, **held)
    with pytest.raises(Postponed):
        send_once(provider, sends=sends, **held)

    assert provider.sent == []


def test_a_held_claim_is_in_nobodys_way_while_its_message_waits_for_a_connector() -> None:
    sends = LostRelease(lease_ms=0)
    with pytest.raises(SendFailed) as failure:
        send_once(ScriptedProvider(SendFailed("not reachable")), sends=sends)

    with pytest.raises(NoConnector):
        send_once(ScriptedProvider(connected=False), sends=sends, redelivered=True, **history_after(failure))


def test_of_many_held_claims_the_first_and_the_last_are_carried() -> None:
    history = History()

    for number in range(1000):
        history = history.with_held_claim(f"{number}")

    assert len(history.held_claims) == MAX_HELD_CLAIMS
    assert (history.held_claims[0], history.held_claims[-2:]) == ("0", ("998", "999"))


@pytest.mark.parametrize("trouble", [RuntimeError("?"), KeyError("to"), TimeoutError(), NoConnector(PHONE)])
def test_any_other_trouble_while_sending_is_an_unknown_outcome(trouble: Exception) -> None:
    sends, later = MemorySends(lease_ms=0), ScriptedProvider()

    with pytest.raises(OutcomeUnknown) as unknown:
        send_once(ScriptedProvider(trouble), sends=sends)
    with pytest.raises(OutcomeUnknown):
        send_once(later, sends=sends)

    assert unknown.value.__cause__ is trouble
    assert later.sent == []


def test_a_providers_own_unknown_outcome_keeps_its_words() -> None:
    with pytest.raises(OutcomeUnknown, match="broke on the way"):
        send_once(ScriptedProvider(OutcomeUnknown("broke on the way")))


def test_without_a_connector_a_young_message_waits_and_is_sent_later() -> None:
    sends, connected = MemorySends(), ScriptedProvider()

    with pytest.raises(NoConnector):
        send_once(ScriptedProvider(connected=False), sends=sends)
    send_once(connected, sends=sends)

    assert len(connected.sent) == 1


def test_without_a_connector_an_old_message_is_given_up_and_says_why() -> None:
    old = make_send(accepted_at_ms=now_ms() - 601_000)

    with pytest.raises(TooOld, match="no connector"):
        send_once(ScriptedProvider(connected=False), job=old)


def test_an_old_message_is_not_sent_when_the_connector_comes_back() -> None:
    provider, old = ScriptedProvider(), make_send(accepted_at_ms=now_ms() - 601_000)

    with pytest.raises(TooOld):
        send_once(provider, job=old)

    assert provider.sent == []


def test_what_waited_when_a_number_was_removed_is_not_sent_by_who_registers_it_next() -> None:
    provider, began_ms = ScriptedProvider(), now_ms() - 10_000
    sessions = MemorySessions(make_session(provider="sandbox", began_ms=began_ms))
    mark = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.1"}
    read = RunCommand(id="1", phone=PHONE, body=json.dumps(mark), accepted_at_ms=began_ms)

    with pytest.raises(NumberRemoved):
        send_once(provider, sessions=sessions, job=make_send(accepted_at_ms=began_ms))
    with pytest.raises(NumberRemoved):
        command(read, sessions=sessions, providers={"sandbox": provider}, max_age_s=600, bulkhead=Bulkhead(10))
    send_once(provider, sessions=sessions, job=make_send(accepted_at_ms=began_ms + 1))

    assert len(provider.sent) == 1


class NoSuchMessage(ScriptedProvider):
    """Knows nothing of the message that a command is about."""

    def command(self, command: Any, *, phone: str) -> None:  # noqa: ARG002 (the port's)
        raise UnknownMessage("Parameter value is not valid", code=131009, details="nothing is known")


@pytest.mark.parametrize(("message_id", "age_s"), [("wamid.1", 700), ("3EB0AA", 0)])
def test_a_deletion_waits_for_a_message_that_may_not_have_left_and_no_longer(message_id: str, age_s: int) -> None:
    mark = {"messaging_product": "whatsapp", "status": "deleted", "message_id": "wamid.1"}
    gone = RunCommand(id="1", phone=PHONE, message_id="wamid.1", body=json.dumps(mark))
    rest: dict[str, Any] = {
        "sessions": MemorySessions(make_session(provider="sandbox")), "providers": {"sandbox": NoSuchMessage()},
        "max_age_s": 600, "bulkhead": Bulkhead(10),
    }  # fmt: skip

    for waited_ms, wait_ms in ((60_000, 30_000), (500_000, 60_000)):
        with pytest.raises(Postponed) as caught:
            command(gone.model_copy(update={"accepted_at_ms": now_ms() - waited_ms}), **rest)
        assert wait_ms <= caught.value.after_ms < wait_ms + 1000
    aged = {"message_id": message_id, "accepted_at_ms": now_ms() - age_s * 1000}
    with pytest.raises((UnknownMessage, TooOld)):
        command(gone.model_copy(update=aged), **rest)


@pytest.mark.parametrize(
    ("status", "age_s", "left"),
    [("read", 5, ("read", True)), ("read", 40, ("read", False)), (None, 5, (None, True)), (None, 40, None)],
)
def test_nobody_is_shown_to_write_who_asked_for_it_long_ago(
    status: str | None, age_s: int, left: tuple[str | None, bool] | None
) -> None:
    provider, typing = ScriptedProvider(), {"message_id": "wamid.X", "typing_indicator": {"type": "text"}}
    mark = typing | ({"status": status} if status else {})
    job = RunCommand(id="1", phone=PHONE, body=json.dumps(mark), accepted_at_ms=now_ms() - age_s * 1000)

    command(
        job,
        sessions=MemorySessions(make_session(provider="sandbox")),
        providers={"sandbox": provider},
        bulkhead=Bulkhead(10),
        max_age_s=600,
    )

    wires = [one.to_wire() for one in provider.sent]
    assert [(wire.get("status"), "typing_indicator" in wire) for wire in wires] == ([left] if left else [])


def test_while_the_session_cannot_be_read_the_message_waits_and_stays_free() -> None:
    sessions, sends = MemorySessions(), MemorySends()
    sessions.away = True

    with pytest.raises(SessionUnknown):
        send_once(ScriptedProvider(), sessions=sessions, sends=sends)

    assert sends.claim(make_send()).free


@pytest.mark.parametrize("recipient", [CONTACT, "120363000000000001@g.us", "BR.123456789", "status@broadcast"])
def test_what_is_said_of_all_statuses_of_a_message_is_true_of_each(recipient: str) -> None:
    error = {"code": 131000, "title": "no"}
    statuses = (
        *(StatusUpdate(status=word) for word in ("sent", "delivered", "read")),
        StatusUpdate(status="failed", error=error),
    )
    receipt = Receipt(recipient=recipient, at_ms=1_767_225_600_000, statuses=statuses)

    jobs = [one.job for one in status_envelopes(make_send(), receipt, sessions=MemorySessions(make_session()))]

    assert [job.kind for job in jobs if isinstance(job, FanOut)] == ["sent", "delivered", "read", "failed"]
    for job in jobs:
        assert isinstance(job, FanOut)
        assert job.written_facts == job.content.facts(PHONE).written


def test_every_status_of_a_receipt_becomes_an_event_at_its_time() -> None:
    receipt = Receipt(
        recipient=CONTACT,
        at_ms=1_767_225_600_000,
        statuses=(StatusUpdate(status="sent"), StatusUpdate(status="read", after_ms=2000)),
    )

    sent, read = status_envelopes(make_send(), receipt, sessions=MemorySessions(make_session()))

    assert (sent.delay_ms, read.delay_ms) == (0, 2000)
    assert status_of(sent) == {
        "id": "wamid.1", "status": "sent", "timestamp": "1767225600", "recipient_id": CONTACT,
    }  # fmt: skip
    assert status_of(read)["timestamp"] == "1767225602"


def test_the_same_receipt_gives_the_same_event_ids() -> None:
    sessions = MemorySessions(make_session())

    first, second = (status_envelopes(make_send(), SENT, sessions=sessions) for _ in range(2))

    assert [envelope.job.id for envelope in first] == [envelope.job.id for envelope in second]


def test_the_client_of_a_given_up_message_gets_a_failed_status_that_says_why() -> None:
    envelope = failed_envelope(
        make_send(), reason="too_old", error="no connector is connected", sessions=MemorySessions(make_session())
    )

    status = status_of(envelope)
    assert (status["status"], status["recipient_id"]) == ("failed", CONTACT)
    assert status["errors"][0]["error_data"]["details"] == "no connector is connected"


def test_the_client_of_an_unknown_outcome_reads_that_nothing_is_repeated() -> None:
    envelope = failed_envelope(make_send(), reason="outcome_unknown", error="it broke", sessions=MemorySessions())

    (error,) = status_of(envelope)["errors"]
    assert error["title"] == "Outcome unknown"
    assert "not sent again" in error["error_data"]["details"]


def test_the_events_of_a_notice_carry_its_mark() -> None:
    notice, sessions = make_send(notify_on_failure=False), MemorySessions(make_session())

    envelopes = [
        *status_envelopes(notice, SENT, sessions=sessions),
        failed_envelope(notice, reason="too_old", error="", sessions=sessions),
    ]

    assert [envelope.job.notify_on_failure for envelope in envelopes] == [False, False]


def test_the_trace_of_a_refused_message_says_why() -> None:
    error = {"code": 131026, "title": "Message undeliverable", "error_data": {"details": "not on WhatsApp"}}
    receipt = Receipt(recipient=CONTACT, statuses=(StatusUpdate(status="failed", error=error),))

    (entry,) = trace(make_send(), receipt)

    assert (entry.step, entry.detail) == ("failed", "131026 Message undeliverable: not on WhatsApp")


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        (None, {"event": "message_sent", "type": "text"}),
        (MessageRejected("No", code=131026, details="-"), {"event": "message_refused", "type": "text", "code": 131026}),
    ],
)
def test_one_line_in_the_log_says_that_a_message_left_or_was_refused(
    trouble: Exception | None, line: dict[str, Any]
) -> None:
    with structlog.testing.capture_logs() as lines:
        send_once(ScriptedProvider(trouble))

    assert [{key: value for key, value in entry.items() if key in line} for entry in lines] == [line]
