"""Tables out of files that people make: csv in any charset, xls, xlsx. Row by row, in memory that does not grow.

A workbook is hostile: what its parts are called, and how large they say they are, proves nothing. Each is bounded where
it is unpacked, and of what they hold only the values of cells are read.
"""

from __future__ import annotations

import csv
import re
import tempfile
import zipfile
from array import array
from codecs import BOM_UTF8
from collections import deque
from contextlib import suppress
from datetime import date, datetime, time
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Self

import xlrd  # type: ignore[import-untyped]
from openpyxl.reader.excel import ExcelReader  # type: ignore[import-untyped]
from openpyxl.worksheet._read_only import ReadOnlyWorksheet  # type: ignore[import-untyped]
from openpyxl.worksheet._reader import DATA_TAG, ROW_TAG, WorkSheetParser  # type: ignore[import-untyped]
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS  # type: ignore[import-untyped]
from openpyxl.xml.functions import iterparse  # type: ignore[import-untyped]

from unoapi.errors import TableUnreadable
from unoapi.models.tables import MAX_CELL_CHARS, MAX_COLUMNS, MAX_ROW_CHARS, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
BYTE_ORDERS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
MAX_SHEET_BYTES = 1_073_741_824
"""Of the unpacked sheet, which is streamed: a million rows have about half of it."""
MAX_TEXTS_BYTES, MAX_TEXTS = 100 * 1_048_576, 4_000_000
"""Of the texts that cells share, which are kept on the disk."""
MAX_PIECE_BYTES, MAX_PIECE_TAGS = 2 * 1_048_576, 50_000
"""Of one row, or of one text that cells share: as much as is in memory at one time. Excel has 16,384 columns."""
MAX_PART_BYTES, MAX_PART_TAGS = 4 * 1_048_576, 100_000
"""Of a part that is read as a whole: styles, names, relations."""
MAX_XLS_BYTES = 32 * 1_048_576
"""xlrd holds the file in memory; the format ends at 65,536 rows."""
MAX_SHEET_ROWS = 1_048_576
SHARED_TEXT, TEXT, RUN = (f"{{{SHEET_MAIN_NS}}}{name}" for name in ("si", "t", "r"))
NAMED_SEPARATOR = re.compile(r"\"?sep=([;,|\t])\"?[;,\t]*\r?\n", re.IGNORECASE)
"""A first line that says to Excel what parts the cells; it is no row."""
MAX_RECORD_LINES = 50
"""Lines of one row whose quotes hold line breaks; a quote that is open for longer was never meant as one."""
SAMPLE_BYTES = 65_536
BROKEN = "\ufffd"
"""What stands for a letter that cannot be read. A program that could not read one may have written it, in UTF-8."""
SEPARATORS = ";,\t|"
CHARSETS = ("cp1252", "iso8859_15", "cp850", "mac_roman")
"""What Brazilian programs write beside UTF-8; of two that read as well the first one counts."""
LETTERS = frozenset("áàâãéêíóôõúüçñÁÀÂÃÉÊÍÓÔÕÚÜÇÑ")
"""Of Portuguese and Spanish."""
OTHER_LETTERS = frozenset("äèëìîïòöùûýÄÈËÌÎÏÒÖÙÛÝ")
SIGNS = frozenset("ªº°€£“”‘’–—…•·«»¿¡®©™´\xa0")  # noqa: RUF001 (as people write them)
BETWEEN_LETTERS = frozenset("’·\xa0")  # noqa: RUF001
ELISION = re.compile(r"\b[dDlL]’[aeiouhAEIOUH]|’[sSt]\b")  # noqa: RUF001
"""An apostrophe as in `d’água` and `McDonald’s`, which a Mac would have as an i with an accent."""  # noqa: RUF001
WORDS_OF_ONE_LETTER = frozenset("éÉàÀáÁóÓ")
BEHIND_A_CEDILLA = frozenset("aouáâãàóôõúAOUÁÂÃÀÓÔÕÚ")
BEHIND_A_GRAVE = frozenset("sSqQ")
"""In `às` and `àquele`; in other words of Portuguese there is none."""


def read_table(path: Path) -> Iterator[Row]:
    """The rows of a file, the header first, each with its line from 1. Empty rows are left out.

    Raises TableUnreadable for what is no table, at once or at the row where it shows.
    """
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(ZIP):
        return _xlsx(path)
    return _xls(path) if head.startswith(OLE) else _csv(path)


# --- csv ---


