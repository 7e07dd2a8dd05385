"""Which row of a menu a contact means who answers with words: menus are numbered lines where phones show no buttons."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unoapi.models.chats import Menu, MenuRow

MAX_ANSWER_CHARS = 120
"""Longer than any title that Meta allows with a number before it: what is longer is no answer."""
NUMBERED = re.compile(
    r"(?:(?:opcao|op|option|opcion|numero|num|number|nr|no|n|item|letra|letter)\b[ .:#]{0,3})?#?(\d{1,3}|[a-z])\b(.*)"
)
INVISIBLE = ("Mn", "Me", "Cf")
"""Accents, keycaps, what joins."""
EDGES = " \t\n\r.,;:!?()[]{}<>*_~`'\"\u2018\u2019\u201c\u201d\u00b4-\u2013\u2014\u00ba\u00aa\u00b0#/=>|"


def chosen(answer: str, menu: Menu) -> MenuRow | None:
    """The row that an answer means: its title, its number, its letter or its id; none when it may mean something else.

    `2`, `2.`, `(2)`, `2)`, `opção 2`, `2️⃣`, `b)`, `2 - Plan B`, `plan b`, `PLAN B!`.
    """
    if not answer or len(answer) > MAX_ANSWER_CHARS:
        return None
    text = _plain(answer)
    row = _only([row for row in menu.rows if text and _plain(row.title) == text])
    if row is None:
        row = _numbered(text, menu)
    if row is None:
        row = _only([row for row in menu.rows if row.id and row.id.casefold() == answer.strip().casefold()])
    return row if row is not None and row.id else None


def _numbered(text: str, menu: Menu) -> MenuRow | None:
    match = NUMBERED.fullmatch(text)
    if match is None:
        return None
    name, rest = match[1], match[2].strip(EDGES)
    position = int(name) - 1 if name.isdigit() else ord(name) - ord("a")
    if not 0 <= position < len(menu.rows):
        return None
    row = menu.rows[position]
    titles = {_plain(row.title), _plain(f"{row.title} ({row.description})"), _plain(f"{row.title} {row.description}")}
    return row if not rest or rest in titles else None


def _only(rows: Sequence[MenuRow]) -> MenuRow | None:
    return rows[0] if len(rows) == 1 else None


def _plain(text: str) -> str:
    """Words without case, accents, keycaps and what stands around them."""
    spread = unicodedata.normalize("NFKD", text)
    bare = "".join(char for char in spread if unicodedata.category(char) not in INVISIBLE)
    return " ".join(bare.casefold().split()).strip(EDGES)
