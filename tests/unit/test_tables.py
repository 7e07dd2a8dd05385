"""Tables as people make them."""

from __future__ import annotations

import base64
import csv
import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from datetime import date, datetime
from datetime import time as clock
from itertools import zip_longest
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import openpyxl  # type: ignore[import-untyped]
import pytest
import xlrd  # type: ignore[import-untyped]
from xlrd.sheet import Cell  # type: ignore[import-untyped]

from tests.compatibility.census import cases
from unoapi.errors import TableUnreadable
from unoapi.media.tables import MAX_RECORD_LINES, OLE, read_table
from unoapi.models.tables import column_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

TEXT = "NOME;TELEFONE;MENSAGEM\nJoão;5549988887777;Olá, você\nAndré;5549988886666;Promoção às 10 h\n"

XLS = zlib.decompress(
    base64.b85decode(
        "c-rk)O=wd=5dQWhX_L_WnhLE@LcyxFP>UBY?b8xl5E7yne-JdaIY`??LJ{?#)iy^#(2L@wP!C?JUi?81dh;Muv>*sVYLA{o1(7z-"
        "naPX!5upJsRQ7x9?Ck8$?qqjoHoLDELWS7}?MtY`030Y<9yC?S6eUl&5Cqj*7PIBtP07;OQ1G~EA)8!y>U-79Ysl-p1OxY-FNgvk"
        "DILcdB(j-wbR97$Hl!5W&`(t1Hc9+w6RW~PPYK;5^q#bQCUmbzt_tm^wgq(z3udBwkG+eJ7@bn*2lx9(bl!`k53P8~yZF*IRch<P"
        "zTD~5_y()!aJFC$w4lT3OghKq0PesG#A3bic<)g{0TEj4IefFCz}K=@KaXnp`pOkZ{=HV-{0F(47O`G_-Eaa^uuh7T<l#fu$u%w{"
        "$5WZU6?78|N#xs!9~0?ZmKr3o6KTp~smT;&2eQjq+Ck^M9N{G*1ZyIKPdufC=qLihhs0lkWYWsr&u`)*N%MqArsNbTofTWzG+4OI"
        "8l>!(8nKQ}7m#JFu~X<3>2-_n?Ls4DGv!^$R+|}`mNqj|+ePE-7Q8jLRq@-2&wo1jxFf%8?jU}Cc<Dl9{+&6CPCC0rNuR%I^r#+n"
        ">n7ugS<aOmS3U@B`z^+}ji7D2WgmzEtg=@TLPAR=o*nh8WY}}X+Nw_5L35%?+B09yF7CQ9$T~`T;2FATaLFLMh87L!!67}?j_;86"
        "Jg);r7!P?cih&h)p`oFnp`oFnp`lTE(=qJ-<Ic)Gf$xs;uCq$1sGmvxTO2}`zDc@N?nj359L_hie>TIV%6+Ld>XhFL8HZ`~9L6vr"
        "c8oQ=f9b}is(;U#6@!1zg&G~d*od9~c>JI5UDx;"
    )
)
"""A small workbook in the form before 2007: a number, a name with an accent, a day, an empty row."""


def table(folder: Path, content: bytes | str, *, charset: str = "utf-8") -> list[tuple[str, ...]]:
    path = folder / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(charset))
    return [row.cells for row in read_table(path)]


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "iso8859_15"])
def test_the_charset_of_a_file_is_found_out(tmp_path: Path, charset: str) -> None:
    rows = table(tmp_path, TEXT, charset=charset)

    assert rows[0] == ("NOME", "TELEFONE", "MENSAGEM")
    assert rows[2] == ("André", "5549988886666", "Promoção às 10 h")


@pytest.mark.parametrize(
    "words",
    [
        "Olá", "Não perca!", "João", "Amanhã às 10h", "Feliz aniversário", "É hoje", "Ótimo", "Ação", "ATENÇÃO",
        "1º lugar", "d’água", "Só hoje – aproveite", "“Oferta”",  # noqa: RUF001
        "10%\xa0off", "Mañana", "¿Cómo estás?", "Até já", "Preço", "gato…",
        "McDonald’s", "caixa d’agua", "Sant’Ana", "O’Neil", "JoséMaria", "PÉ",  # noqa: RUF001
        "Oi, voçê", "Fábio Çelik", "Estêvão Çelik",
    ],
)  # fmt: skip
@pytest.mark.parametrize("charset", ["cp1252", "iso8859_15"])
def test_a_few_accents_are_enough_to_find_the_charset_of_windows(tmp_path: Path, words: str, charset: str) -> None:
    """Excel in Brazil writes so, and most campaigns have one short text."""
    try:
        content = f"NOME;TELEFONE;MENSAGEM\nAna;5549988887777;{words}\n".encode(charset)
    except UnicodeEncodeError:
        pytest.skip("the charset has not these signs")

    assert table(tmp_path, content)[1] == ("Ana", "5549988887777", words)