def _csv(path: Path) -> Iterator[Row]:
    charset = _charset(path)
    with path.open("rb") as raw:
        sample = raw.read(SAMPLE_BYTES)
        if b"\x00" in sample and charset != "utf-16":
            raise TableUnreadable("it is neither a text nor a workbook")
        text = sample.decode(charset, "ignore")
    named = NAMED_SEPARATOR.match(text)
    with path.open(encoding=charset, errors="replace", newline="") as file:
        rows = _records(_lines(file), named[1] if named else _separator(text))
        yield from islice(rows, 1 if named else 0, None)


def _charset(path: Path) -> str:
    """UTF-8 when nearly all of it is; else what the bytes look like."""
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    if head[:2] in BYTE_ORDERS:
        return BYTE_ORDERS[head[:2]]
    if head.startswith(BOM_UTF8) or _is_utf8(path):
        return "utf-8-sig"
    return max(CHARSETS, key=lambda charset: _readability(head.decode(charset, "replace")))


def _readability(text: str) -> int:
    """How well a text reads in a charset: by its signs beside ASCII, each where it stands.

    In another charset than its own a letter mostly becomes a sign that nobody writes there. A guess by statistics of
    languages is wrong in every second file with a few accents alone, as campaigns are.
    """
    weights = (_weight(text, position) for position, sign in enumerate(text) if not sign.isascii())
    return sum(weights) + len(ELISION.findall(text))


def _weight(text: str, position: int) -> int:
    sign, before, after = text[position], text[position - 1 : position], text[position + 1 : position + 2]
    if sign in SIGNS:
        inside = before.isalpha() and after.isalpha()
        return (2 if sign == "\xa0" else 1) if not inside or sign in BETWEEN_LETTERS else -2
    is_slip = sign in "çÇ" and after not in BEHIND_A_CEDILLA  # as in voçê; or it is a name from elsewhere
    if is_slip or sign in OTHER_LETTERS:
        return 0
    if sign not in LETTERS:
        return -2
    if sign in "àÀ" and (before.isalpha() or (after.isalpha() and after not in BEHIND_A_GRAVE)):
        return 0
    stands_alone = not (before.isalpha() or after.isalpha() or sign in WORDS_OF_ONE_LETTER)
    if stands_alone or _is_small_among_capitals(text, position):
        return 0
    capital_inside = before.isalpha() and before.islower() and sign.isupper()
    return -2 if capital_inside or before.isdigit() or after.isdigit() else 2


def _is_small_among_capitals(text: str, position: int) -> bool:
    """Whether a small letter stands where a capital would, as in ANTâNIO."""
    two_before, before = text[position - 2 : position - 1], text[position - 1 : position]
    after = text[position + 1 : position + 2]
    return text[position].islower() and (after.isupper() or (two_before.isupper() and before.isupper()))


def _is_utf8(path: Path) -> bool:
    """Whether it is UTF-8, but for some letters that a program has cut in half: all others are not wrong for these."""
    others = broken = 0
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        while text := file.read(SAMPLE_BYTES):
            shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            others += len(shown) - len(shown.encode("ascii", "ignore"))
            broken += shown.count(BROKEN) - text.count(BROKEN)
    return not broken or others - broken > broken


def _separator(sample: str) -> str:
    """The sign that parts the header's cells most often; the first of `SEPARATORS` when there is none."""
    header = next((line for line in sample.splitlines() if line.strip()), "")
    return max(SEPARATORS, key=lambda sign: (header.count(sign), -SEPARATORS.index(sign)))


def _lines(file: Any) -> Iterator[tuple[int, str]]:
    """The lines with their numbers. One that is too long is cut: its row is refused for that, and no other."""
    number = 0
    while line := file.readline(MAX_ROW_CHARS + 1):
        number += 1
        rest = line
        while len(rest) > MAX_ROW_CHARS and not rest.endswith(("\n", "\r")):
            rest = file.readline(MAX_ROW_CHARS + 1)
        yield number, line


def _records(lines: Iterable[tuple[int, str]], separator: str) -> Iterator[Row]:
    """The rows. A quote that is never closed spoils its own line alone."""
    source, again = iter(lines), deque[tuple[int, str]]()
    while first := again.popleft() if again else next(source, None):
        taken = [first]
        cells = _cells(first[1], _following(taken, again, source), separator)
        if not cells:  # no quotes that belong together: each line for itself
            again.extendleft(reversed(taken[1:]))
            cells = first[1].rstrip("\r\n").split(separator)
        row = _row(first[0], cells, is_cut=len(first[1]) > MAX_ROW_CHARS)
        if row is not None:
            yield row


