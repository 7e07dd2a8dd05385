"""Phone numbers and addresses; the cases of the Node version are in tests/compatibility."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unoapi.models.phones import (
    is_individual,
    is_valid,
    phone_or_jid,
    read_address,
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


@pytest.mark.parametrize(
    ("written", "own", "address"),
    [
        ("11 8888-7777", "5511999990000", "5511988887777"),
        ("+55 11 8888-7777", "351912345678", "5511988887777"),
        ("(33) 99999-0000", "5511999990000", "5533999990000"),
        ("33999990000", "5511999990000", "33999990000"),
        ("55 99999-0000", "5511999990000", "5555999990000"),
        ("0981 234567", "595981234567", "595981234567"),
        ("912 345 678", "351912345678", "351912345678"),
        ("(201) 555-0123", "12015550100", "12015550123"),
        ("011 55 11 99999-0000", "12015550100", "5511999990000"),
        ("020 7946 0018", "442079460000", "442079460018"),
        ("+44 (0)20 7946 0018", "", "442079460018"),
        ("00390612345678", "5511999990000", "390612345678"),
        ("15550000001", "5511999990000", "15550000001"),
        ("5215512345678", "5511999990000", "5215512345678"),
        ("5491123456789", "5511999990000", "5491123456789"),
        ("5215512345678", "4915112345678", "5215512345678"),
        ("0151 12345678", "4915112345678", "4915112345678"),
        ("15112345678", "4915112345678", "4915112345678"),
        ("11999990000", "", "11999990000"),
    ],
)
def test_field_report_14_a_number_without_its_country_is_of_the_sessions(written: str, own: str, address: str) -> None:
    """In no other way when another country has that number; the marks of a national form decide."""
    assert read_address(written, own=own) == address


@pytest.mark.parametrize("written", ["99999-0000", "999990000", "3333-4444", "9 9999 0000"])
def test_field_report_14_a_number_without_its_area_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="it lacks the codes of its country and its area"):
        read_address(written, own="5511999990000")


@pytest.mark.parametrize("written", ["35209275", "3520-9275", "47002496"])
def test_field_report_14_a_number_without_its_area_becomes_none_of_another_country(written: str) -> None:
    """Not as one that has a zero behind that country's code, either."""
    with pytest.raises(ValueError, match="it lacks the codes of its country and its area"):
        read_address(written, own="5511999990000")


@pytest.mark.parametrize("written", ["33334444", "999990000"])
def test_field_report_14_without_a_country_of_the_session_nothing_is_known_to_be_missing(written: str) -> None:
    assert read_address(written) == written


@pytest.mark.parametrize("written", ["0119999", "011 99999-0000", "00", "0" * 12])
def test_field_report_14_no_country_begins_with_zero(written: str) -> None:
    with pytest.raises(ValueError, match="international form"):
        read_address(written)


WRITTEN = st.text(st.sampled_from("0123456789+-() .@:x\u200e\u2013\uff15") | st.characters(), max_size=30)


@example("310010000", "")
@example("86039503399", "5500000000000")
@example("+549091525233020", "")
@given(
    WRITTEN | st.from_regex(r"[+0(]?[0-9]{2,4}[) -]{0,2}[0-9]{3,5}[ -]?[0-9]{4}", fullmatch=True),
    st.sampled_from(["", "5511999990000", "12015550100", "442079460000", "39061234567", "5500000000000", "99999"]),
)
def test_field_report_14_what_was_read_is_read_again_as_it_is(written: str, own: str) -> None:
    """At the door and where the job is done; and whatever is written, an address or a reason comes back."""
    try:
        address = read_address(written, own=own)
    except ValueError:
        return

    assert read_address(address) == address


@pytest.mark.parametrize(
    ("written", "own", "address"),
    [
        ("\u0665\u0665\u0661\u0661\u0669\u0669\u0669\u0669\u0669\u0660\u0660\u0660\u0660", "", "5511999990000"),
        ("\u096b\u096b\u0967\u0967\u096f\u096f\u096f\u096f\u096f\u0966\u0966\u0966\u0966", "", "5511999990000"),
        ("'5511999990000", "", "5511999990000"),
        ('"+55 11 99999-0000";', "", "5511999990000"),
        ("5511999990000,", "", "5511999990000"),
        ("5511999990000.0", "", "5511999990000"),
        ("5511999990000,00", "", "5511999990000"),
        ("++5511999990000", "", "5511999990000"),
        ("%2B55%2011%2099999-0000", "", "5511999990000"),
        ("https://wa.me/5511999990000?text=a%26phone=5521988887777", "", "5511999990000"),
        ("55 11 99999\u30fb0000", "", "5511999990000"),
        ("\u3164+5511999990000\u2800", "", "5511999990000"),
        ("\U0001f1e7\U0001f1f7 +55 11 99999-0000", "", "5511999990000"),
        ("(0xx11) 99999-0000", "5511970000001", "5511999990000"),
        ("(0**11) 99999-0000", "5511970000001", "5511999990000"),
        ("+55 (0**11) 99999-0000", "", "5511999990000"),
        ("*+55 11 99999-0000*", "", "5511999990000"),
        ("+00 55 11 99999-0000", "", "5511999990000"),
        ("00 15 55 11 99999-0000", "5511970000001", "5511999990000"),
        ("0011 55 11 99999 0000", "61412345678", "5511999990000"),
        ("wa.me/5511999990000", "", "5511999990000"),
        ("https://wa.me/5511999990000?text=oi", "", "5511999990000"),
        ("https://api.whatsapp.com/send?phone=%2B5511999990000&text=oi", "", "5511999990000"),
        ("whatsapp://send?phone=5511999990000", "", "5511999990000"),
        ("+123:4@lid", "", "123@lid"),
        ("123.1:4@lid", "", "123@lid"),
        ("STATUS@broadcast", "", "status@broadcast"),
        ("5511999990000@wa.gw.msging.net", "", "5511999990000"),
        ("553188887777@wa.gw.msging.net", "", "5531988887777"),
        ("120363019502650977-group", "", "120363019502650977@g.us"),
        ("5511999990000-1612345678-group", "", "5511999990000-1612345678@g.us"),
    ],
)
def test_field_reports_14_and_15_numbers_of_other_scripts_tables_and_links(
    written: str, own: str, address: str
) -> None:
    assert read_address(written, own=own) == address


