"""What strangers send, made to fit: too long a text is cut, and its message is told all the same."""

from __future__ import annotations

import re
from typing import Any

from unoapi.models.connector.content import MAX_LIST, MAX_TEXT
from unoapi.models.media import own_filename

CUT = "…"
MAX_FILENAME = 255
MAX_MIME_TYPE = 255
MAX_CARD = 16_384
"""From this length on a card goes without its pictures: nobody is told of them, and they may be megabytes."""
MAX_CARDS_CHARS = 524_288
"""All cards of a message together: those beyond it are told by their names."""
MAX_DEPTH = 8
PICTURES = re.compile(
    r"^(?:[\w-]{1,64}\.)?(?:PHOTO|LOGO|SOUND|KEY)[;:][^\n]*\n(?:[ \t][^\n]*\n|[A-Za-z0-9+/]+={0,2}\n)*",
    re.IGNORECASE | re.MULTILINE,
)
"""A picture in a card, with the lines that go on with it: vCard 2.1 has them without a space before."""


def bounded(content: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """A received content within the bounds of its kind. What it does not know stays as it is."""
    cut: dict[str, Any] = {}
    for name in ("body", "caption"):
        if isinstance(text := content.get(name), str) and len(text) > MAX_TEXT:
            cut[name] = text[: MAX_TEXT - 1] + CUT
    if isinstance(name_of_file := content.get("filename"), str) and name_of_file:
        cut["filename"] = plain_name(name_of_file)
    if isinstance(mime_type := content.get("mime_type"), str) and len(mime_type) > MAX_MIME_TYPE:
        cut["mime_type"] = ""
    if isinstance(cards := content.get("contacts"), list):
        cut["contacts"] = _cards(cards[:MAX_LIST])
    for name in ("content", "header_media"):  # of an edit, of a menu
        if isinstance(inner := content.get(name), dict) and depth < MAX_DEPTH:
            cut[name] = bounded(inner, depth + 1)
    return {**content, **cut}


def plain_name(name: str) -> str:
    """The name of a file without the folders that its sender wrote before it; empty for what is none.

    Of a long one the beginning and the ending are left.
    """
    last = own_filename(name).strip()
    if not last.strip(". "):
        return ""
    stem, dot, ending = last.rpartition(".")
    if len(last) <= MAX_FILENAME:
        return last
    ending = f"{dot}{ending}" if stem and len(ending) < MAX_FILENAME // 4 else ""
    return last[: MAX_FILENAME - len(ending)] + ending


def _cards(cards: list[Any]) -> list[Any]:
    cut, left = [], MAX_CARDS_CHARS
    for whole in cards:
        card = _card(whole)
        if isinstance(card, dict) and isinstance(vcard := card.get("vcard"), str):
            left -= len(vcard)
            card = card if left >= 0 else {**card, "vcard": ""}
        cut.append(card)
    return cut


def _card(card: Any) -> Any:
    if not isinstance(card, dict) or not isinstance(vcard := card.get("vcard"), str) or len(vcard) <= MAX_CARD:
        return card
    lines = vcard.replace("\r\n", "\n").replace("\r", "\n")
    plain = PICTURES.sub("", lines)
    return {**card, "vcard": plain if len(plain) <= MAX_TEXT else plain[:MAX_TEXT].rpartition("\n")[0]}