def _following(
    taken: list[tuple[int, str]], again: deque[tuple[int, str]], source: Iterator[tuple[int, str]]
) -> Iterator[str]:
    """What follows the first line of a row, as far as it may belong to it, line by line as its quotes need it."""
    while len(taken) < MAX_RECORD_LINES and (line := again.popleft() if again else next(source, None)):
        taken.append(line)
        yield line[1]


def _cells(first: str, following: Iterator[str], separator: str) -> list[str]:
    """The cells of one row; no cells where quotes are no such. Each line is read once, however many a row has."""
    if '"' not in first:
        return first.rstrip("\r\n").split(separator)
    with suppress(csv.Error):
        return next(csv.reader(chain([first], following), delimiter=separator, strict=True), [])
    return []


def _row(line: int, cells: Iterable[object], *, is_cut: bool = False) -> Row | None:
    texts = tuple(_text(cell) for cell in islice(cells, MAX_COLUMNS))
    if not any(texts):
        return None
    is_long = is_cut or any(len(text) > MAX_CELL_CHARS for text in texts) or sum(map(len, texts)) > MAX_ROW_CHARS
    return Row(line, tuple(text[:MAX_CELL_CHARS] for text in texts), problem="it is too long" if is_long else "")


def _text(value: object) -> str:
    """A cell as people read it: a whole number has no point, a day no time, a quoted whole no quotes."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 (exact in a double)
        return str(int(value))
    if isinstance(value, date | time):
        return _moment(value)
    text = str(value).strip().replace("\x00", "")
    for quote in "\"'":
        if len(text) > 1 and text[0] == text[-1] == quote and quote not in text[1:-1].replace(2 * quote, ""):
            return text[1:-1].strip()
    return text.removeprefix("'") if text[1:].isdigit() else text


def _moment(value: date | time) -> str:
    if isinstance(value, time):
        return f"{value:%H:%M:%S}".removesuffix(":00")
    has_time = isinstance(value, datetime) and value.time() != time()
    return f"{value:%d/%m/%Y %H:%M}" if has_time else f"{value:%d/%m/%Y}"


# --- workbooks ---


def _xlsx(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:  # of a path the library would want the ending
        try:
            reader = _Workbook(file)
            reader.read()
        except TableUnreadable:
            raise
        except Exception as error:  # noqa: BLE001 (openpyxl raises whatever a broken file makes of it)
            raise TableUnreadable(f"the workbook cannot be opened ({type(error).__name__})") from None
        try:
            for number, cells in reader.wb.worksheets[0].values_by_row():
                if number > MAX_SHEET_ROWS:
                    break
                if (row := _row(number, cells)) is not None:
                    yield row
        except TableUnreadable:
            raise
        except Exception as error:  # noqa: BLE001 (see above)
            raise TableUnreadable(f"the sheet cannot be read ({type(error).__name__})") from None
        finally:
            reader.wb.close()


class _Archive(zipfile.ZipFile):
    """The parts of a workbook. zipfile unpacks no more of one than its entry says."""

    def read(self, name: str | zipfile.ZipInfo, pwd: bytes | None = None) -> bytes:
        """A part that is read as a whole."""
        size = (name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)).file_size
        content = b"" if size > MAX_PART_BYTES else super().read(name, pwd)
        if size > MAX_PART_BYTES or content.count(b"<") > MAX_PART_TAGS:
            raise TableUnreadable("it has too many styles or names for a workbook: save it as csv")
        return content

    def pieces(self, name: str, *, most_bytes: int) -> _Pieces:
        """A part that is read piece by piece."""
        if self.getinfo(name).file_size > most_bytes:
            raise TableUnreadable("it is too large for a workbook: save it as csv")
        return _Pieces(self.open(name))


class _Pieces:
    """Parses a part whose pieces are forgotten as they are read, none of which is large."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._bytes = self._tags = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def read(self, size: int = -1) -> bytes:
        """For the parser."""
        read = self._source.read(size)
        self._bytes += len(read)
        self._ensure_small()
        return read

    def elements(self) -> Iterator[tuple[str, Any]]:
        """The begin and the end of each element, as `iterparse` has them."""
        for event, node in iterparse(self, events=("start", "end")):
            self._tags += 1
            self._ensure_small()
            yield event, node

    def forget(self, parent: Any) -> None:
        """A piece is read: so are the children of its parent."""
        parent.clear()
        self._bytes = self._tags = 0

    def _ensure_small(self) -> None:
        if self._bytes > MAX_PIECE_BYTES or self._tags > MAX_PIECE_TAGS:
            raise TableUnreadable("a row or a cell of it is too large for a workbook: save it as csv")


