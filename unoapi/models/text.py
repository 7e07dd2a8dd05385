"""Text that everybody can store: no control characters but tabs and line ends, and no half of a surrogate pair.

PostgreSQL cannot hold U+0000, XML none of the others, and UTF-8 no half of a pair.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
FORM = "response_json"
"""The field of a message that holds what a contact wrote into a form, as JSON in a text."""
FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""What shows nothing, though its category is that of a letter or a sign: names are made of it."""
_LINE_ENDS = re.compile(r"[\x0b\x0c]")


def is_text(text: str) -> bool:
    """Whether it can be stored as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return CONTROLS.search(text) is None


def figures(value: object) -> object:
    """A number that stands where a text is meant, as in forms, tables and YAML, as its figures; else what it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def plain_text(value: object) -> str:
    """A text, or a number as one; empty for what is neither, which nobody should read as Python writes it."""
    return str(value or "") if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def credential(value: object) -> object:
    """A token as a header carries it: as its figures, and without the line end that was copied with it."""
    value = figures(value)
    return value.strip(" \t\r\n") if isinstance(value, str) else value


def is_visible(text: str) -> bool:
    """Whether anything of it is seen: not so of spaces, marks of direction and fillers."""
    if text.isascii():
        return bool(text.strip())
    return any(unicodedata.category(char)[0] not in "CZ" and char not in FILLERS for char in text)


def bold(text: str) -> str:
    """A heading, as WhatsApp writes it; nothing of nothing."""
    return _marked(text, "*")


def italic(text: str) -> str:
    """What stands small below a message, as WhatsApp writes it; nothing of nothing."""
    return _marked(text, "_")


def _marked(text: str, sign: str) -> str:
    """Each line between signs. Beside a space, twice, and around a line end they would be shown as they are."""
    lines = filter(None, map(str.strip, text.splitlines()))
    return "\n".join(line if line[0] == line[-1] == sign else f"{sign}{line}{sign}" for line in lines)


def mended(document: Any) -> Any:
    """A JSON document in which all is text, keys and values.

    Control characters are left out, those that end a line or a page become line ends, and U+FFFD stands for half a
    pair. For what WhatsApp sends: nobody there reads a refusal, and no message may be lost for a character in it.
    """
    if isinstance(document, str):
        if is_text(document):
            return document
        plain = CONTROLS.sub("", _LINE_ENDS.sub("\n", document))
        return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(document, dict):
        return {mended(key): mended_json(part) if key == FORM else mended(part) for key, part in document.items()}
    return [mended(part) for part in document] if isinstance(document, list | tuple) else document


def mended_json(written: Any) -> Any:
    """A JSON text that holds nothing which nobody can store, in an escape either: clients read it, and store it."""
    plain = mended(written)
    try:
        document = json.loads(plain) if isinstance(plain, str) and "\\" in plain else None
        storable = mended(document)
    except (ValueError, RecursionError):
        return plain
    return plain if storable == document else json.dumps(storable)
