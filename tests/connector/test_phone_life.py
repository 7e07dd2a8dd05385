"""What a connected phone goes through: messages it cannot read, refusals, deletions, campaigns, mentions."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.pocket import CHAT, Pocket
from tests.connector.test_command_handler import Session, command
from tests.support.fakes import CONTACT, GROUP, PHONE, MemoryConnections, MemoryIds, MemorySessions, make_session
from unoapi.connector.convert.events import convert_event
from unoapi.connector.engines import library_store
from unoapi.connector.engines.base import Exit
from unoapi.connector.engines.simulated import NEW_CHATS_REFUSED
from unoapi.connector.engines.whatsmeow_errors import classify_connection_error
from unoapi.connector.session_folder import SessionFolder
from unoapi.errors import NoConnector, Postponed
from unoapi.models.connector.events import STATUS_WORDS, SessionState
from unoapi.models.jobs import AwaitResult, now_ms
from unoapi.providers.whatsmeow import session_notices
from unoapi.providers.whatsmeow.events import overdue

if TYPE_CHECKING:
    from pathlib import Path

    from unoapi.models.connector.commands import ConnectorCommand

LOST = {"id": "3EB0AA", "chat": CHAT, "sender": CHAT, "timestamp_ms": 1_795_600_000_000}
TEXT: dict[str, Any] = {"type": "text", "text": {"body": "oi"}}


# --- messages that cannot be read: field reports 16, 17, 18 ---


def test_field_report_16_a_message_that_becomes_readable_is_told_once_with_its_words(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.reports("undecryptable", **LOST)
    pocket.receives({"kind": "text", "body": "quero comprar"}, "3EB0AA", retry_count=1)

    pocket.pass_time(60)

    (message,) = pocket.messages()
    assert (message["id"], message["text"]["body"]) == ("3EB0AA", "quero comprar")


def test_field_report_16_what_stays_unreadable_is_told_under_an_id_of_its_own(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.reports("undecryptable", **LOST)
    assert pocket.messages() == []

    pocket.pass_time(31)
    late = pocket.receives({"kind": "text", "body": "quero comprar"}, "3EB0AA", retry_count=1)

    placeholder = pocket.messages()[0]
    assert (placeholder["type"], placeholder["errors"][0]["code"]) == ("unsupported", 131060)
    assert placeholder["id"] != "3EB0AA"
    assert (late["id"], late["text"]["body"]) == ("3EB0AA", "quero comprar")


def test_field_report_16_an_answer_to_the_placeholder_answers_to_the_message(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.reports("undecryptable", **LOST)
    pocket.pass_time(31)

    left = pocket.send(**TEXT, context={"message_id": pocket.messages()[0]["id"]})

    assert left["extendedTextMessage"]["contextInfo"]["stanzaID"] == "3EB0AA"


@pytest.mark.parametrize(
    ("content", "context", "named"),
    [
        ({"kind": "revoke", "target_id": "3EB0AA"}, None, lambda value: value["statuses"][0]["id"]),
        ({"kind": "reaction", "target_id": "3EB0AA", "emoji": "x"}, None,
         lambda value: value["messages"][0]["reaction"]["message_id"]),
        ({"kind": "edit", "target_id": "3EB0AA", "content": {"kind": "text", "body": "x"}}, None,
         lambda value: value["messages"][0]["context"]["id"]),
        ({"kind": "text", "body": "x"}, {"id": "3EB0AA", "participant": CHAT["jid"]},
         lambda value: value["messages"][0]["context"]["id"]),
    ],
    ids=["a deletion", "a reaction", "an edit", "an answer"],
)  # fmt: skip
@pytest.mark.parametrize("readable", [False, True])
def test_field_report_16_what_is_about_a_message_that_cannot_be_read_names_what_was_told_of_it(
    tmp_path: Path, content: dict[str, Any], context: dict[str, Any] | None, named: Any, *, readable: bool
) -> None:
    pocket = Pocket(tmp_path)
    pocket.reports("undecryptable", **LOST)
    pocket.pass_time(31)
    placeholder = pocket.messages()[0]["id"]
    if readable:
        pocket.receives({"kind": "text", "body": "quero comprar"}, "3EB0AA", retry_count=1)

    pocket.receives(content, "3EB0BB", context=context)

    assert named(pocket.events[-1]) == ("3EB0AA" if readable else placeholder)
    answer = pocket.send(**TEXT, context={"message_id": "3EB0BB"})["extendedTextMessage"]["contextInfo"]["stanzaID"]
    assert answer == ("3EB0BB" if content["kind"] in ("text", "revoke") else "3EB0AA")
    if context is not None:
        assert pocket.messages()[-1]["context"]["from"] == CONTACT


@pytest.mark.parametrize("kind", ["message", "undecryptable"])
def test_field_report_17_what_only_the_phone_can_show_is_asked_for_and_then_told(tmp_path: Path, kind: str) -> None:
    pocket = Pocket(tmp_path)
    more = {"content": {"kind": "protocol", "name": "placeholdermessage"}}
    pocket.reports(kind, **LOST, **(more if kind == "message" else {"unavailable": True}))

    asked = [line for line in pocket.written() if "requested" in line]
    assert [(line["requested"], line["chat"]) for line in asked] == [("3EB0AA", CHAT["jid"])]
    pocket.pass_time(60)
    assert pocket.messages() == []
    pocket.pass_time(121)

    (message,) = pocket.messages()
    assert (message["type"], message["errors"][0]["code"]) == ("unsupported", 131060)
    assert message["from"] == CONTACT


def test_field_report_17_what_the_phone_then_sends_is_an_ordinary_message(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.reports("message", **LOST, content={"kind": "protocol", "name": "placeholdermessage"})
    pocket.receives({"kind": "text", "body": "vi o anúncio"}, "3EB0AA")

    pocket.pass_time(200)

    assert [message["text"]["body"] for message in pocket.messages()] == ["vi o anúncio"]


@pytest.mark.parametrize("kind", ["image", "video", "audio"])
def test_field_report_18_a_file_for_a_single_view_says_so(tmp_path: Path, kind: str) -> None:
    content = {"kind": kind, "media": {"state": "ready", "key": "1"}}

    flagged = Pocket(tmp_path / "1").receives(content, view_once=True)
    marked = Pocket(tmp_path / "2").receives({**content, "view_once": True})

    assert flagged[kind]["view_once"] is True
    assert marked[kind]["view_once"] is True


def test_field_report_18_an_unavailable_view_once_message_says_so(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.reports("undecryptable", **LOST, unavailable=True, view_once=True)
    pocket.pass_time(200)

    (message,) = pocket.messages()
    assert message["unsupported"] == {"type": "view_once"}
    assert "single view" in message["errors"][0]["error_data"]["details"]


# --- the refusal of new chats: field report 93 ---


def test_field_report_93_after_one_refusal_new_chats_fail_at_once_and_known_ones_go_on(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.receives({"kind": "text", "body": "oi"})

    for number in range(20):
        pocket.send(f"wamid.{number}", to=f"{NEW_CHATS_REFUSED}{number:02}", **TEXT)
    pocket.send("wamid.KNOWN", **TEXT)

    assert len([line for line in pocket.written() if "refused" in line]) == 1
    failed = [pocket.statuses(f"wamid.{number}")[0]["errors"][0] for number in range(20)]
    assert {error["code"] for error in failed} == {131049}
    assert "until about" in failed[5]["error_data"]["details"]
    assert pocket.statuses("wamid.KNOWN")[0]["status"] == "sent"
    (state,) = [state for state in pocket.states() if state["state"] == "restricted"]
    assert state["until"] > now_ms() // 1000


def test_field_report_93_the_notice_says_until_when() -> None:
    text = session_notices.text_of(SessionState(state="restricted", until=1_795_600_000), session=make_session())

    assert text is not None
    assert "nobody new" in text
    assert "Until 2026-11-25 09:46 UTC." in text


def test_field_report_93_a_new_chat_that_is_taken_ends_the_restriction(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.1", to=f"{NEW_CHATS_REFUSED}01", **TEXT)
    pocket.outbox.note("restricted_until", 1)  # its time is over

    pocket.send("wamid.2", **TEXT)

    assert pocket.statuses("wamid.2")[0]["status"] == "sent"
    assert [state["state"] for state in pocket.states()] == ["restricted", "connected"]


def test_field_report_93_a_number_that_connects_again_is_restricted_still_and_is_told_so_once(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.1", to=f"{NEW_CHATS_REFUSED}01", **TEXT)
    pocket.reports("session", state="disconnected")

    pocket.reports("session", state="connected", jid=f"{PHONE}:1@s.whatsapp.net")

    first, _, again = pocket.states()
    assert (again["state"], again["until"], again["jid"]) == ("restricted", first["until"], f"{PHONE}:1@s.whatsapp.net")
    assert pocket.connections.details(PHONE)["state"]["state"] == "restricted"
    assert len([notice for notice in pocket.messages() if "nobody new" in notice["text"]["body"]]) == 1


def test_field_report_93_a_restriction_whose_time_is_over_is_no_state(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.1", to=f"{NEW_CHATS_REFUSED}01", **TEXT)
    pocket.outbox.note("restricted_until", int(time.time()) - 1)

    pocket.reports("session", state="connected")

    assert [state["state"] for state in pocket.states()] == ["restricted", "connected"]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({}, "it was not connected yet: scan its QR code"),
        ({"state": "logged_out", "reason": "the phone removed this device"}, "scan a new QR code"),
        ({"state": "banned"}, "WhatsApp has banned the number"),
        ({"state": "stopped"}, "it was disconnected: connect it"),
        ({"state": "qr"}, "its QR code is not scanned yet"),
    ],
)
def test_a_message_that_waits_for_its_phone_says_why(tmp_path: Path, state: dict[str, Any], why: str) -> None:
    pocket = Pocket(tmp_path)
    if state:
        pocket.reports("session", **state)

    with pytest.raises(NoConnector) as waiting:
        pocket.provider.ready(PHONE)

    assert f"{waiting.value}".startswith(f"no connector is connected for {PHONE}: ")
    assert why in f"{waiting.value}"
    assert state.get("reason", "") in f"{waiting.value}"


@pytest.mark.parametrize(
    ("auto_connect", "asked"), [(False, [{"method": "resume", "phone": "", "wake": True}]), (True, [])]
)
def test_a_message_asks_for_the_connection_of_a_number_that_does_not_connect_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, auto_connect: bool, asked: list[dict[str, Any]]
) -> None:
    pocket = Pocket(tmp_path, autoConnect=auto_connect)
    commands: list[ConnectorCommand] = []
    monkeypatch.setattr(pocket, "put", commands.extend)

    for _ in range(3):  # many messages wait, and each looks again and again
        with pytest.raises(NoConnector):
            pocket.provider.ready(PHONE)

    assert [command.data for command in commands] == asked


def test_every_state_without_a_connection_has_words() -> None:
    away = {state for state, word in STATUS_WORDS.items() if word != "online"} - {"starting", "connecting"}

    assert session_notices.ABSENCES.keys() == away | {""}


def test_a_number_writes_first_to_so_many_a_day_and_answers_all(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.handler._new_chats_per_day = 2
    other = {**CHAT, "jid": "5521988880009@s.whatsapp.net", "phone": "5521988880009"}
    pocket.receives({"kind": "text", "body": "oi"}, chat=other)

    for number in range(4):
        pocket.send(f"wamid.{number}", to=f"552198888000{number}", **TEXT)
    pocket.send("wamid.AGAIN", to="5521988880000", **TEXT)
    pocket.send("wamid.ANSWER", to="5521988880009", **TEXT)

    sent = [pocket.statuses(f"wamid.{name}")[0]["status"] for name in (0, 1, 2, 3, "AGAIN", "ANSWER")]
    assert sent == ["sent", "sent", "failed", "failed", "sent", "sent"]
    assert pocket.states() == [], "that is no refusal of WhatsApp's"


def test_a_group_is_no_new_chat(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.1", to=f"{NEW_CHATS_REFUSED}01", **TEXT)

    assert pocket.send("wamid.2", to=GROUP, **TEXT) == {"conversation": "oi"}


# --- deletions, refused calls ---


def test_a_deletion_is_told_as_the_deletion_of_its_message(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path)
    pocket.send("wamid.OUT", **TEXT)

    pocket.mark(status="deleted", message_id="wamid.OUT")

    every = [status for value in pocket.events for status in value.get("statuses", [])]
    assert [(status["id"], status["status"]) for status in every] == [("wamid.OUT", "sent"), ("wamid.OUT", "deleted")]


def test_the_text_of_a_refused_call_makes_no_status(tmp_path: Path) -> None:
    pocket = Pocket(tmp_path, rejectCalls="Write, please")
    pocket.reports("call", id="C1", phase="offer", **{"from": CHAT})

    assert [line["message"] for line in pocket.sent()] == [{"conversation": "Write, please"}]
    assert pocket.events == []


# --- mentions ---


@pytest.mark.parametrize("more", [{"mentions": ["5549988887777"]}, {}], ids=["field", "text"])
def test_a_mention_stands_in_the_text_as_whatsapp_knows_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """An account from before the ninth digit: what differs from the mention is not marked."""
    pocket = Pocket(tmp_path)
    monkeypatch.setattr(pocket.engine, "resolve", lambda to: to if "@" in to else "554988887777@s.whatsapp.net")

    left = pocket.send(to=GROUP, type="text", text={"body": "Hello @5549988887777, and mail a@5511.com"}, **more)

    part = left["extendedTextMessage"]
    assert part["contextInfo"]["mentionedJID"] == ["554988887777@s.whatsapp.net"]
    assert part["text"] == "Hello @554988887777, and mail a@5511.com"


# --- a campaign takes its time ---


def test_what_only_stood_behind_others_has_not_expired(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.handle(command_id="c-1")
    session.handle(command_id="c-2", expires_at=now_ms() - 60_000)

    assert session.results() == [("c-1", "sent"), ("c-2", "sent")]


def test_after_a_restart_the_queue_goes_on_where_it_was(tmp_path: Path) -> None:
    Session(tmp_path).handle(command_id="c-1")
    session = Session(tmp_path)

    session.handle(command_id="c-2", expires_at=now_ms() - 60_000)

    assert session.results()[-1] == ("c-2", "sent")


def test_the_wait_for_a_result_goes_on_while_the_queue_is_worked_off() -> None:
    connections = MemoryConnections()
    connections.expect(PHONE, "wamid.1", within_s=600)
    connections.record(PHONE, SessionState(state="connected"), at_ms=now_ms() - 3_600_000, seq=1)
    connections.leased.add(PHONE)
    job = AwaitResult(id="a", phone=PHONE, message_id="wamid.1", recipient=CONTACT, accepted_at_ms=now_ms() - 700_000)
    sessions = MemorySessions(make_session())

    with pytest.raises(Postponed):
        overdue(job, ids=MemoryIds(), sessions=sessions, connections=connections)
    connections.leased.clear()

    assert overdue(job, ids=MemoryIds(), sessions=sessions, connections=connections) is not None


def test_a_command_of_an_offline_phone_expires_as_before(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.engine._connected = False
    session.handler.handle(command(expires_at=now_ms() - 1).model_dump_json())

    assert session.results() == [("c-1", "failed")]


# --- linking and logins ---


def test_field_report_95s_nobody_scanned_the_code_is_told_as_such() -> None:
    change = SessionState(state="not_scanned", reason="nobody scanned a code in time")

    text = session_notices.text_of(change, session=make_session())

    assert text is not None
    assert text.startswith("Nobody scanned the code in time")
    assert "removed this device" not in text


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        (SessionState(state="logged_out", reason="logged out"), "This device is not linked to the phone any more."),
        (SessionState(state="banned", reason="for good"), "WhatsApp has banned this number. (for good)"),
        (SessionState(state="banned", until=1_767_225_600_000), "WhatsApp has banned this number."),
        (SessionState(state="banned", until=-1), "WhatsApp has banned this number."),
        (
            SessionState(state="banned", until=1767225600),
            "WhatsApp has banned this number. Until 2026-01-01 00:00 UTC.",
        ),
    ],
)
def test_a_notice_says_no_more_of_an_end_than_is_known(change: SessionState, begins: str) -> None:
    """Not that the phone removed a device that was logged out here, nor that a ban for good is one for a while."""
    text = session_notices.text_of(change, session=make_session())

    assert text is not None
    assert text.startswith(begins)


def test_a_login_that_the_library_has_lost_is_seen_before_the_library_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "whatsapp.db"
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE whatsmeow_device (jid TEXT)")
        file.execute("INSERT INTO whatsmeow_device VALUES ('5511:1@s.whatsapp.net')")
        file.execute("CREATE TABLE whatsmeow_lid_map (lid TEXT, pn TEXT)")
        file.execute("INSERT INTO whatsmeow_lid_map VALUES ('111', '5511988880001')")
        file.commit()

    library_store.let_readers_in(path)

    assert library_store.has_device(path, "5511:1@s.whatsapp.net")
    assert not library_store.has_device(path, "5511:2@s.whatsapp.net")
    assert not library_store.has_device(tmp_path / "none.db", "5511:1@s.whatsapp.net")
    assert library_store.phone_of(path, "111@lid") == "5511988880001"
    assert library_store.phone_of(path, "222@lid") == ""


def test_the_phone_of_a_lid_is_the_one_that_the_library_has_noted() -> None:
    jid = {"User": "111", "Server": "lid"}
    source = {"Chat": jid, "Sender": jid, "IsFromMe": False}
    receipt = {"Type": "READ", "MessageIDs": ["3EB0"], "MessageSource": source, "Timestamp": 1}
    message = {"Info": {"ID": "3EB0", "MessageSource": source}, "Message": {"conversation": "oi"}}

    (told,) = convert_event("Receipt", {**receipt, **source}, phone_of={"111@lid": "5511988880001"}.__getitem__)
    (written,) = convert_event("Message", message, phone_of={"111@lid": "5511988880001"}.__getitem__)

    assert told.data["chat"]["phone"] == "5511988880001"
    assert (written.data["sender"]["phone"], written.data["sender"]["lid"]) == ("5511988880001", "111@lid")


@pytest.mark.parametrize("phone", ["5549988887777", "554988887777"])
def test_a_received_mention_is_named_by_its_phone(phone: str) -> None:
    jid = {"User": "5511988880001", "Server": "s.whatsapp.net"}
    info = {"ID": "3EB0", "MessageSource": {"Chat": jid, "Sender": jid}}
    mentioned = ["24788516941@lid", "5511@lid", f"{phone}@s.whatsapp.net"]
    part = {"text": f"ask @24788516941, @{phone} and @5511", "contextInfo": {"mentionedJID": mentioned}}
    known = {"24788516941@lid": phone}

    (written,) = convert_event(
        "Message", {"Info": info, "Message": {"extendedTextMessage": part}}, phone_of=lambda lid: known.get(lid, "")
    )

    assert written.data["content"]["body"] == "ask @5549988887777, @5549988887777 and @5511"


@pytest.mark.parametrize("own", ["5549988887777", "554988887777"])
def test_a_mention_of_the_number_itself_is_named_as_its_session_names_it(own: str) -> None:
    jid = {"User": "5511988880001", "Server": "s.whatsapp.net"}
    info = {"ID": "3EB0", "MessageSource": {"Chat": jid, "Sender": jid}}
    mentioned = ["24788516941@lid", "554988887777@s.whatsapp.net"]
    part = {"text": "ask @24788516941 or @554988887777", "contextInfo": {"mentionedJID": mentioned}}

    (written,) = convert_event(
        "Message",
        {"Info": info, "Message": {"extendedTextMessage": part}},
        phone_of=lambda _: "554988887777",
        own=own,
    )

    assert written.data["content"]["body"] == f"ask @{own} or @{own}"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("dial tcp: lookup web.whatsapp.com: no such host", Exit.NETWORK),
        ("proto: required field defproto.TemporaryBan.Code not set", Exit.BANNED),
        ("proto: required field defproto.Receipt.Type not set", Exit.NETWORK),
        ("something else", Exit.REFUSED),
    ],
)
def test_a_connection_that_ends_by_itself_says_what_it_was(text: str, code: Exit) -> None:
    ended, reason, lasts_s = classify_connection_error(Exception(text))

    assert ended == code
    assert reason
    assert bool(lasts_s) == (code == Exit.BANNED)


def test_the_end_of_a_ban_survives_the_process(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path, PHONE)
    folder.save_login("1@s.whatsapp.net")
    folder.save_ban(1_795_600_000)
    assert SessionFolder(tmp_path, PHONE).banned_until == 1_795_600_000

    folder.save_ban(0)

    assert SessionFolder(tmp_path, PHONE).banned_until == 0


# --- as WhatsApp speaks today: people by LIDs, messages unreadable at first ---

MODES = [(), ("lids",), ("unreadable_first",), ("lids", "unreadable_first")]
LIST: dict[str, Any] = {
    "type": "list", "body": {"text": "Escolha"},
    "action": {"button": "Ver", "sections": [{"title": "S", "rows": [{"id": "a", "title": "A"}]}]},
}  # fmt: skip


@pytest.mark.parametrize("modes", MODES, ids=lambda modes: "+".join(modes) or "plain")
def test_a_conversation_is_told_alike_however_whatsapp_speaks(tmp_path: Path, modes: tuple[str, ...]) -> None:
    pocket = Pocket(tmp_path, modes=modes)
    pocket.receives({"kind": "text", "body": "oi"}, "3EB01", ephemeral_seconds=86400)
    pocket.send("wamid.MENU", type="interactive", interactive=LIST)
    pocket.receives({"kind": "text", "body": "1"}, "3EB02", ephemeral_seconds=86400)
    left = pocket.send("wamid.ANSWER", **TEXT, context={"message_id": "3EB01"})
    pocket.let_time_pass()
    pocket.pass_time(300)

    first, second = pocket.messages()
    assert [(message["id"], message["from"]) for message in (first, second)] == [("3EB01", CONTACT), ("3EB02", CONTACT)]
    assert second["interactive"]["list_reply"]["id"] == "a"
    assert {contact["wa_id"] for value in pocket.events for contact in value["contacts"]} == {CONTACT}
    answered = pocket.statuses("wamid.ANSWER")
    assert [status["status"] for status in answered] == ["sent", "delivered", "read"]
    assert {status["recipient_id"] for status in answered} == {CONTACT}
    context = left["extendedTextMessage"]["contextInfo"]
    assert (context["quotedMessage"], context["expiration"]) == ({"conversation": "oi"}, 86400)


def test_while_whatsapp_is_silent_a_message_waits(tmp_path: Path) -> None:
    session = Session(tmp_path)
    states: list[Any] = []
    session.engine._carry_out({"do": "silent"}, lambda _, payload: states.append(json.loads(payload)["data"]))
    assert (session.engine.connected, states[0]["state"]) == (False, "disconnected")

    threading.Timer(0.3, session.engine._carry_out, ({"do": "back"}, lambda *_: None)).start()
    session.handle(expires_at=now_ms() + 20_000)

    assert session.results() == [("c-1", "sent")]