class _Workbook(ExcelReader):  # type: ignore[misc] # untyped
    """The library's reader, which would hold all shared texts, and every row while it looks for the sheet's size."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, read_only=True, data_only=True, keep_links=False)
        self.archive = _Archive(file)

    def read_strings(self) -> None:
        """Keep the shared texts on the disk."""
        if (part := self.package.find(SHARED_STRINGS)) is not None:
            with self.archive.pieces(part.PartName[1:], most_bytes=MAX_TEXTS_BYTES) as source:
                self.shared_strings = _SharedTexts(source)

    def read_worksheets(self) -> None:
        """Find the sheets that have rows."""
        for sheet, relation in self.parser.find_sheets():
            if relation.target in self.valid_files and "chartsheet" not in relation.Type:
                self.wb._sheets.append(_Sheet(self.wb, sheet.name, relation.target, self.shared_strings))  # noqa: SLF001


class _Sheet(ReadOnlyWorksheet):  # type: ignore[misc] # untyped
    """Rows are forgotten when they are read."""

    def _get_size(self) -> None:
        """What it says of its own size may be wrong, and nobody asks."""

    def _get_source(self) -> _Pieces:
        archive: _Archive = self.parent._archive  # noqa: SLF001 (as the library's own sheet does)
        return archive.pieces(self._worksheet_path, most_bytes=MAX_SHEET_BYTES)

    def values_by_row(self) -> Iterator[tuple[int, list[object]]]:
        """The values of each row, with the number that it claims."""
        book, rows = self.parent, None
        with self._get_source() as source:
            parser = WorkSheetParser(
                source,
                self._shared_strings,
                data_only=True,
                epoch=book.epoch,
                date_formats=book._date_formats,  # noqa: SLF001 (as the library's own sheet does)
                timedelta_formats=book._timedelta_formats,  # noqa: SLF001
            )
            for event, node in source.elements():
                if node.tag == DATA_TAG:
                    if event == "end":
                        return  # what follows is no row
                    rows = node
                elif event == "end" and node.tag == ROW_TAG and rows is not None:
                    number, cells = parser.parse_row(node)
                    source.forget(rows)
                    parser.row_dimensions.clear()
                    yield number, _by_column(cells)


def _by_column(cells: Iterable[dict[str, Any]]) -> list[object]:
    values: list[object] = []
    for cell in cells:
        if len(values) < cell["column"] <= MAX_COLUMNS:
            values += [None] * (cell["column"] - 1 - len(values))
            values.append(cell["value"])
    return values


class _SharedTexts:
    """The texts that cells share, by their number, in a file without a name: a million of them take 8 MB of memory."""

    def __init__(self, source: _Pieces) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the texts)
        self._ends = array("Q", [0])
        parsed = source.elements()
        _, root = next(parsed)
        for event, node in parsed:
            if event == "end" and node.tag == SHARED_TEXT:
                text = "".join(part.findtext(TEXT) or "" for part in (node, *node.iterfind(RUN)))
                written = self._file.write(text.replace("x005F_", "").encode("utf-8", "surrogatepass"))
                self._ends.append(self._ends[-1] + written)
                source.forget(root)
                if len(self._ends) > MAX_TEXTS:
                    raise TableUnreadable("it has too many texts for a workbook: save it as csv")

    def __getitem__(self, number: int) -> str:
        if number < 0:
            raise IndexError(number)
        begin, end = self._ends[number], self._ends[number + 1]
        self._file.seek(begin)
        return self._file.read(end - begin).decode("utf-8", "surrogatepass")


def _xls(path: Path) -> Iterator[Row]:
    if path.stat().st_size > MAX_XLS_BYTES:
        raise TableUnreadable("an xls file has at most 32 MB: save it as csv or xlsx")
    try:
        book = xlrd.open_workbook(str(path), on_demand=True, logfile=_Silence())
        sheet = book.sheet_by_index(0)
        rows = [[_of_xls(cell, book.datemode) for cell in sheet.row(number)] for number in range(sheet.nrows)]
    except Exception as error:  # noqa: BLE001 (xlrd raises whatever a broken file makes of it)
        raise TableUnreadable(f"the workbook cannot be read ({type(error).__name__})") from None
    for number, cells in enumerate(rows, start=1):
        if (row := _row(number, cells)) is not None:
            yield row


def _of_xls(cell: Any, datemode: int) -> object:
    if cell.ctype == xlrd.XL_CELL_DATE:
        moment = xlrd.xldate_as_datetime(cell.value, datemode)
        return moment.time() if cell.value < 1 else moment  # of no day
    return "" if cell.ctype in (xlrd.XL_CELL_ERROR, xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK) else cell.value


class _Silence:
    """Where xlrd writes what it thinks of a file."""

    def write(self, text: str) -> None:
        """Drop it."""
