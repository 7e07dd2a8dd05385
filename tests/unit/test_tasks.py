"""A worker's tasks, run on parts in memory as Celery runs them."""

from __future__ import annotations

import json
import threading
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from celery.exceptions import Ignore, Reject, Retry

from tasks import worker_process
from tests.support.fakes import (
    CONTACT,
    PHONE,
    CallbackRecorder,
    MemoryConnections,
    MemoryDeliveries,
    MemorySends,
    ScriptedProvider,
    WebhookRecorder,
    make_delivery,
    make_event,
    make_fan_out,
    make_send,
    make_session,
    make_status,
    make_webhook,
)
from tests.support.worker import make_uno, run
from unoapi.broker.dead_letters import read_dead_letter
from unoapi.broker.messages import DELIVERIES_HEADER, NOT_BEFORE_HEADER, PUBLISHED_HEADER, history_of
from unoapi.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    Held,
    MessageRejected,
    NoConnector,
    Postponed,
    SendFailed,
    ShareUsed,
    StoreUnavailable,
    TooOld,
    UnoError,
)
from unoapi.models.activity import error_of
from unoapi.models.attempts import Answer, History
from unoapi.models.jobs import (
    JOBS,
    AwaitResult,
    DeliverWebhook,
    FanOut,
    Job,
    NotifyNumber,
    ReportFailure,
    SaveMedia,
    SendMessage,
    delivery_id,
    now_ms,
)
from unoapi.models.receipts import Receipt
from unoapi.services.received_media import saving
from unoapi.services.webhooks import to_fan_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.bootstrap import Uno
    from unoapi.broker.messages import Message
    from unoapi.models.dead_letters import DeadLetter

CALLBACKS = {"STATUS_FAILED_WEBHOOK_URL": "http://operator.test/failed"}
ORDERED = make_session(make_webhook(ordered=True))
LINE = (PHONE, "default", CONTACT)


@pytest.fixture
def uno() -> Iterator[Uno]:
    """A session with one webhook that answers 200."""
    parts = make_uno(make_session(), webhook_client=WebhookRecorder(Answer(status=200, duration_ms=7)))
    yield parts
    parts.close()


def queues(uno: Uno) -> Any:
    """What was published, in memory."""
    return uno.publisher


def steps(uno: Uno, message_id: str = "wamid.1") -> list[str]:
    return [entry.step for entry in uno.traces.find(message_id)]


def waiting(uno: Uno) -> list[Message]:
    """The messages in all waiting buckets."""
    buckets = [queue.name for queue in uno.topology.queues if "delayed" in queue.name]
    return [message for bucket in buckets for message in iter(lambda bucket=bucket: queues(uno).take(bucket), None)]  # type: ignore[misc]


def dead_letters(uno: Uno) -> list[DeadLetter]:
    messages: list[Message] = list(iter(lambda: queues(uno).take(uno.topology.dead), None))
    return [
        read_dead_letter(message.body, message.headers, message.properties, message.routing_key) for message in messages
    ]


# --- the work ---


def test_an_event_becomes_one_delivery_for_each_webhook() -> None:
    uno = make_uno(make_session(make_webhook(), make_webhook(id="other")))

    run(uno, make_fan_out(webhook_ids=["default", "other"]))

    deliveries = queues(uno).jobs("unoapi.outgoing")
    assert {type(delivery) for delivery in deliveries} == {DeliverWebhook}
    assert [(delivery.webhook_id, delivery.body) for delivery in deliveries] == [
        ("default", make_event().body),
        ("other", make_event().body),
    ]
    entries = uno.traces.find("wamid.1")
    assert [(entry.step, entry.kind, entry.webhook) for entry in entries] == [
        ("queued", "message", "default"),
        ("queued", "message", "other"),
    ]


def test_an_event_for_one_webhook_is_delivered_at_once(uno: Uno) -> None:
    run(uno, make_fan_out())

    done = uno.deliveries.state(delivery_id(make_event().event_id, "default"), make_delivery().endpoint)
    assert done.done
    assert queues(uno).depth("unoapi.outgoing") == 0
    assert steps(uno) == ["queued", "delivered"]


