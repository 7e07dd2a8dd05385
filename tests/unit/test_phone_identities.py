"""Who somebody is in what the connector reports: a LID is no phone, and a group's status is the group's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import (
    CONTACT,
    GROUP,
    PHONE,
    MemoryChats,
    MemoryConnections,
    MemoryIds,
    MemoryPublisher,
    MemorySessions,
    make_session,
    make_webhook,
)
from unoapi.broker.connector_commands import CommandQueue
from unoapi.errors import MessageRejected, SendFailed
from unoapi.models.jobs import AwaitResult, FanOut, ReceiveEvent, now_ms
from unoapi.providers.whatsmeow.commands import commands_for
from unoapi.providers.whatsmeow.events import overdue, receive
from unoapi.providers.whatsmeow.provider import WhatsmeowProvider
from unoapi.services.message_parsing import parse_message
from unoapi.services.webhooks import fan_out

if TYPE_CHECKING:
    from unoapi.models.session import Session

LID = "777@lid"
GROUP_CHAT = {"jid": GROUP, "kind": "group"}
MEMBER = {"jid": LID, "kind": "user", "lid": LID}
PERSON = {"jid": f"{CONTACT}@s.whatsapp.net", "kind": "user", "phone": CONTACT, "push_name": "Ana", "lid": LID}
OWN = {"jid": f"{PHONE}@s.whatsapp.net", "kind": "user", "phone": PHONE}
SESSION = make_session(ignoreOwnMessages=False, ignoreGroupMessages=False)
TEXT = {"id": "3EB0AA", "timestamp_ms": 1_795_600_000_000, "content": {"kind": "text", "body": "um"}}
DAY_S = 86_400


def received(
    kind: str, data: dict[str, Any], *, session: Session = SESSION, ids: MemoryIds | None = None
) -> list[FanOut]:
    event = {"version": 1, "type": kind, "event_id": "e-1", "session": PHONE, "occurred_at": "now", "data": data}
    job = ReceiveEvent(id="e-1", phone=PHONE, event=event, accepted_at_ms=now_ms() - 60_000)
    events, _ = receive(job, ids=ids or MemoryIds(), sessions=MemorySessions(session))
    return [event for event in events if isinstance(event, FanOut)]


def value_of(job: FanOut) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(job.body)["entry"][0]["changes"][0]["value"]
    return value


def status_of(kind: str, data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    (job,) = received(kind, data)
    value = value_of(job)
    return value["statuses"][0], value["contacts"][0]


def test_field_report_7_the_same_message_with_a_lid_and_with_a_phone_is_one_event() -> None:
    (first,) = received("message", {**TEXT, "chat": MEMBER, "sender": MEMBER})
    (second,) = received("message", {**TEXT, "chat": PERSON, "sender": PERSON})
    (without,) = received("message", {**TEXT, "chat": {**PERSON, "lid": ""}, "sender": {**PERSON, "lid": ""}})

    assert first.id == second.id == without.id


def test_the_same_words_in_a_group_and_in_person_are_two_events() -> None:
    (in_person,) = received("message", {**TEXT, "chat": PERSON, "sender": PERSON})
    (in_group,) = received("message", {**TEXT, "chat": GROUP_CHAT, "sender": PERSON})
    (own,) = received("message", {**TEXT, "chat": PERSON, "sender": OWN, "from_me": True})

    assert len({in_person.id, in_group.id, own.id}) == 3


@pytest.mark.parametrize(
    ("member", "told", "contact"),
    [
        (MEMBER, {"recipient_participant_user_id": LID}, ("", LID)),
        (PERSON, {"recipient_participant_id": CONTACT, "recipient_participant_user_id": LID}, (CONTACT, LID)),
        (LID, {"recipient_participant_user_id": LID}, ("", LID)),
        (
            f"{CONTACT}@s.whatsapp.net",
            {"recipient_participant_id": CONTACT, "recipient_participant_user_id": CONTACT},
            (CONTACT, CONTACT),
        ),
    ],
)
@pytest.mark.parametrize("chat", [GROUP_CHAT, GROUP])
def test_field_report_8_a_receipt_in_a_group_is_the_groups(
    chat: object, member: object, told: dict[str, str], contact: tuple[str, str]
) -> None:
    receipt = {"status": "read", "ids": ["3EB0X1"], "chat": chat, "participant": member, "timestamp": 1_795_600_000}

    status, described = status_of("receipt", receipt)

    assert status == {
        "id": "3EB0X1", "status": "read", "timestamp": "1795600000", "recipient_id": GROUP, "recipient_type": "group",
        **told,
    }  # fmt: skip
    assert (described["wa_id"], described["user_id"]) == contact
    assert status["recipient_participant_user_id"] == described["user_id"]  # by which pywa finds the contact


@pytest.mark.parametrize("chat", [MEMBER, LID])
def test_field_report_8_a_receipt_of_a_lid_names_no_phone(chat: object) -> None:
    status, contact = status_of("receipt", {"status": "read", "ids": ["3EB0X1"], "chat": chat, "timestamp": 1})

    assert (status["recipient_id"], status["recipient_user_id"]) == ("", LID)
    assert contact == {"profile": {"name": LID}, "wa_id": "", "user_id": LID}


@pytest.mark.parametrize("result", [{"status": "sent"}, {"status": "failed"}, {"status": "ambiguous"}])
def test_field_report_8_the_result_of_a_send_to_a_lid_names_no_phone(result: dict[str, Any]) -> None:
    status, contact = status_of("send_result", {"command_id": "wamid.1", "to": LID, **result})

    assert (status["recipient_id"], status["recipient_user_id"]) == ("", LID)
    assert (contact["wa_id"], contact["user_id"]) == ("", LID)


def test_field_report_8_a_message_that_nobody_sent_names_the_group_or_the_lid() -> None:
    class Connections:
        def is_served(self, phone: str) -> bool:  # noqa: ARG002 (the port's)
            return False

        def give_up(self, phone: str, command_id: str) -> bool:  # noqa: ARG002 (the port's)
            return True

    ids = MemoryIds()

    def told(recipient: str) -> dict[str, Any]:
        job = AwaitResult(id="a", phone=PHONE, message_id="wamid.1", recipient=recipient)
        event = overdue(job, ids=ids, sessions=MemorySessions(SESSION), connections=Connections())  # type: ignore[arg-type]
        assert event is not None
        (status,) = value_of(event)["statuses"]
        return dict(status)

    assert told(LID)["recipient_user_id"] == LID
    assert told(GROUP)["recipient_type"] == "group"


def test_field_report_8_a_deletion_in_a_group_is_the_groups() -> None:
    gone = {"kind": "revoke", "target_id": "3EB0BB"}

    status, _ = status_of("message", {**TEXT, "content": gone, "chat": GROUP_CHAT, "sender": PERSON})

    assert (status["recipient_id"], status["recipient_type"]) == (GROUP, "group")
    assert status["recipient_participant_id"] == CONTACT


@pytest.mark.parametrize("cloud_format", [False, True])
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("receipt", {"status": "read", "ids": ["1"], "chat": GROUP_CHAT, "participant": MEMBER}),
        ("message", {**TEXT, "content": {"kind": "revoke", "target_id": "2"}, "chat": GROUP_CHAT, "sender": PERSON}),
        ("send_result", {"command_id": "wamid.1", "to": GROUP, "status": "sent"}),
    ],
)
def test_field_report_8_a_webhook_without_groups_gets_no_status_of_them(
    kind: str, data: dict[str, Any], cloud_format: bool
) -> None:
    session = make_session(
        make_webhook(sendGroupMessages=False), ignoreGroupMessages=False, groupMessagesCloudFormat=cloud_format
    )

    (job,) = received(kind, data, session=session)

    assert fan_out(job, sessions=MemorySessions(session), max_age_s=DAY_S).filtered == ["default"]


def test_field_report_2_a_call_of_a_lid_tells_the_lid() -> None:
    session = make_session(message_calls_webhook="ligou")

    (job,) = received("call", {"id": "C1", "from": {"jid": LID, "lid": LID}, "phase": "offer"}, session=session)

    value = value_of(job)
    assert (value["messages"][0]["from"], value["messages"][0]["from_user_id"]) == ("", LID)
    assert value["contacts"] == [{"profile": {"name": LID}, "wa_id": "", "user_id": LID}]


@pytest.mark.parametrize(
    ("lid", "author"),
    [("888@lid", {"from": "", "from_user_id": "888@lid"}), (LID, {"from": CONTACT, "from_user_id": LID})],
    ids=["somebody's", "the writer's own"],
)
def test_an_answer_to_the_words_of_a_lid_names_no_phone_but_the_writers_own(lid: str, author: dict[str, str]) -> None:
    (job,) = received("message", {**TEXT, "chat": PERSON, "sender": PERSON, "context": {"id": "X", "participant": lid}})

    assert value_of(job)["messages"][0]["context"] == {**author, "message_id": "X", "id": "X"}


@pytest.mark.parametrize(
    ("chat", "to"),
    [
        (GROUP_CHAT, {"to": GROUP}),
        (PERSON, {"to": CONTACT, "to_user_id": LID}),
        (MEMBER, {"to": "", "to_user_id": LID}),
        ({"jid": "867051314767696@bot", "kind": "user"}, {"to": "867051314767696@bot"}),
    ],
    ids=["group", "person", "lid", "no person"],
)
def test_field_report_98s_an_echo_goes_to_whom_it_went(chat: dict[str, str], to: dict[str, str]) -> None:
    session = make_session(outgoingMessagesCoex=True, ignoreOwnMessages=False, ignoreGroupMessages=False)

    (job,) = received("message", {**TEXT, "chat": chat, "sender": OWN, "from_me": True}, session=session)

    value = value_of(job)
    (echo,) = value["message_echoes"]
    assert {name: echo[name] for name in ("to", "to_user_id") if name in echo} == to
    assert echo["from"] == PHONE
    assert value["contacts"][0]["user_id"]


# --- the client's own mark ---


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        ("send_result", {"command_id": "wamid.1", "to": CONTACT, "status": "sent", "wa_id": "3EB0AA"}, "sent"),
        ("send_result", {"command_id": "wamid.1", "to": CONTACT, "status": "failed"}, "failed"),
        ("send_result", {"command_id": "wamid.1", "to": CONTACT, "status": "ambiguous"}, "failed"),
        ("receipt", {"status": "delivered", "ids": ["3EB0AA"], "chat": PERSON}, "delivered"),
        ("receipt", {"status": "read", "ids": ["3EB0XX", "3EB0AA"], "chat": PERSON}, "read"),
    ],
)
def test_field_report_103_the_clients_mark_comes_back(kind: str, data: dict[str, Any], status: str) -> None:
    ids = MemoryIds()
    ids.remember(PHONE, theirs="3EB0AA", ours="wamid.1")
    ids.remember_mark(PHONE, "wamid.1", "order-1")

    jobs = received(kind, data, ids=ids)

    told = {job.message_id: value_of(job)["statuses"][0] for job in jobs}
    assert told["wamid.1"]["status"] == status
    assert told["wamid.1"]["biz_opaque_callback_data"] == "order-1"
    assert all("biz_opaque_callback_data" not in one for name, one in told.items() if name != "wamid.1")


def test_field_report_103_a_message_without_a_result_has_its_mark_too() -> None:
    ids, connections = MemoryIds(), MemoryConnections()
    ids.remember_mark(PHONE, "wamid.1", "order-1")
    connections.expect(PHONE, "wamid.1", within_s=1)
    job = AwaitResult(id="a", phone=PHONE, message_id="wamid.1", recipient=CONTACT)

    event = overdue(job, ids=ids, sessions=MemorySessions(SESSION), connections=connections)

    assert event is not None
    assert value_of(event)["statuses"][0]["biz_opaque_callback_data"] == "order-1"


def test_field_report_103_the_provider_remembers_the_mark() -> None:
    ids = MemoryIds()
    provider = WhatsmeowProvider(
        commands=CommandQueue(MemoryPublisher()), connections=MemoryConnections(), chats=MemoryChats(), ids=ids,
        sessions=MemorySessions(SESSION), rendered=lambda message, _: message, max_age_s=60,
    )  # fmt: skip
    text = {"to": CONTACT, "type": "text", "text": {"body": "oi"}}

    provider.send(parse_message({**text, "biz_opaque_callback_data": "order-1"}), phone=PHONE, message_id="wamid.1")
    provider.send(parse_message(text), phone=PHONE, message_id="wamid.2")

    assert ids.marks(PHONE, ["wamid.1", "wamid.2"]) == {"wamid.1": "order-1"}


@pytest.mark.parametrize("kind", ["text", "reaction"])
def test_field_report_5_nothing_is_sent_to_an_empty_address(kind: str) -> None:
    content = {"text": {"body": "oi"}, "reaction": {"message_id": "3EB0AA", "emoji": "👍"}}[kind]
    message = parse_message({"recipient": "BR.123", "type": kind, kind: content})

    with pytest.raises(MessageRejected) as caught:
        commands_for(message, message_id="wamid.1", session=SESSION, keys=lambda _: None, until_ms=1)

    assert caught.value.code == 131062


def test_field_report_98s_what_the_number_wrote_in_a_group_is_its_own_though_whatsapp_names_its_lid() -> None:
    data = {"chat": GROUP_CHAT, "sender": MEMBER, "from_me": True, "timestamp_ms": 1_795_600_000_000}

    (job,) = received("message", {**TEXT, **data})
    status, _ = status_of("message", {"id": "3EB0BB", **data, "content": {"kind": "revoke", "target_id": "3EB0AA"}})

    contact = value_of(job)["contacts"][0]
    assert (contact["wa_id"], contact["user_id"]) == (PHONE, LID)
    assert (status["recipient_participant_id"], status["recipient_participant_user_id"]) == (PHONE, LID)


def test_nothing_waits_for_a_message_that_could_not_be_queued() -> None:
    publisher, connections = MemoryPublisher(), MemoryConnections()
    provider = WhatsmeowProvider(
        commands=CommandQueue(publisher), connections=connections, chats=MemoryChats(), ids=MemoryIds(),
        sessions=MemorySessions(SESSION), rendered=lambda message, _: message, max_age_s=60,
    )  # fmt: skip
    publisher.away = True

    with pytest.raises(SendFailed):
        provider.send(parse_message({"to": CONTACT, "text": {"body": "oi"}}), phone=PHONE, message_id="wamid.1")

    assert not connections.is_awaited(PHONE, "wamid.1")


BY_PHONE = {"jid": f"{CONTACT}@s.whatsapp.net", "kind": "user", "phone": CONTACT}
BY_LID = {"jid": LID, "kind": "user", "lid": LID}


@pytest.mark.parametrize(
    ("chat", "sender"),
    [
        ({**BY_PHONE, "push_name": "Ana"}, BY_LID),
        ({**BY_LID, "push_name": "Ana"}, BY_PHONE),
        ({**BY_LID, "phone": CONTACT}, {**BY_LID, "push_name": "Ana"}),
        ({**BY_LID, "phone": CONTACT, "push_name": "Ana"}, {}),
    ],
    ids=["chat has the phone", "sender has the phone", "chat has both", "no sender"],
)
@pytest.mark.parametrize("kind", ["message", "undecryptable"])
def test_in_a_talk_of_two_the_chat_and_who_writes_are_one_person(
    kind: str, chat: dict[str, Any], sender: dict[str, Any]
) -> None:
    content = {**TEXT, "chat": chat, "sender": sender}
    data = {**content, "content": {"kind": "text", "body": "um"}} if kind == "message" else content

    (job,) = received(kind, data)

    value = value_of(job)
    assert value["contacts"] == [{"profile": {"name": "Ana"}, "wa_id": CONTACT, "user_id": LID}]
    assert (value["messages"][0]["from"], value["messages"][0]["from_user_id"]) == (CONTACT, LID)


@pytest.mark.parametrize("coexistence", [True, False])
def test_what_the_number_writes_to_itself_under_its_lid_has_its_phone(*, coexistence: bool) -> None:
    own = {**OWN, "lid": "999@lid"}
    options = {"ignoreOwnMessages": False, "outgoingMessagesCoex": coexistence}
    note = {**TEXT, "chat": {"jid": "999@lid", "kind": "user"}, "sender": own, "from_me": True}

    (job,) = received("message", note, session=make_session(**options))

    assert value_of(job)["contacts"][0]["wa_id"] == PHONE
    assert received("message", note, session=make_session(**options, ignoreYourselfMessages=True)) == []


def test_a_receipt_in_a_talk_of_two_has_the_phone_of_its_chat() -> None:
    ids = MemoryIds()
    ids.remember_ours(PHONE, theirs="3EB0X1", ours="wamid.1")

    (job,) = received(
        "receipt", {"status": "read", "ids": ["3EB0X1"], "chat": BY_PHONE, "participant": BY_LID}, ids=ids
    )

    status = value_of(job)["statuses"][0]
    assert (status["recipient_id"], status["recipient_user_id"]) == (CONTACT, LID)


def test_what_an_engine_leaves_null_is_not_there_and_a_phone_may_be_a_number() -> None:
    person = {**PERSON, "phone": int(CONTACT), "push_name": None, "lid": None, "device": None}
    context = {"id": "3EB0Q", "participant": None, "mentions": None, "referral": None}
    place = {"kind": "location", "latitude": -23.5, "longitude": -46.6, "name": None}

    (job,) = received(
        "message",
        {**TEXT, "chat": person, "sender": person, "from_me": None, "context": context, "content": place},
    )

    value = value_of(job)
    assert value["contacts"][0]["wa_id"] == CONTACT
    assert (value["messages"][0]["type"], value["messages"][0]["context"]["id"]) == ("location", "3EB0Q")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"kind": "text", "body": 2}, {"type": "text", "text": {"body": "2"}}),
        ({"kind": "button_reply", "id": 2, "title": 15.5},
         {"type": "interactive",
          "interactive": {"type": "button_reply", "button_reply": {"id": "2", "title": "15.5"}}}),
    ],
)  # fmt: skip
def test_words_that_an_engine_writes_as_a_number_are_words(content: dict[str, Any], told: dict[str, Any]) -> None:
    (job,) = received("message", {**TEXT, "chat": PERSON, "sender": PERSON, "content": content})

    message = value_of(job)["messages"][0]
    assert {name: message[name] for name in told} == told
