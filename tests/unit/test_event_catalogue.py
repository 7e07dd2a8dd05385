"""The catalogue of events says what webhooks really get."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import pytest

from tests.connector.phones import CHAT
from tests.support.fakes import (
    CONTACT,
    GROUP,
    PHONE,
    MemoryIds,
    MemorySessions,
    make_event,
    make_send,
    make_session,
    make_status,
)
from unoapi.connector.schemas import FOLDER
from unoapi.models.cloud_api.callbacks import Change
from unoapi.models.cloud_api.event_catalogue import catalogue, name_of
from unoapi.models.cloud_api.events import split
from unoapi.models.jobs import EventJob, ReceiveEvent
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.providers.whatsmeow.events import receive
from unoapi.services.sending import event_envelopes, failed_envelope

CONTENTS: list[dict[str, Any]] = json.loads((FOLDER / "examples.json").read_text("utf-8"))["received"]
ENTRIES = {entry.name: entry for entry in catalogue()}
SESSION = make_session(ignoreOwnMessages=False, ignoreGroupMessages=False)
PARTIES = [
    CHAT,
    {"jid": "777@lid", "kind": "user", "lid": "777@lid"},
    {"jid": f"{CONTACT}@s.whatsapp.net", "kind": "user", "phone": CONTACT, "lid": "777@lid", "username": "@ana"},
]


def check(body: str) -> str:
    """Validate an event against the schema of its kind, whose name is returned."""
    document = json.loads(body)
    name = name_of(document)
    assert name in ENTRIES, name
    validator(name).validate(document)
    return name


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """One for all bodies of a kind; `jsonschema.validate` would check the schema again with each."""
    return jsonschema.Draft202012Validator(ENTRIES[name].body_schema)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_example_fits_its_own_schema_and_no_other(name: str) -> None:
    example = ENTRIES[name].example

    assert check(json.dumps(example)) == name
    jsonschema.Draft202012Validator.check_schema(ENTRIES[name].body_schema)
    others = [other for other in ENTRIES if other not in (name, "account")]
    assert not any(validator(other).is_valid(example) for other in others)


def received(kind: str, data: dict[str, Any], **options: Any) -> list[str]:
    event = {"version": 1, "type": kind, "event_id": "e", "session": PHONE, "data": data}
    session = make_session(**{"ignoreOwnMessages": False, "ignoreGroupMessages": False, **options})
    job = ReceiveEvent(id="e", phone=PHONE, event=event, accepted_at_ms=1)
    jobs, _ = receive(job, ids=MemoryIds(), sessions=MemorySessions(session))
    return [job.body for job in jobs if isinstance(job, EventJob)]


@pytest.mark.parametrize("party", PARTIES, ids=["phone", "lid", "both"])
@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: str(content["kind"]))
def test_whatever_a_phone_receives_is_in_the_catalogue(content: dict[str, Any], party: dict[str, Any]) -> None:
    for chat in (party, {"jid": GROUP, "kind": "group"}):
        for own in (False, True):
            data = {"id": "3EB0AA", "chat": chat, "sender": party, "timestamp_ms": 1_000, "content": content}
            for body in received("message", {**data, "from_me": own}):
                check(body)


@pytest.mark.parametrize("party", PARTIES, ids=["phone", "lid", "both"])
def test_whatever_becomes_of_a_message_of_a_phone_is_in_the_catalogue(party: dict[str, Any]) -> None:
    group = {"jid": GROUP, "kind": "group"}
    own = {"id": "3EB0AA", "chat": party, "sender": party, "from_me": True, "timestamp_ms": 1_000}
    bodies = [
        *received("receipt", {"status": "read", "ids": ["1"], "chat": party, "timestamp": 1}),
        *received("receipt", {"status": "delivered", "ids": ["1"], "chat": group, "participant": party}),
        *received("send_result", {"command_id": "wamid.1", "to": party["jid"], "status": "sent"}),
        *received("send_result", {"command_id": "wamid.1", "to": GROUP, "status": "failed"}),
        *received("send_result", {"command_id": "wamid.1", "to": party["jid"], "status": "ambiguous"}),
        *received("call", {"id": "C", "from": party, "phase": "offer"}, messageCallsWebhook="calls"),
        *received("message", {**own, "content": {"kind": "text", "body": "x"}}, outgoingMessagesCoex=True),
    ]

    assert [check(body) for body in bodies] == [
        "status.read", "status.delivered", "status.sent", "status.failed", "status.failed", "message.text", "echo",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "to", [{"to": CONTACT}, {"recipient": "BR.1"}, {"to": GROUP}, {"to": "x", "recipient_type": "group"}]
)
def test_whatever_becomes_of_a_send_is_in_the_catalogue(to: dict[str, str]) -> None:
    job = make_send(body=json.dumps({**to, "type": "text", "text": {"body": "x"}, "biz_opaque_callback_data": "y"}))
    updates = tuple(
        StatusUpdate.model_validate({"status": status}) for status in ("sent", "delivered", "read", "played")
    )
    receipt = Receipt(recipient=to.get("to") or to["recipient"], statuses=updates)

    envelopes = [
        *event_envelopes(job, receipt, sessions=MemorySessions(SESSION), hold_ms=0),
        failed_envelope(job, reason="outcome_unknown", error="no", sessions=MemorySessions(SESSION)),
    ]

    names = [check(envelope.job.body) for envelope in envelopes]  # type: ignore[attr-defined]
    assert names == ["status.sent", "status.delivered", "status.read", "status.played", "status.failed"]


def test_events_of_metas_are_in_the_catalogue() -> None:
    values: dict[str, dict[str, Any]] = {
        "messages": {"messages": [{"id": "1", "timestamp": 1, "from_user_id": "BR.1", "type": "text", "text": {}}]},
        "message_template_status_update": {"event": "APPROVED"},
        "calls": {"calls": [{"id": "wacid.1", "from": CONTACT}]},
        "history": {"history": [{"threads": []}]},
    }
    events = [event for field, value in values.items() for event in split(PHONE, [Change(value, field=field)])]

    assert [check(event.body) for event in events] == ["message.text", "account", "account", "account"]
    ringing = {"id": "wacid.1", "type": "call", "status": "RINGING", "recipient_id": CONTACT, "timestamp": 1}
    several: dict[str, dict[str, Any]] = {
        "calls": {"statuses": [ringing, {**ringing, "status": "ACCEPTED"}]},
        "group_lifecycle_update": {"groups": [{"timestamp": "1", "group_id": id_, "type": "x"} for id_ in "ab"]},
        "messages": {"errors": [{"code": 1}], "messages": values["messages"]["messages"] * 2},
    }
    events = [event for field, value in several.items() for event in split(PHONE, [Change(value, field=field)])]
    assert [check(event.body) for event in events] == [
        "account", "account", "group_lifecycle_update", "group_lifecycle_update", "account", *["message.text"] * 2,
    ]  # fmt: skip
    assert [check(event.body) for event in (make_event(), make_status("deleted"))] == ["message.text", "status.deleted"]


@pytest.mark.parametrize(
    ("items", "name"),
    [
        ({"messages": [{"from": CONTACT, "id": "a", "timestamp": "1", "type": "hologram"}]}, "message.other"),
        ({"messages": [{"from": CONTACT, "id": "a", "type": "request_welcome"}]}, "message.request_welcome"),
        ({"messages": [{"from": CONTACT, "id": "a", "type": "unsupported", "errors": [{"code": 1}]}]},
         "message.unsupported"),
        ({"statuses": [{"id": "a", "status": "failed", "recipient_id": CONTACT, "errors": [{}]}]}, "status.failed"),
        ({"statuses": [{"id": "a", "status": "captured", "type": "payment", "recipient_id": CONTACT}]}, "status.other"),
        ({"statuses": [{"id": "a", "status": "accepted", "recipient_id": CONTACT}]}, "status.other"),
    ],
)  # fmt: skip
def test_what_only_meta_knows_is_in_the_catalogue_too(items: dict[str, Any], name: str) -> None:
    timed = {key: [{"timestamp": "1", **item} for item in listed] for key, listed in items.items()}

    (event,) = split(PHONE, [Change({"messaging_product": "whatsapp", **timed})])

    assert check(event.body) == name