def test_an_event_that_is_repeated_after_it_was_delivered_at_once_is_posted_once() -> None:
    recorder = WebhookRecorder(Answer(status=200, duration_ms=7))
    uno = make_uno(make_session(), webhook_client=recorder)
    run(uno, make_fan_out())

    run(uno, make_fan_out(), redelivered=True)
    (delivery,) = queues(uno).jobs("unoapi.outgoing")
    run(uno, delivery)

    assert recorder.ids == [delivery.id]


def test_a_delivery_that_may_have_ended_a_worker_stands_for_itself() -> None:
    recorder = WebhookRecorder(Answer(status=200))
    uno = make_uno(make_session(), webhook_client=recorder)

    run(uno, make_fan_out(), redelivered=True)

    assert recorder.ids == []
    assert [delivery.webhook_id for delivery in queues(uno).jobs("unoapi.outgoing")] == ["default"]


def test_a_delivery_that_fails_at_once_waits_as_one_of_its_own_with_its_attempt() -> None:
    uno = make_uno(make_session(), webhook_client=WebhookRecorder(Answer(status=500)))

    run(uno, make_fan_out())

    (message,) = waiting(uno)
    assert message.headers["task"] == DeliverWebhook.task
    assert message.headers["id"] == delivery_id(make_event().event_id, "default")
    assert message.headers["retries"] == 1
    assert [attempt.status for attempt in history_of(message.headers).attempts] == [500]
    assert steps(uno) == ["queued", "attempt"]


def test_a_delivery_that_is_given_up_at_once_is_the_dead_letter() -> None:
    uno = make_uno(make_session(), webhook_client=WebhookRecorder(Answer(status=410)), settings=CALLBACKS)

    run(uno, make_fan_out())

    (letter,) = dead_letters(uno)
    assert letter.task == DeliverWebhook.task
    assert [job.task for job in queues(uno).jobs("unoapi.webhook.status.failed")] == [ReportFailure.task]


