"""The texts of the console, from one file for each language."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LANGUAGES = {"pt-BR": "Português", "en": "English"}
"""By the name that browsers send, as a switch shows them."""
DEFAULT = "en"
COOKIE = "unoapi_language"
NOTHING = "\N{EN DASH}"
COMMA_FOR_POINT = str.maketrans(",.", ".,")


def language() -> str:
    """The language that the reader chose, else the browser's."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match(LANGUAGES, DEFAULT) or DEFAULT


def t(key: str, **values: object) -> str:
    """The text of a key in the reader's language; `values` are filled in. A key without a text stands for itself."""
    text = catalogue(language()).get(key) or catalogue(DEFAULT).get(key)
    return key if text is None else text.format(**values)


def tn(key: str, n: int, **values: object) -> str:
    """The text for one thing, or for `n` of them: the keys `….one` and `….other`."""
    return t(f"{key}.{'one' if n == 1 else 'other'}", n=num(n), **values)


def num(value: float | None, digits: int = 0) -> str:
    """A number as the reader's language writes it, with so many digits behind the point."""
    if value is None:
        return NOTHING
    written = f"{value:,.{digits}f}"
    return written if language() == DEFAULT else written.translate(COMMA_FOR_POINT)


def named(group: str, name: str, *, otherwise: str = "") -> str:
    """The text for a name that the program uses, such as a state; without one the name itself, or what is given."""
    key = f"{group}.{name}"
    return text if (text := t(key)) != key else otherwise or name


@lru_cache(maxsize=len(LANGUAGES))
def catalogue(name: str) -> Mapping[str, str]:
    """All texts of a language by their keys."""
    file = Path(__file__).parent / "words" / f"{name}.toml"
    return dict(_flat(tomllib.loads(file.read_text("utf-8"))))


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
