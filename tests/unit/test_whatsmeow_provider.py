"""From the connector's events to the Cloud API's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from tests.support.fakes import CONTACT, GROUP, PHONE, MemoryIds, MemorySessions, make_session
from unoapi.errors import Postponed
from unoapi.models.jobs import FanOut, ReceiveEvent, now_ms
from unoapi.providers.whatsmeow.events import receive

if TYPE_CHECKING:
    from unoapi.models.session import Session

CHAT = {"jid": f"{CONTACT}@s.whatsapp.net", "kind": "user", "phone": CONTACT, "push_name": "Maria"}
OWN_CHAT = {"jid": f"{PHONE}@s.whatsapp.net", "kind": "user", "phone": PHONE, "push_name": "Shop"}
TEXT = {
    "id": "3EB0C767D097B7C7C030", "chat": CHAT, "sender": CHAT, "timestamp_ms": 1_767_225_600_999,
    "content": {"kind": "text", "body": "hello"},
}  # fmt: skip


SESSION = make_session(ignoreOwnMessages=False, ignoreGroupMessages=False)


def received(
    kind: str, data: dict[str, Any], *, ids: MemoryIds | None = None, age_ms: int = 60_000, session: Session = SESSION
) -> list[FanOut]:
    event = {"version": 1, "type": kind, "event_id": "e-1", "session": PHONE, "occurred_at": "now", "data": data}
    job = ReceiveEvent(id="e-1", phone=PHONE, event=event, accepted_at_ms=now_ms() - age_ms)
    events, _ = receive(job, ids=ids or MemoryIds(), sessions=MemorySessions(session))
    return [event for event in events if isinstance(event, FanOut)]


def value_of(job: FanOut) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(job.body)["entry"][0]["changes"][0]["value"]
    return value


def message_of(data: dict[str, Any], *, ids: MemoryIds | None = None) -> dict[str, Any]:
    (job,) = received("message", data, ids=ids)
    (message,) = value_of(job)["messages"]
    return dict(message)


def test_a_received_text_becomes_a_cloud_api_message() -> None:
    (job,) = received("message", TEXT)

    assert (job.phone, job.message_id, job.kind, job.webhook_ids) == (PHONE, TEXT["id"], "message", ("default",))
    value = value_of(job)
    assert value["messages"] == [
        {"from": CONTACT, "id": TEXT["id"], "timestamp": "1767225600", "type": "text", "text": {"body": "hello"}}
    ]
    assert value["contacts"] == [{"profile": {"name": "Maria"}, "wa_id": CONTACT, "user_id": CONTACT}]


def test_the_same_event_twice_is_the_same_job_twice() -> None:
    (first,), (second,) = received("message", TEXT), received("message", TEXT)

    assert first.id == second.id


def test_the_numbers_own_message_is_from_the_number_and_about_its_counterparty() -> None:
    (job,) = received("message", {**TEXT, "from_me": True, "sender": OWN_CHAT})

    value = value_of(job)
    assert value["messages"][0]["from"] == PHONE
    assert value["contacts"][0]["wa_id"] == CONTACT


def test_a_message_of_a_group_names_the_group_and_its_writer() -> None:
    message = message_of({**TEXT, "chat": {"jid": GROUP, "kind": "group"}})

    assert (message["group_id"], message["from"]) == (GROUP, CONTACT)


@pytest.mark.parametrize(
    ("party", "name"),
    [
        ({**CHAT, "verified_name": "Maria Ltda"}, "Maria Ltda"),
        ({**CHAT, "push_name": ""}, CONTACT),
        ({"jid": f"{CONTACT}:12@s.whatsapp.net"}, CONTACT),
    ],
)
def test_a_contact_always_has_a_name_and_a_plain_number(party: dict[str, str], name: str) -> None:
    (job,) = received("message", {**TEXT, "chat": party, "sender": party})

    assert value_of(job)["contacts"] == [{"profile": {"name": name}, "wa_id": CONTACT, "user_id": CONTACT}]


def test_an_answer_names_our_id_of_what_it_answers_to() -> None:
    ids = MemoryIds()
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.ours")
    context = {"id": "3EB0AA", "participant": f"{PHONE}@s.whatsapp.net"}

    message = message_of({**TEXT, "context": context}, ids=ids)

    assert message["context"] == {"from": PHONE, "id": "wamid.ours", "message_id": "wamid.ours"}


def test_a_message_of_a_kind_that_is_not_supported_yet_is_passed_on_and_not_dropped() -> None:
    message = message_of({**TEXT, "content": {"kind": "hologram", "depth": 3}})

    assert message["type"] == "unsupported"
    assert message["errors"][0]["code"] == 131051
    assert "hologram" in message["errors"][0]["error_data"]["details"]


@pytest.mark.parametrize(("reported", "status"), [("delivered", "delivered"), ("read", "read"), ("played", "read")])
def test_a_receipt_becomes_one_status_for_each_message(reported: str, status: str) -> None:
    ids = MemoryIds()
    ids.remember(PHONE, theirs="a", ours="wamid.a")

    jobs = received(
        "receipt", {"status": reported, "ids": ["a", "b"], "chat": CHAT, "timestamp": 1_767_225_600}, ids=ids
    )

    assert [value_of(job)["statuses"] for job in jobs] == [
        [{"id": message_id, "status": status, "timestamp": "1767225600", "recipient_id": CONTACT}]
        for message_id in ("wamid.a", "b")
    ]


@pytest.mark.parametrize(
    "chat", [CHAT, {"jid": f"{CONTACT}@s.whatsapp.net"}, f"{CONTACT}@s.whatsapp.net", f"+{CONTACT}"]
)
def test_the_one_who_received_is_named_as_a_plain_number(chat: object) -> None:
    (job,) = received("receipt", {"status": "read", "ids": ["a"], "chat": chat})

    assert value_of(job)["statuses"][0]["recipient_id"] == CONTACT


def test_reading_on_the_numbers_own_phone_is_no_event() -> None:
    assert received("receipt", {"status": "self_read", "ids": ["a"], "chat": CHAT}) == []


def test_field_report_77_a_receipt_waits_for_redis_however_old_it_is() -> None:
    ids = MemoryIds()
    ids.remember(PHONE, theirs="a", ours="wamid.ours")
    ids.away = True
    receipt = {"status": "read", "ids": ["a"], "chat": CHAT}

    with pytest.raises(Postponed):
        received("receipt", receipt, ids=ids)
    ids.away = False

    assert [job.message_id for job in received("receipt", receipt, ids=ids)] == ["wamid.ours"]


def test_a_sent_command_remembers_whatsapps_id() -> None:
    ids = MemoryIds()
    result = {"command_id": "wamid.1", "status": "sent", "wa_id": "3EB0AA", "to": f"{CONTACT}@s.whatsapp.net"}

    (job,) = received("send_result", result, ids=ids)

    assert ids.ours(PHONE, "3EB0AA") == "wamid.1"
    assert (job.kind, job.message_id, value_of(job)["statuses"][0]["recipient_id"]) == ("sent", "wamid.1", CONTACT)


def test_a_failed_command_reports_its_error() -> None:
    result = {"command_id": "wamid.1", "status": "failed", "to": CONTACT, "error": {"code": 131026, "reason": "nobody"}}

    (job,) = received("send_result", result)

    (error,) = value_of(job)["statuses"][0]["errors"]
    assert (job.kind, error["code"], error["error_data"]["details"]) == ("failed", 131026, "nobody")


@pytest.mark.parametrize(
    ("code", "title"),
    [(131026, "Message undeliverable"), (131053, "Media upload error"), (131000, "Message not sent")],
)
def test_the_title_of_a_failure_says_what_its_code_means(code: int, title: str) -> None:
    result = {"command_id": "wamid.1", "status": "failed", "to": CONTACT, "error": {"code": code, "reason": "nobody"}}

    (job,) = received("send_result", result)

    (error,) = value_of(job)["statuses"][0]["errors"]
    assert (error["title"], error["message"]) == (title, title)


def test_a_failed_command_without_an_error_is_reported_all_the_same() -> None:
    (job,) = received("send_result", {"command_id": "wamid.1", "status": "failed", "to": CONTACT})

    assert value_of(job)["statuses"][0]["errors"][0]["code"] == 131000


def test_an_ambiguous_command_says_that_it_is_not_repeated() -> None:
    (job,) = received("send_result", {"command_id": "wamid.1", "status": "ambiguous", "to": CONTACT})

    assert job.kind == "failed"
    assert "not sent again" in value_of(job)["statuses"][0]["errors"][0]["error_data"]["details"]


@pytest.mark.parametrize("kind", ["connected", "presence", "something_new"])
def test_what_no_webhook_could_want_gives_no_event(kind: str) -> None:
    assert received(kind, {"x": 1}) == []


@pytest.mark.parametrize("data", [{}, {**TEXT, "id": ""}, {**TEXT, "timestamp_ms": "soon"}, {**TEXT, "content": {}}])
def test_an_event_that_makes_no_sense_is_an_error_that_does_not_quote_it(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        received("message", {**data, "note": "hello secret"})

    assert "hello" not in str(error.value)


@pytest.mark.parametrize("session", ["", "+55", "x", "\u0665\u0665"])
def test_a_session_is_digits(session: str) -> None:
    event = {"version": 1, "type": "message", "event_id": "e", "session": session, "data": TEXT}

    with pytest.raises(ValidationError):
        receive(
            ReceiveEvent(id="e", phone=PHONE, event=event), ids=MemoryIds(), sessions=MemorySessions(make_session())
        )
