"""Cloud API events as real clients need them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.fakes import CONTACT, PHONE, MemorySessions, make_event, make_status
from unoapi.models.cloud_api.callbacks import Change
from unoapi.models.cloud_api.events import Event, error_object, serialise
from unoapi.models.cloud_api.events import split as split_changes
from unoapi.models.text import is_visible
from unoapi.services.webhooks import to_fan_out

OTHER = "5521977776666"
HALF = json.loads('"\\ud83d"')  # half a surrogate pair: valid JSON, no valid text
ANY_TEXT = st.text(st.characters(codec="utf-8"))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def callback(*values: dict[str, Any], field: str = "messages", **entry: Any) -> dict[str, Any]:
    changes = [{"field": field, "value": value} for value in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": "waba", "changes": changes, **entry}]}


def message(number: int, sender: str = CONTACT) -> dict[str, Any]:
    return {"id": f"wamid.{number}", "from": sender, "timestamp": 1_767_225_600, "text": {"body": f"text {number}"}}


def status(number: int, recipient: str = CONTACT) -> dict[str, Any]:
    return {"id": f"wamid.{number}", "status": "read", "timestamp": 1_767_225_600, "recipient_id": recipient}


def split(phone: str, payload: dict[str, Any]) -> list[Event]:
    return split_changes(
        phone,
        [
            Change(change["value"], field=change["field"], entry_id=entry["id"])
            for entry in payload["entry"]
            for change in entry["changes"]
        ],
    )


def event_value(event: Event) -> dict[str, Any]:
    """What a receiver reads, which is what the gateway looks at."""
    value: dict[str, Any] = json.loads(event.body)["entry"][0]["changes"][0]["value"]
    assert value == event.content.value
    return value


def contacts_of(event: Event) -> Any:
    return event_value(event)["contacts"]


def test_every_message_and_every_status_becomes_an_event_of_its_own() -> None:
    payload = callback({"messages": [message(1), message(2), message(3)], "statuses": [status(4), status(5)]})

    events = split(PHONE, payload)

    assert [(event.message_id, event.kind) for event in events] == [
        ("wamid.1", "message"), ("wamid.2", "message"), ("wamid.3", "message"),
        ("wamid.4", "read"), ("wamid.5", "read"),
    ]  # fmt: skip
    for event in events:
        (entry,) = json.loads(event.body)["entry"]
        (change,) = entry["changes"]
        assert sum(len(change["value"].get(key, [])) for key in ("messages", "statuses")) == 1


def test_several_entries_and_changes_are_all_taken() -> None:
    payload = callback({"messages": [message(1)]}, {"messages": [message(2)]})
    payload["entry"] += callback({"statuses": [status(3)]})["entry"]

    assert [event.message_id for event in split(PHONE, payload)] == ["wamid.1", "wamid.2", "wamid.3"]


def test_the_clients_own_ids_stay() -> None:
    metadata = {"display_phone_number": "15550001111", "phone_number_id": "106540352242922"}

    (event,) = split(PHONE, callback({"metadata": metadata, "messages": [message(1)]}))

    assert event_value(event)["metadata"] == metadata
    assert json.loads(event.body)["entry"][0]["id"] == "waba"


def test_missing_metadata_is_the_phone() -> None:
    (event,) = split(PHONE, callback({"messages": [message(1)]}))

    assert event_value(event)["metadata"] == {"display_phone_number": PHONE, "phone_number_id": PHONE}


@pytest.mark.parametrize(
    "contacts",
    [
        None,
        [],
        [{"wa_id": CONTACT}],
        [{"wa_id": CONTACT, "profile": None}],
        [{"wa_id": CONTACT, "profile": {}}],
        [{"wa_id": CONTACT, "profile": {"name": None}}],
        [{"wa_id": CONTACT, "profile": {"name": ""}}],
        [{"wa_id": CONTACT, "profile": "Maria"}],
    ],
)
@pytest.mark.parametrize("items", [{"messages": [message(1)]}, {"statuses": [status(1)]}], ids=["message", "status"])
def test_contacts_always_have_a_name_a_wa_id_and_a_user_id(items: dict[str, Any], contacts: Any) -> None:
    value = items if contacts is None else {**items, "contacts": contacts}

    (event,) = split(PHONE, callback(value))

    assert contacts_of(event) == [{"profile": {"name": CONTACT}, "wa_id": CONTACT, "user_id": CONTACT}]


def test_each_message_gets_the_contact_that_wrote_it() -> None:
    contacts = [
        {"wa_id": CONTACT, "profile": {"name": "Maria"}},
        {"wa_id": OTHER, "profile": {"name": "João"}, "user_id": "BR.1"},
    ]

    first, second, third = split(
        PHONE, callback({"contacts": contacts, "messages": [message(1, OTHER), message(2), message(3, "4917012345")]})
    )

    assert contacts_of(first) == [{"wa_id": OTHER, "profile": {"name": "João"}, "user_id": "BR.1"}]
    assert contacts_of(second) == [{"wa_id": CONTACT, "profile": {"name": "Maria"}, "user_id": CONTACT}]
    assert [contact["wa_id"] for contact in contacts_of(third)] == ["4917012345"]


def test_the_contact_beside_a_number_s_own_message_stays_the_counterparty() -> None:
    contacts = [{"wa_id": CONTACT, "profile": {"name": "Maria"}}]

    (event,) = split(PHONE, callback({"contacts": contacts, "messages": [message(1, PHONE)]}))

    assert [contact["wa_id"] for contact in contacts_of(event)] == [CONTACT]


def test_timestamps_are_text() -> None:
    events = [*split(PHONE, callback({"messages": [message(1)], "statuses": [status(2)]})), make_event(), make_status()]

    items = [(event_value(event).get("messages") or event_value(event)["statuses"])[0] for event in events]
    assert [item["timestamp"] for item in items] == ["1767225600"] * 4


def test_a_timestamp_of_nothing_is_left_out() -> None:
    (event,) = split(PHONE, callback({"messages": [{**message(1), "timestamp": None}]}))

    assert "timestamp" not in event_value(event)["messages"][0]


def test_a_change_without_messages_becomes_one_event() -> None:
    (event,) = split(PHONE, callback({"event": "APPROVED"}, field="message_template_status_update"))

    assert event.kind == "message_template_status_update"
    assert json.loads(event.body)["entry"][0]["changes"][0]["field"] == "message_template_status_update"


def test_the_same_event_has_the_same_id_whatever_the_order_of_its_fields() -> None:
    turned = dict(reversed(message(1).items()))

    (first,) = split(PHONE, callback({"messages": [message(1)]}))
    (second,) = split(PHONE, callback({"messages": [turned]}))

    assert first.event_id == second.event_id


def test_a_repeated_event_is_the_same_also_when_the_contact_changed_its_name() -> None:
    named = {"contacts": [{"wa_id": CONTACT, "profile": {"name": "Maria"}}], "messages": [message(1)]}

    (first,) = split(PHONE, callback(named))
    (second,) = split(PHONE, callback({"messages": [message(1)]}))

    assert first.event_id == second.event_id


def test_different_events_have_different_ids() -> None:
    edited = {**message(1), "text": {"body": "other"}}
    values: list[dict[str, Any]] = [
        {"messages": [message(1)]},
        {"messages": [message(2)]},
        {"messages": [edited]},
        {"statuses": [status(1)]},
        {"statuses": [{**status(1), "status": "sent"}]},
        {"statuses": [status(1, OTHER)]},
    ]

    events = [split(PHONE, callback(value))[0] for value in values]
    events += split(OTHER, callback({"messages": [message(1)]}))

    assert len({event.event_id for event in events}) == 7


def test_an_event_id_has_no_dots() -> None:
    assert "." not in make_event().event_id


@given(st.dictionaries(ANY_TEXT, ANY_JSON, max_size=4), ANY_TEXT)
def test_any_content_travels_unchanged_in_ascii(content: dict[str, Any], name: str) -> None:
    received = {**content, "id": "wamid.1", "from": CONTACT, "timestamp": "1"}
    contacts = [{"wa_id": CONTACT, "profile": {"name": name}}]

    (event,) = split(PHONE, callback({"messages": [received], "contacts": contacts}))

    assert event.body.isascii()
    assert event_value(event)["messages"] == [received]
    assert contacts_of(event)[0]["profile"]["name"] == (name if is_visible(name) else CONTACT)


def test_half_a_character_travels_too() -> None:
    (event,) = split(PHONE, callback({"messages": [{**message(1), "text": {"body": HALF}}]}))

    assert event.body.isascii()
    assert event_value(event)["messages"][0]["text"]["body"] == HALF


@pytest.mark.parametrize("item", [{"messages": [{"id": HALF}]}, {"statuses": [{"id": "1", "status": HALF}]}])
def test_half_a_character_in_an_id_is_refused_as_a_wrong_value(item: dict[str, Any]) -> None:
    (event,) = split(PHONE, callback(item))

    with pytest.raises(ValidationError):
        to_fan_out(event, phone=PHONE, sessions=MemorySessions())


@given(ANY_JSON)
def test_serialised_json_is_ascii_and_reads_back(document: Any) -> None:
    text = serialise(document)

    assert text.isascii()
    assert json.loads(text) == document


def test_an_error_has_all_fields_that_clients_insist_on() -> None:
    assert error_object(131026, "Message undeliverable", "not on WhatsApp") == {
        "code": 131026,
        "title": "Message undeliverable",
        "message": "Message undeliverable",
        "error_data": {"details": "not on WhatsApp"},
    }


WHOLE = {"code": 1, "title": "t", "message": "m", "error_data": {"details": "d", "x": 1}, "href": "https://x.test"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WHOLE, WHOLE),
        ({"code": 1, "title": "t"}, {"code": 1, "title": "t", "message": "t", "error_data": {"details": "t"}}),
        ({"code": 1, "message": "m"}, {"code": 1, "title": "m", "message": "m", "error_data": {"details": "m"}}),
        ({"code": "1", "title": ""},
         {"code": 131000, "title": "Error", "message": "Error", "error_data": {"details": "Error"}}),
        ({"code": "131047", "title": "t"},
         {"code": 131047, "title": "t", "message": "t", "error_data": {"details": "t"}}),
        ({"code": 1, "title": "t", "message": None, "error_data": None},
         {"code": 1, "title": "t", "message": "t", "error_data": {"details": "t"}}),
        ({"code": 1, "title": "t", "error_data": {"x": 1}},
         {"code": 1, "title": "t", "message": "t", "error_data": {"x": 1, "details": "t"}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["messages", "statuses"])
def test_an_error_has_all_that_clients_insist_on(key: str, error: dict[str, Any], told: dict[str, Any]) -> None:
    value = {key: [{"id": "a", "timestamp": "1", "errors": [error, "odd"]}]}

    (event,) = split_changes(PHONE, [Change(value)])

    assert event.content.value[key][0]["errors"] == [told, "odd"]
