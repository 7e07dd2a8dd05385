"""What travels on the queues."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.fakes import CONTACT, PHONE, make_delivery, make_fan_out, make_send
from unoapi.broker.messages import from_body, history_of, to_message
from unoapi.broker.topology import WORK_QUEUES, Topology
from unoapi.models.alerts import Alert
from unoapi.models.attempts import MAX_ATTEMPTS_SAVED, Attempt, History
from unoapi.models.jobs import (
    JOBS,
    NAMESPACE,
    AdvanceCampaign,
    AwaitResult,
    CollectAlert,
    ConvertAudio,
    DeliverWebhook,
    Envelope,
    FetchFiles,
    FireTimer,
    HandleOwnMessage,
    Job,
    NotifyNumber,
    ParseCampaign,
    PostAlert,
    PostContacts,
    PostSessionState,
    PrepareMessage,
    ReceiveCallback,
    ReceiveEvent,
    RecordReaction,
    ReleaseEndpoint,
    ReplayEvents,
    ReportCampaign,
    ReportFailure,
    RunCommand,
    SaveMedia,
    SendBulkMessage,
    SendDigest,
    Speak,
    Transcribe,
    computed_id,
    delivery_id,
)

BODY = "a body that must not show"
TOPOLOGY = Topology("unoapi")
ALL: list[Job] = [
    make_send(body=BODY),
    SendBulkMessage(id="1", phone=PHONE, message_id="wamid.X", body=BODY),
    ParseCampaign(id="1", phone=PHONE, campaign={"id": "1"}, template=BODY),
    AdvanceCampaign(id="1", phone=PHONE, campaign={"id": "1", "name": BODY}),
    ReportCampaign(id="1", phone=PHONE, campaign={"id": "1", "name": BODY}),
    RecordReaction(id="1", phone=PHONE, error=BODY),
    FireTimer(id="1", phone=PHONE, to=CONTACT, step={"timeout": 1, "message": BODY}),
    PostContacts(id="1", phone=PHONE, url="http://contacts.test", body=BODY),
    PostSessionState(id="1", phone=PHONE, body=BODY),
    make_fan_out(body=BODY),
    make_delivery(body=BODY),
    PrepareMessage(id="1", phone=PHONE, message_id="wamid.X", body=BODY),
    Speak(id="1", phone=PHONE, message_id="wamid.X", body=BODY),
    Transcribe(id="1", phone=PHONE, message_id="wamid.X", event_id="1", webhook_ids=("crm",), body=BODY, text=BODY),
    FetchFiles(id="1", phone=PHONE, message_id="wamid.X", body=BODY),
    SaveMedia(id="1", phone=PHONE, message_id="wamid.X", kind="message", body=BODY),
    ConvertAudio(id="1", phone=PHONE, message_id="wamid.X", kind="message", body=BODY),
    RunCommand(id="1", phone=PHONE, message_id="wamid.X", body=BODY),
    ReceiveEvent(id="1", phone=PHONE, event={"text": BODY}),
    ReceiveCallback(id="1", phone=PHONE, message_id="wamid.1", change={"value": {"text": BODY}}),
    HandleOwnMessage(id="1", phone=PHONE, message_id="wamid.1", body=BODY),
    AwaitResult(id="1", phone=PHONE, message_id="wamid.1"),
    ReleaseEndpoint(id="1", phone=PHONE, webhook_id="default", token="0123456789ab"),
    ReplayEvents(id="1", phone=PHONE, webhook_id="default", stored=True, since_ms=0, until_ms=1, rate=1),
    ReportFailure(id="1", phone=PHONE, body=BODY),
    CollectAlert(id="1", phone=PHONE, alert=Alert(kind="webhook.failed", phone=PHONE, at_ms=1, last_error=BODY)),
    SendDigest(id="1", phone=PHONE),
    PostAlert(id="1", phone=PHONE, channel="1-slack", title="t", body=BODY, level="failure"),
    NotifyNumber(id="1", phone=PHONE, webhook_id="default", text=BODY),
]
every_job = pytest.mark.parametrize("job", ALL, ids=[job.task for job in ALL])


def test_all_kinds_of_jobs_are_tried_here() -> None:
    assert {type(job) for job in ALL} == set(JOBS.values())


def test_the_same_parts_give_the_same_id_in_every_process() -> None:
    assert computed_id("event", PHONE) == "d534bcdc-e633-529d-bb6e-d145fb615510"


@given(st.lists(st.text(st.characters(codec="ascii", min_codepoint=32)), min_size=1), st.data())
def test_other_parts_give_another_id(parts: list[str], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.text(st.characters(codec="ascii", min_codepoint=32)), min_size=1))

    assert (computed_id(*parts) == computed_id(*other)) is (parts == other)


@given(st.text(st.characters(codec=None)))
def test_any_text_has_a_computed_id_without_dots(text: str) -> None:
    computed = computed_id("event", text)

    assert str(UUID(computed)) == computed


@given(st.lists(st.text(st.characters(codec=None))))
def test_a_computed_id_is_the_uuid_of_its_parts_in_our_namespace(parts: list[str]) -> None:
    """So that another version, or another language, computes the same."""
    written = "\x1f".join(parts).encode("utf-8", "backslashreplace").decode()

    assert computed_id(*parts) == str(uuid5(NAMESPACE, written))


@every_job
def test_dashboards_see_ids_only(job: Job) -> None:
    message = to_message(Envelope(job, retries=2), TOPOLOGY)

    assert BODY not in job.summary
    assert BODY not in json.dumps(message.headers)
    assert BODY not in json.dumps(message.properties)
    assert PHONE in job.summary
    assert message.headers["argsrepr"] == job.summary


@every_job
def test_a_job_comes_back_from_its_queue_as_it_was(job: Job) -> None:
    message = to_message(Envelope(job), TOPOLOGY)

    assert from_body(job.task, message.body) == job


@every_job
def test_a_job_goes_to_its_queue_under_its_id(job: Job) -> None:
    message = to_message(Envelope(job), TOPOLOGY)

    assert (message.exchange, message.routing_key) == ("unoapi.broker", f"unoapi.{job.queue}")
    assert (message.headers["id"], message.headers["task"]) == (job.id, job.task)
    assert job.queue in WORK_QUEUES


@every_job
def test_a_job_that_is_not_valid_is_not_quoted(job: Job) -> None:
    with pytest.raises(ValidationError) as refusal:
        type(job).model_validate({**job.model_dump(), "phone": BODY, "accepted_at_ms": BODY})

    assert BODY not in str(refusal.value)


def test_a_wait_keeps_the_routing_key_and_goes_through_a_bucket() -> None:
    message = to_message(Envelope(make_delivery(), delay_ms=1500), TOPOLOGY)

    assert (message.exchange, message.routing_key) == ("unoapi.delayed", "unoapi.outgoing")
    assert message.properties["expiration"] == "1500"
    assert message.headers["unoapi-delay"] == "1"


def test_a_wait_longer_than_the_longest_bucket_hops() -> None:
    message = to_message(Envelope(make_delivery(), delay_ms=100_000_000), TOPOLOGY)

    assert message.properties["expiration"] == "86400000"


def test_the_history_travels_beside_the_job() -> None:
    history = History().with_attempt(Attempt(status=503, error="HTTP 503"))

    message = to_message(Envelope(make_delivery(), history=history), TOPOLOGY)

    assert history_of(message.headers) == history


@pytest.mark.parametrize(
    "headers", [None, {}, {"unoapi-history": "{"}, {"unoapi-history": 5}, {"unoapi-history": "[]"}]
)
def test_a_history_that_cannot_be_read_is_an_empty_one(headers: dict[str, object] | None) -> None:
    assert history_of(headers) == History()


def test_a_history_keeps_the_last_attempts_and_counts_all() -> None:
    history = History()
    for number in range(60):
        history = history.with_attempt(Attempt(duration_ms=number))

    assert history.tries == 60
    assert [attempt.duration_ms for attempt in history.attempts] == list(range(60 - MAX_ATTEMPTS_SAVED, 60))


def test_a_replay_has_a_new_budget_and_the_old_attempts() -> None:
    history = History().with_attempt(Attempt(status=500)).next_replay()

    assert (history.replay_count, history.tries, len(history.attempts)) == (1, 0, 1)


def test_a_job_does_not_change() -> None:
    job: Any = make_delivery()

    with pytest.raises(ValidationError):
        job.body = "other"


@pytest.mark.parametrize("phone", ["", "+55", "abc", "1" * 21])
def test_a_phone_is_digits(phone: str) -> None:
    with pytest.raises(ValidationError):
        make_delivery(phone=phone)


# --- the delivery of an event ---


@pytest.mark.parametrize("name", ["default", "ordered"])
@pytest.mark.parametrize("awaited", [True, False])
def test_the_delivery_of_an_event_is_what_its_fields_make_when_all_is_checked(name: str, *, awaited: bool) -> None:
    event = make_fan_out(ordered=("ordered",), contact=CONTACT, notify_on_failure=False, accepted_at_ms=1)
    checked = DeliverWebhook(
        id=delivery_id(event.id, name),
        phone=event.phone,
        message_id=event.message_id,
        accepted_at_ms=1,
        notify_on_failure=False,
        event_id=event.id,
        webhook_id=name,
        kind=event.kind,
        stored=True,
        contact=CONTACT if name == "ordered" else "",
        awaited=awaited,
        body=BODY,
    )

    made = DeliverWebhook.of(event, name, body=BODY, stored=True, awaited=awaited)

    assert (made, hash(made)) == (checked, hash(checked))
    assert made.model_dump_json() == checked.model_dump_json()
    assert made.model_copy(update={"replay": "all"}) == checked.model_copy(update={"replay": "all"})
    assert list(vars(made)) == list(vars(checked)) == list(DeliverWebhook.model_fields)
    assert made.model_fields_set == checked.model_fields_set