@pytest.mark.parametrize("status", [500, 410])
def test_an_event_whose_delivery_can_be_neither_made_nor_put_back_stays_on_its_queue(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    uno = make_uno(make_session(), webhook_client=WebhookRecorder(Answer(status=status)))
    queues(uno).away = True
    monkeypatch.setattr("tasks.base.PUBLISH_DEADLINE_S", 0.0)

    with pytest.raises(Reject) as rejection:
        run(uno, make_fan_out())

    assert vars(rejection.value)["requeue"] is True


def test_an_event_for_one_webhook_that_wants_order_is_queued() -> None:
    uno = make_uno(ORDERED)

    run(uno, make_fan_out(ordered=["default"], contact=CONTACT))

    (delivery,) = queues(uno).jobs("unoapi.outgoing")
    assert delivery.contact == CONTACT


def test_an_ordered_delivery_whose_receiver_has_its_share_lets_no_later_one_pass() -> None:
    uno = make_uno(ORDERED, webhook_client=WebhookRecorder(Answer(status=200), Answer(status=200)))
    recorder: Any = uno.webhook_client
    events = [make_fan_out(make_event(id=f"wamid.{number}"), ordered=["default"], contact=CONTACT) for number in (1, 2)]
    uno.ordering.join(events)
    first, second = (
        DeliverWebhook.of(event, "default", body=event.body, stored=True, awaited=False) for event in events
    )
    uno.bulkhead.share_out(1)

    with (
        uno.bulkhead.taken("https://other.test", phone="2"),
        uno.bulkhead.taken("", first.endpoint),
        pytest.raises(Retry),
    ):
        run(uno, first)
    with pytest.raises(Retry):
        run(uno, second)

    assert recorder.ids == []
    run(uno, first)
    assert recorder.ids == [first.id, second.id]


def test_an_attempt_for_a_delivery_that_waited_its_turn_is_in_its_trace_though_it_failed() -> None:
    uno = make_uno(ORDERED, webhook_client=WebhookRecorder(Answer(status=200), Answer(status=500)))
    events = [make_fan_out(make_event(id=f"wamid.{number}"), ordered=["default"], contact=CONTACT) for number in (1, 2)]
    uno.ordering.join(events)
    first, second = (
        DeliverWebhook.of(event, "default", body=event.body, stored=True, awaited=False) for event in events
    )
    with pytest.raises(Retry):
        run(uno, second)

    run(uno, first)

    waited, attempt = uno.traces.find("wamid.2")
    assert (waited.step, attempt.step, attempt.status) == ("postponed", "attempt", 500)
    assert error_of(attempt) == "HTTP 500"


def test_whom_an_event_mutes_is_remembered_after_it_was_delivered_at_once() -> None:
    order: list[str] = []

    class Recorder(WebhookRecorder):
        def post(self, *arguments: Any, **options: Any) -> Answer:
            order.append("posted")
            return super().post(*arguments, **options)

    session = make_session(make_webhook(addToBlackListOnOutgoingMessageWithTtl=60))
    uno = make_uno(session, webhook_client=Recorder(Answer(status=200)))
    muted = uno.blacklist.mute
    uno.blacklist.mute = lambda *arguments: (order.append("remembered"), muted(*arguments))  # type: ignore[method-assign,assignment,func-returns-value]

    run(uno, make_fan_out(make_event(**{"from": PHONE, "to": CONTACT})))

    assert order == ["posted", "remembered"]


def test_an_event_that_a_webhook_does_not_want_is_traced_with_the_reason() -> None:
    uno = make_uno(make_session(make_webhook(sendIncomingMessages=False)))

    run(uno, make_fan_out())

    assert queues(uno).depth("unoapi.outgoing") == 0
    (entry,) = uno.traces.find("wamid.1")
    assert (entry.step, entry.webhook) == ("filtered", "default")
    assert entry.detail


def test_an_event_of_a_number_without_webhooks_is_traced_as_filtered() -> None:
    uno = make_uno()

    run(uno, make_fan_out(webhook_ids=[], stored=False))

    (entry,) = uno.traces.find("wamid.1")
    assert (entry.step, entry.webhook, entry.detail) == ("filtered", "", "the number has no webhook")


def test_a_status_failed_is_reported_to_the_operator() -> None:
    uno = make_uno(make_session(), settings=CALLBACKS)

    run(uno, make_fan_out(make_status("failed", error={"code": 131000, "title": "Not sent"})))

    (report,) = queues(uno).jobs("unoapi.webhook.status.failed")
    assert json.loads(report.body)["type"] == "message.failed"


def test_a_delivery_that_arrives_is_done_and_traced(uno: Uno) -> None:
    run(uno, make_delivery())

    assert uno.deliveries.is_done("delivery-1")
    assert waiting(uno) == []
    assert dead_letters(uno) == []


def test_a_delivery_that_was_done_before_is_not_posted_again(uno: Uno) -> None:
    run(uno, make_delivery())

    run(uno, make_delivery())  # the recorder has no second answer

    assert steps(uno) == ["queued", "delivered", "duplicate"]


def test_a_message_is_sent_and_its_status_published(uno: Uno) -> None:
    run(uno, make_send())

    (event,) = queues(uno).jobs("unoapi.outgoing")
    assert isinstance(event, FanOut)
    assert (event.kind, event.message_id) == ("sent", "wamid.1")
    assert steps(uno) == ["sent"]


def test_a_message_that_whatsapp_refuses_is_failed_and_not_dead() -> None:
    refusing = ScriptedProvider(MessageRejected("Unsupported", code=131051, details="no such type"))
    uno = make_uno(make_session(), providers={"whatsmeow": refusing})

    run(uno, make_send())

    (event,) = queues(uno).jobs("unoapi.outgoing")
    assert event.kind == "failed"
    assert dead_letters(uno) == []
    assert steps(uno) == ["failed"]


def test_a_failure_callback_is_posted_to_the_operator() -> None:
    callbacks = CallbackRecorder(Answer(status=204))
    uno = make_uno(settings=CALLBACKS, callback_client=callbacks)

    run(uno, ReportFailure(id="r", phone=PHONE, message_id="wamid.1", body="{}", notify_on_failure=False))

    assert callbacks.posts == [("http://operator.test/failed", "{}")]
    (entry,) = uno.traces.find("wamid.1")
    assert (entry.step, entry.status) == ("callback", 204)


def test_a_callback_after_its_address_was_removed_is_left_out() -> None:
    callbacks = CallbackRecorder()
    uno = make_uno(callback_client=callbacks)

    run(uno, ReportFailure(id="r", phone=PHONE, body="{}", notify_on_failure=False))

    assert callbacks.posts == []


def test_an_endpoint_gives_one_notice_in_a_while() -> None:
    uno = make_uno(make_session())

    for number in range(2):
        run(uno, NotifyNumber(id=f"n-{number}", phone=PHONE, webhook_id="default", text="down"))

    assert len(queues(uno).jobs("unoapi.incoming")) == 1


# --- the retry ---


def test_a_failed_delivery_waits_with_its_attempt_in_a_bucket() -> None:
    uno = make_uno(make_session(), webhook_client=WebhookRecorder(Answer(status=500)))

    with pytest.raises(Retry):
        run(uno, make_delivery())

    (message,) = waiting(uno)
    assert message.routing_key == "unoapi.outgoing"
    assert message.headers["retries"] == 1
    assert [attempt.status for attempt in history_of(message.headers).attempts] == [500]
    assert steps(uno) == ["attempt"]


class FailingAges:
    """Ages of queues that cannot be recorded, for a reason that nobody foresaw."""

    def taken(self, *_: object) -> None:
        raise RuntimeError("a bug")


def test_a_message_whose_job_cannot_be_begun_is_dead_lettered_by_the_broker() -> None:
    """Celery would acknowledge it, and it would be nowhere."""
    uno = make_uno(make_session(), queue_ages=FailingAges())

    with pytest.raises(Reject) as rejected:
        run(uno, make_send(), headers={PUBLISHED_HEADER: now_ms()})

    assert rejected.value.args[1] is False  # it is not queued again


class FailingTimers:
    """Timers that fail after the message was sent."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def wrote(self, *_: object, **__: object) -> None:
        raise self.error


def test_a_receipt_goes_with_the_job_through_its_retries() -> None:
    """What was sent is not sent again, whatever goes wrong from then on."""
    provider = ScriptedProvider()
    parts: dict[str, Any] = {"timers": FailingTimers(RuntimeError("a bug")), "providers": {"whatsmeow": provider}}
    uno = make_uno(make_session(), **parts)
    with pytest.raises(Retry):
        run(uno, make_send())
    (message,) = waiting(uno)
    history = history_of(message.headers)

    with pytest.raises(Retry):
        run(make_uno(make_session(), **parts), make_send(), history=history, retries=1)

    assert Receipt.model_validate(history.receipt).recipient == CONTACT
    assert len(provider.sent) == 1


def test_a_receipt_goes_with_the_job_into_its_dead_letter() -> None:
    uno = make_uno(make_session(), timers=FailingTimers(TooOld("given up after it was sent")))

    with pytest.raises(UnoError, match="too_old"):
        run(uno, make_send())

    (dead_letter,) = dead_letters(uno)
    assert Receipt.model_validate(dead_letter.history.receipt).recipient == CONTACT


def test_after_the_last_retry_a_delivery_is_dead_and_reported() -> None:
    settings = {**CALLBACKS, "UNOAPI_MESSAGE_RETRY_LIMIT": "2", "NOTIFY_FAILED_MESSAGES": "true"}
    uno = make_uno(make_session(), settings=settings, webhook_client=WebhookRecorder(Answer(status=500)))

    with pytest.raises(UnoError, match="refused: HTTP 500"):
        run(uno, make_delivery(), retries=2)

    (dead_letter,) = dead_letters(uno)
    assert (dead_letter.id, dead_letter.reason, dead_letter.queue) == ("delivery-1", "refused", "unoapi.outgoing")
    assert dead_letter.job == make_delivery(accepted_at_ms=dead_letter.job.accepted_at_ms if dead_letter.job else 0)
    (report,) = queues(uno).jobs("unoapi.webhook.status.failed")
    assert json.loads(report.body)["type"] == "webhook.failed"
    (notice,) = queues(uno).jobs("unoapi.notification")
    assert notice.webhook_id == "default"
    assert steps(uno) == ["dead"]


def test_a_delivery_to_an_endpoint_that_is_gone_is_dead_at_once() -> None:
    uno = make_uno(make_session(), webhook_client=WebhookRecorder(Answer(status=410)))

    with pytest.raises(UnoError):
        run(uno, make_delivery())

    (dead_letter,) = dead_letters(uno)
    assert dead_letter.reason == "gone"
    assert waiting(uno) == []


def test_a_wait_uses_up_no_retry() -> None:
    uno = make_uno(make_session(), providers={"whatsmeow": ScriptedProvider(connected=False)})

    with pytest.raises(Retry):
        run(uno, make_send(), retries=3)

    (message,) = waiting(uno)
    assert message.headers["retries"] == 3
    assert steps(uno) == ["postponed"]


@pytest.mark.parametrize(
    ("raised", "levels"),
    [
        (Postponed("an earlier message to the contact is on its way", after_ms=5), []),
        (Held("the endpoint is paused", token="0" * 12, after_ms=5), []),
        (ShareUsed("its receiver has its share of the threads", after_ms=5, briefly=False), []),
        (NoConnector(PHONE), ["info"]),
        (StoreUnavailable("Redis is not reachable"), ["info"]),
        (SendFailed("WhatsApp did not take it"), ["warning"]),
    ],
)
def test_what_waits_its_turn_has_no_line_in_the_log_and_what_lacks_something_has_one(
    raised: UnoError, levels: list[str]
) -> None:
    class Raising(WebhookRecorder):
        def post(self, *_: Any, **__: Any) -> Answer:
            raise raised

    with structlog.testing.capture_logs() as lines, pytest.raises(Retry):
        run(make_uno(make_session(), webhook_client=Raising()), make_delivery())

    told = [line["log_level"] for line in lines if line["event"] in ("postponed", "will_retry")]
    assert [level for level in told if level != "debug"] == levels  # an earlier test may have asked for all of them


def test_a_bug_is_counted_apart_and_its_dead_letter_has_a_traceback() -> None:
    uno = make_uno(make_session(), settings={"UNOAPI_MESSAGE_RETRY_LIMIT": "1"}, webhook_client=WebhookRecorder())

    with pytest.raises(Retry):
        run(uno, make_delivery())  # the recorder has no answer: IndexError
    (message,) = waiting(uno)
    history = history_of(message.headers)
    with pytest.raises(UnoError, match="bug: IndexError"):
        run(uno, make_delivery(), history=history)

    assert (message.headers["retries"], history.internal_errors) == (0, 1)
    (dead_letter,) = dead_letters(uno)
    assert dead_letter.reason == "bug"
    assert "fakes.py" in dead_letter.traceback


def test_a_job_is_validated_once_a_run_also_when_it_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    validated = []

    class Counted(SendMessage):
        @classmethod
        def model_validate(cls, *args: Any, **options: Any) -> Any:
            validated.append(args)
            return super().model_validate(*args, **options)

    monkeypatch.setitem(JOBS, SendMessage.task, Counted)
    uno = make_uno(make_session(), providers={"whatsmeow": ScriptedProvider(SendFailed("nothing left"))})

    with pytest.raises(Retry):
        run(uno, make_send())

    assert len(validated) == 1


# --- messages that are special ---


@pytest.mark.parametrize("body", [None, {}, "text", {"id": "1", "phone": "x"}])
def test_a_message_that_is_no_job_goes_to_the_dead_queue_and_is_not_acknowledged(uno: Uno, body: object) -> None:
    class Unreadable(SendMessage):
        def model_dump(self, **_: Any) -> Any:
            return body

    with pytest.raises(Reject) as rejection:
        run(uno, Unreadable.model_validate(make_send().model_dump()))

    assert vars(rejection.value)["requeue"] is False


def test_a_redelivered_message_that_is_put_back_is_still_known_as_such() -> None:
    sends, provider = MemorySends(), ScriptedProvider()
    uno = make_uno(make_session(), send_claims=sends, providers={"whatsmeow": provider})
    sends.away = True

    with pytest.raises(Retry):
        run(uno, make_send(), redelivered=True)

    (message,) = waiting(uno)
    history = history_of(message.headers)
    with pytest.raises(Retry):  # the broker knows it no longer as a second copy, its history does
        run(uno, make_send(), history=history)
    assert provider.sent == []
    sends.away = False
    run(uno, make_send(), history=history.next_replay())
    assert len(provider.sent) == 1


def test_a_message_that_no_worker_dropped_is_not_taken_for_a_second_copy() -> None:
    uno = make_uno(make_session(), providers={"whatsmeow": ScriptedProvider(connected=False)})

    with pytest.raises(Retry):
        run(uno, make_send())

    (message,) = waiting(uno)
    assert not history_of(message.headers).redelivered


def test_a_message_that_is_early_waits_once_more(uno: Uno) -> None:
    with pytest.raises(Ignore):
        run(uno, make_delivery(), headers={NOT_BEFORE_HEADER: now_ms() + 60_000})

    (message,) = waiting(uno)
    assert 55_000 < int(message.properties["expiration"]) <= 60_000
    assert not uno.deliveries.is_done("delivery-1")


def test_a_delivery_that_failed_comes_back_soon_to_see_whether_its_endpoint_went_down() -> None:
    recorder = WebhookRecorder(Answer(status=500))
    uno = make_uno(make_session(), webhook_client=recorder, settings={"UNOAPI_MESSAGE_RETRY_DELAY": "10000"})

    with pytest.raises(Retry):
        run(uno, make_delivery())

    (message,) = waiting(uno)
    assert message.properties["expiration"] == "1500"
    assert 9_000 < message.headers[NOT_BEFORE_HEADER] - now_ms() <= 15_000
    with pytest.raises(Ignore):
        run(uno, make_delivery(), retries=1, history=history_of(message.headers), headers=message.headers)
    (message,) = waiting(uno)
    assert 9_000 < int(message.properties["expiration"]) <= 15_000, "one look is enough"
    assert len(recorder.ids) == 1


@pytest.mark.parametrize("state", ["open 1 2 3 delivery-2", "ramp 1 9999999999999"])
def test_a_delivery_goes_on_before_it_is_due_when_its_endpoint_went_down_meanwhile(state: str) -> None:
    deliveries, recorder = MemoryDeliveries(), WebhookRecorder(Answer(status=200))
    uno = make_uno(make_session(), webhook_client=recorder, deliveries=deliveries)
    job = make_delivery()
    deliveries.breakers[job.endpoint] = state

    run(uno, job, retries=1, headers={NOT_BEFORE_HEADER: now_ms() + 60_000})

    assert len(recorder.ids) == 1, "the breakers in memory let it pass: it has asked them"


def test_a_delivery_that_failed_after_the_outage_is_not_early() -> None:
    deliveries, recorder = MemoryDeliveries(), WebhookRecorder(Answer(status=500))
    uno = make_uno(make_session(), webhook_client=recorder, deliveries=deliveries)
    job = make_delivery()
    deliveries.breakers[job.endpoint] = f"ramp 1 {now_ms() - 1_000}"

    with pytest.raises(Retry):
        run(uno, job)
    (message,) = waiting(uno)
    with pytest.raises(Ignore):
        run(uno, job, retries=1, history=history_of(message.headers), headers=message.headers)

    assert len(recorder.ids) == 1, "else an endpoint that fails again now and then uses all attempts up in seconds"


def test_a_message_that_was_redelivered_too_often_goes_into_quarantine(uno: Uno) -> None:
    run(uno, make_delivery(id="harmless"), headers={DELIVERIES_HEADER: 3})

    with pytest.raises(Ignore):
        run(uno, make_delivery(), headers={DELIVERIES_HEADER: 4})

    assert uno.deliveries.is_done("harmless")
    (message,) = iter(lambda: queues(uno).take("unoapi.suspect"), None)
    assert history_of(message.headers).redelivered
    assert "suspected" in steps(uno)


def test_in_quarantine_a_message_is_tried_until_it_ended_three_processes() -> None:
    uno = make_uno(make_session(), webhook_client=WebhookRecorder(Answer(status=200)))
    often = {DELIVERIES_HEADER: 9}

    run(uno, make_delivery(), queue="suspect", headers=often, history=History(worker_losses=2))
    with pytest.raises(UnoError, match="poison"):
        run(uno, make_delivery(id="poison"), queue="suspect", headers=often, history=History(worker_losses=3))

    assert uno.deliveries.is_done("delivery-1")
    (dead_letter,) = dead_letters(uno)
    assert dead_letter.reason == "poison"


def test_what_a_bug_keeps_from_being_given_up_is_left_to_the_broker() -> None:
    class Broken:
        def resolve(self, phone: str, *, stored: bool) -> Any:
            raise StoreUnavailable(f"{phone} {stored}")

        def find(self, phone: str) -> Any:
            raise ZeroDivisionError(phone)

    uno = make_uno(sessions=Broken(), settings={"UNOAPI_MESSAGE_RETRY_LIMIT": "0"})

    with pytest.raises(Reject) as rejection:
        run(uno, make_send())

    assert vars(rejection.value)["requeue"] is False


# --- events take their place in an ordered conversation, whoever publishes them ---


def given_up_send(uno: Uno) -> Job:
    """A message that is given up: its status `failed` follows."""
    assert uno.sessions
    return make_send(accepted_at_ms=1)


def media_job(uno: Uno) -> Job:
    """An event whose file cannot be had: it goes on without."""
    image = {"type": "image", "image": {"id": "7", "mime_type": "image/png"}}
    return saving(to_fan_out(make_event(**image), phone=PHONE, sessions=uno.sessions))


def overdue_result(uno: Uno) -> Job:
    """A command to the connector whose result did not come."""
    uno.connections.expect(PHONE, "wamid.1", within_s=60)
    return AwaitResult(id="a", phone=PHONE, message_id="wamid.1", recipient=CONTACT)


def test_a_status_that_a_later_one_overtook_goes_to_nobody_and_leaves_the_line() -> None:
    class Overtaken:
        def admit(self, *_: Any, **__: Any) -> bool:
            return False

    uno = make_uno(ORDERED, settings=CALLBACKS, statuses=Overtaken())
    job = make_fan_out(make_status("failed"), contact=CONTACT, ordered=["default"])
    uno.ordering.join([job])

    run(uno, job)

    assert queues(uno).depth("unoapi.outgoing") == queues(uno).depth("unoapi.webhook.status.failed") == 0
    assert steps(uno) == ["superseded"]
    line: Any = uno.ordering
    assert line.lines[LINE] == []


def test_what_finds_no_thread_in_its_turn_is_passed_by_no_later_event() -> None:
    class OneThread(WebhookRecorder):
        def post(self, *_: Any, delivery_id: str, **__: Any) -> Answer:
            posted.append(delivery_id)
            if len(posted) > 1:
                raise ShareUsed("its receiver has its share of the threads", after_ms=5, briefly=False)
            return Answer(200)

    posted: list[str] = []
    uno = make_uno(ORDERED, webhook_client=OneThread())
    events = [make_fan_out(id=f"e{number}", contact=CONTACT, ordered=["default"]) for number in range(3)]
    uno.ordering.join(events)
    first, second, third = (
        make_delivery(id=delivery_id(event.id, "default"), event_id=event.id, contact=CONTACT) for event in events
    )
    for waiting_one in (second, third):
        uno.ordering.position(waiting_one)

    run(uno, first)

    assert posted == [first.id, second.id]
    assert [uno.ordering.position(job) for job in (second, third)] == [0, 1]


@pytest.mark.parametrize("make_job", [given_up_send, media_job, overdue_result])
def test_an_event_that_a_task_publishes_stands_in_line(make_job: Any) -> None:
    class NoFiles:
        def fetch(self, *_: Any, **__: Any) -> Any:
            raise UnoError("gone")

    settings = {"UNOAPI_MESSAGE_RETRY_LIMIT": "0"}
    uno = make_uno(ORDERED, settings=settings, connections=MemoryConnections(), remote_media=NoFiles())
    job = make_job(uno)
    given_up = isinstance(job, (SendMessage, SaveMedia))

    with pytest.raises(UnoError) if given_up else nullcontext():
        run(uno, job)

    (event,) = queues(uno).jobs("unoapi.outgoing")
    assert event.ordered == ("default",)
    line: Any = uno.ordering
    assert line.lines[LINE] == [delivery_id(event.id, "default")]


@pytest.mark.parametrize("task", sorted(JOBS))
def test_every_job_has_a_maximum_age(task: str) -> None:
    """Waiting ends for every kind: the job is dead, with that reason."""
    uno = make_uno(make_session())
    fields = {
        "body": "{}", "event": {}, "event_id": "e", "webhook_id": "default", "kind": "message", "stored": True,
        "to": CONTACT, "step": {}, "change": {}, "url": "http://example.test", "text": "x", "state": "x",
        "token": "0123456789ab", "since_ms": 0, "until_ms": 1, "rate": 1, "campaign": {},
        "alert": {"kind": "webhook.failed", "phone": PHONE, "at_ms": 1}, "channel": "1-slack",
        "webhook_ids": ["default"], "title": "x", "level": "info",
    }  # fmt: skip
    job = JOBS[task].model_validate({"id": "job", "phone": PHONE, "accepted_at_ms": 1, **fields})

    with suppress(UnoError):
        run(uno, job)

    assert [dead_letter.reason for dead_letter in dead_letters(uno)] == ["too_old"]
    uno.close()


class NoStore:
    """The files' store is away."""

    def fetch(self, *_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the bucket does not answer")


@pytest.mark.parametrize(("age_ms", "wait_ms"), [(0, 2_000), (100_000, 50_000), (290_000, 60_000)])
def test_a_received_file_waits_some_minutes_for_a_store_that_is_away(age_ms: int, wait_ms: int) -> None:
    uno = make_uno(make_session(), remote_media=NoStore())
    job = media_job(uno).model_copy(update={"accepted_at_ms": now_ms() - age_ms})

    with pytest.raises(Retry):
        run(uno, job)

    (again,) = waiting(uno)
    assert wait_ms <= int(again.properties["expiration"]) < wait_ms * 1.3
    uno.close()


@pytest.mark.parametrize("kind", ["messages", "message_echoes"])
def test_a_received_message_goes_on_without_its_file_when_the_store_stays_away(kind: str) -> None:
    uno = make_uno(make_session(), remote_media=NoStore())
    job: Any = media_job(uno)
    body = job.body.replace('"messages":', f'"{kind}":')
    job = job.model_copy(update={"accepted_at_ms": now_ms() - 301_000, "body": body})

    run(uno, job)

    (event,) = queues(uno).jobs("unoapi.outgoing")
    (message,) = json.loads(event.body)["entry"][0]["changes"][0]["value"][kind]
    assert message["errors"][0]["code"] == 131052
    assert "saved" in message["errors"][0]["error_data"]["details"]
    uno.close()


class Clock:
    """Time that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("error", "is_held"), [(BrokerBlocked("alarm"), True), (BrokerUnavailable("away"), False)], ids=["alarm", "away"]
)
def test_a_message_is_held_during_an_alarm_and_not_given_back_again_and_again(
    uno: Uno, monkeypatch: pytest.MonkeyPatch, error: BrokerUnavailable, is_held: bool
) -> None:
    clock = Clock()
    published = queues(uno).publish

    def publish(*arguments: Any, **options: Any) -> None:
        if clock.now < 600:
            raise error
        published(*arguments, **options)

    monkeypatch.setattr("tasks.base.time", clock)
    monkeypatch.setattr(uno.publisher, "publish", publish)

    with pytest.raises(Retry if is_held else Reject):
        run(uno, make_fan_out(webhook_ids=["default", "removed"]))

    assert bool(waiting(uno)) is is_held


def test_an_error_before_the_job_is_read_leaves_the_message_to_the_broker(
    uno: Uno, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.base.came_ms", lambda _: 1 / 0)

    with pytest.raises(Reject) as rejection:
        run(uno, make_delivery())

    assert vars(rejection.value)["requeue"] is False


def test_hourly_work_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its thread, files and dead letters would not expire until the worker is started again."""
    monkeypatch.setattr(worker_process, "HOUR_S", 0.01)
    stopped, done = threading.Event(), []

    def work(_: object) -> None:
        done.append(1)
        if len(done) >= 3:
            stopped.set()
        raise LookupError("unforeseen")

    worker_process.start_hourly(work, make_uno(), stopped=stopped, name="test")

    assert stopped.wait(5)
