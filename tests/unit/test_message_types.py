"""Every message type: its smallest form, its limits, and the liberties that real clients take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from unoapi.errors import RequestError
from unoapi.models.cloud_api.messages import MESSAGES, Command, InteractiveMessage, computed_message_id
from unoapi.models.cloud_api.messages.interactive import Buttons
from unoapi.models.cloud_api.messages.outbound import OutboundMessage
from unoapi.services.message_parsing import parse_message

TO = {"messaging_product": "whatsapp", "to": "5549988887777"}
LINK = {"link": "https://h.example/a"}
REPLY = {"type": "reply", "reply": {"id": "y", "title": "Yes"}}
ROW = {"id": "1", "title": "One"}


def message(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    return {**TO, "type": kind, kind: content, **more}


def interactive(kind: str, action: Any, **more: Any) -> dict[str, Any]:
    return message("interactive", {"type": kind, "body": {"text": "choose"}, "action": action, **more})


def buttons(*several: dict[str, Any]) -> dict[str, Any]:
    return interactive("button", {"buttons": list(several)})


def template(*parameters: dict[str, Any]) -> dict[str, Any]:
    components = [{"type": "body", "parameters": list(parameters)}]
    return message("template", {"name": "hello", "components": components})


def rows(count: int, *, sections: int = 1, title: str | None = "S") -> dict[str, Any]:
    section = [
        {"rows": [{"id": f"{part}-{n}", "title": "One"} for n in range(count)]} | ({"title": title} if title else {})
        for part in range(sections)
    ]
    return interactive("list", {"button": "Menu", "sections": section})


TAKEN = {
    "text": message("text", {"body": "x"}),
    "text with null preview": message("text", {"body": "x", "preview_url": None}),
    "text without a product": {
        key: part for key, part in message("text", {"body": "x"}).items() if "product" not in key
    },
    "null context": message("text", {"body": "x"}, context=None),
    "quote": message("text", {"body": "x"}, context={"message_id": "wamid.X"}),
    "quote of the Node version": message("text", {"body": "x"}, context={"id": "UNO.OUT.1"}),
    "mark": message("text", {"body": "x"}, biz_opaque_callback_data="x" * 512),
    "image": message("image", LINK),
    "image with null caption": message("image", {**LINK, "caption": None}),
    "longest caption": message("image", {**LINK, "caption": "x" * 1024}),
    "image by id": message("image", {"id": "1234567890123456"}),
    "image by a number": message("image", {"id": 1234567890123456}),
    "image by an id of the Node version": message("image", {"id": "5511999990000/3fa85f64-5717"}),
    "image by an id of the Node version for Typebot": message("image", {"id": "5511999990000-3fa85f64-5717"}),
    "image with empty link": message("image", {"id": "1234567890123456", "link": ""}),
    "video": message("video", LINK),
    "audio": message("audio", LINK),
    "voice": message("audio", {**LINK, "voice": True}),
    "document": message("document", {**LINK, "filename": "a.pdf", "caption": "c"}),
    "sticker": message("sticker", LINK),
    "location": message("location", {"latitude": -23.5, "longitude": -46.6}),
    "location in text": message("location", {"latitude": "-23.5", "longitude": "-46.6", "name": None}),
    "contacts": message("contacts", [{"name": {"formatted_name": "Ana"}, "phones": [{"phone": "+5511"}]}]),
    "contacts with nulls": message(
        "contacts", [{"name": {"formatted_name": "Ana", "last_name": None}, "phones": None, "emails": [], "org": None}]
    ),
    "257 contacts": message("contacts", [{"name": {"formatted_name": "Ana"}}] * 257),
    "reaction": message("reaction", {"message_id": "wamid.X", "emoji": "👍"}),
    "reaction removed": message("reaction", {"message_id": "wamid.X", "emoji": ""}),
    "pin": message("pin", {"type": "pin", "message_id": "wamid.X", "expiration_days": 30}),
    "unpin with null days": message("pin", {"type": "unpin", "message_id": "wamid.X", "expiration_days": None}),
    "poll": message("poll", {"name": "Q", "options": ["A", "B"], "selectable_count": 0}),
    "edit": {**TO, "type": "message_edit", "context": {"message_id": "wamid.X"}, "text": {"body": "new"}},
    "buttons": buttons(REPLY),
    "buttons as text": interactive("button", json.dumps({"buttons": [REPLY]})),
    "other buttons": buttons(
        {"type": "url", "url": {"title": "Open", "link": "https://h.example"}},
        {"type": "call", "call": {"title": "Call", "phone_number": "+5511"}},
        {"type": "copy_code", "copy_code": {"title": "Copy", "code": "123"}},
    ),
    "buttons with a picture": interactive(
        "button", {"buttons": [REPLY]}, header={"type": "image", "image": LINK}, footer={"text": "f"}
    ),
    "list": rows(10),
    "list without a title": rows(3, title=None),
    "list in sections": rows(3, sections=3),
    "list as text": interactive("list", json.dumps({"button": "Menu", "sections": [{"rows": [ROW]}]})),
    "url": interactive("cta_url", {"parameters": {"display_text": "Open", "url": "https://h.example"}}),
    "location request": interactive("location_request_message", {"name": "send_location"}),
    "flow": interactive("flow", {"name": "flow", "parameters": {}}),
    "template": message("template", {"name": "hello", "language": {"code": "pt_BR"}}),
    "template with values": message(
        "template",
        {
            "name": "hello",
            "language": {"code": "pt_BR", "policy": "deterministic"},
            "components": [{"type": "BODY", "parameters": [{"type": "text", "text": "v"}]}],
        },
    ),
    "template with a long value": template({"type": "text", "text": "x" * 32_768}),
    "template with null components": message("template", {"name": "hello", "components": None}),
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
def test_it_is_taken_and_nothing_is_lost(body: dict[str, Any]) -> None:
    plain = parse_message(body).to_wire()

    assert plain.keys() >= body.keys()
    assert {key: part for key, part in plain.items() if key in body and key != "interactive"} == {
        key: part for key, part in body.items() if key != "interactive"
    }


REFUSED = {
    "text too long": (message("text", {"body": "x" * 4097}), "text.body"),
    "mark too long": (message("text", {"body": "x"}, biz_opaque_callback_data="x" * 513), "biz_opaque_callback_data"),
    "parameter too long": (template({"type": "text", "text": "x" * 32_769}), "parameters"),
    "parameter too long inside": (
        template({"type": "currency", "currency": {"fallback_value": "x" * 32_769}}),
        "param",
    ),
    "parameter's name too long": (template({"type": "text", "parameter_name": "x" * 513, "text": "x"}), "parameters"),
    "caption too long": (message("image", {**LINK, "caption": "x" * 1025}), "image.caption"),
    "no file": (message("image", {}), "image"),
    "a file on disk": (message("image", {"link": "file:///etc/passwd"}), "image.link"),
    "a bracket in a login": (message("image", {"link": "https://a:[@h.example/x"}), "image.link"),
    "no address": (message("image", {"link": "nonsense"}), "image.link"),
    "address too long": (message("image", {"link": "https://h.example/" + "x" * 4096}), "image.link"),
    "id with a way out": (message("image", {"id": "../../etc/passwd"}), "image.id"),
    "north of the pole": (message("location", {"latitude": 90.1, "longitude": 0}), "location.latitude"),
    "not a number": (message("location", {"latitude": "NaN", "longitude": 0}), "location.latitude"),
    "no contact": (message("contacts", []), "contacts"),
    "258 contacts": (message("contacts", [{"name": {"formatted_name": "A"}}] * 258), "contacts"),
    "nameless contact": (message("contacts", [{"name": {}}]), "contacts.0.name.formatted_name"),
    "reaction on nothing": (message("reaction", {"emoji": "👍"}), "reaction.message_id"),
    "more choices than options": (message("poll", {"name": "Q", "options": ["A", "B"], "selectable_count": 3}), "poll"),
    "an empty option": (message("poll", {"name": "Q", "options": ["A", " "]}), "poll"),
    "the same option with a space": (message("poll", {"name": "Q", "options": ["A", "A "]}), "poll"),
    "pin of nothing": (message("pin", {"type": "pin"}), "pin.message_id"),
    "pin for ever": (message("pin", {"message_id": "wamid.X", "expiration_days": 31}), "pin.expiration_days"),
    "edit of nothing": ({**TO, "type": "message_edit", "text": {"body": "x"}}, "context.message_id"),
    "no button": (buttons(), "buttons"),
    "four buttons": (
        buttons(*({"type": "reply", "reply": {"id": f"{n}", "title": f"{n}"}} for n in range(4))),
        "buttons",
    ),
    "the same button twice": (buttons(REPLY, REPLY), "unique"),
    "title too long": (buttons({"type": "reply", "reply": {"id": "y", "title": "x" * 21}}), "title"),
    "button without its object": (buttons({"type": "url"}), "url"),
    "action is no JSON": (interactive("button", "{nonsense"), "action"),
    "eleven rows": (rows(11), "rows"),
    "eleven rows in two sections": (rows(6, sections=2), "10 rows"),
    "untitled sections": (rows(1, sections=2, title=None), "title"),
    "body too long": (
        message("interactive", {"type": "button", "body": {"text": "x" * 1025}, "action": {"buttons": [REPLY]}}),
        "body.text",
    ),
    "picture over a list": (
        interactive("list", {"button": "M", "sections": [{"rows": [ROW]}]}, header={"type": "image", "image": LINK}),
        "header",
    ),
    "unknown kind": (interactive("hologram", {}), "interactive"),
    "template without a name": (message("template", {}), "template.name"),
    "null object": (message("image", None), "image"),
    "text instead of an object": (message("location", "here"), "location"),
}


@pytest.mark.parametrize(("body", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_and_the_place_is_named(body: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        parse_message(body)

    problems = refusal.value.errors(include_input=False, include_url=False, include_context=False)
    text = " ".join(f"{'.'.join(str(part) for part in problem['loc'])} {problem['msg']}" for problem in problems)
    assert named in text


@pytest.mark.parametrize("kind", ["hologram", None, ["text"], 5, "", "TEXT"])
def test_an_unknown_type_is_refused_with_a_list_of_the_others(kind: object) -> None:
    with pytest.raises(RequestError) as refusal:
        parse_message({**TO, "type": kind})

    assert (refusal.value.code, refusal.value.status) == (131051, 400)
    assert "sticker" in refusal.value.details


def test_a_speech_is_a_text_with_the_limit_of_who_says_it() -> None:
    assert parse_message(message("speech", {"body": "x" * 4096})).type == "speech"
    with pytest.raises(ValidationError):
        parse_message(message("speech", {"body": "x" * 4097}))


def test_every_message_has_a_type() -> None:
    def children(model: type[OutboundMessage]) -> set[type[OutboundMessage]]:
        return {kind for child in model.__subclasses__() for kind in (child, *children(child))}

    assert children(OutboundMessage) - set(MESSAGES.values()) == set()


def test_every_type_has_an_example_that_is_taken() -> None:
    for kind, model in MESSAGES.items():
        (example,) = model.model_json_schema()["examples"]
        assert parse_message(example).type == parse_message(example).to_wire()["type"] == kind


def test_an_action_in_text_reaches_providers_as_an_object() -> None:
    message = parse_message(TAKEN["buttons as text"])

    assert message.to_wire()["interactive"]["action"] == {"buttons": [REPLY]}
    assert isinstance(message, InteractiveMessage)
    assert isinstance(message.interactive, Buttons)
    assert message.interactive.action.buttons[0].type == "reply"


def test_a_group_gets_its_host() -> None:
    body = message("text", {"body": "x"}, to="120363040468224422", recipient_type="group")

    assert parse_message(body).to_wire()["to"] == parse_message(body).to == "120363040468224422@g.us"


@pytest.mark.parametrize("recipient", ["BR.1234567890", "US.ENT.abcDEF123"])
def test_a_user_id_stands_for_a_phone(recipient: str) -> None:
    body = {"type": "text", "text": {"body": "x"}, "recipient": recipient}

    assert parse_message(body).to_wire()["recipient"] == parse_message(body).addressee == recipient


@pytest.mark.parametrize(
    "written",
    [
        {"to": "BR.1"}, {"to": "BR.1", "recipient": "BR.1"}, {"to": "BR.1", "recipient": None}, {"recipient": " BR.1 "},
        {"to": " ", "recipient": "BR.1"}, {"recipient": "BR.1", "recipient_type": "group"},
    ],
    ids=str,
)  # fmt: skip
def test_a_user_id_is_a_persons_wherever_a_client_writes_it(written: dict[str, Any]) -> None:
    sent = parse_message({"type": "text", "text": {"body": "x"}, **written}).to_wire()

    assert (sent["recipient"], "to" in sent, sent.get("recipient_type", "individual")) == ("BR.1", False, "individual")


def test_a_phone_counts_beside_a_user_id_in_its_place() -> None:
    sent = parse_message({"text": {"body": "x"}, "to": "BR.1", "recipient": "5549988887777"}).to_wire()

    assert (sent["to"], "recipient" in sent) == ("5549988887777", False)


@pytest.mark.parametrize("recipient", ["", "br.123", "BR.", "BR." + "x" * 129, "BR.a b", 5])
def test_what_is_no_user_id_is_refused(recipient: object) -> None:
    with pytest.raises(ValidationError):
        parse_message({"type": "text", "text": {"body": "x"}, "recipient": recipient})


@pytest.mark.parametrize(
    "command",
    [
        {"status": "read", "message_id": "wamid.X"},
        {"status": "read", "message_id": "wamid.X", "typing_indicator": {"type": "text"}},
        {"typing_indicator": {"type": "text"}, "message_id": "wamid.X"},
        {"status": "deleted", "message_id": "UNO.OUT.1"},
    ],
)
def test_a_command_names_its_message(command: dict[str, Any]) -> None:
    assert Command.model_validate({"messaging_product": "whatsapp", **command}).message_id == command["message_id"]
    with pytest.raises(ValidationError):
        Command.model_validate({key: part for key, part in command.items() if key != "message_id"})


def test_the_same_key_gives_the_same_message_of_the_same_phone_only() -> None:
    first = computed_message_id("5511", "order-1")

    assert first == computed_message_id("5511", "order-1")
    assert len({first, computed_message_id("5511", "order-2"), computed_message_id("5522", "order-1")}) == 3


def test_a_command_says_what_to_do() -> None:
    with pytest.raises(ValidationError):
        Command.model_validate({"status": None, "message_id": "wamid.X"})
