"""What an API client may send."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from unoapi.models.cloud_api.messages import SandboxMessage, TextMessage, new_message_id
from unoapi.services.message_parsing import parse_message

ARABIC = "\u0665\u0665\u0664\u0669\u0669\u0668\u0668"
TEXT = {"messaging_product": "whatsapp", "to": "5549988887777", "type": "text", "text": {"body": "hello"}}


def problems(message: dict[str, Any]) -> list[tuple[int | str, ...]]:
    with pytest.raises(ValidationError) as refusal:
        parse_message(message)
    return [problem["loc"] for problem in refusal.value.errors()]


@pytest.mark.parametrize(
    ("to", "plain"),
    [
        ("5549988887777", "5549988887777"),
        ("+55 (49) 98888-7777", "5549988887777"),
        ("55.49.98888.7777", "5549988887777"),
        ("+55\t49\u00a098888 7777", "5549988887777"),
        (5549988887777, "5549988887777"),
        ("554988887777", "5549988887777"),
        ("12345", "12345"),
        (ARABIC, "5549988"),
        ("status@broadcast", "status@broadcast"),
        ("1" * 20, "1" * 20),
        ("120363040468224422@g.us", "120363040468224422@g.us"),
        ("5511-1610000000@g.us", "5511-1610000000@g.us"),
        ("123456789012345@lid", "123456789012345@lid"),
        ("120363144038483540@newsletter", "120363144038483540@newsletter"),
    ],
)
def test_a_recipient_is_digits_or_the_address_of_a_chat(to: object, plain: str) -> None:
    message = parse_message({**TEXT, "to": to})

    assert message.to == message.addressee == message.to_wire()["to"] == plain


@pytest.mark.parametrize(
    "to",
    [
        "", "  ", "+", "1234", "1" * 21, "Maria", "55499888877x7", True, 5.5, ["5549988887777"], {},
        "@g.us", "a b@g.us", "1@example.com", "120363040468224422@g.us\n", "x" * 65 + "@g.us", "5549988887777;x@g.us",
    ],
)  # fmt: skip
def test_any_other_recipient_is_refused(to: object) -> None:
    assert problems({**TEXT, "to": to}) == [("to",)]


@pytest.mark.parametrize("field", ["text"])
def test_a_missing_field_is_named(field: str) -> None:
    message = {key: value for key, value in TEXT.items() if key != field}

    assert problems(message) == [(field,)]


@pytest.mark.parametrize("length", [1, 4096])
def test_a_text_has_up_to_4096_characters(length: int) -> None:
    message = parse_message({**TEXT, "text": {"body": "é" * length}})

    assert isinstance(message, TextMessage)
    assert len(message.text.body) == len(message.to_wire()["text"]["body"]) == length


@pytest.mark.parametrize("body", ["", "x" * 4097, None, True, {}])
def test_a_text_outside_its_limits_is_refused(body: object) -> None:
    assert problems({**TEXT, "text": {"body": body}}) == [("text", "body")]


def test_another_product_is_refused() -> None:
    assert problems({**TEXT, "messaging_product": "telegram"}) == [("messaging_product",)]


def test_fields_that_we_do_not_know_are_no_mistake() -> None:
    message = parse_message({**TEXT, "a_field_of_next_year": "order 1", "context": None})

    assert message.to_wire() == {**TEXT, "a_field_of_next_year": "order 1", "context": None}


def test_the_type_may_be_left_out_of_a_text() -> None:
    message = {key: value for key, value in TEXT.items() if key != "type"}

    assert parse_message(message).to_wire()["type"] == parse_message(message).type == "text"


def test_a_refusal_does_not_quote_the_message() -> None:
    with pytest.raises(ValidationError) as refusal:
        parse_message({**TEXT, "to": "my secret friend"})

    assert "secret" not in str(refusal.value)


def test_message_ids_look_like_whatsapps_and_are_all_different() -> None:
    ids = {new_message_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(re.fullmatch(r"wamid\.[0-9A-F]{32}", message_id) for message_id in ids)


def test_a_simulated_contact_may_write_any_type() -> None:
    written = SandboxMessage.model_validate(
        {"from": "5549988887777", "profile": {"name": "Maria"}, "type": "location", "location": {"latitude": "1"}}
    )

    assert written.message == {"from": "5549988887777", "type": "location", "location": {"latitude": "1"}}
    assert written.profile.name == "Maria"


def test_a_simulated_contact_may_be_a_number() -> None:
    assert SandboxMessage.model_validate({"from": 5549988887777, "type": "text", "text": {"body": "x"}}).sender == (
        "5549988887777"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": "Maria"},
        {"from": "1234"},
        {"type": ""},
        {"type": "TEXT"},
        {"id": ""},
        {"id": "a b"},
        {"id": "ç"},
        {"profile": 1},
    ],
)
def test_a_simulated_contact_must_be_possible(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SandboxMessage.model_validate({"from": "5549988887777", "type": "text", "text": {"body": "x"}, **wrong})
