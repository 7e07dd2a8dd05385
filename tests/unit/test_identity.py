"""Who somebody is in an event, whatever names Meta and WhatsApp give: one person never stands under another's name."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import CONTACT, GROUP, PHONE, MemorySessions, make_fan_out, make_send, make_session
from unoapi.models.cloud_api.callbacks import Change, read_callback
from unoapi.models.cloud_api.events import Event, split
from unoapi.models.contacts import _key_of_short, contact_key
from unoapi.models.identity import Identity, People, is_same_phone
from unoapi.models.phones import MAX_WRITTEN_CHARS
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.services.sending import event_envelopes, failed_envelope
from unoapi.services.webhooks import fan_out, to_fan_out

if TYPE_CHECKING:
    from collections.abc import Sequence

ANA, BIA = "BR.111", "BR.222"
LID = "777@lid"
DAY_S = 86_400


def events_of(value: dict[str, Any], *, field: str = "messages") -> list[Event]:
    return split(PHONE, [Change(value, field=field, entry_id="2001")])


def contacts_in(events: list[Event]) -> list[list[dict[str, Any]]]:
    return [json.loads(event.body)["entry"][0]["changes"][0]["value"]["contacts"] for event in events]


def a_contact(user_id: str, name: str, **more: Any) -> dict[str, Any]:
    return {"profile": {"name": name}, "user_id": user_id, **more}


def items(kind: str, ids: Sequence[str], **more: Any) -> list[dict[str, Any]]:
    """Items of one list that name their contacts by user id, with what `more` says besides."""
    name = {"messages": "from_user_id", "message_echoes": "to_user_id", "statuses": "recipient_user_id"}[kind]
    own = {"from": PHONE} if kind == "message_echoes" else {"status": "read"} if kind == "statuses" else {}
    return [{"id": f"wamid.{number}", "timestamp": "1", **more, **own, name: one} for number, one in enumerate(ids)]


EMPTY = {"messages": {"from": ""}, "message_echoes": {"to": ""}, "statuses": {"recipient_id": ""}}


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
@pytest.mark.parametrize("kind", ["messages", "message_echoes", "statuses"])
def test_field_report_1_each_item_has_its_own_contact_alone(kind: str, empty: bool) -> None:
    blank = {"wa_id": ""} if empty else {}
    value = {
        "contacts": [a_contact(ANA, "Ana", **blank), a_contact(BIA, "Bia", **blank)],
        kind: items(kind, [BIA, ANA], **(EMPTY[kind] if empty else {})),
    }

    contacts = contacts_in(events_of(value))

    assert [[contact["user_id"] for contact in own] for own in contacts] == [[BIA], [ANA]]
    assert [own[0]["profile"]["name"] for own in contacts] == ["Bia", "Ana"]


@pytest.mark.parametrize("name", ["user_id", "parent_user_id", "wa_id"])
def test_a_contact_is_joined_by_any_name_that_both_have(name: str) -> None:
    field = {"user_id": "from_user_id", "parent_user_id": "from_parent_user_id", "wa_id": "from"}[name]
    others = {"wa_id": "5521977776666", "user_id": ANA, "parent_user_id": "BR.ENT.1"}
    own = {"user_id": BIA, "parent_user_id": "BR.ENT.2", "wa_id": CONTACT}[name]
    contacts = [{"profile": {"name": "Ana"}, **others}, {"profile": {"name": "Bia"}, name: own}]

    (first, _) = contacts_in(events_of({"contacts": contacts, "messages": [{"id": "1", field: own}, {"id": "2"}]}))

    assert [contact["profile"]["name"] for contact in first] == ["Bia"]


def test_the_ninth_digit_and_a_plus_make_nobody_another_person() -> None:
    contacts = [
        {"profile": {"name": "Ana"}, "wa_id": "554988887777"},
        {"profile": {"name": "B"}, "wa_id": "4917012345"},
    ]
    messages = [{"id": "1", "from": "4917012345"}, {"id": "2", "from": f"+{CONTACT}"}]

    _, second = contacts_in(events_of({"contacts": contacts, "messages": messages}))

    assert [contact["profile"]["name"] for contact in second] == ["Ana"]


@pytest.mark.parametrize(("written", "address"), [("525512345678", "5215512345678"), ("541112345678", "5491112345678")])
def test_field_report_1_the_mobiles_of_mexico_and_argentina_are_the_same_in_both_forms(
    written: str, address: str
) -> None:
    contacts = [{"profile": {"name": "Ana"}, "wa_id": address}, {"profile": {"name": "Bia"}, "wa_id": CONTACT}]

    (first, _) = contacts_in(events_of({"contacts": contacts, "messages": [{"id": "1", "from": written}, {"id": "2"}]}))

    assert [contact["profile"]["name"] for contact in first] == ["Ana"]


def test_the_only_contact_of_the_only_message_is_somebody_elses_when_the_user_ids_differ() -> None:
    (contacts,) = contacts_in(events_of({"contacts": [a_contact(ANA, "Ana")], "messages": items("messages", [BIA])}))

    assert contacts == [{"profile": {"name": BIA}, "wa_id": "", "user_id": BIA}]


@pytest.mark.parametrize(
    ("value", "contact"),
    [
        ({"statuses": items("statuses", [ANA])}, {"profile": {"name": ANA}, "wa_id": "", "user_id": ANA}),
        ({"messages": items("messages", [ANA])}, {"profile": {"name": ANA}, "wa_id": "", "user_id": ANA}),
        (
            {"messages": items("messages", [ANA]), "contacts": [{"profile": {"username": "@ana"}, "user_id": ANA}]},
            {"profile": {"username": "@ana", "name": "@ana"}, "wa_id": "", "user_id": ANA},
        ),
        (
            {
                "messages": items("messages", [ANA]),
                "contacts": [{"profile": {"name": " ", "username": "@ana"}, "user_id": ANA}],
            },
            {"profile": {"username": "@ana", "name": "@ana"}, "wa_id": "", "user_id": ANA},
        ),
        (
            {"statuses": [{"id": "1", "status": "read", "parent_recipient_user_id": "BR.ENT.1"}]},
            {"profile": {"name": "BR.ENT.1"}, "wa_id": "", "user_id": "BR.ENT.1", "parent_user_id": "BR.ENT.1"},
        ),
        (
            {"messages": [{"id": "1", "from": CONTACT, "from_user_id": ANA}], "contacts": [a_contact(ANA, "Ana")]},
            {"profile": {"name": "Ana"}, "wa_id": CONTACT, "user_id": ANA},
        ),
        (
            {"messages": [{"id": "1", "type": "system", "system": {"user_id": BIA, "type": "user_changed_user_id"}}]},
            {"profile": {"name": BIA}, "wa_id": "", "user_id": BIA},
        ),
        ({"messages": [{"id": "1", "from": PHONE}]}, {"profile": {"name": PHONE}, "wa_id": PHONE, "user_id": PHONE}),
        (
            {"messages": [{"id": "1", "from": PHONE}], "contacts": [a_contact(ANA, "Ana")]},
            a_contact(ANA, "Ana", wa_id=""),
        ),
    ],
    ids=["status", "message", "username", "blank-name", "parent", "phone-of-the-message", "system", "own", "own-to"],
)
def test_field_report_2_nobody_is_an_empty_contact(value: dict[str, Any], contact: dict[str, Any]) -> None:
    (contacts,) = contacts_in(events_of(value))

    assert contacts == [contact]


def statuses_of(recipient: str, **receipt: Any) -> list[dict[str, Any]]:
    body = json.dumps({"recipient": recipient, "type": "text", "text": {"body": "oi"}})
    job = make_send(body=body)
    sent = Receipt(recipient=recipient, statuses=(StatusUpdate(status="sent"),), **receipt)
    sessions = MemorySessions(make_session())
    envelopes = [
        *event_envelopes(job, sent, sessions=sessions, hold_ms=0),
        failed_envelope(job, reason="rejected", error="no", sessions=sessions),
    ]
    return [json.loads(envelope.job.body)["entry"][0]["changes"][0]["value"] for envelope in envelopes]  # type: ignore[attr-defined]


@pytest.mark.parametrize("recipient", ["BR.134912", "BR.ENT.134912", LID])
def test_field_report_2_statuses_of_a_send_by_user_id_name_no_phone(recipient: str) -> None:
    for value in statuses_of(recipient):
        (status,), (contact,) = value["statuses"], value["contacts"]
        assert (status["recipient_id"], status["recipient_user_id"]) == ("", recipient)
        assert (contact["wa_id"], contact["user_id"], contact["profile"]["name"]) == ("", recipient, recipient)


def test_what_the_provider_calls_the_recipient_stands_in_the_status() -> None:
    sent, *_ = statuses_of(CONTACT, user_id=ANA)

    assert sent["statuses"][0]["recipient_user_id"] == ANA
    assert sent["contacts"] == [{"profile": {"name": CONTACT}, "wa_id": CONTACT, "user_id": ANA}]


@pytest.mark.parametrize(("to", "chat"), [(GROUP, GROUP), ("Y2FwaV9ncm91cDox", "Y2FwaV9ncm91cDox")])
def test_statuses_of_a_send_to_a_group_have_the_groups_form(to: str, chat: str) -> None:
    body = json.dumps({"to": to, "recipient_type": "group", "type": "text", "text": {"body": "oi"}})
    sent = Receipt(recipient=to, statuses=(StatusUpdate(status="sent"),))

    (envelope,) = event_envelopes(make_send(body=body), sent, sessions=MemorySessions(make_session()), hold_ms=0)

    value = json.loads(envelope.job.body)["entry"][0]["changes"][0]["value"]  # type: ignore[attr-defined]
    (status,), (contact,) = value["statuses"], value["contacts"]
    assert (status["recipient_type"], status["recipient_id"]) == ("group", chat)
    assert (contact["wa_id"], contact["profile"]["name"]) == ("", chat)


@pytest.mark.parametrize("group", [GROUP, "Y2FwaV9ncm91cDox"])
def test_field_report_100_no_group_stands_where_a_phone_belongs(group: str) -> None:
    (event,) = events_of(
        {"statuses": [{"id": "1", "status": "sent", "recipient_id": group, "recipient_type": "group"}]}
    )

    (contact,) = event.value["contacts"]
    assert (contact["wa_id"], contact["profile"]["name"]) == ("", group)
    assert event.content.counterparty(PHONE).key == group


@pytest.mark.parametrize("number", [PHONE, "", f"+{PHONE}"])
def test_the_counterparty_of_an_event_is_known_by_all_of_its_names(number: str) -> None:
    value = {
        "contacts": [a_contact(ANA, "Ana", wa_id=CONTACT, parent_user_id="BR.ENT.1")],
        "messages": [{"id": "1", "from": number, "from_user_id": ANA}],
    }
    (event,) = events_of(value)

    assert event.content.counterparty(PHONE).keys == (CONTACT, ANA, "BR.ENT.1")


def test_a_contact_is_blocked_and_muted_under_each_of_its_names() -> None:
    asked: list[str] = []

    class Blocked:
        def blocking(self, phone: str, webhook_ids: Any, contacts: Any) -> set[str]:  # noqa: ARG002 (the port's)
            asked.extend(contacts)
            return {"default"} if ANA in contacts else set()

    value = {"contacts": [a_contact(ANA, "Ana", wa_id=CONTACT)], "messages": [{"id": "1", "from": CONTACT}]}
    (event,) = events_of(value)

    fanned = fan_out(make_fan_out(event), sessions=MemorySessions(make_session()), max_age_s=DAY_S, blacklist=Blocked())

    assert asked == [CONTACT, ANA]
    assert fanned.filters == {"default": "blacklist"}
    assert fanned.event.facts.keys == (CONTACT, ANA)


@pytest.mark.parametrize(
    "item",
    [
        {"statuses": [{"id": "1", "status": "read", "recipient_id": GROUP, "recipient_type": "group",
                       "recipient_participant_id": CONTACT}]},
        {"messages": [{"id": "1", "from": CONTACT, "group_id": GROUP}]},
        {"message_echoes": [{"id": "1", "from": PHONE, "to": GROUP}]},
    ],
)  # fmt: skip
def test_whatever_happens_in_a_group_is_the_groups(item: dict[str, Any]) -> None:
    (event,) = events_of(item)

    assert event.content.counterparty(PHONE).key == GROUP
    assert event.content.traits(PHONE).group


def test_calls_and_preferences_have_their_own_contact_each() -> None:
    contacts = [a_contact(ANA, "Ana"), a_contact(BIA, "Bia")]
    calls = [{"id": "wacid.1", "from_user_id": BIA, "to": PHONE}, {"id": "wacid.2", "from": PHONE, "to_user_id": ANA}]
    wishes = [{"user_id": BIA, "value": "stop"}, {"user_id": ANA, "value": "resume"}]

    called = events_of({"contacts": contacts, "calls": calls}, field="calls")
    wished = events_of({"contacts": contacts, "user_preferences": wishes}, field="user_preferences")

    for events, kind in ((called, "calls"), (wished, "user_preferences")):
        assert [event.kind for event in events] == [kind, kind]
        assert [[contact["user_id"] for contact in own] for own in contacts_in(events)] == [[BIA], [ANA]]


# --- under which ids the client knows the number ---


def metadata_of(event: Event, **forward: str) -> tuple[str, str]:
    job = to_fan_out(event, phone=PHONE, sessions=MemorySessions(make_session(webhook_forward=forward)))
    (entry,) = json.loads(job.body)["entry"]
    return entry["id"], entry["changes"][0]["value"]["metadata"]["phone_number_id"]


OWN_IDS = {"phoneNumberId": "1001", "businessAccountId": "2001"}


def test_field_report_x2_what_we_say_ourselves_carries_the_ids_of_the_session() -> None:
    job = make_send()
    sessions = MemorySessions(make_session(webhook_forward=OWN_IDS))
    sent = Receipt(recipient=CONTACT, statuses=(StatusUpdate(status="sent"),))

    for envelope in (
        *event_envelopes(job, sent, sessions=sessions, hold_ms=0),
        failed_envelope(job, reason="rejected", error="no", sessions=sessions),
    ):
        (entry,) = json.loads(envelope.job.body)["entry"]  # type: ignore[attr-defined]
        metadata = entry["changes"][0]["value"]["metadata"]
        assert (entry["id"], metadata) == ("2001", {"display_phone_number": PHONE, "phone_number_id": "1001"})


def test_field_report_x2_an_account_event_without_metadata_has_the_ids_of_the_session() -> None:
    (event,) = events_of({"event": "APPROVED"}, field="message_template_status_update")

    assert metadata_of(event, **OWN_IDS) == ("2001", "1001")


def test_what_a_callback_says_of_its_ids_stays() -> None:
    (event,) = split(PHONE, [Change({"metadata": {"phone_number_id": "9"}, "messages": [{"id": "1"}]}, entry_id="8")])

    assert metadata_of(event, **OWN_IDS) == ("8", "9")


def test_a_number_without_ids_at_meta_is_named_by_its_phone() -> None:
    (event,) = split(PHONE, [Change({"messages": [{"id": "1"}]})])

    assert metadata_of(event) == (PHONE, PHONE)


# --- any callback ---

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
UNKNOWN = st.dictionaries(TEXT.map(lambda name: f"x_{name}"), TEXT | st.none() | st.integers(), max_size=2)
NAMES = ("wa_id", "user_id", "parent_user_id")
FIELDS = {
    "messages": ("from", "from_user_id", "from_parent_user_id"),
    "message_echoes": ("to", "to_user_id", "to_parent_user_id"),
    "statuses": ("recipient_id", "recipient_user_id", "recipient_parent_user_id"),
}
PEOPLE = [
    {"wa_id": f"55119888800{number:02}", "user_id": f"BR.{number}7", "parent_user_id": f"BR.ENT.{number}9"}
    for number in range(1, 7)
]


def flip(draw: st.DrawFn) -> bool:
    return draw(st.booleans())


def some_names(draw: st.DrawFn, person: int, common: str, fields: tuple[str, ...] = NAMES) -> dict[str, str]:
    """The common name of a person and perhaps others, in these fields; what Meta leaves out is absent or empty."""
    told = draw(st.sets(st.sampled_from(NAMES))) | {common}
    there = told | draw(st.sets(st.sampled_from(NAMES)))
    pairs = zip(fields, NAMES, strict=True)
    return {field: PEOPLE[person][name] if name in told else "" for field, name in pairs if name in there}


@st.composite
def callbacks(draw: st.DrawFn) -> tuple[dict[str, Any], list[int]]:
    """A value in Meta's documented forms, and whom each of its items is about, in order."""
    people = draw(st.lists(st.sampled_from(range(len(PEOPLE))), unique=True, min_size=1))
    common = {person: draw(st.sampled_from(NAMES)) for person in people}
    value: dict[str, Any] = {"messaging_product": "whatsapp", **draw(UNKNOWN)}
    contacts: list[dict[str, Any]] = []
    for person in draw(st.lists(st.sampled_from(people), unique=True)):
        profile = draw(st.sampled_from([{}, {"name": f"Name {person}"}, {"username": f"@{person}"}]))
        more = {"profile": profile} if profile or flip(draw) else {}
        contacts.append({**more, **some_names(draw, person, common[person]), **draw(UNKNOWN)})
    about: list[int] = []
    for kind, fields in FIELDS.items():
        listed = []
        for number, person in enumerate(draw(st.lists(st.sampled_from(people), max_size=4))):
            own: dict[str, Any] = {"id": f"wamid.{kind}{number}", "timestamp": "1795600000", **draw(UNKNOWN)}
            own |= {"from": PHONE} if kind == "message_echoes" else {}
            own |= {"status": "delivered"} if kind == "statuses" else {"type": "text", "text": {"body": draw(TEXT)}}
            listed.append({**own, **some_names(draw, person, common[person], fields)})
            about.append(person)
        value |= {kind: listed} if listed or flip(draw) else {}
    return value | ({"contacts": contacts} if contacts or flip(draw) else {}), about


