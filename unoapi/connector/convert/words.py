"""The words in messages of kinds that nobody here knows: what a contact wrote must reach somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.connector.convert.json_fields import Raw, object_at, text_at

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = (
    "text", "conversation", "caption", "note", "body", "title", "name", "eventtitle", "description", "contenttext",
    "messagetext", "displayname", "optionname", "joinlink", "calllink", "imagetext", "codecontent",
    "latexexpression", "items",
)  # fmt: skip
"""Fields that people write into, in the order in which they are shown."""
KEYS = (
    "key", "targetmessagekey", "requestmessagekey", "pollcreationmessagekey", "eventcreationmessagekey",
    "originalstatusid",
)  # fmt: skip
"""Under what names messages name the message that they are about."""
NO_WORDS = frozenset({"contextinfo", "quotedmessage", "key", "messagecontextinfo"})
"""What others wrote, and what is for programs."""
MAX_DEPTH = 6
MAX_LINES = 50
MAX_CHARS = 4096
MAX_AMOUNT = 10**15
"""More is no money, and perhaps no number that can be divided."""


def words_of(part: Raw) -> str:
    """The words in the fields that hold some, a line for each; empty when there are none."""
    lines: dict[str, None] = {}
    for line in _lines(part, 0):
        lines[line] = None
        if len(lines) == MAX_LINES:
            break
    return "\n".join(lines)[:MAX_CHARS]


def joined(*lines: str) -> str:
    """The lines that have words."""
    return "\n".join(line for line in lines if line)


def money(currency: str, value: int, *, offset: int) -> str:
    """An amount that is written as a whole number of its `offset`-th parts; empty for none."""
    shown = 0 < abs(value) < MAX_AMOUNT and 0 < offset < MAX_AMOUNT
    return f"{currency} {value / offset:.2f}".strip() if shown else ""


def target_of(part: Raw) -> Raw:
    """The key of the message that such a message is about; an empty one when it names none.

    Its `fromme` is as the writer sees it.
    """
    return next((key for name in KEYS if text_at(key := object_at(part, name), "id")), {})


def _lines(part: Any, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(part, list):
        for item in part:
            yield from _lines(item, depth + 1)
    elif isinstance(part, dict):
        for name in WORDS:
            value = part.get(name)
            if isinstance(value, list) and all(isinstance(cell, str) for cell in value):
                value = " | ".join(value)  # a row of a table
            if isinstance(value, str) and value.strip():
                yield value.strip()
        for name, value in part.items():
            if name not in NO_WORDS and isinstance(value, (dict, list)):
                yield from _lines(value, depth + 1)
