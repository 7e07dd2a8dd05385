"""What phones cannot show as it was meant reaches the contact in words, and what was answered reaches the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.pocket import CHAT, Pocket
from unoapi.connector.convert.inbound import context_of
from unoapi.errors import MessageRejected
from unoapi.services import templates

if TYPE_CHECKING:
    from pathlib import Path

FLOW = {
    "type": "flow", "header": {"type": "text", "text": "Visit"}, "body": {"text": "When do you come?"},
    "footer": {"text": "Shop"}, "action": {"name": "flow", "parameters": {"flow_cta": "Choose a day", "flow_id": "1"}},
}  # fmt: skip
CARDS = {
    "type": "carousel", "body": {"text": "Two shirts"}, "action": {"cards": [
        {"card_index": 0, "type": "cta_url", "header": {"type": "image", "image": {"link": "https://shop.test/1.jpg"}},
         "body": {"text": "Blue"},
         "action": {"name": "cta_url", "parameters": {"display_text": "Buy", "url": "https://shop.test/1"}}},
        {"card_index": 1, "header": {"type": "image", "image": {"link": "https://shop.test/2.jpg"}},
         "body": {"text": "Red"},
         "action": {"buttons": [{"type": "quick_reply", "quick_reply": {"id": "red", "title": "Take red"}}]}},
    ]},
}  # fmt: skip
CALL = {
    "type": "cta_call", "body": {"text": "Questions?"},
    "action": {"name": "cta_call", "parameters": {"display_text": "Call us", "phone_number": "+5511999990000"}},
}  # fmt: skip


def words(message: dict[str, Any]) -> str:
    return str(message.get("conversation") or message.get("extendedTextMessage", {}).get("text"))


def test_a_flow_is_its_words_and_what_its_button_says(tmp_path: Path) -> None:
    sent = Pocket(tmp_path).send(type="interactive", interactive=FLOW)

    assert words(sent) == "*Visit*\nWhen do you come?\n\u25b8 Choose a day\nShop"


def test_cards_are_their_words_pictures_and_numbered_buttons_and_the_answer_is_one_of_them(tmp_path: Path) -> None:
    phone = Pocket(tmp_path)

    sent = phone.send(type="interactive", interactive=CARDS)
    answer = phone.receives({"kind": "text", "body": "2"})

    assert words(sent).splitlines() == [
        "Two shirts", "", "https://shop.test/1.jpg", "Blue", "", "https://shop.test/2.jpg", "Red",
        "1. Buy: https://shop.test/1", "2. Take red",
    ]  # fmt: skip
    assert answer["interactive"]["button_reply"] == {"id": "red", "title": "Take red"}


@pytest.mark.parametrize(
    ("mode", "field"), [("text", "conversation"), ("classic", "conversation"), ("native", "interactiveMessage")]
)
def test_a_button_to_call_is_one_in_every_mode(tmp_path: Path, mode: str, field: str) -> None:
    sent = Pocket(tmp_path, interactiveMode=mode).send(type="interactive", interactive=CALL)

    assert field in sent
    assert "+5511999990000" in str(sent)


BUTTONS_OF_A_TEMPLATE = {
    "name": "order", "language": "pt_BR", "components": [
        {"type": "BODY", "text": "Your order"},
        {"type": "BUTTONS", "buttons": [
            {"type": "QUICK_REPLY", "text": "Thanks"},
            {"type": "URL", "text": "Track", "url": "https://shop.test/1"},
            {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+5511999990000"},
        ]},
    ],
}  # fmt: skip


def test_what_a_classic_button_cannot_do_is_a_line_to_tap_on(tmp_path: Path) -> None:
    phone = Pocket(tmp_path, interactiveMode="classic")
    phone.provider._rendered = lambda message, _: templates.rendered(message, lambda: [BUTTONS_OF_A_TEMPLATE])

    cards = phone.send("wamid.CARDS", type="interactive", interactive=CARDS)
    template = phone.send("wamid.TEMPLATE", type="template", template={"name": "order", "language": {"code": "pt_BR"}})

    assert words(cards).splitlines()[-2:] == ["1. Buy: https://shop.test/1", "2. Take red"]
    assert words(template).splitlines() == [
        "Your order", "1. Thanks", "2. Track: https://shop.test/1", "3. Call: +5511999990000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "cards",
    [
        [None],
        ["x"],
        [{}],
        [{"header": {"type": "image"}, "action": {"buttons": [None, {"reply": {"id": 1}}]}}],
        [[]] * 50,
    ],
    ids=["null", "text", "empty", "no file", "many"],
)
def test_odd_cards_end_in_words_or_a_refusal_never_in_an_error(tmp_path: Path, cards: list[Any]) -> None:
    try:
        sent = Pocket(tmp_path).send(
            type="interactive", interactive={"type": "carousel", "body": {"text": "B"}, "action": {"cards": cards}}
        )
    except MessageRejected:
        return
    assert words(sent) == "B"


def test_field_report_65_the_replies_of_a_templates_cards_can_be_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Take it"}]}
    shown = [{"components": [{"type": "BODY", "text": color}, reply]} for color in ("Blue", "Red")]
    stored = {"name": "shirts", "language": "pt_BR", "components": [
        {"type": "BODY", "text": "Two shirts"}, {"type": "CAROUSEL", "cards": shown}]}  # fmt: skip
    payloads = [{"type": "button", "sub_type": "quick_reply", "index": 0,
                 "parameters": [{"type": "payload", "payload": color}]} for color in ("blue", "red")]  # fmt: skip
    cards = [{"card_index": index, "components": [payload]} for index, payload in enumerate(payloads)]
    phone = Pocket(tmp_path)
    monkeypatch.setattr(phone.provider, "_rendered", lambda message, _: templates.rendered(message, lambda: [stored]))

    sent = phone.send(type="template", template={"name": "shirts", "components": [
        {"type": "carousel", "cards": cards}]})  # fmt: skip
    answer = phone.receives({"kind": "text", "body": "2"})

    assert words(sent).splitlines() == ["Two shirts", "", "Blue", "", "Red", "1. Take it", "2. Take it"]
    assert answer["button"] == {"payload": "red", "text": "Take it"}


@pytest.mark.parametrize(
    ("menu", "missing"),
    [
        ({"type": "location_request_message", "action": {"name": "send_location"}}, "interactive.body"),
        ({"type": "flow", "body": {"text": "B"}, "action": {"parameters": {}}}, "flow_cta"),
        ({"type": "carousel", "body": {"text": "B"}, "action": {"cards": []}}, "action.cards"),
        ({"type": "cta_call", "body": {"text": "B"}, "action": {"parameters": {"display_text": "x"}}}, "phone_number"),
    ],
)
def test_what_a_kind_that_is_sent_in_words_lacks_is_named(tmp_path: Path, menu: dict[str, Any], missing: str) -> None:
    with pytest.raises(MessageRejected) as refused:
        Pocket(tmp_path).send(type="interactive", interactive=menu)

    assert (refused.value.code, missing in refused.value.details) == (131051, True)


@pytest.mark.parametrize(
    "card", [{"header": {"type": "image", "image": {"id": "123"}}}, {"header": {"type": "video", "video": {"id": "1"}}}]
)
def test_field_report_65_a_cards_file_that_no_words_can_stand_for_is_refused(
    tmp_path: Path, card: dict[str, Any]
) -> None:
    carousel = {"type": "carousel", "body": {"text": "B"}, "action": {"cards": [card]}}

    with pytest.raises(MessageRejected) as refused:
        Pocket(tmp_path).send(type="interactive", interactive=carousel)

    assert (refused.value.code, "link" in refused.value.details) == (131051, True)


@pytest.mark.parametrize(
    ("action", "lines"),
    [
        (
            {"cards": [{"body": {"text": "Blue"}, "action": {"buttons": [
                {"type": "quick_reply", "quick_reply": {"id": number, "title": f"Take {number}"}} for number in "123"
            ]}}]},
            ["B", "", "Blue", "1. Take 1", "2. Take 2", "3. Take 3"],
        ),
        (
            {"carousel": {"cards": [{"body": {"text": "Blue"}, "footer": {"text": "New"}, "action": {"buttons": [
                {"type": "url", "url": {"title": "See", "link": "https://shop.test/1"}},
                {"type": "call", "call": {"title": "Call", "phone_number": "+5511999990000"}},
            ]}}]}},
            ["B", "", "Blue", "New", "1. See: https://shop.test/1", "2. Call: +5511999990000"],
        ),
    ],
    ids=["three replies", "the Node version's form"],
)  # fmt: skip
def test_field_report_65_every_button_of_a_card_is_a_line(
    tmp_path: Path, action: dict[str, Any], lines: list[str]
) -> None:
    carousel = {"type": "carousel", "body": {"text": "B"}, "action": action}

    assert words(Pocket(tmp_path).send(type="interactive", interactive=carousel)).splitlines() == lines


TO_THE_SHOP = {"display_text": "See", "url": "https://shop.test/a b?de=João"}
WRITTEN_TO_THE_SHOP = "https://shop.test/a%20b?de=Jo%C3%A3o"


@pytest.mark.parametrize("mode", ["text", "native"])
@pytest.mark.parametrize(
    "menu",
    [
        {"type": "cta_url", "action": {"parameters": TO_THE_SHOP}},
        {"type": "button", "action": {"buttons": [
            {"type": "url", "url": {"title": "See", "link": TO_THE_SHOP["url"]}}]}},
        {"type": "carousel", "action": {"cards": [{"body": {"text": "c"}, "action": {"parameters": TO_THE_SHOP}}]}},
    ],
    ids=["a link", "the Node version's button", "a card"],
)  # fmt: skip
def test_the_address_of_a_button_is_as_browsers_write_it(tmp_path: Path, menu: dict[str, Any], mode: str) -> None:
    interactive = {"body": {"text": "B"}, **menu}

    sent = Pocket(tmp_path, interactiveMode=mode).send(type="interactive", interactive=interactive)

    assert WRITTEN_TO_THE_SHOP in str(sent)
    assert TO_THE_SHOP["url"] not in str(sent)


@pytest.mark.parametrize(
    "cards",
    [[{"body": {"text": "c"}}] * 11, [{"action": {"buttons": [{"type": "spin", "spin": {"title": "x"}}]}}]],
    ids=["too many cards", "an unknown button"],
)
def test_field_report_65_what_would_be_left_out_of_a_carousel_is_refused(tmp_path: Path, cards: list[Any]) -> None:
    with pytest.raises(MessageRejected) as refused:
        Pocket(tmp_path).send(
            type="interactive", interactive={"type": "carousel", "body": {"text": "B"}, "action": {"cards": cards}}
        )

    assert refused.value.code == 131009


@pytest.mark.parametrize("blank", [{}, {"body": None}, {"body": {"text": ""}}], ids=["none", "null", "empty"])
@pytest.mark.parametrize(
    ("mode", "shown"),
    [("text", "Foto\n1. Select"), ("classic", "Select"), ("native", "Select")],
)
def test_buttons_below_a_header_need_no_words(tmp_path: Path, blank: dict[str, Any], mode: str, shown: str) -> None:
    menu = {"type": "button", "header": {"type": "text", "text": "Foto"}, "action": {"buttons": [
        {"type": "reply", "reply": {"id": "a", "title": "Select"}}]}}  # fmt: skip

    sent = Pocket(tmp_path, interactiveMode=mode).send(type="interactive", interactive={**menu, **blank})

    assert shown.splitlines()[-1] in str(sent)
    assert "Foto" in str(sent)


@pytest.mark.parametrize(
    "card",
    [{"type": "product", "action": {"product_retailer_id": "x", "catalog_id": "1"}}, {"card_index": 1}],
    ids=["a product", "nothing"],
)
def test_field_report_65_a_card_that_would_vanish_is_refused(tmp_path: Path, card: dict[str, Any]) -> None:
    cards = [{"body": {"text": "c"}}, card]

    with pytest.raises(MessageRejected) as refused:
        Pocket(tmp_path).send(
            type="interactive", interactive={"type": "carousel", "body": {"text": "B"}, "action": {"cards": cards}}
        )

    assert refused.value.code == 131051


@pytest.mark.parametrize("mode", ["text", "classic", "native"])
def test_a_carousel_without_buttons_is_its_words_in_every_mode(tmp_path: Path, mode: str) -> None:
    carousel = {"type": "carousel", "body": {"text": "B"}, "action": {"cards": [{"body": {"text": "c"}}]}}

    sent = Pocket(tmp_path, interactiveMode=mode).send(type="interactive", interactive=carousel)

    assert sent == {"conversation": "B\n\nc"}


def test_a_request_for_a_place_keeps_its_header_and_footer(tmp_path: Path) -> None:
    asked = {
        "type": "location_request_message", "header": {"type": "text", "text": "Delivery"},
        "body": {"text": "Where are you?"}, "footer": {"text": "Shop"}, "action": {"name": "send_location"},
    }  # fmt: skip

    assert words(Pocket(tmp_path).send(type="interactive", interactive=asked)) == "*Delivery*\nWhere are you?\nShop"


# --- replies to a status ---

STATUS = {"remoteJID": "status@broadcast", "stanzaID": "3EB0ST", "participant": "5511999990000@s.whatsapp.net"}


@pytest.mark.parametrize(
    ("quoted", "status"),
    [
        ({"imageMessage": {"caption": "New shirts"}}, {"type": "image", "caption": "New shirts"}),
        ({"videoMessage": {}}, {"type": "video"}),
        ({"extendedTextMessage": {"text": "Open today"}}, {"type": "text", "caption": "Open today"}),
        ({}, {"type": "text"}),
    ],
)
def test_a_reply_to_a_status_says_which_one(tmp_path: Path, quoted: dict[str, Any], status: dict[str, Any]) -> None:
    raw = {"extendedTextMessage": {"text": "How much?", "contextInfo": {**STATUS, "quotedMessage": quoted}}}
    phone = Pocket(tmp_path)

    message = phone.receives({"kind": "text", "body": "How much?"}, context=context_of(raw), sender=CHAT)

    assert message["text"]["body"] == "How much?"
    assert message["context"]["status"] == {"id": "3EB0ST", **status}


def test_an_answer_to_another_message_has_no_status() -> None:
    raw = {"extendedTextMessage": {"text": "x", "contextInfo": {"stanzaID": "1", "remoteJID": "1@s.whatsapp.net"}}}

    assert "status" not in (context_of(raw) or {})


def test_the_picture_above_a_flow_is_sent_with_its_words(tmp_path: Path) -> None:
    head = {"type": "image", "image": {"link": "https://shop.test/1.jpg"}}

    sent = Pocket(tmp_path).send(type="interactive", interactive={**FLOW, "header": head})

    assert sent["imageMessage"]["caption"] == "When do you come?\n\u25b8 Choose a day\nShop"