@pytest.mark.parametrize("charset", ["cp850", "mac_roman"])
@pytest.mark.parametrize(
    "words",
    [
        "Não perca a promoção!", "Atenção: boleto vencido", "São João, às 10 h", "PROMOÇÃO",
        "Oi, voçê", "JOSÉ", "ANTÔNIO", "HÉLIO", "LUÍS", "FABRÍCIO", "JÚNIOR", "Luísa",
    ],
)  # fmt: skip
def test_older_programs_and_macs_are_read_too(tmp_path: Path, words: str, charset: str) -> None:
    assert table(tmp_path, f"A;B\n1;{words}\n", charset=charset)[1] == ("1", words)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_letter_that_was_cut_in_half_spoils_no_other(tmp_path: Path, bom: bytes) -> None:
    """Programs cut a text at so many bytes."""
    cut = "Conceição".encode()[:-4]
    names = ["João".encode(), cut, "André".encode()] if not bom else [cut]

    rows = table(tmp_path, bom + b"A;B\n" + b"".join(b"1;" + name + b"\n" for name in names))

    assert [row[1] for row in rows[1:]] == [name.decode(errors="replace") for name in names]


@pytest.mark.parametrize("other", ["Ana", "José", "😀"])
def test_what_another_program_could_not_read_spoils_no_other(tmp_path: Path, other: str) -> None:
    """It wrote the sign for that, which is as good as any other in UTF-8."""
    rows = table(tmp_path, f"A;B\n1;Concei\ufffd\ufffdo\n2;{other}\n")

    assert [row[1] for row in rows[1:]] == ["Concei\ufffd\ufffdo", other]


@pytest.mark.parametrize("words", ["“VOCÊ”", "VOCÊ”, João"])
def test_signs_that_look_like_one_letter_of_utf_8_are_none(tmp_path: Path, words: str) -> None:
    assert table(tmp_path, f"A;B\n1;{words}\n", charset="cp1252")[1] == ("1", words)


@pytest.mark.parametrize("named", ["sep=;\r\n", '"sep=;"\n', "SEP=;;;\n", "\ufeffsep=;\n"])
def test_a_line_that_names_the_separator_is_no_row(tmp_path: Path, named: str) -> None:
    assert table(tmp_path, f"{named}A;B,C\n1;2,3\n") == [("A", "B,C"), ("1", "2,3")]


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_the_separator_of_a_file_is_found_out(tmp_path: Path, separator: str, ending: str) -> None:
    text = ending.join([separator.join(("A", "B", "C")), separator.join(("1", '"a b"', "3"))])

    assert table(tmp_path, text) == [("A", "B", "C"), ("1", "a b", "3")]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('"a\nb";2', [("a\nb", "2")]),
        ('"a ""b""";2', [('a "b"', "2")]),
        ("'a';\"b\"", [("a", "b")]),
        (";;;\n\n  ;\n1;2", [("1", "2")]),
        ("so uma coluna", [("so uma coluna",)]),
        ('"open;1\n2;3', [('"open', "1"), ("2", "3")]),
        ('"a;1\n"b;2\nc;3', [('"a', "1"), ('"b', "2"), ("c", "3")]),
        ('a "b" c;1\n"x"y;2', [('a "b" c', "1"), ('"x"y', "2")]),
        ("'5549988887777;x", [("5549988887777", "x")]),
        ('1;"""Oi"" e ""tchau"""\n2;"""Oi"""', [("1", '"Oi" e "tchau"'), ("2", "Oi")]),
        ("1;'Oi' e 'tchau'", [("1", "'Oi' e 'tchau'")]),
    ],
)
def test_quotes_and_empty_lines_are_read_as_they_were_meant(
    tmp_path: Path, text: str, cells: list[tuple[str, ...]]
) -> None:
    assert table(tmp_path, text) == cells


