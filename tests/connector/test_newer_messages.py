"""Messages of newer kinds keep their words: field report 27 and its siblings, in the form of the protobufs' JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unoapi.connector.convert.inbound import content_of, context_of

TEXT = {"conversation": "the words"}
WORDS: dict[str, dict[str, Any]] = {
    "questionResponseMessage": {"key": {"ID": "Q1"}, "text": "the words"},
    "questionMessage": {"message": TEXT},
    "questionReplyMessage": {"message": {"extendedTextMessage": {"text": "the words"}}},
    "commentMessage": {"message": TEXT, "targetMessageKey": {"ID": "Q1"}},
    "statusQuestionAnswerMessage": {"key": {"ID": "Q1"}, "text": "the words"},
    "requestPaymentMessage": {"noteMessage": TEXT, "currencyCodeIso4217": "BRL", "amount1000": "12500"},
    "sendPaymentMessage": {"noteMessage": {"extendedTextMessage": {"text": "the words"}}},
    "paymentReminderMessage": {"description": "the words", "amount": {"value": "500", "offset": 100}},
    "splitPaymentMessage": {"description": "the words", "totalAmount": {"value": "5000", "offset": 1000}},
    "invoiceMessage": {"note": "the words", "token": "secret"},
    "stickerPackMessage": {"name": "the words", "stickers": [{"fileName": "a.webp"}]},
    "eventInviteMessage": {"eventTitle": "Party", "caption": "the words"},
    "richResponseMessage": {"submessages": [{"messageText": "the words"}]},
    "pollAddOptionMessage": {"addOption": {"optionName": "the words"}},
    "bcallMessage": {"caption": "the words"},
    "spoilerMessage": {"message": TEXT},
    "newsletterScheduledMessage": {"message": TEXT},
    "highlyStructuredMessage": {"hydratedHsm": {"hydratedTemplate": {"hydratedContentText": "the words"}}},
    "aKindFromTheFuture": {"inner": {"message": TEXT}},
    "anotherOne": {"message": {"imageMessage": {"caption": "the words"}}},
}


@pytest.mark.parametrize("name", WORDS)
def test_field_report_27_words_in_a_newer_message_reach_somebody(name: str) -> None:
    content = content_of({name: WORDS[name]})

    assert content["kind"] in ("text", "image", "buttons")
    assert "the words" in str(content.get("body") or content.get("caption"))
    assert "secret" not in str(content)


@pytest.mark.parametrize(
    "message",
    [
        {"locationMessage": {"degreesLatitude": 1, "degreesLongitude": 2, "comment": "the words"}},
        {"orderMessage": {"orderTitle": "Shop", "message": "the words", "itemCount": 2}},
        {"productMessage": {"product": {"title": "Tea", "description": "green"}, "body": "the words"}},
    ],
    ids=lambda message: next(iter(message)),
)
def test_field_report_27_words_beside_a_place_an_order_or_a_product_are_kept(message: dict[str, Any]) -> None:
    assert "the words" in str(content_of(message))


@pytest.mark.parametrize("name", ["questionResponseMessage", "commentMessage", "statusQuestionAnswerMessage"])
def test_field_report_27_what_it_answers_to_is_named(name: str) -> None:
    context = context_of({name: WORDS[name]})

    assert context is not None
    assert context["id"] == "Q1"


def test_field_report_27_what_somebody_else_wrote_is_not_taken_for_the_contacts_words() -> None:
    quoted = {"contextInfo": {"quotedMessage": {"conversation": "of another"}}}

    assert content_of({"aKindFromTheFuture": quoted}) == {"kind": "unsupported", "field": "akindfromthefuture"}


def test_field_report_27_endless_words_are_cut() -> None:
    part: dict[str, Any] = {"items": [{"text": f"{number} " + "x" * 1000} for number in range(1000)]}

    assert len(content_of({"aKindFromTheFuture": part})["body"]) == 4096


def test_a_poll_in_its_fourth_form_is_a_poll() -> None:
    poll = {"name": "Which?", "options": [{"optionName": "A"}, {"optionName": "B"}], "selectableOptionsCount": 1}

    content = content_of({"pollCreationMessageV4": {"message": {"pollCreationMessage": poll}}})

    assert content == {"kind": "poll", "name": "Which?", "options": ["A", "B"], "selectable": 1}


def test_an_event_names_its_time_and_place() -> None:
    event = {"name": "Party", "startTime": "1795600000", "location": {"name": "Bar", "address": "Rua A 1"}}

    assert content_of({"eventMessage": event})["body"] == "Event\n*Party*\n2026-11-25 09:46 UTC\nBar, Rua A 1"


def test_a_dynamic_payment_code_can_be_copied() -> None:
    code = {"code": "00020126", "merchant_name": "Loja", "key": "k", "key_type": "EVP"}
    parameters = json.dumps({"payment_settings": [{"pix_dynamic_code": code}]})
    button = {"name": "payment_info", "buttonParamsJSON": parameters}

    content = content_of({"interactiveMessage": {"nativeFlowMessage": {"buttons": [button]}}})

    assert content["body"] == "*Loja*\nPIX *EVP*: k\n00020126"


def test_a_row_of_a_native_list_without_a_description_is_a_row() -> None:
    flow = {"name": "single_select", "paramsJSON": '{"id": "a", "title": "Plan A"}'}

    content = content_of({"interactiveResponseMessage": {"nativeFlowResponseMessage": flow}})

    assert content == {"kind": "list_reply", "id": "a", "title": "Plan A", "description": ""}


def test_a_received_native_list_keeps_its_rows_and_a_carousel_its_cards() -> None:
    rows = '{"title": "Open", "sections": [{"title": "S", "rows": [{"id": "a", "title": "A"}]}]}'
    listed = {"nativeFlowMessage": {"buttons": [{"name": "single_select", "buttonParamsJSON": rows}]}}
    cards = {
        "carouselMessage": {"cards": [{"body": {"text": "one"}}, {"body": {"text": "two"}}]},
        "body": {"text": "B"},
    }

    assert content_of({"interactiveMessage": listed})["sections"][0]["rows"][0]["id"] == "a"
    assert content_of({"interactiveMessage": cards})["body"] == "B\n\none\n\ntwo"


def test_field_report_17_a_placeholder_is_seen_beside_other_housekeeping() -> None:
    message = {"messageContextInfo": {"deviceListMetadataVersion": 2}, "placeholderMessage": {"type": 0}}

    assert content_of(message) == {"kind": "protocol", "name": "placeholdermessage"}


@pytest.mark.parametrize("name", ["secretEncryptedMessage", "encCommentMessage", "encReactionMessage"])
def test_what_was_changed_or_said_with_a_secret_that_we_lack_is_not_swallowed(name: str) -> None:
    """An edit of today's phones may come so: somebody must see that the message reads otherwise now."""
    message = {name: {"targetMessageKey": {"ID": "3EB0T"}, "encPayload": "eA==", "encIV": "eA=="}}

    context = context_of(message)

    assert content_of(message) == {"kind": "unsupported", "field": name.lower()}
    assert context is not None
    assert context["id"] == "3EB0T"