@given(callbacks())
def test_any_callback_is_one_event_per_item_each_with_its_own_contact(drawn: tuple[dict[str, Any], list[int]]) -> None:
    value, about = drawn

    events = [event for event in events_of(value) if event.message_id]

    assert len(events) == len(about)
    for event, person, contacts in zip(events, about, contacts_in(events), strict=True):
        (contact,), names = contacts, PEOPLE[person]
        plain = contact["wa_id"] or contact["user_id"] or contact["parent_user_id"]
        assert contact["profile"]["name"] in (f"Name {person}", f"@{person}", plain)
        assert plain
        assert all(contact.get(name, "") in ("", names[name]) for name in ("wa_id", "parent_user_id"))
        assert contact["user_id"] in names.values()
        assert set(event.content.counterparty(PHONE).keys) <= set(names.values())
        described: list[dict[str, Any]] = value.get("contacts", [])
        own = [one for one in described if any(one.get(name) == names[name] for name in NAMES)]
        if own and own[0].get("profile"):
            assert contact["profile"]["name"] in own[0]["profile"].values()


# --- names ---


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        (CONTACT, Identity(phone=CONTACT)),
        (f"+{CONTACT}", Identity(phone=CONTACT)),
        (f"{CONTACT}:12@s.whatsapp.net", Identity(phone=CONTACT)),
        ("554988887777", Identity(phone=CONTACT)),
        ("777:3@lid", Identity(user_id=LID)),
        (ANA, Identity(user_id=ANA)),
        (GROUP, Identity(chat=GROUP)),
        ("status@broadcast", Identity(chat="status@broadcast")),
        ("@s.whatsapp.net", Identity()),
        ("@lid", Identity()),
        ("", Identity()),
    ],
)
def test_an_address_means_one_somebody(address: str, identity: Identity) -> None:
    assert Identity.of(address) == identity


