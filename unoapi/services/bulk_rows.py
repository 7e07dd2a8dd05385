"""From the rows of a table, or of a request, to the messages of a campaign: each row by itself."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unoapi.errors import RequestError, TableUnreadable
from unoapi.models.bulk import BadRow, GoodRow
from unoapi.models.cloud_api.events import serialise
from unoapi.models.contacts import contact_keys
from unoapi.models.phones import (
    FROM_A_SPREADSHEET,
    MEXICAN_OF_WHATSAPP,
    country_code_of,
    is_possible,
    is_valid,
    read_address,
)
from unoapi.models.tables import MAX_COLUMNS, Row, column_name
from unoapi.models.text import is_text
from unoapi.services.message_parsing import parse_message, refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from unoapi.models.cloud_api.messages import OutboundMessage, Sender

NUMBER_COLUMNS = ("TELEFONE", "NUMERO", "NUMBER", "PHONE", "TO", "CELULAR", "WHATSAPP", "FONE", "WAID", "TEL", "NMERO")
COUNTRY_COLUMNS = ("COUNTRY", "PAIS", "DDI")
TEXT_COLUMNS = ("MENSAGEM", "MESSAGE", "TEXTO", "TEXT", "MSG")
TYPE_COLUMNS = ("TIPO", "TYPE")
LINK_COLUMNS = ("URL", "LINK", "MIDIA", "MEDIA")
TEMPLATE_COLUMNS = ("TEMPLATE", "MODELO")
LANGUAGE_COLUMNS = ("IDIOMA", "LANGUAGE", "LANG")
NAME_COLUMNS = frozenset({"NOME", "NAME"})
CAPTIONED = frozenset({"image", "video", "document"})
MEDIA = CAPTIONED | {"audio", "sticker"}
SPOKEN = frozenset({"speech"})
TYPES = {
    "": "text", "TEXTO": "text", "TEXT": "text", "IMAGEM": "image", "FOTO": "image", "VIDEO": "video", "AUDIO": "audio",
    "DOCUMENTO": "document", "ARQUIVO": "document", "FIGURINHA": "sticker", "FALA": "speech", "VOZ": "speech",
}  # fmt: skip
"""The types of messages, by what people write for them; Cloud API's own words are taken as they are."""
MAX_ROW_BYTES = 32 * 1024
"""Of a row's message, as JSON."""
TOO_LARGE = f"its message has more than {MAX_ROW_BYTES} bytes of JSON"
LETTER_IN_NUMBER = re.compile(r"\d[^\W\d_xX]{1,2}(?![^\W\d_])|[^\W\d_xX]\d")
"""A letter or two behind a digit, or before one, stand for digits, as in 1198888000O: without them the number is
somebody else's. Three are a word. An x of 0xx stands for any carrier."""
COLUMN_MARK = re.compile(r"#|\{\{([^{}]{1,80})\}\}")

Values = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RowRules:
    """What rows are checked by.

    `template` is a message whose texts hold columns, for all rows; without it each row says what is sent. `seen` says
    whether a number came before, and remembers it; `check` raises RequestError for a file that is not the session's.
    """

    phone: str
    template: Mapping[str, Any] | None
    sender: Sender
    seen: Callable[[str], bool]
    check: Callable[[OutboundMessage], None]


def messages(rows: Iterable[Row], rules: RowRules) -> Iterator[GoodRow | BadRow]:
    """The messages of a table, whose first row names the columns. A bad row never ends the file.

    Raises TableUnreadable for a table without a column of numbers.
    """
    source = iter(rows)
    header = next(source, None)
    if header is None:
        raise TableUnreadable("it is empty")
    names = [column_name(cell) for cell in header.cells]
    if not set(NUMBER_COLUMNS) & set(names):
        found = ", ".join(name for name in names if name)[:100] or "none"
        raise TableUnreadable(f"no column of the first row is called {', '.join(NUMBER_COLUMNS[:4])}; found: {found}")
    for row in source:
        values: Values = {}
        for name, cell in zip(names, row.cells, strict=False):
            if name:
                values.setdefault(name, cell)
        yield _checked(row.line, values, row.problem, None, rules)


