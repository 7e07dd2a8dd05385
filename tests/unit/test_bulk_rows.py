"""Rows of campaigns: what is sent, to whom, and what is wrong with the others."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.compatibility.census import cases
from tests.support.fakes import PHONE
from unoapi.errors import RequestError, TableUnreadable
from unoapi.models.bulk import WORDS, BadRow, GoodRow, code_of
from unoapi.models.cloud_api.messages import Sender
from unoapi.models.tables import Row
from unoapi.services.bulk_rows import (
    RowRules,
    first_name,
    lines_of,
    message_of_row,
    messages,
    messages_of_json,
    number_of,
    render,
)

if TYPE_CHECKING:
    from unoapi.models.cloud_api.messages import OutboundMessage

SENDER = Sender(phone=PHONE, at_meta=False)
HEADER = Row(1, ("NOME", "TELEFONE", "MENSAGEM", "TIPO", "URL"))


def once() -> Any:
    seen: set[str] = set()

    def came_before(number: str) -> bool:
        known = number in seen
        seen.add(number)
        return known

    return came_before


def anything(message: OutboundMessage) -> None:
    """No file is asked for."""


def rules(template: dict[str, Any] | None = None) -> RowRules:
    return RowRules(phone=PHONE, template=template, sender=SENDER, seen=once(), check=anything)


def read(
    *rows: tuple[str, ...], header: Row = HEADER, template: dict[str, Any] | None = None
) -> list[GoodRow | BadRow]:
    numbered = [Row(line, cells) for line, cells in enumerate(rows, start=2)]
    return list(messages([header, *numbered], rules(template)))


def text_of(row: GoodRow | BadRow) -> str:
    assert isinstance(row, GoodRow), row
    return row.body


def test_a_bad_row_never_ends_the_file() -> None:
    rows = read(
        ("Ana", "49 98888-7777", "Oi #NOME", "", ""),
        ("", "", "", "x", ""),
        ("so uma coluna",),
        ("Bia", "123", "Oi", "", ""),
        ("Caio", "abc", "Oi", "", ""),
        ("Davi", "5549988886666", "", "", ""),
        ("Eva", "5549988886666", "Oi", "fax", ""),
        ("Fia", "5549988886666", "Oi", "image", ""),
        ("Gil", "5549988886666", "Oi\x00", "", ""),
        ("Ana", "+55 49 98888-7777", "de novo", "", ""),
        ("Hugo", "5549988885555", "Oi", "imagem", "https://h/a.jpg"),
    )

    assert [type(row) for row in rows] == [GoodRow, *[BadRow] * 9, GoodRow]
    assert [row.line for row in rows] == list(range(2, 13))
    reasons = [row.reason for row in rows if isinstance(row, BadRow)]
    assert reasons[0] == reasons[1] == "it has no number"
    assert "digits" in reasons[2] or "no phone" in reasons[2]
    assert "text.body" in reasons[4]
    assert "'fax' is no type" in reasons[5]
    assert "needs a URL" in reasons[6]
    assert "control character" in reasons[7]
    assert "came before" in reasons[8]
    assert [row.duplicate for row in rows if isinstance(row, BadRow)] == [False] * 8 + [True]


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        (("numero", "texto"), ("5549988887777", "oi")),
        (("Phone Number", "number", "Message"), ("x", "5549988887777", "oi")),
        (("Telefone", "País", "mensagem"), ("049 98888-7777", "55", "oi")),
        (("TELEFONE", "DDI", "MENSAGEM"), ("5549988887777", "55", "oi")),
        (("TELEFONE", "DDI", "MENSAGEM"), ("+5549988887777", "1", "oi")),
        (("to", "msg"), ("5549988887777.0", "oi")),
    ],
)
def test_columns_go_by_the_names_that_people_use(header: tuple[str, ...], cells: tuple[str, ...]) -> None:
    (row,) = read(cells, header=Row(1, header))

    assert isinstance(row, GoodRow)
    assert row.to == "5549988887777"
    assert '"body":"oi"' in row.body


@pytest.mark.parametrize("rows", [[], [Row(1, ("A", "B"))]], ids=["empty", "no numbers"])
def test_a_table_without_numbers_is_none(rows: list[Row]) -> None:
    with pytest.raises(TableUnreadable):
        list(messages(rows, rules()))


def test_a_template_gets_each_rows_values() -> None:
    parameters = [{"type": "text", "text": "{{ nome }}"}, {"type": "text", "text": "#VALOR reais"}]
    components = [{"type": "body", "parameters": parameters}]
    template = {"name": "hello", "language": {"code": "pt_BR"}, "components": components}
    header = Row(1, ("TELEFONE", "NOME", "VALOR"))

    (row,) = read(
        ("5549988887777", "ANA LIMA", "10"), header=header, template={"type": "template", "template": template}
    )

    assert '"text":"Ana"' in text_of(row)
    assert '"text":"10 reais"' in text_of(row)


def test_a_row_may_name_its_own_template_with_values_in_numbered_columns() -> None:
    header = Row(1, ("TELEFONE", "TEMPLATE", "IDIOMA", "{{1}}", "{{2}}"))

    (row,) = read(("5549988887777", "hello", "en_US", "Ana", "10"), header=header)

    assert '"name":"hello"' in text_of(row)
    assert text_of(row).index('"Ana"') < text_of(row).index('"10"')


def test_a_json_row_with_a_text_alone_is_a_whole_message_as_at_messages() -> None:
    (row,) = messages_of_json([{"to": "5549988887777", "text": {"body": "hi"}}], rules())

    assert isinstance(row, GoodRow)
    assert '"text":{"body":"hi"}' in row.body


def test_json_rows_are_columns_or_whole_messages() -> None:
    rows: list[Any] = [
        {"to": 5549988887777, "message": "Oi #NOME", "nome": "Ana"},
        {"to": "5549988886666", "type": "text", "text": {"body": "inteira"}},
        {"to": "5549988885555", "type": "text", "text": {}},
        None,
        {"to": None, "message": "x"},
    ]

    found = list(messages_of_json(rows, rules()))

    assert [type(row) for row in found] == [GoodRow, GoodRow, BadRow, BadRow, BadRow]
    assert "Oi Ana" in text_of(found[0])
    assert "inteira" in text_of(found[1])


def test_a_row_that_is_too_large_is_refused() -> None:
    (row,) = list(messages_of_json([{"to": "5549988887777", "message": "x" * 40_000}], rules()))

    assert isinstance(row, BadRow)
    assert "32768 bytes" in row.reason


def test_values_are_not_taken_for_columns() -> None:
    assert render("#NOME #X {{y}} {{z}}", {"NOME": "#X", "X": "{{y}}", "Y": "1"}) == "#x {{y}} 1 {{z}}"


@pytest.mark.parametrize(
    "text", ["#A" * 4000, "{{a}}" * 1500, "{{" + " " * 8000, "{" * 8000, "#" * 8000, "{{a" * 2500], ids=range(6)
)
def test_no_text_takes_long_or_becomes_large(text: str) -> None:
    header = Row(1, ("TELEFONE", "A", "MENSAGEM"))
    began = time.process_time()

    (row,) = read(("5549988887777", "x" * 8000, text), header=header)

    assert time.process_time() - began < 0.5
    assert len(row.model_dump_json()) < 70_000


@pytest.mark.parametrize("name", ["COLUMN{}", "{0:X>{0}}"], ids=["alike", "of all lengths"])
def test_a_text_full_of_marks_takes_no_longer_with_many_columns(name: str) -> None:
    few, many = ({name.format(number + 1): "x" for number in range(columns)} for columns in (10, 64))
    took = dict[int, float]()
    for values in (few, many):
        began = time.process_time()
        render("#" * 30_000, values)
        took[len(values)] = time.process_time() - began

    assert took[64] < 4 * took[10] + 0.02  # of the names themselves, not of their lengths, it is ten times as long


def test_a_mobile_of_mexico_comes_once_in_whichever_form_it_is_written() -> None:
    first, again, other = read(
        ("Ana", "+52 55 1234-5678", "Oi", "", ""),
        ("Ana", "5215512345678", "Oi", "", ""),
        ("Bia", "5215512345679", "Oi", "", ""),
    )

    assert isinstance(first, GoodRow)
    assert isinstance(again, BadRow)
    assert again.duplicate
    assert isinstance(other, GoodRow)


def test_a_row_cannot_write_to_a_group_or_send_a_file_of_others() -> None:
    group = {"to": "5549988887777", "recipient_type": "group", "type": "text", "text": {"body": "oi"}}
    file = {"to": "5549988886666", "type": "image", "image": {"id": "31410000000000000000001"}}

    def refuse(message: OutboundMessage) -> None:
        if message.type == "image":
            raise RequestError("no", code=1, status=400, details="image.id: no uploaded media of this number")

    found = list(messages_of_json([group, file], replace(rules(), check=refuse)))

    assert '"to":"5549988887777"' in text_of(found[0])
    assert isinstance(found[1], BadRow)
    assert "no uploaded media" in found[1].reason


def test_lines_are_whole_however_they_are_read() -> None:
    assert list(lines_of([b"a\nb", b"c", b"\n", b"d"])) == [b"a\n", b"bc\n", b"d"]


@pytest.mark.parametrize("country", ["", "55", "+55 Brasil"])
@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("11988880001.0", "5511988880001"),
        ("5511988880001,00", "5511988880001"),
        ("(0xx11) 98888-0001", "5511988880001"),
        ("Ana 11988880001", "5511988880001"),
        ("Cel11988880001", "5511988880001"),
        ("11988880001João", "5511988880001"),
    ],
)
def test_a_number_as_a_table_has_it_is_the_same_beside_its_country(written: str, number: str, country: str) -> None:
    assert number_of(written, country, own="5511999990000") == number


@pytest.mark.parametrize("country", ["", "55", "+55 Brasil"])
@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("1198888000O", "digits only"),
        ("5,51199E+12", "a table has shortened it"),
        ("3,3334444E+7", "a table has shortened it"),
        ("98888-0001", "its area"),
    ],
)
def test_no_number_is_made_of_what_lacks_a_part_of_one(written: str, why: str, country: str) -> None:
    with pytest.raises(ValueError, match=why):
        number_of(written, country, own="5511999990000")


@pytest.mark.parametrize(
    ("written", "country", "own", "number"),
    [
        ("14155552671", "", "525512345678", "14155552671"),
        ("15512345678", "", "5215512345678", "15512345678"),
        ("15512345678", "52", "525512345678", "5215512345678"),
        ("5512345678", "", "525512345678", "525512345678"),
        ("5215512345678", "", "525512345678", "5215512345678"),
        ("5215512345678", "52", "5511999990000", "5215512345678"),
        ("5215512345678", "", "5511999990000", "5215512345678"),
    ],
)
def test_a_number_of_north_america_is_no_mobile_of_mexico(written: str, country: str, own: str, number: str) -> None:
    """With the digit that WhatsApp writes before these, some of its numbers would be: another person's."""
    assert number_of(written, country, own=own) == number


