"""Contact cards, whole and both ways: field reports 54, 56 and 57."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connector.pocket import Pocket
from unoapi.errors import MessageRejected
from unoapi.providers.whatsmeow.vcards import read_card, write_card

if TYPE_CHECKING:
    from pathlib import Path

PHONE_21 = "TEL;CELL:+55 11 99999-0000"


def card(*lines: str, version: str = "3.0") -> str:
    return "\n".join(["BEGIN:VCARD", f"VERSION:{version}", *lines, "END:VCARD"])


@pytest.mark.parametrize(
    "name",
    [
        "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Jo=C3=A3o =\nda Silva",
        "FN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:Jo=E3o da Silva",
        "FN;CHARSET=windows-1252;QUOTED-PRINTABLE:Jo=E3o da Silva",
        "FN;CHARSET=UTF-8;ENCODING=BASE64:Sm/Do28gZGEgU2lsdmE=",
        "FN;CHARSET=UTF-8:João da Silva",
        "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Silva;Jo=C3=A3o;da;;",
    ],
)
def test_field_report_54_names_are_decoded(name: str) -> None:
    contact = read_card(card(name, PHONE_21, version="2.1"))

    assert contact["name"]["formatted_name"] == "João da Silva"
    assert contact["phones"] == [{"phone": "+55 11 99999-0000", "wa_id": "5511999990000", "type": "CELL"}]


@pytest.mark.parametrize(
    "vcard",
    [
        card("FN;charset=utf-8;encoding=quoted-printable:Jo=C3=A3o", PHONE_21, version="2.1"),
        card("FN;CHARSET=UTF-8;ENCODING=8BIT:João", PHONE_21, version="2.1"),
        card("FN;CHARSET=X-UNKNOWN;ENCODING=QUOTED-PRINTABLE:Jo=C3=A3o", PHONE_21, version="2.1"),
        card("FN:João", "NOTE;ENCODING=X-WHAT:?", PHONE_21),
        "\ufeff" + card("FN:João", PHONE_21),
        card("FN:João", PHONE_21).replace("\n", "\r"),
    ],
    ids=["small letters", "8bit", "unknown charset", "unknown encoding", "byte order mark", "carriage returns"],
)
def test_field_report_54_one_odd_line_costs_no_other(vcard: str) -> None:
    contact = read_card(vcard)

    assert contact["name"]["formatted_name"] == "João"
    assert [phone["wa_id"] for phone in contact["phones"]] == ["5511999990000"]


@pytest.mark.parametrize(
    ("lines", "name"),
    [(["ORG:Loja X"], "Loja X"), (["NICKNAME:Nina"], "Nina"), (["TEL:+55 11 99999-0000"], "+55 11 99999-0000")],
)
def test_field_report_56_a_card_without_a_name_is_called_by_what_it_has(lines: list[str], name: str) -> None:
    assert read_card(card(*lines))["name"]["formatted_name"] == name


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("ADR;TYPE=HOME:Caixa 1;Sala 3;Rua A, 1;Rio;;;",
         {"addresses": [{"street": "Rua A, 1, Sala 3, Caixa 1", "city": "Rio", "type": "HOME"}]}),
        ("ADR:;Sala 3;;Rio;;;", {"addresses": [{"street": "Sala 3", "city": "Rio"}]}),
        ("ORG:Loja;Vendas;Balcão", {"org": {"company": "Loja", "department": "Vendas, Balcão"}}),
        ("ROLE:Gerente", {"org": {"title": "Gerente"}}),
        ("EMAIL;VALUE=uri:mailto:ana@example.com", {"emails": [{"email": "ana@example.com"}]}),
    ],
    ids=["box and suite", "suite alone", "units", "role", "address of mail"],
)  # fmt: skip
def test_field_report_56_what_meta_has_no_field_for_stands_in_the_nearest(line: str, part: dict[str, Any]) -> None:
    contact = read_card(card("FN:Ana", line))

    assert {name: value for name, value in contact.items() if name not in ("name", "phones")} == part


@pytest.mark.parametrize("number", ["+55 11 3333-4444 ramal 5", "+55 11 3333-4444 x5"])
def test_field_report_57_a_phone_with_an_extension_has_no_id(number: str) -> None:
    assert read_card(card("FN:A", f"TEL:{number}"))["phones"] == [{"phone": number}]


@pytest.mark.parametrize("given", ["11999990000", "+55 11 99999-0000", "5511999990000@s.whatsapp.net"])
def test_field_report_57_an_id_that_is_given_gets_its_country_too(given: str) -> None:
    contact = {"name": {"formatted_name": "Ana"}, "phones": [{"phone": "x", "wa_id": given}]}

    assert "waid=5511999990000:" in write_card(contact, own="5511970000001")[1]


@pytest.mark.parametrize(
    ("lines", "phone"),
    [
        (["TEL;waid=5511999990000:"], {"phone": "+5511999990000", "wa_id": "5511999990000"}),
        (["TEL;waid=111222333444555:+55 11 99999-0000"], {"phone": "+55 11 99999-0000", "wa_id": "5511999990000"}),
        (["TEL:005511999990000"], {"phone": "005511999990000", "wa_id": "5511999990000"}),
        (["TEL;TYPE=CELL;wa", " id=5511999990000:+55 11 9", " 9999-0000"],
         {"phone": "+55 11 99999-0000", "wa_id": "5511999990000", "type": "CELL"}),
        (["PHOTO;ENCODING=BASE64;JPEG:/9j/4AAQ", "SkZJRgABAQ", "", "TEL;CELL:+55 11 99999-0000"],
         {"phone": "+55 11 99999-0000", "wa_id": "5511999990000", "type": "CELL"}),
    ],
    ids=["the id alone", "a LID", "00", "folded", "a picture that is not folded"],
)  # fmt: skip
def test_field_report_57_a_phone_is_found_however_it_stands_there(lines: list[str], phone: dict[str, str]) -> None:
    assert read_card(card("FN:Ana", *lines))["phones"] == [phone]


def test_field_report_56_a_label_says_more_than_that_an_address_is_one_of_the_internet() -> None:
    contact = read_card(card("FN:A", "item2.EMAIL;type=INTERNET:a@b.c", "item2.X-ABLabel:_$!<Work>!$_"))

    assert contact["emails"] == [{"email": "a@b.c", "type": "Work"}]


def test_field_report_56_birthdays_and_addresses_of_other_programs_are_read() -> None:
    contact = read_card(card("FN:A", "BDAY:1990/01/02", "URL:https\\://example.com"))

    assert contact["birthday"] == "1990-01-02"
    assert contact["urls"] == [{"url": "https://example.com"}]
    assert "birthday" not in read_card(card("FN:A", "BDAY;X-APPLE-OMIT-YEAR=1604:1604-01-02"))


def test_field_report_54_a_card_passes_the_whole_way(tmp_path: Path) -> None:
    vcard = card("FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Jo=C3=A3o", PHONE_21, version="2.1")

    message = Pocket(tmp_path).receives({"kind": "contacts", "contacts": [{"name": "X", "vcard": vcard}]})

    assert message["contacts"][0]["name"]["formatted_name"] == "João"


def test_field_report_56_everything_of_a_received_card_is_told() -> None:
    contact = read_card(
        card(
            "N:Silva;Ana;M;Dra.;Jr.", "FN:Ana", "EMAIL;TYPE=work:ana@example.com", "ORG:Loja;Vendas", "TITLE:Gerente",
            "URL;TYPE=HOME:https://example.com", "ADR;TYPE=home:;;Rua A 1;São Paulo;SP;01000-000;Brasil",
            "BDAY:1990-01-02", "TEL;type=CELL;waid=5511999990000:+55 11 99999-0000",
        )
    )  # fmt: skip

    assert contact == {
        "name": {"formatted_name": "Ana", "first_name": "Ana", "last_name": "Silva", "middle_name": "M",
                 "prefix": "Dra.", "suffix": "Jr."},
        "phones": [{"phone": "+55 11 99999-0000", "wa_id": "5511999990000", "type": "CELL"}],
        "emails": [{"email": "ana@example.com", "type": "WORK"}],
        "urls": [{"url": "https://example.com", "type": "HOME"}],
        "addresses": [{"street": "Rua A 1", "city": "São Paulo", "state": "SP", "zip": "01000-000",
                       "country": "Brasil", "type": "HOME"}],
        "org": {"company": "Loja", "department": "Vendas", "title": "Gerente"},
        "birthday": "1990-01-02",
    }  # fmt: skip


def test_field_report_56_a_card_of_version_4_with_groups_and_addresses_of_phones() -> None:
    contact = read_card(
        card(
            "FN:Ana", 'item1.TEL;VALUE=uri;TYPE="voice,cell":tel:+55-11-99999-0000;ext=1', "item1.X-ABLabel:Loja",
            "item2.TEL:+55 11 3333-0000", "item2.X-ABLabel:_$!<Home>!$_", "X-WA-BIZ-NAME:Loja da Ana", "BDAY:19900102",
            version="4.0",
        )
    )  # fmt: skip

    assert contact["phones"] == [
        {"phone": "+55-11-99999-0000", "wa_id": "5511999990000", "type": "CELL"},
        {"phone": "+55 11 3333-0000", "wa_id": "551133330000", "type": "Home"},
    ]
    assert (contact["org"], contact["birthday"]) == ({"company": "Loja da Ana"}, "1990-01-02")


SENT: dict[str, Any] = {
    "name": {"formatted_name": "Ana", "first_name": "Ana", "middle_name": "M", "prefix": "Dra.", "last_name": "S"},
    "emails": [{"email": "ana@example.com", "type": "WORK"}], "org": {"company": "Loja", "title": "Gerente"},
    "urls": [{"url": "https://example.com"}], "addresses": [{"street": "Rua A 1", "city": "São Paulo"}],
    "birthday": "1990-01-02", "phones": [{"phone": "+5511999990000"}],
}  # fmt: skip


def test_field_report_56_everything_of_a_sent_card_is_in_it(tmp_path: Path) -> None:
    left = Pocket(tmp_path).send(type="contacts", contacts=[SENT])

    lines = left["contactMessage"]["vcard"].splitlines()
    assert lines[2:-1] == [
        "N:S;Ana;M;Dra.;", "FN:Ana", "ORG:Loja", "TITLE:Gerente",
        "TEL;type=CELL;type=VOICE;waid=5511999990000:+5511999990000", "EMAIL;type=WORK:ana@example.com",
        "URL;type=HOME:https://example.com", "ADR;type=HOME:;;Rua A 1;São Paulo;;;", "BDAY:1990-01-02",
    ]  # fmt: skip


def test_field_report_56_a_card_that_is_sent_is_read_back_whole() -> None:
    _, vcard = write_card(SENT)

    contact = read_card(vcard)

    assert contact["emails"] == SENT["emails"]
    assert contact["org"] == SENT["org"]
    assert contact["addresses"] == [{"street": "Rua A 1", "city": "São Paulo", "type": "HOME"}]
    assert contact["name"]["prefix"] == "Dra."


def test_field_report_56_a_plain_text_in_a_card_is_what_it_stands_for() -> None:
    plain = {"emails": ["ana@example.com"], "urls": "https://example.com", "org": "Loja", "addresses": ["Rua A 1"]}

    _, vcard = write_card({"name": {"formatted_name": "Ana"}, **plain})

    assert vcard.splitlines()[4:-1] == [
        "ORG:Loja", "EMAIL;type=HOME:ana@example.com", "URL;type=HOME:https://example.com",
        "ADR;type=HOME:;;Rua A 1;;;;",
    ]  # fmt: skip


@pytest.mark.parametrize("odd", [{"a": 1}, [None], True])
def test_what_is_no_text_is_nothing_that_a_contact_reads(odd: object) -> None:
    card_of_odd = {"name": {"formatted_name": "Ana", "prefix": odd}, "emails": [{"email": odd}], "urls": [{"url": odd}],
                   "phones": [{"phone": "190", "type": odd}], "org": {"company": odd, "department": odd}}  # fmt: skip

    _, vcard = write_card(card_of_odd)

    assert vcard.splitlines()[2:-1] == ["N:;Ana;;;", "FN:Ana", "ORG:;", "TEL;type=CELL;type=VOICE:190"]


def test_a_card_that_is_too_long_fails_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(MessageRejected) as refusal:
        Pocket(tmp_path).send(type="contacts", contacts=[{**SENT, "org": {"company": "x" * 70_000}}])

    assert "vcard: has at most 65536 characters" in refusal.value.details


@pytest.mark.parametrize(
    ("phone", "waid"),
    [
        ({"phone": "11999990000"}, "waid=5511999990000"),
        ({"phone": "+55 11 99999-0000"}, "waid=5511999990000"),
        ({"phone": "5511999990000"}, "waid=5511999990000"),
        ({"phone": "+1 415 555 2671"}, "waid=14155552671"),
        ({"phone": "x", "wa_id": "5511999990000"}, "waid=5511999990000"),
        ({"phone": "0800 123 4567"}, ""),
        ({"phone": "190"}, ""),
        ({"phone": "call me"}, ""),
    ],
)
def test_field_report_57_waid_has_its_country_or_is_not_there(phone: dict[str, str], waid: str) -> None:
    _, vcard = write_card({"name": {"formatted_name": "Ana"}, "phones": [phone]}, own="5511970000001")

    (line,) = [line for line in vcard.splitlines() if line.startswith("TEL")]
    assert (waid in line) if waid else ("waid" not in line)


def test_field_report_57_a_phone_without_a_number_is_no_line() -> None:
    _, vcard = write_card({"name": {"formatted_name": "Ana"}, "phones": [{"phone": ""}, {"type": "HOME"}]})

    assert "TEL" not in vcard


def test_nothing_in_a_contact_can_start_a_line_of_its_own() -> None:
    evil = "a\r\nTEL;waid=1:1"
    _, vcard = write_card(
        {"name": {"formatted_name": evil, "prefix": evil}, "org": {"company": evil}, "urls": [{"url": evil}],
         "emails": [{"email": evil, "type": evil}], "addresses": [{"street": evil}], "birthday": evil,
         "phones": [{"phone": evil, "type": evil}]}
    )  # fmt: skip

    assert [line for line in vcard.splitlines() if line.startswith("TEL;waid")] == []


@pytest.mark.parametrize(
    "vcard",
    ["", "no card", "BEGIN:VCARD", "BEGIN:VCARD\nFN:A", "BEGIN:VCARD\n:\n;;;\nEND:VCARD", card("FN"), card("N:;;;;"),
     card("FN;CHARSET=nonsense;ENCODING=QUOTED-PRINTABLE:=FF"), card("BDAY:soon"), card("FN:" + "A" * 60_000)],
)  # fmt: skip
def test_a_broken_card_is_a_contact_all_the_same(vcard: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        contact = read_card(vcard, name="Ana")

    assert contact["name"]["formatted_name"]
    assert len(contact["name"]["formatted_name"]) <= 1000
    assert caplog.records == []


@settings(deadline=None)
@given(st.lists(st.sampled_from(["FN:A", "N:a;b", "TEL:1", "ADR:;;x", "ORG:a;b", "BDAY:1", "EMAIL:x"]) | st.text()))
def test_no_card_stops_the_conversion(lines: list[str]) -> None:
    assert "formatted_name" in read_card(card(*lines))["name"]


def test_a_comma_that_nobody_escaped_ends_no_text() -> None:
    contact = read_card(
        card(
            "FN:Silva, Ana", "ORG:Loja, Ltda", "TITLE:Gerente, Chefe", "URL:https://example.com/?q=-23.5,-46.6",
            "ADR;TYPE=HOME:;;Rua A, 12\\, ap 3;São Paulo;SP;;", "TEL:+55 11 3333-0000,,123",
        )
    )  # fmt: skip

    assert contact["name"]["formatted_name"] == "Silva, Ana"
    assert contact["org"] == {"company": "Loja, Ltda", "title": "Gerente, Chefe"}
    assert contact["urls"] == [{"url": "https://example.com/?q=-23.5,-46.6"}]
    assert contact["addresses"][0]["street"] == "Rua A, 12, ap 3"
    assert contact["phones"] == [{"phone": "+55 11 3333-0000,,123"}]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("TEL;X-CUSTOM(CHARSET=UTF-8,ENCODING=QUOTED-PRINTABLE,Escrit=C3=B3rio):{}", "ESCRITÓRIO"),
        ("TEL;Trabalho novo:{}", "TRABALHO NOVO"),
        ("TEL;TYPE=Casa de praia:{}", "CASA DE PRAIA"),
        ("TEL ;CELL:{}", "CELL"),
        ('TEL;TYPE="CELL:{}', "CELL"),
    ],
)
def test_a_phone_is_there_whatever_its_label_is(line: str, kind: str) -> None:
    contact = read_card(card("FN:Ana", line.format("+55 11 99999-0000"), version="2.1"))

    assert contact["phones"] == [{"phone": "+55 11 99999-0000", "wa_id": "5511999990000", "type": kind}]


def test_field_report_54_every_part_of_a_card_may_be_in_base64() -> None:
    contact = read_card(
        card("N;ENCODING=BASE64:U2lsdmE7Sm/D", " o287Ozs=", "ORG;BASE64:TG9qYTtWZW5kYXM=", version="2.1")
    )

    assert contact["name"] == {"formatted_name": "João Silva", "first_name": "João", "last_name": "Silva"}
    assert contact["org"] == {"company": "Loja", "department": "Vendas"}


def test_field_report_54_old_phones_name_no_charset() -> None:
    assert read_card(card("FN;ENCODING=QUOTED-PRINTABLE:Jo=E3o", version="2.1"))["name"]["formatted_name"] == "João"


@pytest.mark.parametrize(
    "name", ["FN;ENCODING=QUOTED-PRINTABLE:A=00n=01a", "FN;ENCODING=BASE64:QQBuYQ==", "FN:A\x00na", "FN:A\x07na"]
)
def test_field_report_89_what_is_decoded_is_text_that_can_be_stored(name: str) -> None:
    assert read_card(card(name, version="2.1"))["name"]["formatted_name"] == "Ana"


def test_a_contact_with_an_invisible_name_is_called_as_its_message_says() -> None:
    assert read_card(card("FN:\u3164"), name="Ana")["name"]["formatted_name"] == "Ana"


def test_encoded_signs_separate_no_parts() -> None:
    contact = read_card(
        card(
            "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=53=69=6C=76=61=2C=20=44=72=2E;=41=6E=61;;;",
            "ADR;HOME;ENCODING=QUOTED-PRINTABLE:;;=52=75=61=20=41=3B=20=33;=52=69=6F;;;",
            version="2.1",
        )
    )

    assert (contact["name"]["last_name"], contact["name"]["first_name"]) == ("Silva, Dr.", "Ana")
    assert contact["addresses"] == [{"street": "Rua A; 3", "city": "Rio", "type": "HOME"}]


def test_the_scheme_of_a_phone_may_be_in_capitals() -> None:
    (phone,) = read_card(card("FN:A", "TEL;VALUE=uri:TEL:+5511999990000;ext=1", version="4.0"))["phones"]

    assert phone == {"phone": "+5511999990000", "wa_id": "5511999990000"}


@pytest.mark.parametrize(
    "line",
    [
        "TEL;A" + "," * 400, 'TEL;A="' + '",' * 400, "N:" + "\\" * 9000, "TEL;X-CUSTOM(" * 400, "N:" + "A" * 2_000_000,
        "N;QUOTED-PRINTABLE" + ";A" * 20_000 + ":" + ";" * 20_000,
    ],
    ids=["commas", "quotes", "backslashes", "labels", "a long part", "parts and parameters"],
)  # fmt: skip
def test_no_line_takes_longer_than_its_length(line: str) -> None:
    began = time.monotonic()

    read_card(card(line))

    assert time.monotonic() - began < 5


def test_a_backslash_at_the_end_is_a_sign_like_others() -> None:
    assert read_card(card("FN:A\\"))["name"]["formatted_name"] == "A\\"


def test_a_company_ends_as_it_was_written() -> None:
    _, vcard = write_card({"name": {"formatted_name": "Ana"}, "org": {"company": "Loja;"}})

    assert read_card(vcard)["org"] == {"company": "Loja;"}


def test_a_label_of_ones_own_and_a_country_without_a_name_are_in_the_card() -> None:
    contact = {
        "name": {"formatted_name": "Ana"},
        "phones": [{"phone": "+55 11 99999-0000", "type": "Escritório 2"}],
        "addresses": [{"street": "Rua A", "country_code": "br", "type": "WORK"}],
    }

    sent = read_card(write_card(contact)[1])

    assert sent["phones"][0]["type"] == "Escritório 2"
    assert sent["addresses"] == [{"street": "Rua A", "country": "br", "type": "WORK"}]
