"""Each component of Meta's templates, as the contact's phone shows it; and values that do not fit, with Meta's codes.

The ids in the tests' names are those of the field reports that they mend.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import CONTACT, PHONE, make_session
from unoapi.connector.convert.outbound import as_text
from unoapi.errors import RequestError
from unoapi.models.cloud_api.messages import Template, TextMessage
from unoapi.models.cloud_api.templates import DEFAULT_TEMPLATES
from unoapi.models.connector import content
from unoapi.models.connector.commands import Send
from unoapi.providers.whatsmeow.commands import commands_for
from unoapi.services.message_parsing import parse_message
from unoapi.services.template_binding import bind
from unoapi.services.templates import bind_named, find, rendered, shown

LINK = {"link": "https://h.test/a.jpg"}


def text(kind: str, *values: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, "parameters": [{"type": "text", "text": value} for value in values], **more}


def named(kind: str, **values: str) -> dict[str, Any]:
    parameters = [{"type": "text", "parameter_name": name, "text": value} for name, value in values.items()]
    return {"type": kind, "parameters": parameters}


def header(kind: str, **content_: Any) -> dict[str, Any]:
    return {"type": "header", "parameters": [{"type": kind, kind: content_}]}


def button(index: Any, sub_type: str, **parameter: Any) -> dict[str, Any]:
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": [parameter] if parameter else []}


def body(words: str) -> dict[str, Any]:
    return {"type": "BODY", "text": words}


def buttons(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"type": "BUTTONS", "buttons": list(listed)}


def template(*components: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "t", "language": "en_US", "components": list(components), **more}


def on_the_phone(stored: dict[str, Any], *components: dict[str, Any]) -> tuple[str, str]:
    """The text, and the address of the file above it, that a phone in the mode `text` shows."""
    asked = {"name": "t", "language": {"code": "en_US"}, "components": list(components)}
    message = rendered(parse_message({"to": CONTACT, "type": "template", "template": asked}), lambda: [stored])
    session = make_session(provider="whatsmeow")
    (command,) = commands_for(message, message_id="wamid.1", session=session, keys=lambda _: None, until_ms=1)
    item = Send.model_validate(command.data).content
    if isinstance(item, content.Buttons):
        return as_text(item), item.header_media.link if item.header_media else ""
    if isinstance(item, content.Media):
        return item.caption, item.link
    assert isinstance(item, content.Text)
    return item.body, ""


QUICK = [{"type": "QUICK_REPLY", "text": "Yes"}, {"type": "QUICK_REPLY", "text": "No"}]
CARD = [
    {"type": "HEADER", "format": "IMAGE"},
    body("{{1}}, today only"),
    buttons({"type": "URL", "text": "Buy", "url": "https://shop.test/{{1}}"}, {"type": "QUICK_REPLY", "text": "More"}),
]
ORDER_SHOWN = (
    "*Order*\nIt is on its way\n1. Follow: https://shop.test/42\n2. Shop: https://shop.test\n"
    "3. Call: +5511999990000\n4. Copy: 25OFF\n_Shop_"
)
CAROUSEL_SHOWN = (
    "Two offers, Ana\n\n"
    "https://h.test/1.jpg\nCoffee, today only\n\u25b8 Buy: https://shop.test/coffee\n\n"
    "https://h.test/2.jpg\nTea, today only\n\u25b8 Buy: https://shop.test/tea\n"
    "1. More\n2. More"
)
CODE_SHOWN = (
    "*123456* is your verification code. For your security, do not share this code.\n1. Copy code: 123456\n"
    "_This code expires in 5 minutes._"
)
SHOWN: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str, str]] = {
    "words alone": (template(body("Welcome!")), [], "Welcome!", ""),
    "words alone, named": (template(body("Welcome!")), [{"type": "body", "parameters": []}], "Welcome!", ""),
    "header, words and footer": (
        template({"type": "HEADER", "format": "TEXT", "text": "Sale until {{1}}"}, body("Use {{1}} for {{2}}."),
                 {"type": "FOOTER", "text": "Stop to end"}),
        [text("header", "May"), text("body", "25OFF", "25%")],
        "Sale until May\n\nUse 25OFF for 25%.\n\nStop to end", "",
    ),
    "values by their number": (
        template(body("{{2}} before {{1}}, {{2}}")), [text("body", "one", "two")], "two before one, two", "",
    ),
    "named values in another order": (
        template(body("{{first}} {{last}}"), parameter_format="NAMED"),
        [named("body", last="Silva", first="Ana")], "Ana Silva", "",
    ),
    "named placeholders, values in order": (
        template(body("url: {{url}}, {{token}}")), [text("body", "u", "t")], "url: u, t", "",
    ),
    "an amount and a date": (
        template(body("{{1}} until {{2}}, {{3}}")),
        [{"type": "body", "parameters": [
            {"type": "currency", "currency": {"fallback_value": "R$ 10,50", "code": "BRL", "amount_1000": 10500}},
            {"type": "date_time", "date_time": {"fallback_value": "May 5"}},
            {"type": "currency", "currency": {"code": "USD", "amount_1000": 9990}}]}],
        "R$ 10,50 until May 5, USD 9.99", "",
    ),
    "a picture": (
        template({"type": "HEADER", "format": "IMAGE"}, body("Fixed words"), {"type": "FOOTER", "text": "Small print"}),
        [header("image", **LINK)], "Fixed words\n\nSmall print", LINK["link"],
    ),
    "a picture over words": (template(body("Look")), [header("image", **LINK)], "Look", LINK["link"]),
    "a video": (template({"type": "HEADER", "format": "VIDEO"}, body("Look")), [header("video", **LINK)],
                "Look", LINK["link"]),
    "a document": (
        template({"type": "HEADER", "format": "DOCUMENT"}, body("Your bill, {{1}}")),
        [header("document", **LINK, filename="bill.pdf"), text("body", "Ana")], "Your bill, Ana", LINK["link"],
    ),
    "a picture and quick replies": (
        template({"type": "HEADER", "format": "IMAGE"}, body("Shall we?"), buttons(*QUICK)),
        [header("image", **LINK)], "Shall we?\n1. Yes\n2. No", LINK["link"],
    ),
    "a place": (
        template({"type": "HEADER", "format": "LOCATION"}, body("We are here")),
        [header("location", latitude="-23.5", longitude="-46.6", name="MASP", address="Av. Paulista")],
        "\U0001f4cd MASP\nAv. Paulista\nhttps://maps.google.com/?q=-23.5,-46.6\n\nWe are here", "",
    ),
    "a place and buttons": (
        template({"type": "HEADER", "format": "LOCATION"}, body("We are here"), buttons(QUICK[0])),
        [header("location", latitude=-23.5, longitude=-46.6)],
        "https://maps.google.com/?q=-23.5,-46.6\n\nWe are here\n1. Yes", "",
    ),
    "an address with a value, a number, a code": (
        template({"type": "HEADER", "text": "Order"}, body("It is on its way"), {"type": "FOOTER", "text": "Shop"},
                 buttons({"type": "URL", "text": "Follow", "url": "https://shop.test/{{1}}"},
                         {"type": "URL", "text": "Shop", "url": "https://shop.test"},
                         {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+5511999990000"},
                         {"type": "COPY_CODE", "text": "Copy", "example": "X"})),
        [button("0", "url", type="text", text="42"), button(3, "copy_code", type="coupon_code", coupon_code="25OFF")],
        ORDER_SHOWN, "",
    ),
    "an address with a value that no address has": (
        template(body("x"), buttons({"type": "URL", "text": "Open", "url": "https://shop.test/?q={{1}}"})),
        [button(0, "url", type="text", text="caf\u00e9 & p\u00e3o/1")],
        "x\n1. Open: https://shop.test/?q=caf%C3%A9%20&%20p%C3%A3o/1", "",
    ),
    "a limited-time offer": (
        template({"type": "HEADER", "format": "IMAGE"},
                 {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Ends soon!", "has_expiration": True}},
                 body("Hello {{1}}"), buttons({"type": "COPY_CODE", "text": "Copy", "example": "X"})),
        [header("image", **LINK), text("body", "Ana"),
         {"type": "limited_time_offer", "parameters": [
             {"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": 1_795_600_000_000}}]},
         button(0, "copy_code", type="coupon_code", coupon_code="NOW")],
        "Ends soon!\n\u23f3 2026-11-25 09:46 UTC\n\nHello Ana\n1. Copy: NOW", LINK["link"],
    ),
    "a carousel": (
        template(body("Two offers, {{1}}"), {"type": "CAROUSEL", "cards": [{"components": CARD}] * 2}),
        [text("body", "Ana"),
         {"type": "carousel", "cards": [
             {"card_index": 1, "components": [header("image", link="https://h.test/2.jpg"), text("body", "Tea"),
                                              button(0, "url", type="text", text="tea")]},
             {"card_index": 0, "components": [header("image", link="https://h.test/1.jpg"), text("body", "Coffee"),
                                              button(0, "url", type="text", text="coffee"),
                                              button(1, "quick_reply", type="payload", payload="more")]}]}],
        CAROUSEL_SHOWN, "",
    ),
    "a code": (
        template({"type": "BODY", "add_security_recommendation": True},
                 {"type": "FOOTER", "code_expiration_minutes": 5},
                 buttons({"type": "OTP", "otp_type": "COPY_CODE", "text": "Copy code"}), category="AUTHENTICATION"),
        [text("body", "123456"), button("0", "url", type="text", text="123456")],
        CODE_SHOWN, "",
    ),
    "a coupon whose button has no words, as Meta stores it": (
        template(body("x"), buttons({"type": "COPY_CODE", "example": ["25OFF"]})),
        [button(0, "copy_code", type="coupon_code", coupon_code="NOW")], "x\n1. Copy code: NOW", "",
    ),
    "types in small letters": (
        template({"type": "header", "format": "text", "text": "Hi {{1}}"}, {"type": "body", "text": "there"}),
        [text("HEADER", "Ana")], "Hi Ana\n\nthere", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("stored", "components", "words", "file"), SHOWN.values(), ids=SHOWN.keys())
def test_field_reports_59_and_65_the_whole_template_is_shown(
    stored: dict[str, Any], components: list[dict[str, Any]], words: str, file: str
) -> None:
    assert on_the_phone(stored, *components) == (words, file)


@pytest.mark.parametrize(("form", "is_gif"), [("GIF", True), ("VIDEO", False)])
def test_the_gif_above_a_template_is_marked_as_one(form: str, *, is_gif: bool) -> None:
    asked = Template.model_validate({"name": "t", "components": [header("video", **LINK)]})

    bound = bind(template({"type": "HEADER", "format": form}, body("Look")), asked)

    assert bound["video"].get("animated", False) is is_gif


@pytest.mark.parametrize("beside", [{}, {"text": None}, {"text": ""}])
def test_the_payload_of_a_quick_reply_comes_back_as_its_id(beside: dict[str, Any]) -> None:
    asked = [button("1", "quick_reply", type="payload", payload="no-7", **beside)]
    bound = bind(
        template(body("Shall we?"), buttons(*QUICK)), Template.model_validate({"name": "t", "components": asked})
    )

    listed = bound["interactive"]["action"]["buttons"]
    assert [part["reply"] for part in listed] == [{"id": "Yes", "title": "Yes"}, {"id": "no-7", "title": "No"}]


TWO = template(body("Oi {{1}}, pedido {{2}}"))
URL = template(body("x"), buttons({"type": "URL", "text": "Open", "url": "https://x.test/{{1}}"}))
IMAGE = template({"type": "HEADER", "format": "IMAGE"}, body("x"))
PLACE = template({"type": "HEADER", "format": "LOCATION"}, body("x"))
CAROUSEL = template(body("x"), {"type": "CAROUSEL", "cards": [{"components": CARD}]})
OFFER = template({"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "o", "has_expiration": True}}, body("x"))
WRONG: dict[str, tuple[dict[str, Any], list[dict[str, Any]], int]] = {
    "one value for two": (TWO, [text("body", "Ana")], 132000),
    "no component": (TWO, [], 132000),
    "no values": (TWO, [{"type": "body", "parameters": []}], 132000),
    "null values": (TWO, [{"type": "body", "parameters": None}], 132000),
    "four values for two": (TWO, [text("body", "a", "b", "c", "d")], 132000),
    "no value for the words above cards": (
        template(body("{{1}}"), {"type": "CAROUSEL", "cards": [{"components": CARD}]}), [], 132000,
    ),
    "values for fixed words": (template(body("x")), [text("body", "a")], 132000),
    "a value for a header that is not there": (template(body("x")), [text("header", "a")], 132000),
    "a header's value forgotten": (
        template({"type": "HEADER", "text": "Hi {{1}}"}, body("{{1}}")), [text("body", "a")], 132000,
    ),
    "another name": (template(body("Oi {{nome}}")), [named("body", name="Ana")], 100),
    "a name for a number": (template(body("Oi {{1}}")), [named("body", nome="Ana")], 100),
    "one named, one not": (
        template(body("{{a}} {{b}}")),
        [{"type": "body", "parameters": [{"type": "text", "parameter_name": "a", "text": "x"},
                                         {"type": "text", "text": "y"}]}], 100,
    ),
    "an empty value": (TWO, [text("body", "Ana", "")], 131008),
    "a value of spaces": (TWO, [text("body", "Ana", "  ")], 131008),
    "a value without text": (TWO, [{"type": "body", "parameters": [{"type": "text"}, {"type": "text", "text": "x"}]}],
                             131008),
    "an object as a text": (TWO, [text("body", "Ana", {"a": 1})], 132012),
    "a picture among words": (TWO, [{"type": "body", "parameters": [
        {"type": "image", "image": LINK}, {"type": "text", "text": "x"}]}], 132012),
    "an amount without anything": (template(body("{{1}}")), [{"type": "body", "parameters": [{"type": "currency"}]}],
                                   131008),
    "a picture for a header of words": (template({"type": "HEADER", "text": "x"}), [header("image", **LINK)], 132012),
    "no picture": (IMAGE, [], 132012),
    "a text for a picture": (IMAGE, [text("header", "a")], 132012),
    "a picture that is null": (IMAGE, [{"type": "header", "parameters": [{"type": "image", "image": None}]}], 131008),
    "a picture without its type": (IMAGE, [{"type": "header", "parameters": [{"image": LINK}]}], 132012),
    "a video for a picture": (IMAGE, [header("video", **LINK)], 132012),
    "two pictures": (IMAGE, [{"type": "header", "parameters": [{"type": "image", "image": LINK}] * 2}], 132000),
    "no place": (PLACE, [], 132012),
    "a place without degrees": (PLACE, [header("location", name="MASP")], 132012),
    "a place beyond the pole": (PLACE, [header("location", latitude=91, longitude=0)], 132012),
    "an address without its value": (URL, [], 131008),
    "an address with two values": (URL, [{"type": "button", "sub_type": "url", "index": 0, "parameters": [
        {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], 132000),
    "a value for a fixed address": (
        template(body("x"), buttons({"type": "URL", "text": "Open", "url": "https://x.test"})),
        [button(0, "url", type="text", text="a")], 100,
    ),
    "a value for a call": (
        template(body("x"), buttons({"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+55"})),
        [button(0, "phone_number", type="text", text="a")], 100,
    ),
    "an index that no button has": (
        template(body("x"), buttons(*QUICK)), [button(7, "quick_reply", type="payload", payload="p")], 132018,
    ),
    "an index that is a word": (
        template(body("x"), buttons(*QUICK)), [button("x", "quick_reply", type="payload", payload="p")], 132018,
    ),
    "no index": (
        template(body("x"), buttons(*QUICK)), [button(None, "quick_reply", type="payload", payload="p")], 131008,
    ),
    "buttons that are not there": (template(body("x")), [button(0, "url", type="text", text="a")], 132018),
    "another kind of button": (
        template(body("x"), buttons(*QUICK)), [button(0, "url", type="text", text="a")], 132012,
    ),
    "a code without its value": (template(body("x"), buttons({"type": "OTP", "text": "Copy"})), [], 131008),
    "an offer without its end": (OFFER, [], 131008),
    "an offer that ends with a word": (OFFER, [{"type": "limited_time_offer", "parameters": [
        {"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": "soon"}}]}], 132012),
    "a carousel without its cards": (CAROUSEL, [], 132012),
    "too many cards": (CAROUSEL, [{"type": "carousel", "cards": [{"components": []}] * 2}], 132012),
    "a card's file by its id": (CAROUSEL, [{"type": "carousel", "cards": [{"components": [
        header("image", id="123"), text("body", "a"), button(0, "url", type="text", text="a")]}]}], 131051),
    "a flow": (template(body("x"), buttons({"type": "FLOW", "text": "Open", "flow_id": "1"})), [], 131051),
    "a catalogue": (template(body("x"), buttons({"type": "CATALOG", "text": "See"})), [], 131051),
    "several products": (template(body("x"), buttons({"type": "MPM", "text": "See"})), [], 131051),
    "a call in WhatsApp": (template(body("x"), buttons({"type": "VOICE_CALL", "text": "Call"})), [], 131051),
    "a product as header": (template({"type": "HEADER", "format": "PRODUCT"}, body("x")), [], 131051),
    "words twice": (template(body("{{1}}")), [text("body", "a"), text("body", "b")], 132018),
    "a button twice": (
        URL, [button(0, "url", type="text", text="a"), button("0", "url", type="text", text="b")], 132018,
    ),
    "a card twice": (
        template(body("x"), {"type": "CAROUSEL", "cards": [{"components": [body("{{1}}")]}] * 2}),
        [{"type": "carousel", "cards": [{"card_index": 0, "components": [text("body", "a")]}] * 2}], 132018,
    ),
    "a card that is not there": (
        template(body("x"), {"type": "CAROUSEL", "cards": [{"components": [body("a")]}]}),
        [{"type": "carousel", "cards": [{"card_index": 1}]}], 132018,
    ),
    "an object as a coupon": (
        template(body("x"), buttons({"type": "COPY_CODE", "example": "X"})),
        [button(0, "copy_code", type="coupon_code", coupon_code={"a": 1})], 132012,
    ),
    "a coupon without its code": (template(body("x"), buttons({"type": "COPY_CODE", "example": ["X"]})), [], 131008),
    "a coupon with an empty code": (
        template(body("x"), buttons({"type": "COPY_CODE", "example": ["25OFF"]})),
        [button(0, "copy_code", type="coupon_code", coupon_code="")], 131008,
    ),
    "nothing at all, as of Meta's library": (template(library_template_name="delivery_update_1"), [], 132018),
    "an empty text": (template(body("")), [], 132018),
    "a picture without an address": (IMAGE, [header("image", caption="x")], 131009),
    "a picture at an address of another kind": (IMAGE, [header("image", link="ftp://h.test/a.jpg")], 131009),
    "a card's picture at an address of another kind": (CAROUSEL, [{"type": "carousel", "cards": [{"components": [
        header("image", link="javascript:alert(1)"), text("body", "a"), button(0, "url", type="text", text="a")]}]}],
        131009),
    "a part of next year": (template(body("x"), {"type": "HOLOGRAM"}), [], 131051),
    "values for a part of next year": (template(body("x")), [text("hologram", "a")], 132018),
    "a line break": (template(body("{{1}}")), [text("body", "a\nb")], 132018),
    "a tab": (template(body("{{1}}")), [text("body", "a\tb")], 132018),
    "five spaces": (template(body("{{1}}")), [text("body", "a     b")], 132018),
    "a line break above": (
        template({"type": "HEADER", "format": "TEXT", "text": "{{1}}"}, body("x")), [text("header", "a\r\nb")], 132018,
    ),
    "a line break in a named value": (
        template(body("{{a}}"), parameter_format="NAMED"), [named("body", a="a\nb")], 132018,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("stored", "components", "code"), WRONG.values(), ids=WRONG.keys())
def test_field_report_62_values_that_do_not_fit_are_refused_with_metas_code(
    stored: dict[str, Any], components: list[dict[str, Any]], code: int
) -> None:
    with pytest.raises(RequestError) as refusal:
        bind(stored, Template.model_validate({"name": "t", "components": components}))

    assert (refusal.value.status, refusal.value.code) == (400, code)
    assert refusal.value.details


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a", "c"), "body: parameter_name 'c' is not known: the template has a, b."),
        (("a", "a"), "body: a parameter_name is given twice: the template has a, b."),
        (("a", ""), "body: a parameter_name is missing: the template has a, b."),
    ],
)
def test_field_report_62_the_refusal_of_a_named_value_says_what_is_wrong(names: tuple[str, str], said: str) -> None:
    values = [{"type": "text", "parameter_name": name, "text": "x"} for name in names]
    asked = Template.model_validate({"name": "t", "components": [{"type": "body", "parameters": values}]})

    with pytest.raises(RequestError) as refused:
        bind(template(body("{{a}} {{b}}")), asked)

    assert refused.value.details == said


def test_an_address_may_have_several_values() -> None:
    stored = template(body("x"), buttons({"type": "URL", "text": "Open", "url": "https://x.test/{{1}}?id={{2}}"}))
    values = {"type": "button", "sub_type": "url", "index": 0, "parameters": [
        {"type": "text", "text": "a b"}, {"type": "text", "text": "7"}]}  # fmt: skip

    assert on_the_phone(stored, values) == ("x\n1. Open: https://x.test/a%20b?id=7", "")


@pytest.mark.parametrize(("status", "code"), [("PAUSED", 132015), ("disabled", 132016), ("REJECTED", 132001)])
def test_field_report_62_a_template_that_meta_sends_no_more_is_refused(status: str, code: int) -> None:
    with pytest.raises(RequestError) as refusal:
        bind(template(body("x"), status=status), Template.model_validate({"name": "t"}))

    assert refusal.value.code == code
    assert bind(template(body("x"), status="APPROVED"), Template.model_validate({"name": "t"}))["type"] == "text"


def test_many_cards_make_no_text_without_end() -> None:
    cards = [{"components": [body("x" * 30_000)]} for _ in range(4)]

    with pytest.raises(RequestError) as refusal:
        bind(template(body("x"), {"type": "CAROUSEL", "cards": cards}), Template.model_validate({"name": "t"}))

    assert refusal.value.code == 132005


# --- languages ---

ENGLISH, GERMAN = template(body("hello")), template(body("hallo"), language="de")
WITHOUT = {"name": "t", "components": [body("any")]}


@pytest.mark.parametrize(
    ("there", "asked", "words"),
    [
        ([ENGLISH, GERMAN], "de", "hallo"),
        ([ENGLISH, GERMAN], "en-us", "hello"),
        ([ENGLISH, GERMAN], "", "hello"),
        ([GERMAN, template(body("ol\u00e1"), language="pt_BR")], "", "ol\u00e1"),
        ([WITHOUT], "fr", "any"),
        ([WITHOUT, GERMAN], "de", "hallo"),
        ([template(body("object"), language={"code": "fr"})], "fr", "object"),
    ],
)
def test_the_language_that_was_asked_for_is_sent(there: list[dict[str, Any]], asked: str, words: str) -> None:
    request = {"name": "t", **({"language": {"code": asked}} if asked else {})}

    assert bind_named(there, Template.model_validate(request))["text"]["body"] == words


@pytest.mark.parametrize("asked", ["fr", "en", "pt_BR"])
def test_a_language_that_is_not_there_is_refused_and_the_others_are_named(asked: str) -> None:
    with pytest.raises(RequestError) as refusal:
        find([ENGLISH, GERMAN], "t", asked)

    assert (refusal.value.status, refusal.value.code) == (404, 132001)
    assert "de, en_US" in refusal.value.details


def test_the_default_templates_are_there_in_every_language() -> None:
    assert find(DEFAULT_TEMPLATES, "hello", "en_US")["name"] == "hello"
    assert find(shown(PHONE, None, only_hello=False), "hello", "en_US")["name"] == "hello"


def test_a_language_may_be_a_text() -> None:
    asked = Template.model_validate({"name": "t", "language": "de"})

    assert bind_named([ENGLISH, GERMAN], asked)["text"]["body"] == "hallo"


@pytest.mark.parametrize("language", [{"code": " pt_BR\n", "policy": "deterministic"}, "pt_BR "])
def test_the_names_of_a_template_are_read_without_what_was_copied_around_them(language: Any) -> None:
    stored = {"name": "t", "language": "pt_BR", "components": [body("Oi")]}
    message = parse_message({"to": CONTACT, "type": "template", "template": {"name": "\u00a0t ", "language": language}})

    assert isinstance(rendered(message, lambda: [stored]), TextMessage)
    sent = message.to_wire()["template"]
    assert (sent["name"], sent["language"]["code"]) == ("t", "pt_BR")


def test_the_components_may_be_json_in_a_text() -> None:
    asked = Template.model_validate({"name": "t", "components": '[{"type":"body","parameters":[{"text":"Ana"}]}]'})

    assert bind(template(body("Oi {{1}}")), asked)["text"]["body"] == "Oi Ana"


@pytest.mark.parametrize(
    ("parameter", "said"),
    [({"type": "image"}, "a parameter of type image is missing its image"),
     ({"image": LINK}, "expected IMAGE, received a parameter without a type")],
)  # fmt: skip
def test_the_refusal_of_a_header_says_what_is_missing(parameter: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as refusal:
        bind(
            IMAGE, Template.model_validate({"name": "t", "components": [{"type": "header", "parameters": [parameter]}]})
        )

    assert said in refusal.value.details


@pytest.mark.parametrize(
    ("language", "title"), [("pt_BR", "Copiar código"), ("es", "Copiar código"), ("en", "Copy code")]
)
def test_a_code_that_can_be_copied_is_named_in_the_language_of_its_template(language: str, title: str) -> None:
    stored = template(body("x"), buttons({"type": "COPY_CODE"}), language=language)
    values = [button(0, "copy_code", type="coupon_code", coupon_code="NOW")]

    bound = bind(stored, Template.model_validate({"name": "t", "components": values}))

    assert bound["interactive"]["action"]["buttons"][0]["copy_code"]["title"] == title