@pytest.mark.parametrize("user_id", [ANA, "BR.ENT.1a2B"])
def test_a_user_id_is_remembered_as_it_is(user_id: str) -> None:
    assert contact_key(user_id) == user_id


def test_nobody_is_the_same_as_nobody() -> None:
    assert not is_same_phone("", "")
    assert not is_same_phone("abcd", "xbcd")


@pytest.mark.parametrize(
    ("sender", "wa_id"),
    [("525512345678", "5215512345678"), ("5491123456789", "541123456789"), ("554988887777", CONTACT)],
)
def test_the_only_contact_may_have_a_digit_more_or_less(sender: str, wa_id: str) -> None:
    value = {"contacts": [{"profile": {"name": "Ana"}, "wa_id": wa_id}], "messages": [{"id": "1", "from": sender}]}

    (contacts,) = contacts_in(events_of(value))

    assert [contact["profile"]["name"] for contact in contacts] == ["Ana"]


@pytest.mark.parametrize("own", [{"from": CONTACT}, {"from_user_id": ANA}, {"from_parent_user_id": "BR.ENT.1"}])
def test_a_contact_that_shares_no_name_is_somebody_else(own: dict[str, str]) -> None:
    everybody = {"wa_id": "5521977776666", "user_id": BIA, "parent_user_id": "BR.ENT.2"}

    for name, value in everybody.items():
        message = {"id": "1", **own}
        (contacts,) = contacts_in(
            events_of({"contacts": [{"profile": {"name": "Bia"}, name: value}], "messages": [message]})
        )
        assert [contact["profile"]["name"] for contact in contacts] == [*own.values()]