def messages_of_json(rows: Iterable[Any], rules: RowRules) -> Iterator[GoodRow | BadRow]:
    """The same of JSON rows: objects whose fields are the columns, or whole messages with `to` and `type`."""
    for line, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            yield BadRow(line=line, number="", reason="it is not an object")
            continue
        kind = row.get("type") or "text"
        whole = row if isinstance(kind, str) and isinstance(row.get(kind), dict) and rules.template is None else None
        columns = islice(row.items(), MAX_COLUMNS)
        plain = {name: value for name, value in columns if not isinstance(value, (dict, list))}
        values = {column_name(f"{name}"): "" if value is None else f"{value}" for name, value in plain.items()}
        yield _checked(line, values, "", whole, rules)


def _checked(
    line: int, values: Values, problem: str, whole: dict[str, Any] | None, rules: RowRules
) -> GoodRow | BadRow:
    written = _first(values, NUMBER_COLUMNS)
    number = "".join(char for char in written if char.isprintable())[:64]
    try:
        if problem or not all(map(is_text, values.values())):
            _refuse(problem or "it holds a control character or half of a surrogate pair")
        to = number_of(written, _first(values, COUNTRY_COLUMNS), own=rules.phone)
        template = rules.template
        message = whole or (filled(template, values) if template is not None else message_of_row(values))
        document = {**message, "to": to, "recipient": None, "recipient_type": "individual"}
        parsed = parse_message(document, sender=rules.sender)
        rules.check(parsed)
        body = serialise(parsed.to_wire())
        if len(body) > MAX_ROW_BYTES:  # it is ASCII
            _refuse(TOO_LARGE)
    except RequestError as error:
        return BadRow(line=line, number=number, reason=error.details[:300])
    except ValidationError as error:
        return BadRow(line=line, number=number, reason=refusal_of(error).details[:300])
    except ValueError as error:
        return BadRow(line=line, number=number, reason=f"{error}"[:300])
    if rules.seen(min(contact_keys(to))):  # in whichever form of a mobile of Mexico or Argentina
        return BadRow(line=line, number=number, reason="the number came before in this file", duplicate=True)
    return GoodRow(line=line, to=to, body=body)


def _refuse(why: str) -> None:
    raise ValueError(why)


def number_of(written: str, country: str = "", *, own: str) -> str:
    """The digits of a row's number in international form, as tables have them: mostly without a country.

    It is that of the row, else the session's, where its plan has the number. Raises ValueError for what is no phone.
    """
    text = written.strip()
    if not text:
        raise ValueError("it has no number")
    if amount := FROM_A_SPREADSHEET.fullmatch(text):
        text = amount[1]
    digits = "".join(char for char in text if char.isdigit())
    code = "".join(char for char in country if char.isdigit())
    national = f"{code or country_code_of(own)}{digits.lstrip('0')}"
    known = ""
    begins = next((place for place, char in enumerate(text) if char.isdigit()), 0)
    if not text.startswith(("+", "00")) and not LETTER_IN_NUMBER.search(text, begins):
        is_whole = digits.startswith(code or country_code_of(own)) and (is_possible(digits) or is_valid(digits))
        known = digits if is_whole else ""  # the library takes its time
        # A number of North America is no mobile of Mexico, unless the row says so.
        has_plan = is_valid(national) and (code or not MEXICAN_OF_WHATSAPP.match(national))
        if not is_whole and (code not in ("", country_code_of(own)) or has_plan):
            text = f"+{national}"
    try:
        address = read_address(text, own=own)
    except ValueError as error:
        raise ValueError(f"the number {error}") from None
    if "@" in address or not (address == known or is_possible(address) or is_valid(address)):
        raise ValueError("the number is no phone of any country")
    return address


