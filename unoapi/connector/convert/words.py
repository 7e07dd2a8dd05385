"""The words in messages of kinds that nobody here knows: what a contact wrote must reach somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unoapi.connector.convert.json_fields import Raw, object_at, text_at

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = (
    "text", "conversation", "caption", "note", "body", "title", "name", "eventtitle", "description", "contenttext",
    "messagetext", "displayname", "optionname", "joinlink", "calllink",
)  # fmt: skip
"""Fields that people write into, in the order in which they are shown."""
NO_WORDS = frozenset({"contextinfo", "quotedmessage", "key", "messagecontextinfo"})
"""What others wrote, and what is for programs."""
MAX_DEPTH = 6
MAX_LINES = 50
MAX_CHARS = 4096


def words_of(part: Raw) -> str:
    """The words in the fields that hold some, a line for each; empty when there are none."""
    lines: dict[str, None] = {}
    for line in _lines(part, 0):
        lines[line] = None
        if len(lines) == MAX_LINES:
            break
    return "\n".join(lines)[:MAX_CHARS]


def target_of(part: Raw) -> str:
    """The id of the message that such a message is about; empty when it names none."""
    key = object_at(part, "key") or object_at(part, "targetmessagekey") or object_at(part, "requestmessagekey")
    return text_at(key, "id")


def _lines(part: Any, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(part, list):
        for item in part:
            yield from _lines(item, depth + 1)
    elif isinstance(part, dict):
        for name in WORDS:
            value = part.get(name)
            if isinstance(value, str) and value.strip():
                yield value.strip()
        for name, value in part.items():
            if name not in NO_WORDS and isinstance(value, (dict, list)):
                yield from _lines(value, depth + 1)