def test_an_empty_id_from_meta_is_an_absent_one_and_costs_no_words() -> None:
    message = {"id": "", "from": CONTACT, "type": "text", "text": {"body": "hi"}}
    document = {"entry": [{"id": "2001", "changes": [{"field": "messages", "value": {"messages": [message]}}]}]}

    changes, odd = read_callback(document, mended=True)

    assert odd == []
    assert [event.value["messages"][0]["text"] for event in split(PHONE, changes)] == [{"body": "hi"}]


@pytest.mark.parametrize("name", [" ", "\u200e \u2066", "\u3164", "\u2800\u2800", "\u115f\u1160"])
def test_field_report_2_a_name_that_nobody_sees_is_none(name: str) -> None:
    assert Identity(CONTACT).as_contact(name)["profile"]["name"] == CONTACT


@pytest.mark.parametrize(
    ("address", "somebody"),
    [
        (f"{CONTACT}:99@hosted", Identity(CONTACT)),
        (f"{CONTACT}@c.us", Identity(CONTACT)),
        ("777:99@hosted.lid", Identity(user_id=LID)),
        ("777:3@lid", Identity(user_id=LID)),
    ],
)
def test_field_report_8_an_address_of_any_device_is_the_person(address: str, somebody: Identity) -> None:
    assert Identity.of(address) == somebody