# --- the Node version's cases ---


@cases("bulk_number")
def test_a_number_is_read_as_the_node_version_does(case: dict[str, Any]) -> None:
    given = case["in"]

    assert number_of(given["number"], given.get("country", ""), own="5511999990000") == case["out"]


@cases("bulk_render")
def test_a_text_is_filled_as_the_node_version_does(case: dict[str, Any]) -> None:
    given = case["in"]
    if isinstance(given, str):
        assert first_name(given) == case["out"]
        return

    wanted = "Ana B Ana" if case["id"] == "br_prefix_clash" else case["out"]
    # The name's own rule is that of the row: `#NOME` alone is cut to the first one.
    assert render(given["template"], given["params"]) == wanted


@cases("bulk_row_sisodonto")
def test_a_row_of_the_dentists_program_is_read_as_the_node_version_does(case: dict[str, Any]) -> None:
    given, wanted = case["in"], case["out"]["payload"]

    assert number_of(given["TELEFONE"], own="5511999990000") == wanted["to"]
    assert {"to": wanted["to"], **message_of_row(given)} == wanted


@cases("bulk_row_default")
def test_a_row_of_the_default_form_is_read_as_the_node_version_does(case: dict[str, Any]) -> None:
    given, wanted = {name.upper(): value for name, value in case["in"].items()}, case["out"]["payload"]

    assert number_of(given["NUMBER"], given.get("COUNTRY", ""), own="5511999990000") == wanted["to"]
    assert {"to": wanted["to"], **message_of_row(given)} == wanted


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Oi #nome, de #Cidade", "Oi Ana, de Itu"),
        ("#NOMEs #nomes #nome", "Anas #nomes Ana"),
        ("#cidadezinha #x {{cidade}}", "#cidadezinha #x Itu"),
    ],
)
def test_a_column_is_named_with_small_letters_too(text: str, rendered: str) -> None:
    assert render(text, {"NOME": "ANA SILVA", "CIDADE": "Itu"}) == rendered


def test_a_letter_that_is_two_in_capitals_takes_nothing_of_the_text() -> None:
    assert render("#straße 1", {"STRASSE": "Weg"}) == "#straße 1"


@cases("bulk_status")
def test_a_status_is_reported_in_the_node_versions_words(case: dict[str, Any]) -> None:
    given, wanted = case["in"], case["out"]["stored"]

    word = WORDS[code_of(given["status"], given.get("code", 0))]

    assert word == (wanted or given["status"])
