"""Which row of a menu a contact means who answers with words: menus are numbered lines where phones show no buttons."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unoapi.models.chats import Menu, MenuRow

MAX_ANSWER_CHARS = 120
"""Longer than any title that Meta allows with a number before it: what is longer is no answer."""
MAX_NAME_CHARS = 2 * MAX_ANSWER_CHARS
"""Of a title longer than that nobody's answer holds all words; phones take titles of any length."""
WORD = re.compile(r"[^\W_]+")
NUMBER = re.compile(r"0{0,2}([0-9]{1,3})(?:a|o|st|nd|rd|th)?")
"""A number, or a place: `2`, `02`, `1a`, `2nd`."""
GLUED = re.compile(r"(opcao|opc|op|option|opcion|numero|num|nro|nr|no|n|item)([0-9]{1,3})")
AMOUNT = re.compile(r"[%$€£]|[0-9][.,:][0-9]")
"""What makes a number a price, a share or a time of day."""
INVISIBLE = ("Mn", "Me", "Cf")
"""Accents, keycaps, what joins."""
PICTURES = ("So", "Sk")
"""Emojis with their skin tones."""
ORDINALS = {ord("\u00ba"): None, ord("\u00aa"): None}
"""The signs of `2\u00ba` and `2\u00aa`, which would become letters."""
EDGES = " \t\n\r.,;:!?()[]{}<>*_~`'\"\u2018\u2019\u201c\u201d\u00b4-\u2013\u2014\u00ba\u00aa\u00b0#/=>|"

LABELS = frozenset({
    "opcao", "opc", "op", "option", "opcion", "alternativa", "numero", "num", "number", "nro", "nr", "no", "n",
    "item", "letra", "letter", "resposta", "resp", "answer", "respuesta"
})  # fmt: skip
"""What people write before a number, or behind a place."""
BEFORE = frozenset({
    "a", "o", "as", "os", "la", "el", "lo", "the", "quero", "queria", "quiero", "escolho", "escolhi", "prefiro",
    "vou", "de", "com", "eu", "i", "want", "choose", "pode", "ser", "seria", "minha", "meu", "my", "r"
})  # fmt: skip
"""What only leads to the answer."""
AFTER = frozenset({
    "por", "favor", "pfv", "pf", "pls", "please", "porfa", "porfavor", "obrigado", "obrigada", "gracias", "thanks",
    "ok"
})  # fmt: skip
"""What is only polite."""
ARTICLES = frozenset({"a", "o", "la", "el", "the"})
WEEKDAYS = frozenset({"segunda", "quarta", "quinta", "sexta"})
"""Places, and days in Portuguese: alone they are no answer."""
LAST = frozenset({"ultimo", "ultima", "last"})
NUMBERS = {
    word: number
    for number, words in enumerate(
        (
            "um uma uno una one primeiro primeira primero primera primer first",
            "dois duas dos two segundo segunda second",
            "tres three terceiro terceira tercero tercera tercer third",
            "quatro cuatro four quarto quarta cuarto cuarta fourth",
            "cinco five quinto quinta fifth",
            "seis six sexto sexta sixth",
            "sete siete seven setimo setima septimo septima seventh",
            "oito ocho eight oitavo oitava octavo octava eighth",
            "nove nueve nine nono nona noveno novena ninth",
            "dez diez ten decimo decima tenth",
            "onze once eleven",
            "doze doce twelve",
        ),
        start=1,
    )
    for word in words.split()
}


def chosen(answer: str, menu: Menu) -> MenuRow | None:
    """The row that an answer means: its title, its number, its letter or its id; none when it may mean something else.

    `2`, `2.`, `(2)`, `2)`, `opção 2`, `dois`, `a segunda`, `2️⃣`, `b)`, `2 - Plan B`, `plan b`, `PLAN B!`,
    `Plan B (with TV)`, `I want the plan B please`.
    """
    if not answer or len(answer) > MAX_ANSWER_CHARS:
        return None
    row = _titled(answer, menu) or _numbered(answer, menu)
    if row is None:
        row = _only([row for row in menu.rows if row.id and row.id.casefold() == answer.strip().casefold()])
    return row if row is not None and row.id else None


def titled(answer: str, menu: Menu) -> MenuRow | None:
    """The row whose title an answer is."""
    row = _titled(answer, menu) if answer and len(answer) <= MAX_ANSWER_CHARS else None
    return row if row is not None and row.id else None