def test_field_report_1_each_update_of_a_user_id_has_its_own_contact_alone() -> None:
    updates = [{"user_id": {"previous": f"BR.{n}", "current": user_id}} for n, user_id in enumerate((BIA, ANA))]
    value = {"contacts": [a_contact(ANA, "Ana"), a_contact(BIA, "Bia")], "user_id_update": updates}

    events = events_of(value, field="user_id_update")

    assert [event.value["user_id_update"] for event in events] == [[updates[0]], [updates[1]]]
    assert [[contact["profile"]["name"] for contact in own] for own in contacts_in(events)] == [["Bia"], ["Ana"]]


def test_each_group_of_one_callback_is_an_event_with_the_members_that_it_names() -> None:
    groups = [
        {"group_id": "G1", "type": "group_participants_add", "added_participants": [{"user_id": BIA, "wa_id": ""}]},
        {"group_id": "G2", "type": "group_participants_add", "added_participants": [{"input": "1", "wa_id": CONTACT}]},
        {"group_id": "G3", "type": "group_delete"},
    ]
    contacts = [a_contact(ANA, "Ana", wa_id=CONTACT), a_contact(BIA, "Bia")]

    events = events_of({"contacts": contacts, "groups": groups}, field="group_participants_update")

    assert [event.value["groups"] for event in events] == [[group] for group in groups]
    assert [[one["profile"]["name"] for one in own] for own in contacts_in(events)] == [["Bia"], ["Ana"], []]
    assert all(event.content.traits(PHONE).group for event in events)
    assert len({event.event_id for event in events}) == len(groups)


