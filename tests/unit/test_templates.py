"""Templates: saved as given, shown as clients read them, bound into the message that a contact sees."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.fakes import CONTACT, PHONE
from unoapi.errors import MessageRejected, RequestError
from unoapi.models.cloud_api.messages import ImageMessage, InteractiveMessage, Template, TemplateMessage, TextMessage
from unoapi.models.cloud_api.messages.interactive import Buttons
from unoapi.services.message_parsing import parse_message
from unoapi.services.template_binding import bind
from unoapi.services.templates import bind_named, delete, find, rendered, save, shown

HELLO = {"id": 1, "name": "hello", "components": [{"type": "BODY", "text": "{{hello}}"}]}
FULL = {
    "id": 5,
    "name": "full",
    "components": [
        {"type": "HEADER", "text": "Hi {{1}}. "},
        {"type": "BODY", "text": "Order {{1}} total {{2}}. "},
        {"type": "FOOTER", "text": "Bye"},
    ],
}
ORDER = {"name": "order", "components": [{"type": "BODY", "text": "Order {{1}} total {{2}}. "}]}
PICTURE = {
    "name": "picture",
    "components": [{"type": "HEADER", "format": "IMAGE"}, *ORDER["components"], {"type": "FOOTER", "text": "Bye"}],
}
STATIC = {"name": "static", "components": [{"type": "BODY", "text": "No variables"}]}


def part(kind: str, *values: str) -> dict[str, Any]:
    return {"type": kind, "parameters": [{"type": "text", "text": value} for value in values]}


def text_of(template: dict[str, Any], *components: dict[str, Any]) -> str:
    bound = bind(template, Template.model_validate({"name": template["name"], "components": list(components)}))
    assert bound["type"] == "text"
    return str(bound["text"]["body"])


# --- binding ---


@pytest.mark.parametrize(
    ("template", "components", "text"),
    [
        (HELLO, [part("body", "hey")], "hey"),
        (HELLO, [part("BODY", "hey")], "hey"),
        (FULL, [part("header", "Ana"), part("body", "42", "R$ 10"), part("footer")],
         "Hi Ana. Order 42 total R$ 10. Bye"),
        (ORDER, [part("body", "42", "9")], "Order 42 total 9. "),
        (STATIC, [], "No variables"),
        (HELLO, [part("body", "US$& 5")], "US$& 5"),
        (HELLO, [part("body", "{{1}} \\1")], "{{1}} \\1"),
    ],
)  # fmt: skip
def test_a_template_is_sent_whole_with_each_value_in_its_place(
    template: dict[str, Any], components: list[dict[str, Any]], text: str
) -> None:
    assert text_of(template, *components) == text


def test_named_values_go_where_their_name_stands() -> None:
    template = {"name": "named", "components": [{"type": "BODY", "text": "{{last}}, {{first}}"}]}
    values = [{"type": "text", "parameter_name": name, "text": name.upper()} for name in ("first", "last")]

    assert text_of(template, {"type": "body", "parameters": values}) == "LAST, FIRST"


def test_a_value_is_not_multiplied_without_end() -> None:
    """800 placeholders of one name and one long value would be a text of 26 MB in each process."""
    template = {"name": "many", "components": [{"type": "BODY", "text": "{{x}}" * 800}]}
    values = [{"type": "text", "parameter_name": "x", "text": "A" * 32_768}]

    with pytest.raises(RequestError) as refused:
        text_of(template, {"type": "body", "parameters": values})

    assert refused.value.code == 132005


def test_amounts_and_dates_are_written_as_the_client_wrote_them() -> None:
    values = [
        {"type": "currency", "currency": {"fallback_value": "R$ 1,00", "code": "BRL", "amount_1000": 1000}},
        {"type": "date_time", "date_time": {"fallback_value": "tomorrow"}},
    ]

    assert text_of(ORDER, {"type": "body", "parameters": values}) == "Order R$ 1,00 total tomorrow. "


@pytest.mark.parametrize("request_", [{"name": "hello"}, {"name": "hello", "components": []}])
def test_placeholders_without_any_value_are_an_error(request_: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as refusal:
        bind(HELLO, Template.model_validate(request_))

    assert refusal.value.code == 132000


def test_a_media_header_carries_the_text_as_its_caption() -> None:
    header = {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://h.test/a.jpg"}}]}

    bound = bind(PICTURE, Template.model_validate({"name": "picture", "components": [header, part("body", "1", "2")]}))

    assert bound["type"] == "image"
    assert bound["image"] == {"link": "https://h.test/a.jpg", "caption": "Order 1 total 2. Bye"}


def test_buttons_make_an_interactive_message() -> None:
    buttons = [
        {"type": "QUICK_REPLY", "text": "Yes"},
        {"type": "URL", "text": "Open", "url": "https://shop.test/{{1}}"},
        {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+5511"},
        {"type": "COPY_CODE", "example": "SALE"},
    ]
    template = {"name": "b", "components": [*FULL["components"], {"type": "BUTTONS", "buttons": buttons}]}  # type: ignore[misc]
    asked = [
        part("header", "Ana"), part("body", "1", "2"), part("footer"),
        {"type": "button", "sub_type": "quick_reply", "index": "0",
         "parameters": [{"type": "payload", "payload": "yes-1"}]},
        {"type": "button", "sub_type": "url", "index": 1, "parameters": [{"type": "text", "text": "42"}]},
        {"type": "button", "sub_type": "copy_code", "index": 3,
         "parameters": [{"type": "coupon_code", "coupon_code": "SALE-1"}]},
    ]  # fmt: skip

    interactive = bind(template, Template.model_validate({"name": "b", "components": asked}))["interactive"]

    assert interactive["body"] == {"text": "Order 1 total 2. "}
    assert interactive["header"] == {"type": "text", "text": "Hi Ana. "}
    assert interactive["footer"] == {"text": "Bye"}
    assert interactive["action"]["buttons"] == [
        {"type": "reply", "reply": {"id": "yes-1", "title": "Yes"}},
        {"type": "url", "url": {"title": "Open", "link": "https://shop.test/42"}},
        {"type": "call", "call": {"title": "Call", "phone_number": "+5511"}},
        {"type": "copy_code", "copy_code": {"id": "code", "title": "Copy code", "code": "SALE-1"}},
    ]


def template_message(name: str, *components: dict[str, Any], **more: Any) -> dict[str, Any]:
    template = {"name": name, "components": list(components)}
    return {"to": CONTACT, "type": "template", "template": template, **more}


def test_a_message_of_a_template_becomes_the_message_that_a_contact_sees() -> None:
    asked = template_message("order", part("body", "42", "9"), context={"message_id": "wamid.Q"}, mentions=["5511"])

    message = rendered(parse_message(asked), lambda: [ORDER])

    assert isinstance(message, TextMessage)
    assert (message.to, message.text.body) == (CONTACT, "Order 42 total 9. ")
    assert message.context is not None
    assert message.context.quoted_id == "wamid.Q"
    assert getattr(message, "mentions", None) == ["5511"]


def test_the_texts_of_a_template_may_be_longer_than_a_clients() -> None:
    long = {"name": "long", "components": [{"type": "BODY", "text": "x" * 2000},
            {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "y" * 60}]}]}  # fmt: skip

    message = rendered(parse_message(template_message("long")), lambda: [long])

    assert isinstance(message, InteractiveMessage)
    assert isinstance(message.interactive, Buttons)
    assert message.interactive.body is not None
    assert len(message.interactive.body.text) == 2000
    (button,) = message.interactive.action.buttons
    assert button.reply is not None
    assert len(button.reply.title) == 60


@pytest.mark.parametrize("picture", [{"link": "https://h.test/a.jpg"}, {"id": 31415}])
def test_the_media_header_of_a_template_is_a_file_like_any_other(picture: dict[str, Any]) -> None:
    header = {"type": "header", "parameters": [{"type": "image", "image": picture}]}

    message = rendered(parse_message(template_message("picture", header, part("body", "1", "2"))), lambda: [PICTURE])

    assert isinstance(message, ImageMessage)
    assert (message.image.link or int(message.image.id or 0)) in picture.values()
    assert message.image.caption == "Order 1 total 2. Bye"


@pytest.mark.parametrize("picture", [{}, {"link": "file:///etc/passwd"}, {"link": 5}])
def test_a_media_header_that_is_no_file_is_refused(picture: dict[str, Any]) -> None:
    header = {"type": "header", "parameters": [{"type": "image", "image": picture}]}
    message = parse_message(template_message("picture", header, part("body", "1", "2")))

    with pytest.raises(MessageRejected) as refusal:
        rendered(message, lambda: [PICTURE])

    assert refusal.value.code == 131009


def test_another_message_than_a_templates_stays_as_it_is() -> None:
    message = parse_message({"to": CONTACT, "text": {"body": "hello"}})

    assert rendered(message, list) is message


# --- saving ---


def test_a_session_that_never_stored_any_has_the_default_ones() -> None:
    names = [template["name"] for template in shown(PHONE, None, only_hello=False)]

    assert names == ["hello", "unoapi-webhook", "unoapi-bulk-report", "unoapi-config"]
    assert [template["name"] for template in shown(PHONE, None, only_hello=True)] == ["hello"]
    assert shown(PHONE, [], only_hello=False) == []


def test_every_shown_template_has_what_clients_read() -> None:
    for template in shown(PHONE, [HELLO, FULL, STATIC], only_hello=False):
        assert {"id", "name", "language", "status", "category", "components", "parameter_format"} <= set(template)
        assert isinstance(template["id"], str)


def test_the_form_of_the_placeholders_is_shown_and_has_examples() -> None:
    hello, full = shown(PHONE, [HELLO, FULL], only_hello=False)

    assert (hello["parameter_format"], full["parameter_format"]) == ("NAMED", "POSITIONAL")
    assert full["components"][1]["example"] == {"body_text": [["1", "2"]]}
    assert hello["components"][0]["example"] == {
        "body_text_named_params": [{"param_name": "hello", "example": "hello"}]
    }


def test_field_report_67s_formats_and_buttons_are_shown_as_meta_writes_them() -> None:
    parts = [
        {"type": "header", "format": "image"},
        {"type": "body", "text": "x"},
        {"type": "buttons", "buttons": [{"type": "quick_reply", "text": "Yes"}]},
    ]
    stored = {"name": "t", "components": [*parts, {"type": "carousel", "cards": [{"components": parts}, None]}]}

    (template,) = shown(PHONE, [stored], only_hello=False)
    (words,) = shown(PHONE, [{"name": "t", "components": [{"type": "header", "text": "Hi"}]}], only_hello=False)

    header, body, buttons, carousel = template["components"]
    assert (header, body["type"]) == ({"type": "HEADER", "format": "IMAGE"}, "BODY")
    assert buttons == {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Yes"}]}
    assert carousel["cards"] == [{"components": [header, body, buttons]}, None]
    assert words["components"] == [{"type": "HEADER", "format": "TEXT", "text": "Hi"}]


def test_a_template_for_codes_is_listed_with_the_words_that_meta_gives_it() -> None:
    parts = [
        {"type": "body", "add_security_recommendation": True},
        {"type": "footer", "code_expiration_minutes": 10},
        {"type": "buttons", "buttons": [{"type": "otp", "otp_type": "copy_code"}]},
    ]
    stored = {"name": "t", "language": "pt_BR", "category": "authentication", "components": parts}

    (template,) = shown(PHONE, [stored], only_hello=False)

    body, footer, buttons = template["components"]
    assert body["text"] == "*{{1}}* é seu código de verificação. Para sua segurança, não o compartilhe."
    assert body["example"] == {"body_text": [["1"]]}
    assert footer["text"] == "Este código expira em 10 minutos."
    assert (buttons["buttons"][0]["type"], template["parameter_format"]) == ("OTP", "POSITIONAL")


@pytest.mark.parametrize(
    ("warned", "minutes", "words"),
    [
        ("true", "10", "*{{1}}* is your verification code. For your security, do not share this code.|10 minutes"),
        ("false", True, "*{{1}}* is your verification code.|"),
    ],
)
def test_a_template_for_codes_may_come_out_of_a_form(warned: object, minutes: object, words: str) -> None:
    parts = [{"type": "body", "add_security_recommendation": warned},
             {"type": "footer", "code_expiration_minutes": minutes}]  # fmt: skip
    stored = {"name": "t", "language": "en", "category": "AUTHENTICATION", "components": parts}

    body, footer = shown(PHONE, [stored], only_hello=False)[0]["components"]

    expected, _, expiry = words.partition("|")
    assert (body["text"], expiry in footer.get("text", "")) == (expected, True)
    assert bool(footer.get("text")) == bool(expiry)


def test_a_template_is_stored_as_it_was_given() -> None:
    everything, saved = save(PHONE, None, {"id": 1, "name": "hello"})

    assert everything == [saved] == [{"id": 1, "name": "hello"}]


def test_the_same_id_or_name_and_language_is_replaced() -> None:
    stored = [{"id": "7", "name": "a", "language": "en"}, {"name": "b", "language": "en"}, {"name": "b"}]

    by_id, _ = save(PHONE, stored, {"id": 7, "name": "new"})
    by_name, _ = save(PHONE, stored, {"name": "b", "language": "en", "category": "MARKETING"})

    assert by_id == [*stored[1:], {"id": 7, "name": "new"}]
    assert by_name == [stored[0], stored[2], {"name": "b", "language": "en", "category": "MARKETING"}]


@pytest.mark.parametrize(
    "wrong", [{}, {"name": ""}, {"name": 5}, {"name": "a b"}, {"name": "a", "components": [5]}, {"name": "a", "id": []}]
)
def test_wrong_templates_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        save(PHONE, None, wrong)


def carousel(*components: dict[str, Any]) -> dict[str, Any]:
    """A carousel with one card."""
    return {"type": "CAROUSEL", "cards": [{"components": list(components)}]}


@pytest.mark.parametrize(
    ("component", "said"),
    [
        ({"type": "HEADER", "format": "IMAGEM"}, "did you mean IMAGE"),
        ({"type": "BUTTONS", "buttons": [{"type": "QUICKREPLY", "text": "Sim"}]}, "did you mean QUICK_REPLY"),
        ({"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": " "}]}, "text: is missing"),
        ({"type": "BUTTONS", "buttons": [{"type": "url", "text": "Ver", "url": None}]}, "url: is missing"),
        ({"type": "BUTTONS", "buttons": [{"type": "PHONE_NUMBER", "text": "Ligar"}]}, "phone_number: is missing"),
        ({"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Sim, {{1}}"}]}, "text: has a placeholder"),
        (
            {"type": "BUTTONS", "buttons": [{"type": "PHONE_NUMBER", "text": "Ligar", "phone_number": "{{fone}}"}]},
            "phone_number: has a placeholder",
        ),
        ({"type": "BODY", "text": "Oi {{1}, pedido {{2}}"}, "does not end"),
        ({"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Ver", "url": "https://x.test/{{1"}]}, "does not end"),
        ({"type": "CAROUSEL", "cards": "x"}, "cards"),
        (carousel({"type": "BODY", "text": ["a"]}), "text"),
        (carousel({"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Ver"}]}), "url: is missing"),
        (carousel({"type": "BODY", "text": "a"}, {"type": "body", "text": "b"}), "each type must be there once"),
    ],
)
def test_field_report_67_a_template_that_nobody_could_send_as_it_is_meant_is_refused(
    component: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        save(PHONE, None, {"name": "n", "components": [component]})


def test_what_a_template_need_not_say_is_not_missed() -> None:
    components = [
        {"type": "FOOTER", "text": ""},
        {"type": "BUTTONS", "buttons": [
            {"type": "COPY_CODE", "example": "X"}, {"type": "OTP", "otp_type": "COPY_CODE"}, {"type": "HOLOGRAM"},
            {"type": "quick_reply", "text": "Sim", "url": "", "phone_number": None},
            {"type": "PHONE_NUMBER", "text": "Ligar", "phone_number": 5511999990000}]},
        {"type": "CAROUSEL", "buttons": "", "cards": [
            {"components": [{"type": "BODY", "text": "a", "cards": ""}], "card_index": 0}, {"components": ""}]},
    ]  # fmt: skip

    _, saved = save(PHONE, None, {"name": "n", "components": components})

    assert saved["components"] == components


@pytest.mark.parametrize("named", ["1", "hello"])
def test_a_template_is_deleted_by_its_id_or_name(named: str) -> None:
    assert delete(PHONE, [HELLO, FULL], named) == [FULL]


def test_deleting_what_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError) as refusal:
        delete(PHONE, [HELLO], "other")

    assert refusal.value.status == 404


def test_an_unknown_template_is_named_by_its_code() -> None:
    with pytest.raises(RequestError) as refusal:
        find([HELLO], "other")

    assert (refusal.value.status, refusal.value.code) == (404, 132001)
    assert find([{**HELLO, "language": "en"}, {**HELLO, "language": "de"}], "hello", "de")["language"] == "de"


@pytest.mark.parametrize(
    "nothing",
    [
        {"id": ""},
        {"language": None},
        {"language": ""},
        {"category": None},
        {"category": ""},
        {"components": None},
        {"components": [{"type": "HEADER", "format": None, "text": "h"}, {"type": "BODY", "text": 5, "buttons": None}]},
        {"components": [{"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": 1}]}]},
    ],
)
def test_what_a_client_leaves_empty_is_what_it_is_without_it(nothing: dict[str, Any]) -> None:
    everything, _ = save(PHONE, None, {"name": "a", **nothing})

    (template,) = shown(PHONE, everything, only_hello=False)
    assert (template["language"], template["category"], len(template["id"])) == ("pt_BR", "UTILITY", 15)


def test_a_language_in_another_spelling_is_the_same_one() -> None:
    everything, _ = save(PHONE, [{"name": "a", "language": "pt-BR"}], {"name": "a", "language": "pt_BR"})

    assert everything == [{"name": "a", "language": "pt_BR"}]


@pytest.mark.parametrize("asked", [("promo ", "pt_BR "), ("promo", "pt_BR")])
def test_a_template_of_the_node_version_is_found_with_the_spaces_that_it_kept(asked: tuple[str, str]) -> None:
    name, language = asked
    stored = {"name": "promo ", "language": "pt_BR ", "components": [{"type": "BODY", "text": "x"}]}
    message = parse_message({"to": CONTACT, "type": "template", "template": {"name": name, "language": language}})
    assert isinstance(message, TemplateMessage)

    assert bind_named([stored], message.template)["text"] == {"body": "x"}


def test_a_part_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="once"):
        save(PHONE, None, {"name": "a", "components": [{"type": "BODY", "text": "a"}, {"type": "body", "text": "b"}]})


def test_a_status_is_shown_as_meta_writes_it() -> None:
    (template,) = shown(PHONE, [{"name": "a", "status": "approved"}], only_hello=False)

    assert template["status"] == "APPROVED"
