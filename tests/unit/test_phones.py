"""Phone numbers and addresses; the cases of the Node version are in tests/compatibility."""

from __future__ import annotations

import pytest

from unoapi.models.phones import (
    is_individual,
    is_valid,
    phone_or_jid,
    to_jid,
    to_phone,
    with_ninth_digit,
    without_device,
)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("551188887777", "5511988887777"),
        ("5511988887777", "5511988887777"),
        ("551133334444", "551133334444"),
        ("5508001234567", "5508001234567"),
        ("5549812345", "5549812345"),
        ("55", "55"),
        ("", ""),
        ("351912345678", "351912345678"),
    ],
)
def test_only_old_brazilian_mobiles_get_the_ninth_digit(number: str, expected: str) -> None:
    assert with_ninth_digit(number) == expected
    assert with_ninth_digit(with_ninth_digit(number)) == expected


def test_addresses_become_phones_and_back() -> None:
    assert to_phone("554988887777:25@s.whatsapp.net") == "5549988887777"
    assert to_phone("24788516941@lid") == "24788516941"
    assert phone_or_jid("120363@g.us") == "120363@g.us"
    assert to_jid("+554988887777") == "5549988887777@s.whatsapp.net"
    assert to_jid("120363@newsletter") == "120363@newsletter"
    assert without_device("1:7@lid") == "1@lid"
    assert [is_individual(address) for address in ("1@lid", "1", "1@g.us", "status@broadcast")] == [
        True,
        True,
        False,
        False,
    ]
    assert [is_valid(number) for number in ("5549988887777", "+5549988887777", "554988887777", "x", "")] == [
        True, True, False, False, False,
    ]  # fmt: skip