def test_an_error_of_the_account_beside_several_messages_is_an_event_of_its_own() -> None:
    value = {
        "contacts": [a_contact(ANA, "Ana")], "errors": [{"code": 130429}], "messages": items("messages", [ANA, BIA]),
    }  # fmt: skip

    problem, *messages = events_of(value)

    assert problem.value == {"errors": [{"code": 130429}]}
    assert [event.kind for event in messages] == ["message", "message"]
    assert not any("errors" in event.value for event in messages)


def test_a_number_of_any_size_becomes_a_text() -> None:
    (event,) = events_of({"messages": [{"id": "1", "from": CONTACT, "timestamp": 10**400}]})

    assert event.value["messages"][0]["timestamp"] == "1" + "0" * 400


@pytest.mark.parametrize("timestamp", [1795600000, 1795600000.0, "1795600000"])
def test_numbers_in_the_place_of_texts_become_texts(timestamp: Any) -> None:
    message = {"id": "1", "from": int(CONTACT), "timestamp": timestamp, "type": "text"}
    status = {"id": "2", "status": "read", "recipient_id": int(CONTACT), "timestamp": timestamp}

    received, read = events_of({"messages": [message], "statuses": [status]})

    assert received.value["messages"] == [{**message, "from": CONTACT, "timestamp": "1795600000"}]
    assert read.value["statuses"] == [{**status, "recipient_id": CONTACT, "timestamp": "1795600000"}]