def test_a_quote_that_is_never_closed_spoils_its_own_line_alone(tmp_path: Path) -> None:
    lines = [f"{number};x" for number in range(200)]
    lines[10] = '"10;x'

    rows = table(tmp_path, "\n".join(lines))

    assert len(rows) == 200
    assert rows[150] == ("150", "x")


def test_quotes_that_stay_open_are_looked_through_once_for_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at, csv_reader = list[str](), csv.reader

    def noted(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            looked_at.append(line)
            yield line

    def reader(lines: Iterable[str], **options: Any) -> Any:
        return csv_reader(noted(lines), **options)

    monkeypatch.setattr("unoapi.media.tables.csv.reader", reader)

    rows = table(tmp_path, 'x";"\n' * 200)

    assert len(rows) == 200
    assert len(looked_at) <= 200 * MAX_RECORD_LINES


def test_a_line_that_is_too_long_is_refused_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("A;B\n1;" + "x" * 1_000_000 + "\n2;y\n")

    rows = list(read_table(path))

    assert [(row.line, row.problem) for row in rows] == [(1, ""), (2, "it is too long"), (3, "")]


def test_a_workbook_is_read_with_its_numbers_and_days_as_people_see_them(tmp_path: Path) -> None:
    path = tmp_path / "table"
    book = openpyxl.Workbook()
    book.active.append(["Número", "Valor"])
    book.active.append([5549988887777, 1.5])
    book.active.append([])
    book.active.append([None, "x"])
    book.save(path)

    assert [(row.line, *row.cells) for row in read_table(path)] == [
        (1, "Número", "Valor"),
        (2, "5549988887777", "1.5"),
        (4, "", "x"),
    ]


def test_a_workbook_in_the_old_form_is_read_as_well(tmp_path: Path) -> None:
    assert table(tmp_path, XLS) == [
        ("Número", "Nome", "Data"),
        ("5549988887777", "João", "27/11/2026"),
        ("", "x", ""),
    ]


def archive(**parts: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return written.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"PK\x03\x04 no archive",
        lambda: archive(a=b"no workbook"),
        lambda: archive(**{"xl/sharedStrings.xml": b"0" * (101 * 1_048_576)}),
        lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 1000,
        lambda: b"%PDF-1.7\x00\x01\x02",
        lambda: struct.pack("<20I", *range(20)),
    ],
    ids=["broken zip", "another zip", "bomb", "broken xls", "pdf", "binary"],
)
def test_what_is_no_table_is_refused_with_a_reason(tmp_path: Path, content: Callable[[], bytes]) -> None:
    with pytest.raises(TableUnreadable):
        table(tmp_path, content())


SHEET, STYLES, TYPES = "xl/worksheets/sheet1.xml", "xl/styles.xml", "[Content_Types].xml"
STRINGS_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"


def workbook(**changes: tuple[str, str]) -> dict[str, bytes]:
    """The parts of a workbook with a row of a number and a text; in the named ones a text is another one."""
    book, whole = openpyxl.Workbook(), io.BytesIO()
    book.active.append([5549988887777, "x"])
    book.save(whole)
    with zipfile.ZipFile(whole) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    for name, (old, new) in changes.items():
        assert old.encode() in parts[name]
        parts[name] = parts[name].replace(old.encode(), new.encode())
    return parts


def with_shared(texts: str, *, name: str = "xl/sharedStrings.xml") -> bytes:
    """A workbook whose text is the first one of those that its cells share, in a part of that name."""
    declared = f'<Override PartName="/{name}" ContentType="{STRINGS_TYPE}"/></Types>'
    cell = ('t="inlineStr"><is><t>x</t></is>', 't="s"><v>0</v>')
    document = f'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">{texts}</sst>'
    return archive(**workbook(**{TYPES: ("</Types>", declared), SHEET: cell}), **{name: document.encode()})


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a cell without end": lambda: archive(**workbook(**{SHEET: ("5549988887777", "1" * 3_000_000)})),
    "a row without end": lambda: archive(**workbook(**{SHEET: ("</row>", "<c/>" * 60_000 + "</row>")})),
    "what is no row": lambda: archive(**workbook(**{SHEET: ("<sheetData>", "<x/>" * 60_000 + "<sheetData>")})),
    "a text without end": lambda: with_shared(f"<si><t>{'x' * 3_000_000}</t></si>"),
    "a text in pieces": lambda: with_shared(f"<si>{'<r/>' * 60_000}<t>x</t></si>"),
    "texts under the name of a picture": lambda: with_shared(
        "<si><t>x</t></si>" * 6_250_000, name="xl/media/image1.png"
    ),
    "many styles": lambda: archive(**workbook(**{STYLES: ("</cellXfs>", "<xf/>" * 110_000 + "</cellXfs>")})),
    "a part without end": lambda: archive(**workbook(**{STYLES: ("</styleSheet>", " " * 5_000_000 + "</styleSheet>")})),
}


