"""The simulated WhatsApp does what its table of magic numbers says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from tests.support.fakes import CONTACT, PHONE
from unoapi.errors import MessageRejected, OutcomeUnknown, SendFailed
from unoapi.models.cloud_api.messages import MESSAGES, SandboxMessage, Sender
from unoapi.providers.sandbox import DELIVERED_AFTER_MS, MAGIC_NUMBERS, READ_AFTER_MS, SandboxProvider
from unoapi.services import contacts
from unoapi.services.message_parsing import parse_message

if TYPE_CHECKING:
    from unoapi.models.receipts import Receipt


def send(sandbox: SandboxProvider, to: str, *, message_id: str = "wamid.1") -> Receipt:
    message = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "hello"}}
    return sandbox.send(parse_message(message), phone=PHONE, message_id=message_id)


def statuses(receipt: Receipt) -> list[tuple[str, int]]:
    return [(update.status, update.after_ms) for update in receipt.statuses]


def test_a_message_is_sent_delivered_and_read() -> None:
    receipt = send(SandboxProvider(), CONTACT)

    assert receipt.recipient == CONTACT
    assert statuses(receipt) == [("sent", 0), ("delivered", DELIVERED_AFTER_MS), ("read", READ_AFTER_MS)]


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_type_is_accepted(kind: str) -> None:
    (example,) = MESSAGES[kind].model_json_schema()["examples"]

    receipt = SandboxProvider().send(parse_message(example), phone=PHONE, message_id="wamid.1")

    assert len(receipt.statuses) == 3


@pytest.mark.parametrize(
    ("number", "code"),
    [("15550000001", 131026), ("15550000002", 131047), ("15550000003", 131049), ("15550000004", 131051)],
)
def test_numbers_that_are_refused_have_their_documented_code(number: str, code: int) -> None:
    with pytest.raises(MessageRejected) as refusal:
        send(SandboxProvider(), number)

    assert refusal.value.code == code == MAGIC_NUMBERS[number].code
    assert number in refusal.value.details


def test_a_number_fails_twice_for_each_message_and_is_then_sent() -> None:
    sandbox = SandboxProvider()

    for message_id in ("wamid.1", "wamid.2"):
        for _ in range(2):
            with pytest.raises(SendFailed):
                send(sandbox, "15550000005", message_id=message_id)
        assert statuses(send(sandbox, "15550000005", message_id=message_id))[0] == ("sent", 0)


def test_a_number_fails_for_a_moment_every_time() -> None:
    sandbox = SandboxProvider()

    for _ in range(10):
        with pytest.raises(SendFailed):
            send(sandbox, "15550000006")


def test_a_number_leaves_an_unknown_outcome() -> None:
    with pytest.raises(OutcomeUnknown):
        send(SandboxProvider(), "15550000007")


def test_a_number_is_never_delivered() -> None:
    assert statuses(send(SandboxProvider(), "15550000008")) == [("sent", 0)]


def test_a_number_is_never_read() -> None:
    assert statuses(send(SandboxProvider(), "15550000009")) == [("sent", 0), ("delivered", DELIVERED_AFTER_MS)]


def test_every_magic_number_does_something_and_says_what() -> None:
    assert sorted(MAGIC_NUMBERS) == [f"1555000000{digit}" for digit in range(1, 10)]
    for number, magic in MAGIC_NUMBERS.items():
        assert magic.does
        try:
            receipt = send(SandboxProvider(), number)
        except (MessageRejected, SendFailed, OutcomeUnknown):
            continue
        assert len(receipt.statuses) < 3, f"{number} is not magic"


def test_the_sandbox_is_always_ready() -> None:
    SandboxProvider().ready(PHONE)


@pytest.mark.parametrize(
    ("written", "phone", "user_id"),
    [
        ("+55 (49) 98888-7777", CONTACT, ""),
        ("(49) 98888-7777", CONTACT, ""),
        ("49 8888-7777", CONTACT, ""),
        (f"{CONTACT}:7@s.whatsapp.net", CONTACT, ""),
        ("+1 415 555 2671", "14155552671", ""),
        ("BR.42", "", "BR.42"),
        (" 777:3@lid", "", "777@lid"),
    ],
)
def test_who_writes_is_named_as_who_is_written_to(written: str, phone: str, user_id: str) -> None:
    body = {"from": written, "type": "text", "text": {"body": "oi"}}

    message = SandboxMessage.model_validate(body, context=Sender(phone=PHONE))

    assert (message.sender, message.from_user_id) == (phone, user_id)


def test_no_group_writes() -> None:
    body = {"from": "120363040468224422@g.us", "type": "text", "text": {"body": "oi"}}

    with pytest.raises(ValidationError, match="group_id"):
        SandboxMessage.model_validate(body, context=Sender(phone=PHONE))


def test_nobody_has_a_number_of_more_digits_than_any_country_has() -> None:
    found = contacts.check(PHONE, [CONTACT, f"{CONTACT}123456"], provider=SandboxProvider())

    assert [contact["status"] for contact in found] == ["valid", "invalid"]
