"""Tables out of files that people make: csv in any charset, xls, xlsx. Row by row, in memory that does not grow.

A workbook's parts are measured before they are unpacked; of what they hold only the values of cells are read.
"""

from __future__ import annotations

import csv
import tempfile
import zipfile
from array import array
from datetime import date, datetime, time
from itertools import islice
from typing import TYPE_CHECKING, Any

import charset_normalizer
import xlrd  # type: ignore[import-untyped]
from openpyxl.cell.text import Text  # type: ignore[import-untyped]
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
MAX_TEXTS_BYTES = 100 * 1_048_576
"""Of all but the sheets: texts that cells share, which are kept on the disk, styles, relations."""
MAX_XLS_BYTES = 32 * 1_048_576
"""xlrd holds the file in memory; the format ends at 65,536 rows."""
MAX_SHEET_ROWS = 1_048_576
SHARED_TEXT = f"{{{SHEET_MAIN_NS}}}si"
MAX_RECORD_LINES = 50
"""Lines of one row whose quotes hold line breaks; a quote that is open for longer was never meant as one."""
SAMPLE_BYTES = 65_536
SEPARATORS = ";,\t|"
CHARSETS = ["cp1252", "iso8859_15", "mac_roman", "cp850"]
"""What Brazilian programs write beside UTF-8; windows-1252 is taken when nobody can say."""
FALLBACK_CHARSET = "cp1252"


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
        separator = _separator(sample.decode(charset, "ignore"))
    with path.open(encoding=charset, errors="replace", newline="") as file:
        yield from _records(_lines(file), separator)


def _charset(path: Path) -> str:
    """UTF-8 when all of it is; else what the bytes look like."""
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    if head[:2] in BYTE_ORDERS:
        return BYTE_ORDERS[head[:2]]
    if _is_utf8(path):
        return "utf-8-sig"
    best = charset_normalizer.from_bytes(head, cp_isolation=CHARSETS, enable_fallback=False).best()
    return best.encoding if best is not None and best.encoding != "ascii" else FALLBACK_CHARSET


def _is_utf8(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(SAMPLE_BYTES):
                pass
    except UnicodeDecodeError:
        return False
    return True


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
    source, again = iter(lines), list[tuple[int, str]]()
    while True:
        first = again.pop(0) if again else next(source, None)
        if first is None:
            return
        taken, cells = [first], _cells([first[1]], separator)
        while cells is None:
            following = again.pop(0) if again else next(source, None)
            taken += [following] if following else []
            if following is None or len(taken) > MAX_RECORD_LINES:
                break
            cells = _cells([line for _, line in taken], separator)
        if not cells:  # no quotes that belong together: each line for itself
            again = [*taken[1:], *again]
            cells = first[1].rstrip("\r\n").split(separator)
        row = _row(first[0], cells, is_cut=len(first[1]) > MAX_ROW_CHARS)
        if row is not None:
            yield row


def _cells(lines: list[str], separator: str) -> list[str] | None:
    """The cells of one row; none while its last quote is open, and no cells where quotes are no such."""
    if '"' not in lines[0]:
        return lines[0].rstrip("\r\n").split(separator)
    try:
        return next(csv.reader(lines, delimiter=separator, strict=True), [])
    except csv.Error as error:
        if "unexpected end of data" in f"{error}":
            return None
        return []


def _row(line: int, cells: Iterable[object], *, is_cut: bool = False) -> Row | None:
    texts = tuple(_text(cell) for cell in islice(cells, MAX_COLUMNS))
    if not any(texts):
        return None
    is_long = is_cut or any(len(text) > MAX_CELL_CHARS for text in texts) or sum(map(len, texts)) > MAX_ROW_CHARS
    return Row(line, tuple(text[:MAX_CELL_CHARS] for text in texts), problem="it is too long" if is_long else "")


def _text(value: object) -> str:
    """A cell as people read it: a whole number has no point, a day no time of day."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 (exact in a double)
        return str(int(value))
    if isinstance(value, datetime):
        return f"{value:%d/%m/%Y}" if value.time() == time() else f"{value:%d/%m/%Y %H:%M}"
    if isinstance(value, date):
        return f"{value:%d/%m/%Y}"
    text = str(value).strip().replace("\x00", "")
    for quote in "\"'":
        if len(text) > 1 and text[0] == text[-1] == quote:
            return text[1:-1].strip()
    return text.removeprefix("'") if text[1:].isdigit() else text


# --- workbooks ---


def _xlsx(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:  # of a path the library would want the ending
        try:
            _ensure_unpackable(path)
            reader = _Workbook(file, read_only=True, data_only=True, keep_links=False)
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
        except Exception as error:  # noqa: BLE001 (see above)
            raise TableUnreadable(f"the sheet cannot be read ({type(error).__name__})") from None
        finally:
            reader.wb.close()


class _Workbook(ExcelReader):  # type: ignore[misc] # untyped
    """The library's reader, which would hold all shared texts, and every row while it looks for the sheet's size."""

    def read_strings(self) -> None:
        """Keep the shared texts on the disk."""
        if (part := self.package.find(SHARED_STRINGS)) is not None:
            with self.archive.open(part.PartName[1:]) as source:
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
            for event, node in iterparse(source, events=("start", "end")):
                if event == "start":
                    rows = node if node.tag == DATA_TAG else rows
                elif node.tag == ROW_TAG and rows is not None:
                    number, cells = parser.parse_row(node)
                    rows.clear()
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

    def __init__(self, source: Any) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the texts)
        self._ends = array("Q", [0])
        parsed = iterparse(source, events=("start", "end"))
        _, root = next(parsed)
        for event, node in parsed:
            if event == "end" and node.tag == SHARED_TEXT:
                text = Text.from_tree(node).content.replace("x005F_", "")
                self._ends.append(self._ends[-1] + self._file.write(text.encode("utf-8", "surrogatepass")))
                root.clear()

    def __getitem__(self, number: int) -> str:
        if number < 0:
            raise IndexError(number)
        begin, end = self._ends[number], self._ends[number + 1]
        self._file.seek(begin)
        return self._file.read(end - begin).decode("utf-8", "surrogatepass")


def _ensure_unpackable(path: Path) -> None:
    """Refuse what would take too much memory. zipfile unpacks no more of a part than its entry says."""
    with zipfile.ZipFile(path) as archive:
        others = 0
        for part in archive.infolist():
            is_sheet = part.filename.startswith("xl/worksheets/sheet")
            if is_sheet and part.file_size > MAX_SHEET_BYTES:
                raise TableUnreadable("its sheet is too large: save it as csv")
            others += 0 if is_sheet or part.filename.startswith("xl/media/") else part.file_size
        if others > MAX_TEXTS_BYTES:
            raise TableUnreadable("it has too many texts for a workbook: save it as csv")


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
        return xlrd.xldate_as_datetime(cell.value, datemode)
    return "" if cell.ctype in (xlrd.XL_CELL_ERROR, xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK) else cell.value


class _Silence:
    """Where xlrd writes what it thinks of a file."""

    def write(self, text: str) -> None:
        """Drop it."""