@pytest.mark.parametrize("empty", [{}, {"wa_id": ""}, {"wa_id": "", "user_id": ""}])
@pytest.mark.parametrize("own", [{"from": CONTACT}, {"from": "", "from_user_id": ANA}])
def test_field_report_2_the_only_contact_without_any_id_names_the_writer(
    own: dict[str, str], empty: dict[str, str]
) -> None:
    contact = {"profile": {"name": "Ana", "username": "@ana"}, **empty}

    (alone,) = contacts_in(events_of({"contacts": [contact], "messages": [{"id": "1", **own}]}))
    several = contacts_in(
        events_of({"contacts": [contact], "messages": [{"id": "1", **own}, {"id": "2", "from": "1"}]})
    )

    assert [one["profile"]["name"] for one in alone] == ["Ana"]
    assert not any(one["profile"]["name"] == "Ana" for contacts in several for one in contacts)


def test_only_what_can_be_a_contact_stays_in_memory() -> None:
    """Nobody bounds what an event names its sender by, and a cache of such texts would be gigabytes."""
    before = _key_of_short.cache_info().currsize

    keys = [contact_key(f"{number}" + "A" * MAX_WRITTEN_CHARS) for number in range(3)]

    assert keys[2] == "2" + "A" * MAX_WRITTEN_CHARS
    assert _key_of_short.cache_info().currsize == before


@pytest.mark.parametrize(("wa_id", "public"), [("5215512345678", "525512345678"), ("5491123456789", "541123456789")])
def test_memories_know_a_mobile_of_mexico_or_argentina_in_both_forms(wa_id: str, public: str) -> None:
    (event,) = events_of({"messages": [{"id": "1", "from": wa_id, "from_user_id": ANA}]})

    assert event.content.facts(PHONE).keys == (wa_id, ANA, public)
    assert Identity.of(public).names == (public, wa_id)


WRITTEN = st.sampled_from(
    ["", "5511988887777", "551188887777", "+55 11 98888-7777", "5511988887777@s.whatsapp.net", "5215512345678",
     "525512345678", "7777", "abc7777", "BR.1", "111@lid"]
)  # fmt: skip
PERSONS = st.builds(Identity, phone=WRITTEN, user_id=WRITTEN, parent_user_id=WRITTEN)


@given(persons=st.lists(PERSONS, max_size=6), wanted=st.lists(PERSONS, min_size=1, max_size=3))
def test_people_are_found_as_they_compare(persons: list[Identity], wanted: list[Identity]) -> None:
    people = People(persons)
    grades = [wanted[0].likeness(one) for one in persons]
    best = max(grades, default=0)

    assert people.most_alike(wanted[0]) == (grades.index(best) if best else None)
    assert people.alike(wanted) == [n for n, one in enumerate(persons) if any(one.likeness(other) for other in wanted)]


@pytest.mark.parametrize("items", ["messages", "groups"])
def test_a_thousand_contacts_beside_a_thousand_items_take_a_moment(items: str) -> None:
    """Each was compared with each: one request held the API for seconds, and one about groups for minutes."""
    contacts: list[dict[str, Any]] = [
        {"wa_id": f"55119{number:08}", "profile": {"name": "x"}} for number in range(1000)
    ]
    listed: list[dict[str, Any]]
    if items == "messages":
        listed = [{"id": f"{number}", "from": f"55119{number:08}"} for number in range(1000)]
    else:
        listed = [{"group_id": "g", "added_participants": contacts[:1] * 20_000}, {"group_id": "h"}]
    change = Change({"contacts": contacts, items: listed}, field=items if items == "groups" else "messages")

    began = time.process_time()
    events = split(PHONE, [change])

    assert time.process_time() - began < 1.5
    assert len(events) == len(listed)