@pytest.mark.parametrize(
    "written", ["5511999990000;5511999990001", "5.511999990000e12", "+1 202 555 0123 ext. 5", "\u2460"]
)
def test_field_report_14_nothing_is_guessed_from_what_is_no_number(written: str) -> None:
    with pytest.raises(ValueError, match="international form"):
        read_address(written)


@pytest.mark.parametrize(
    ("written", "own", "address"),
    [
        ("+55 (0xx11) 99999-0000", "", "5511999990000"),
        ("55 (0XX 11) 99999-0000", "5511970000001", "5511999990000"),
        ("+44 (0)7700 900123", "", "447700900123"),
        ("0044 (0) 7700 900123", "5511970000001", "447700900123"),
        ("+39 (06) 1234 5678", "", "390612345678"),
        ("+39 (0)6 1234 5678", "", "390612345678"),
        ("07700 900123", "447911123456", "447700900123"),
        ("(555) 123-4567", "15551234567", "15551234567"),
        ("9 1234 5678", "56987654321", "56912345678"),
        ("11 15-2345-6789", "5491123456789", "5491123456789"),
        ("0351 15 234 5678", "5491123456789", "5493512345678"),
        ("044 55 1234 5678", "5215512345678", "525512345678"),
        ("045 55 1234 5678", "525512345678", "525512345678"),
        ("01 (55) 1234 5678", "525512345678", "525512345678"),
        ("8 (916) 123-45-67", "79161234567", "79161234567"),
        ("06 20 123 4567", "36201234567", "36201234567"),
        ("07 01 23 45 67", "2250701234567", "2250701234567"),
        ("https://api.whatsapp.com/send?text=oi&phone=5511999990000", "", "5511999990000"),
        ("https://wa.me/55%2011%2099999-0000", "", "5511999990000"),
        ("https://web.whatsapp.com/send?phone=%2B55+11+99999+0000", "", "5511999990000"),
        ("tel://5511999990000", "", "5511999990000"),
        ("tel:+55-11-99999-0000;ext=12", "", "5511999990000"),
        ("p:+5511999990000", "", "5511999990000"),
        ('="5511999990000"', "", "5511999990000"),
        ("<+55 11 99999-0000>", "", "5511999990000"),
        ("+55 11 99999\u30fc0000", "", "5511999990000"),
        ("+55 11 99999\u02d70000", "", "5511999990000"),
        ("+55 11\u204399999\u223c0000", "", "5511999990000"),
        ("+52 044 55 1234 5678", "", "525512345678"),
        ("52 01 (55) 1234 5678", "", "525512345678"),
        ("+54 9 351 15 234 5678", "", "5493512345678"),
        ("549351152345678", "5511970000001", "5493512345678"),
        ("+44 07700 900123", "", "447700900123"),
        ("+972 050-123-4567", "", "972501234567"),
        ("+56 09 1234 5678", "", "56912345678"),
        ("+39 06 1234 5678", "", "390612345678"),
        ("+39 (0)347 123 4567", "", "393471234567"),
        ("+242 06 612 3456", "", "242066123456"),
        ("+220 123 4567", "", "2201234567"),
        ("5511999990000-1600000000", "", "5511999990000-1600000000@g.us"),
    ],
)
def test_field_report_14_forms_of_other_countries_links_and_lists(written: str, own: str, address: str) -> None:
    """Also numbers that are newer than the numbering plans: their length is that of the country's."""
    assert read_address(written, own=own) == address


@pytest.mark.parametrize(
    ("number", "valid"),
    [("5215512345678", True), ("+525512345678", True), ("521551234567", False), ("5491123456789", True)],
)
def test_a_mobile_as_whatsapp_writes_it_is_in_its_countrys_plan(number: str, *, valid: bool) -> None:
    assert is_valid(number) is valid
