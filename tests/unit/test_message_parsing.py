"""A client's message on its way: typed inside, field by field the same outside."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.fakes import (
    CONTACT,
    PHONE,
    MemoryIds,
    MemorySends,
    MemorySessions,
    ScriptedProvider,
    make_session,
    of_no_line,
)
from unoapi.errors import MessageRejected
from unoapi.models.attempts import History
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import Command, OutboundMessage, Sender, TemplateMessage
from unoapi.models.cloud_api.messages.interactive import Buttons, InteractiveMessage
from unoapi.models.jobs import RunCommand, SendMessage
from unoapi.models.phones import without_ninth_digit
from unoapi.models.strict_json import is_too_deep
from unoapi.providers.cloud_api.translation import with_their_ids
from unoapi.providers.whatsmeow.commands import commands_for
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.message_parsing import command_of, message_of, parse_command, parse_message
from unoapi.services.sending import command, send

STORED: list[str] = json.loads((Path(__file__).parent / "stored_messages.json").read_text("utf-8"))
"""Bodies of jobs as commit 72fe420 wrote them: an example of each type, and liberties of clients."""
OURS, OF_META = f"wamid.{'0A' * 16}", "wamid.HBgNNTU0OTk4ODg4Nzc3NxUCABIYFDNFQjBBQUJCQ0NEREVFRkYwMDExAA=="
MARK = {"status": "read", "message_id": "wamid.X", "typing_indicator": {"type": "text"}, "a_field_of_next_year": [1]}


def job_of(document: dict[str, Any]) -> SendMessage:
    return SendMessage(id="wamid.1", phone=PHONE, message_id="wamid.1", body=serialise(document))


@pytest.mark.parametrize(
    ("quoted", "known", "left"),
    [
        (OURS, "wamid.HBgN", "wamid.HBgN"),
        (OURS, "", None),
        ("UNO.OUT.0191", "", None),
        ("78f8f8f0-9c98-11f0-aa54-c714bee1dcd0", "", None),
        (OF_META, "", OF_META),
    ],
    ids=["known", "forgotten", "of the Node version", "of its fork", "of Meta"],
)
def test_field_report_30_an_answer_to_a_message_that_is_forgotten_leaves_without_its_quote(
    quoted: str, known: str, left: str | None
) -> None:
    ids = MemoryIds()
    if known:
        ids.remember(PHONE, theirs=known, ours=quoted)
    message = {"to": CONTACT, "type": "text", "text": {"body": "x"}, "context": {"message_id": quoted}}

    passed_on = with_their_ids(parse_message(message).to_wire(), phone=PHONE, ids=ids)

    assert passed_on["text"] == {"body": "x"}
    assert passed_on.get("context") == (None if left is None else {"message_id": left})


@pytest.mark.parametrize("body", STORED)
def test_a_job_that_an_older_version_queued_is_sent_as_it_was_accepted(body: str) -> None:
    job = SendMessage(id="wamid.1", phone=PHONE, message_id="wamid.1", body=body)

    message = message_of(job)

    assert message.to_wire() == json.loads(body)
    assert message_of(job_of(message.to_wire())).to_wire() == json.loads(body)


def test_a_provider_gets_the_message_typed() -> None:
    provider, sessions = ScriptedProvider(), MemorySessions(make_session(provider="sandbox"))

    job = job_of({"to": CONTACT, "text": {"body": "hello"}})

    send(
        job, history=History(), sessions=sessions, sends=MemorySends(), turn=of_no_line(job),
        providers={"sandbox": provider}, max_age_s=600, bulkhead=Bulkhead(10),
    )  # fmt: skip
    command(
        RunCommand(id="1", phone=PHONE, body=serialise(MARK)), sessions=sessions, providers={"sandbox": provider},
        max_age_s=600, bulkhead=Bulkhead(10),
    )  # fmt: skip

    message, mark = provider.sent
    assert isinstance(message, OutboundMessage)
    assert isinstance(mark, Command)


def test_what_goes_to_meta_has_the_fields_that_only_meta_knows() -> None:
    message = {"to": CONTACT, "type": "text", "text": {"body": "x", "new": 1}, "a_field_of_next_year": {"a": [None]}}

    passed_on = with_their_ids(parse_message(message).to_wire(), phone=PHONE, ids=MemoryIds())

    assert passed_on == {"messaging_product": "whatsapp", **message}
    assert command_of(RunCommand(id="1", phone=PHONE, body=serialise(MARK))).to_wire() == MARK


@pytest.mark.parametrize(
    "document",
    [
        {"to": CONTACT, "type": "hologram"},
        {"to": CONTACT, "text": {}},
        {"to": CONTACT, "type": "speech"},
        {"to": "Maria", "text": {"body": "secret"}},
    ],
)
def test_a_job_with_what_could_not_be_sent_is_given_up_with_a_code_and_never_claimed(document: dict[str, Any]) -> None:
    sends, provider, job = MemorySends(), ScriptedProvider(), job_of(document)

    with pytest.raises(MessageRejected) as refusal:
        send(
            job, history=History(), sessions=MemorySessions(make_session(provider="sandbox")),
            sends=sends, turn=of_no_line(job), providers={"sandbox": provider}, max_age_s=600, bulkhead=Bulkhead(10),
        )  # fmt: skip

    assert refusal.value.code in (131009, 131051)
    assert "secret" not in refusal.value.details
    assert (sends.claims, provider.sent) == ({}, [])


@pytest.mark.parametrize("trouble", [KeyError("k"), TypeError("t"), AttributeError("a")])
def test_a_bug_of_the_provider_is_no_mistake_of_the_client(trouble: Exception) -> None:
    def keys(_: str) -> None:
        raise trouble

    message = parse_message({"to": CONTACT, "text": {"body": "x"}, "context": {"message_id": "wamid.Q"}})

    with pytest.raises(type(trouble)):
        commands_for(message, message_id="wamid.1", session=make_session(), keys=keys, until_ms=1)


@pytest.mark.parametrize(
    ("more", "mentions"),
    [
        ({}, []),
        ({"mentions": None}, []),
        ({"mentions": [5511, "5522@lid"]}, ["5511", "5522@lid"]),
        ({"mentions": ["", "15551234567", None]}, ["15551234567"]),
        ({"mentions": "15551234567"}, ["15551234567"]),
        ({"mentions": "15551234567, 15557654321,"}, ["15551234567", "15557654321"]),
        ({"mentions": '["15551234567", "15557654321"]'}, ["15551234567", "15557654321"]),
        ({"mentions": "[]"}, []),
    ],
)
def test_mentions_are_a_list_of_phones(more: dict[str, Any], mentions: list[str]) -> None:
    message = parse_message({"to": CONTACT, "text": {"body": "x"}, **more})

    (sent,) = commands_for(message, message_id="wamid.1", session=make_session(), keys=lambda _: None, until_ms=1)

    assert [jid.removesuffix("@s.whatsapp.net") for jid in sent.data["mentions"]] == mentions


@pytest.mark.parametrize(
    ("written", "jid"),
    [
        ("554988887777", "5549988887777@s.whatsapp.net"),
        (" 15551234567 ", "15551234567@s.whatsapp.net"),
        ("@5566988880001", "5566988880001@s.whatsapp.net"),
        ("+55 (66) 98888-0001", "5566988880001@s.whatsapp.net"),
        ("5566988880001@s.whatsapp.net", "5566988880001@s.whatsapp.net"),
        ("@ 77777@lid", "77777@lid"),
    ],
)
def test_c15_a_mention_is_an_address_however_it_is_written(written: str, jid: str) -> None:
    message = parse_message({"to": "120363040468224422@g.us", "text": {"body": "x"}, "mentions": [written]})

    (command,) = commands_for(message, message_id="m", session=make_session(), keys=lambda _: None, until_ms=1)

    assert command.data["mentions"] == [jid]


@pytest.mark.parametrize("field", [{"mentions": 5}, {"location": {"latitude": 1, "longitude": 1, "live": "perhaps"}}])
def test_a_field_that_only_the_connector_knows_is_refused_when_it_is_wrong(field: dict[str, Any]) -> None:
    kind = "location" if "location" in field else "text"
    message = parse_message({"to": CONTACT, "type": kind, "text": {"body": "x"}, **field})

    with pytest.raises(MessageRejected) as refusal:
        commands_for(message, message_id="wamid.1", session=make_session(), keys=lambda _: None, until_ms=1)

    assert refusal.value.code == 131009


@pytest.mark.parametrize(
    ("written", "meant"), [(None, "individual"), ("", "individual"), ("INDIVIDUAL", "individual"), ("Group", "group")]
)
def test_the_type_of_a_recipient_is_read_as_clients_write_it(written: str | None, meant: str) -> None:
    body = {"to": "120363040468224422@g.us", "recipient_type": written, "text": {"body": "x"}}

    assert parse_message(body).to_wire()["recipient_type"] == meant


BUTTON = '"buttons":[{"type":"reply","reply":{"id":"1","title":"%s"}}]'


@pytest.mark.parametrize(
    "inner",
    [
        BUTTON % "a\\u0000b", BUTTON % "a\\ud83d", BUTTON % "a" + ',"x":NaN', BUTTON % "a" + ',"x":-Infinity',
        BUTTON % "a" + ',"x":1e999', BUTTON % "a" + ',"x":' + "[" * 200 + "]" * 200, BUTTON % "a" + ',"\\u0001":1',
        BUTTON % "a" + ',"x":' + "[" * 50_000, BUTTON % "a" + ',"x":' + "9" * 5_000, BUTTON % "a" + ",",
    ],
)  # fmt: skip
def test_field_report_89_json_in_a_text_holds_no_more_than_json(inner: str) -> None:
    """It goes on as JSON: to Meta, who takes no NaN, and to phones and receivers, who store no U+0000."""
    interactive = {"type": "button", "body": {"text": "b"}, "action": f"{{{inner}}}"}
    components = f'[{{"type":"body","parameters":[{{{inner}}}]}}]'

    with pytest.raises(ValidationError):
        parse_message({"to": CONTACT, "type": "interactive", "interactive": interactive})
    with pytest.raises(ValidationError):
        parse_message({"to": CONTACT, "type": "template", "template": {"name": "t", "components": components}})


def test_texts_within_texts_make_no_message_deeper_than_a_body_may_be() -> None:
    """It could not be written as JSON again, or fell over on the way to Meta."""
    text = "{}"
    for _ in range(8):
        text = '{"action":' * 90 + serialise(text) + "}" * 90

    wire = parse_message({"to": CONTACT, "type": "template", "template": {"name": "t", "action": text}}).to_wire()

    assert wire["template"]["action"] == text
    assert not is_too_deep(wire)


def test_json_in_a_text_goes_on_as_json_however_deep_it_may_be() -> None:
    def nested(levels: int) -> str:
        return '{"action":' * levels + "{}" + "}" * levels

    for levels in range(80, 100):
        components = '[{"type":"body","parameters":[' + nested(levels) + "]}]"
        action = '{"buttons":[{"reply":{"id":"a","title":"A","action":' + nested(levels) + "}}]}"
        template = {"type": "template", "template": {"name": "t", "components": components}}
        menu = {"type": "interactive", "interactive": {"type": "button", "body": {"text": "b"}, "action": action}}
        for message in (template, menu):
            with suppress(ValidationError):
                wire = parse_message({"to": CONTACT, **message}).to_wire()
                assert isinstance(wire.get("template", {}).get("components", []), list)
                assert isinstance(wire.get("interactive", {}).get("action", {}), dict)


def test_json_in_a_text_goes_on_as_json() -> None:
    interactive = {"type": "button", "body": {"text": "b"}, "action": "{" + BUTTON % "caf\\u00e9 \\ud83d\\ude00" + "}"}

    wire = parse_message({"to": CONTACT, "type": "interactive", "interactive": interactive}).to_wire()

    assert wire["interactive"]["action"]["buttons"][0]["reply"]["title"] == "caf\u00e9 \U0001f600"


@pytest.mark.parametrize(
    "blank",
    [
        {"ttl": ""},
        {"context": ""},
        {"context": [], "ttl": []},
        {"text": {"body": "x", "preview_url": ""}},
        {"type": "audio", "audio": {"link": "https://a.test/a.ogg", "voice": ""}},
        {"type": "interactive", "interactive": {
            "type": "button", "header": "", "footer": {}, "body": {"text": "b"},
            "action": {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}}]}}},
        {"type": "interactive", "interactive": {
            "type": "button", "header": {"type": "text", "text": ""}, "footer": {"text": None}, "body": {"text": "b"},
            "action": {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}}]}}},
        {"type": "interactive", "interactive": {
            "type": "button", "header": {"type": "", "text": None, "image": {}}, "footer": {"type": None}, "body": {
                "text": "b"}, "action": {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}}]}}},
    ],
)  # fmt: skip
def test_what_clients_that_fill_in_every_field_leave_empty_is_not_there(blank: dict[str, Any]) -> None:
    wire = parse_message({"to": CONTACT, "type": "text", "text": {"body": "x"}, **blank}).to_wire()

    assert not any(nothing in serialise(wire) for nothing in ('""', "{}", "[]", "null"))


@pytest.mark.parametrize("nothing", ["", None])
def test_a_header_or_button_whose_type_is_left_empty_is_words_and_a_reply(nothing: str | None) -> None:
    button = {"type": nothing, "reply": {"id": "a", "title": "A"}}
    header = {"type": nothing, "text": "H"}
    menu = {"type": "button", "header": header, "body": {"text": "b"}, "action": {"buttons": [button]}}

    message = parse_message({"to": CONTACT, "type": "interactive", "interactive": menu})

    assert isinstance(message, InteractiveMessage)
    assert isinstance(message.interactive, Buttons)
    assert message.interactive.header is not None
    assert (message.interactive.header.type, message.interactive.action.buttons[0].type) == ("text", "reply")


def test_a_header_or_a_button_is_what_it_has_an_object_for() -> None:
    menu = {
        "type": "button",
        "header": {"image": {"link": "https://h.test/a.jpg"}},
        "action": {"buttons": [{"url": {"title": "See", "link": "https://h.test"}}]},
    }

    message = parse_message({"to": CONTACT, "type": "interactive", "interactive": menu})

    assert isinstance(message, InteractiveMessage)
    assert isinstance(message.interactive, Buttons)
    assert message.interactive.header is not None
    assert (message.interactive.header.type, message.interactive.action.buttons[0].type) == ("image", "url")


def test_an_empty_text_beside_the_message_that_is_replied_to_takes_nothing_away() -> None:
    message = parse_message({"to": CONTACT, "text": {"body": "x"}, "context": {"message_id": "wamid.Q", "text": ""}})

    assert message.to_wire()["context"]["message_id"] == "wamid.Q"


COPIED = " wamid.X\u00a0\n"
TEXT = {"type": "text", "text": {"body": "x"}}


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ({**TEXT, "context": {"message_id": COPIED}}, {"context": {"message_id": "wamid.X"}}),
        ({**TEXT, "context": {"id": COPIED}}, {"context": {"id": "wamid.X"}}),
        (
            {"type": "reaction", "reaction": {"message_id": COPIED, "emoji": "👍"}},
            {"reaction": {"message_id": "wamid.X", "emoji": "👍"}},
        ),
        ({"type": "image", "image": {"id": "314159\n"}}, {"image": {"id": "314159"}}),
    ],
    ids=["a quote", "a quote in the other field", "a reaction", "a file"],
)
def test_the_id_of_a_message_is_read_without_what_was_copied_around_it(
    message: dict[str, Any], meant: dict[str, Any]
) -> None:
    wire = parse_message({"to": CONTACT, **message}).to_wire()

    assert meant.items() <= wire.items()


def test_a_mark_names_its_message_without_what_was_copied_around_the_id() -> None:
    assert parse_command({"status": "read", "message_id": COPIED}).to_wire()["message_id"] == "wamid.X"


def test_graph_s_own_spelling_of_the_product_is_taken() -> None:
    wire = parse_message({"messaging_product": "WHATSAPP", "to": CONTACT, "text": {"body": "x"}}).to_wire()

    assert wire["messaging_product"] == "whatsapp"


@pytest.mark.parametrize("to", [f"{CONTACT}@s.whatsapp.net", f"+{CONTACT}", CONTACT, without_ninth_digit(CONTACT)])
def test_what_names_a_person_is_no_group_at_the_door_nor_where_the_job_is_done(to: str) -> None:
    accepted = parse_message({"to": to, "recipient_type": "group", "text": {"body": "x"}})

    done = parse_message(accepted.to_wire())

    assert (accepted.to, done.to, done.recipient_type) == (CONTACT, CONTACT, "individual")


@pytest.mark.parametrize("kind", ["group", "individual"])
def test_a_group_as_another_gateway_writes_it_is_that_group(kind: str) -> None:
    body = {"to": "120363019502650977-group", "recipient_type": kind, "text": {"body": "x"}}

    assert parse_message(body).to_wire()["to"] == "120363019502650977@g.us"


def test_a_number_that_a_table_took_for_an_amount_is_the_same_number() -> None:
    assert parse_message({"to": float(CONTACT), "text": {"body": "x"}}).to == CONTACT


def test_a_reaction_that_begins_with_a_joiner_is_no_emoji() -> None:
    with pytest.raises(ValidationError):
        parse_message({"to": CONTACT, "type": "reaction", "reaction": {"message_id": "X", "emoji": "\u200d\U0001f44d"}})


BUTTONS = [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}]
SECTIONS = [{"title": "S", "rows": [{"id": "y", "title": "Yes"}]}]
SAID = [{"type": "body", "parameters": [{"type": "text", "text": "Ana"}]}]


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        ("interactive", {"type": "button", "body": {"text": "b"}, "action": {"buttons": json.dumps(BUTTONS)}},
         {"type": "button", "body": {"text": "b"}, "action": {"buttons": BUTTONS}}),
        ("interactive", {"type": "button", "body": {"text": "b"},
                         "action": json.dumps({"buttons": [{**BUTTONS[0], "reply": json.dumps(BUTTONS[0]["reply"])}]})},
         {"type": "button", "body": {"text": "b"}, "action": {"buttons": BUTTONS}}),
        ("interactive", {"type": "list", "body": {"text": "b"},
                         "action": {"button": "[x]", "sections": json.dumps(SECTIONS)}},
         {"type": "list", "body": {"text": "b"}, "action": {"button": "[x]", "sections": SECTIONS}}),
        ("interactive", {"type": "button", "body": {"text": "b"}, "action": {"buttons": {"0": BUTTONS[0]}}},
         {"type": "button", "body": {"text": "b"}, "action": {"buttons": BUTTONS}}),
        ("template", {"name": "t", "components": {"1": SAID[0]}}, {"name": "t", "components": SAID}),
        ("poll", {"name": "q", "options": '["a", "[b]"]'}, {"name": "q", "options": ["a", "[b]"]}),
        ("contacts", {"1": {"name": {"formatted_name": "A"}, "phones": '[{"phone": "+5511"}]', "org": '{"title": ""}'}},
         [{"name": {"formatted_name": "A"}, "phones": [{"phone": "+5511"}], "org": {"title": ""}}]),
        ("template", {"name": "t", "components": [{"type": "body", "parameters": json.dumps(SAID[0]["parameters"])}]},
         {"name": "t", "components": SAID}),
        ("interactive", {"type": "flow", "body": {"text": "b"}, "action": {"name": "flow", "parameters": json.dumps(
            {"flow_action_payload": {"screen": "A", "data": {"sections": "[1]"}}})}},
         {"type": "flow", "body": {"text": "b"}, "action": {"name": "flow", "parameters": {
            "flow_action_payload": {"screen": "A", "data": {"sections": "[1]"}}}}}),
    ],
    ids=["buttons", "a reply in an action", "sections", "PHP's buttons", "PHP's components", "a poll",
         "cards", "parameters", "a form's own"],
)  # fmt: skip
def test_c10_lists_and_objects_within_a_message_may_be_written_otherwise(kind: str, written: Any, meant: Any) -> None:
    message = parse_message({"to": CONTACT, "type": kind, kind: written})

    assert message.to_wire()[kind] == meant


def test_the_components_of_a_template_may_be_an_empty_text() -> None:
    message = parse_message({"to": CONTACT, "type": "template", "template": {"name": "t", "components": ""}})

    assert message.to_wire()["template"]["components"] == []


@pytest.mark.parametrize(("written", "everybody"), [(True, True), ("true", True), ("false", False), (False, False)])
def test_everybody_is_mentioned_where_a_form_says_true(written: object, everybody: bool) -> None:
    message = parse_message({"to": "120363040468224422@g.us", "text": {"body": "x"}, "mentionAll": written})

    (sent,) = commands_for(message, message_id="1", session=make_session(), keys=lambda _: None, until_ms=1)

    assert sent.data["mention_all"] is everybody


def test_sections_of_a_phones_list_need_no_titles() -> None:
    sections = [{"rows": [{"id": number, "title": number}]} for number in ("1", "2")]
    body = {"to": CONTACT, "type": "interactive", "interactive": {
        "type": "list", "body": {"text": "b"}, "action": {"button": "Menu", "sections": sections}}}  # fmt: skip

    message = parse_message(body, sender=Sender(phone=PHONE, at_meta=False))

    assert message_of(job_of(message.to_wire())).to_wire() == message.to_wire()
    with pytest.raises(ValidationError, match="title"):
        parse_message(body)


@pytest.mark.parametrize("language", ["", {}, {"code": ""}, {"code": None, "policy": "deterministic"}, None])
def test_a_language_without_a_code_is_none(language: object) -> None:
    message = parse_message({"to": CONTACT, "type": "template", "template": {"name": "t", "language": language}})

    assert isinstance(message, TemplateMessage)
    assert message.template.language is None


@pytest.mark.parametrize(
    "interactive",
    [
        {"type": "list", "action": {"button": "Menu", "sections": [{"rows": [{"id": "x" * 1000, "title": "A"}]}]}},
        {"type": "button", "action": {"buttons": [{"type": "reply", "reply": {"id": "x" * 1000, "title": "A"}}]}},
        {
            "type": "button",
            "action": {"buttons": [{"type": "copy_code", "copy_code": {"title": "Pix", "code": "0" * 400}}]},
        },
    ],
    ids=["row", "reply", "code"],
)
def test_field_report_34_on_phones_ids_and_codes_may_be_longer_than_at_meta(interactive: dict[str, Any]) -> None:
    body = {"to": CONTACT, "type": "interactive", "interactive": {"body": {"text": "b"}, **interactive}}

    message = parse_message(body, sender=Sender(phone=PHONE, at_meta=False))

    assert message_of(job_of(message.to_wire())).to_wire() == message.to_wire()
    with pytest.raises(ValidationError, match="at most"):
        parse_message(body)


def test_meta_gets_a_language_that_is_written_as_its_code_in_its_object() -> None:
    plain = {"to": CONTACT, "type": "template", "template": {"name": "t", "language": "pt_BR"}}
    whole = {"to": CONTACT, "type": "template", "template": {"name": "t", "language": {"code": "pt_BR", "policy": "x"}}}

    assert parse_message(plain).to_wire()["template"] == {"name": "t", "language": {"code": "pt_BR"}}
    assert parse_message(whole).to_wire()["template"] == whole["template"]


def test_field_report_34_on_phones_two_buttons_may_have_one_title() -> None:
    buttons = [{"type": "reply", "reply": {"id": number, "title": "Comprar"}} for number in ("1", "2")]
    body = {"to": CONTACT, "type": "interactive", "interactive": {
        "type": "button", "body": {"text": "b"}, "action": {"buttons": buttons}}}  # fmt: skip

    message = parse_message(body, sender=Sender(phone=PHONE, at_meta=False))

    assert message_of(job_of(message.to_wire())).to_wire() == message.to_wire()
    with pytest.raises(ValidationError, match="titles"):
        parse_message(body)


@pytest.mark.parametrize("named", [{}, {"button": ""}, {"button": None}])
def test_only_meta_wants_the_button_of_a_list_to_be_named(named: dict[str, Any]) -> None:
    action = {"sections": [{"rows": [{"id": "1", "title": "A"}]}], **named}
    interactive = {"type": "list", "body": {"text": "b"}, "action": action}
    body = {"to": CONTACT, "type": "interactive", "interactive": interactive}

    message = parse_message(body, sender=Sender(phone=PHONE, at_meta=False))

    assert message_of(job_of(message.to_wire())).to_wire() == message.to_wire()
    with pytest.raises(ValidationError, match="button"):
        parse_message(body)


@pytest.mark.parametrize(("written", "left"), [(None, ""), ("", ""), ("\U0001f44d", "\U0001f44d")])
def test_meta_gets_an_empty_emoji_where_a_client_takes_a_reaction_away(written: str | None, left: str) -> None:
    message = {"to": CONTACT, "type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": written, "new": 1}}

    assert parse_message(message).to_wire()["reaction"] == {"message_id": "wamid.X", "emoji": left, "new": 1}


def test_an_interactive_message_without_a_kind_is_none_of_next_year() -> None:
    body = {"to": CONTACT, "type": "interactive", "interactive": {"type": " ", "body": {"text": "b"}, "action": {}}}

    with pytest.raises(ValidationError, match="must be one of button, list"):
        parse_message(body, sender=Sender(phone=PHONE, any_type=True))