@pytest.mark.parametrize("bomb", HOSTILE)
def test_a_workbook_that_grows_when_it_is_unpacked_is_refused_before_it_fills_the_memory(
    tmp_path: Path, bomb: str
) -> None:
    path = tmp_path / "table"
    path.write_bytes(HOSTILE[bomb]())
    tracemalloc.start()

    with pytest.raises(TableUnreadable, match="save it as csv"):
        list(read_table(path))

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40_000_000, f"{most} bytes"


def test_what_follows_the_rows_of_a_sheet_is_not_read(tmp_path: Path) -> None:
    merged = workbook(**{SHEET: ("</sheetData>", "</sheetData>" + "<x/>" * 60_000)})

    assert table(tmp_path, archive(**merged)) == [("5549988887777", "x")]


def test_a_shared_text_is_read_with_all_its_pieces(tmp_path: Path) -> None:
    rich = "<si><r><t>one </t></r><r><rPr><b/></rPr><t>two</t></r><rPh><t>not said</t></rPh></si>"

    assert table(tmp_path, with_shared(rich)) == [("5549988887777", "one two")]


def test_a_time_of_day_is_one_and_no_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = openpyxl.Workbook()
    book.active.append(["A", clock(10, 0), clock(0, 5, 30), datetime(2026, 1, 2, 10, 0), date(2026, 1, 2)])  # noqa: DTZ001
    book.save(tmp_path / "new")
    old = [Cell(xlrd.XL_CELL_DATE, value) for value in (10 / 24, 330 / 86_400, 46024 + 10 / 24, 46024.0)]
    sheet = SimpleNamespace(nrows=1, row=lambda _: [Cell(xlrd.XL_CELL_TEXT, "A"), *old])
    opened = SimpleNamespace(datemode=0, sheet_by_index=lambda _: sheet)
    monkeypatch.setattr("unoapi.media.tables.xlrd.open_workbook", lambda *_, **__: opened)
    (tmp_path / "old").write_bytes(OLE)

    for name in ("new", "old"):
        (row,) = read_table(tmp_path / name)
        assert row.cells == ("A", "10:00", "00:05:30", "02/01/2026 10:00", "02/01/2026"), name


def test_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("NUMERO;NOME\n" + "".join(f"55499{number:08};Maria\n" for number in range(50_000)))
    tracemalloc.start()

    began = time.monotonic()
    count = sum(1 for _ in read_table(path))
    took_s, (_, most) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 50_001
    assert most < 3_000_000, f"{most} bytes, {took_s:.1f} s"


@pytest.mark.parametrize(
    ("written", "name"),
    [("Número", "NUMERO"), ('"message"', "MESSAGE"), ("x y", "XY"), (" tele-fone:", "TELEFONE"), ("{{1}}", "1")],
)
def test_a_column_is_known_by_its_letters_and_digits(written: str, name: str) -> None:
    assert column_name(written) == name


@cases("bulk_csv")
def test_a_file_is_read_as_the_node_version_does(tmp_path: Path, case: dict[str, Any]) -> None:
    header, *rows = table(tmp_path, case["in"])
    names = [column_name(cell) for cell in header]

    read = [dict(zip_longest(names, row, fillvalue="")) for row in rows if len(row) > 1]

    corrected = {"NMERO": "NUMERO", 'MESSAGE"': "MESSAGE"}  # every sign of a header is cleaned, not the first alone
    wanted = [{corrected.get(name, name): value for name, value in row.items()} for row in case["out"]]
    assert read == [row for row in wanted if any(row.values())]  # an empty row is left out
