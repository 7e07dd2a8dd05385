"""Which row of a menu a contact means who answers with words: menus are numbered lines where phones show no buttons."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.chats import Menu, MenuRow

MAX_ANSWER_CHARS = 120
"""Longer than any title that Meta allows with a number before it: what is longer is no answer."""
NUMBERED = re.compile(
    r"(?:(?:opcao|op|option|opcion|alternativa|numero|num|number|nr|no|n|item|letra|letter)\b[ .:#]{0,3})?"
    r"#?(\d{1,3}|[a-z])\b(.*)"
)
INVISIBLE = ("Mn", "Me", "Cf")
"""Accents, keycaps, what joins."""
PICTURES = ("So", "Sk")
"""Emojis with their skin tones."""
ORDINALS = {ord("\u00ba"): None, ord("\u00aa"): None}
"""The signs of `2\u00ba` and `2\u00aa`, which would become letters."""
EDGES = " \t\n\r.,;:!?()[]{}<>*_~`'\"\u2018\u2019\u201c\u201d\u00b4-\u2013\u2014\u00ba\u00aa\u00b0#/=>|"


def chosen(answer: str, menu: Menu) -> MenuRow | None:
    """The row that an answer means: its title, its number, its letter or its id; none when it may mean something else.

    `2`, `2.`, `(2)`, `2)`, `opção 2`, `2️⃣`, `b)`, `2 - Plan B`, `plan b`, `PLAN B!`.
    """
    if not answer or len(answer) > MAX_ANSWER_CHARS:
        return None
    row = _titled(answer, menu, _plain) or _titled(answer, menu, _words) or _numbered(_words(answer), menu)
    if row is None:
        row = _only([row for row in menu.rows if row.id and row.id.casefold() == answer.strip().casefold()])
    return row if row is not None and row.id else None


def _titled(answer: str, menu: Menu, reading: Callable[[str], str]) -> MenuRow | None:
    text = reading(answer)
    return _only([row for row in menu.rows if text and reading(row.title) == text])


def _numbered(text: str, menu: Menu) -> MenuRow | None:
    match = NUMBERED.fullmatch(text)
    if match is None:
        return None
    name, rest = match[1], match[2].strip(EDGES)
    position = int(name) - 1 if name.isdigit() else ord(name) - ord("a")
    if not 0 <= position < len(menu.rows):
        return None
    row = menu.rows[position]
    titles = {_words(row.title), _words(f"{row.title} ({row.description})"), _words(f"{row.title} {row.description}")}
    return row if not rest or rest in titles else None


def _only(rows: Sequence[MenuRow]) -> MenuRow | None:
    return rows[0] if len(rows) == 1 else None


def _plain(text: str) -> str:
    """Words without case, accents, keycaps and what stands around them."""
    spread = unicodedata.normalize("NFKD", text.translate(ORDINALS))
    bare = "".join(char for char in spread if unicodedata.category(char) not in INVISIBLE)
    return " ".join(bare.casefold().split()).strip(EDGES)


def _words(text: str) -> str:
    """The same without pictures: nobody types the emoji of a title."""
    return _plain("".join(" " if unicodedata.category(char) in PICTURES else char for char in text))