def message_of_row(values: Values) -> dict[str, Any]:
    """The message that a row's own columns say. Raises ValueError."""
    text, link, template = (_first(values, names) for names in (TEXT_COLUMNS, LINK_COLUMNS, TEMPLATE_COLUMNS))
    if template:
        return _template(template, _first(values, LANGUAGE_COLUMNS), values)
    written = _first(values, TYPE_COLUMNS)
    kind = TYPES.get(column_name(written), written.strip().lower())
    rendered = render(text, values)
    if kind == "text":
        return {"type": "text", "text": {"body": rendered}}
    if kind in SPOKEN:
        return {"type": kind, kind: {"body": rendered}}
    if kind not in MEDIA:
        raise ValueError(f"{written[:40]!r} is no type: text, speech, {', '.join(sorted(MEDIA))}")
    if not link:
        raise ValueError(f"a row of type {kind} needs a URL")
    caption = {"caption": rendered} if rendered and kind in CAPTIONED else {}
    return {"type": kind, kind: {"link": link, **caption}}


def _template(name: str, language: str, values: Values) -> dict[str, Any]:
    """A template with the values of the columns `1`, `2` and so on."""
    numbered = sorted((int(column), value) for column, value in values.items() if column.isdigit() and column != "0")
    parameters = [{"type": "text", "text": value} for _, value in numbered]
    components = [{"type": "body", "parameters": parameters}] if parameters else []
    return {
        "type": "template",
        "template": {"name": name, "language": {"code": language or "pt_BR"}, "components": components},
    }


def filled(template: Any, values: Values) -> Any:
    """A message with a row's values in all its texts."""
    if isinstance(template, str):
        return render(template, values)
    if isinstance(template, dict):
        return {key: filled(part, values) for key, part in template.items()}
    return [filled(part, values) for part in template] if isinstance(template, list) else template


def render(text: str, values: Values) -> str:
    """A text with columns in it: `#COLUNA` as the Node version has it, or `{{coluna}}`. `#NOME` is the first name.

    Of a whole word capitals do not count: headers are mostly written with small letters, and so is what names them.
    The longest name is looked for first, and what stands in a value is left alone. What is no column stays. Raises
    ValueError when it becomes too long.
    """
    if "#" not in text and "{{" not in text:
        return text
    lengths = sorted({len(name) for name in values if name})
    longest = lengths[-1] if lengths else 0
    parts, at, position, left = list[str](), 0, 0, MAX_ROW_BYTES
    while mark := COLUMN_MARK.search(text, position):
        if mark[1] is None:
            behind = text[mark.end() : mark.end() + longest + 1]
            letters = next((place for place, char in enumerate(behind) if not char.isalnum()), len(behind))
            possible = lengths[: bisect_right(lengths, letters)][::-1]  # a column's name has no other signs
            exactly = (name for length in possible if (name := behind[:length]) in values)
            shown = (behind[:length].upper() for length in possible)  # of some letters, as ß, longer
            alone = (name for name in shown if name in values and _is_first_word(name, behind))
            name = next(exactly, "") or next(alone, "")
            end = mark.end() + len(name)
        else:
            name, end = column_name(mark[1]), mark.end()
        position = end
        if name not in values or not name:
            continue
        filling = first_name(values[name]) if name in NAME_COLUMNS else values[name]
        left -= len(filling)
        if left < 0:  # a short text may name a long column often
            raise ValueError(TOO_LARGE)
        parts += [text[at : mark.start()], filling]
        at = end
    return "".join([*parts, text[at:]])


def _is_first_word(name: str, text: str) -> bool:
    """Whether a text begins with this name as a word of its own; capitals do not count."""
    return text[: len(name)].upper() == name and not text[len(name) :][:1].isalnum()


def first_name(name: str) -> str:
    """The first of somebody's names, capitalised: `MARIA SILVA` gives `Maria`."""
    return next(iter(name.split()), "").capitalize()


def _first(values: Values, names: Iterable[str]) -> str:
    return next((values[name] for name in names if values.get(name)), "")


def row_to_line(row: GoodRow | BadRow) -> bytes:
    """A row as a line of a file."""
    return row.model_dump_json().encode() + b"\n"


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, with their ends, out of a file that is read in pieces."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def json_rows(pieces: Iterable[bytes]) -> Iterator[Any]:
    """The JSON of each line; None for one that is none."""
    for line in lines_of(pieces):
        try:
            yield json.loads(line)
        except ValueError:
            yield None