def _titled(answer: str, menu: Menu) -> MenuRow | None:
    """By the title, exactly before roughly; by the title with what stands beside it where others are called so, too."""
    readings: tuple[Callable[[str], str], ...] = (_plain, _words, _bare)
    for reading in readings:
        text = reading(answer)
        for names in (_title, _longer):
            rows = [row for row in menu.rows if text and text in {reading(name) for name in names(row)}]
            if (row := _only(rows)) is not None:
                return row
    *_, spare = _readings(_bare(answer).split())
    return _only([row for row in menu.rows if spare and " ".join(spare) in map(_bare, (*_title(row), *_longer(row)))])


def _title(row: MenuRow) -> list[str]:
    return [row.title] if len(row.title) <= MAX_NAME_CHARS else []


def _longer(row: MenuRow) -> list[str]:
    described = (f"{row.title} ({row.description})", f"{row.title} {row.description}") if row.description else ()
    sectioned = (f"{row.section} {row.title}", f"{row.title} {row.section}") if row.section else ()
    return [name for name in (*described, *sectioned) if len(name) <= MAX_NAME_CHARS]


def _numbered(answer: str, menu: Menu) -> MenuRow | None:
    if AMOUNT.search(unicodedata.normalize("NFKD", answer)):
        return None
    words = [part for word in WORD.findall(_words(answer)) for part in _apart(word)]
    for read in _readings(words):
        position, rest = _position(read, len(menu.rows))
        if not 0 <= position < len(menu.rows):
            continue
        row = menu.rows[position]
        if not rest or " ".join(rest) in {_bare(name) for name in (*_title(row), *_longer(row))}:
            return row
    return None


def _apart(word: str) -> tuple[str, ...]:
    glued = GLUED.fullmatch(word)
    return (glued[1], glued[2]) if glued else (word,)


def _readings(words: list[str]) -> Iterator[list[str]]:
    """The words as they are, then without those that only lead to the answer or are polite."""
    yield words
    start, end = 0, len(words)
    while end > 1 and words[end - 1] in AFTER:
        end -= 1
    while start < end - 1 and words[start] in BEFORE and not _names_a_place(words[start : start + 2]):
        start += 1
    yield words[start:end]


def _names_a_place(words: list[str]) -> bool:
    """Whether it is an article with a word that alone would be another one."""
    return words[0] in ARTICLES and words[1:2] != [] and words[1] in WEEKDAYS | LAST


def _position(words: list[str], rows: int) -> tuple[int, list[str]]:
    """The position that words begin with, from 0, and the words behind it; -1 for none."""
    labels = 0
    while labels < len(words) - 1 and (words[labels] in LABELS or _names_a_place(words[labels : labels + 2])):
        labels += 1
    if labels >= len(words):
        return -1, []
    word, rest = words[labels], words[labels + 1 :]
    if rest and rest[0] in LABELS and len(rest) == 1:
        labels, rest = labels + 1, []
    if number := NUMBER.fullmatch(word):
        return int(number[1]) - 1, rest
    if words[:labels] == ["no"] or (word in WEEKDAYS and not labels):
        return -1, rest  # "no one", and a day
    if len(word) == 1 and "a" <= word <= "z":
        return ord(word) - ord("a"), rest
    return (rows if word in LAST and labels else NUMBERS.get(word, 0)) - 1, rest


def _only(rows: Sequence[MenuRow]) -> MenuRow | None:
    """The row that is meant; none when it could be several."""
    return rows[0] if len({row.id for row in rows}) == 1 else None


def _plain(text: str) -> str:
    """Words without case, accents, keycaps and what stands around them."""
    spread = unicodedata.normalize("NFKD", "".join(_digit(char) for char in text.translate(ORDINALS)))
    bare = "".join(char for char in spread if unicodedata.category(char) not in INVISIBLE)
    return " ".join(bare.casefold().split()).strip(EDGES)


def _digit(char: str) -> str:
    """A digit in a circle or of another script as a digit: NFKD knows only some of them."""
    value = unicodedata.digit(char, None) if unicodedata.category(char) in ("No", "Nd") else None
    return char if value is None else str(value)


def _words(text: str) -> str:
    """The same without pictures: nobody types the emoji of a title."""
    return _plain("".join(" " if unicodedata.category(char) in PICTURES else char for char in text))


def _bare(text: str) -> str:
    """The same without signs between the words, too."""
    return " ".join(WORD.findall(_words(text)))
