"""Text that everybody can store: no character U+0000, and no half of a surrogate pair, which UTF-8 cannot carry."""

from __future__ import annotations

from typing import Any


def is_text(text: str) -> bool:
    """Whether it can be stored as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def mended(document: Any) -> Any:
    """A JSON document in which all is text, keys and values: without U+0000, and U+FFFD stands for half a pair.

    For what WhatsApp sends: nobody there reads a refusal, and no message may be lost for a character in it.
    """
    if isinstance(document, str):
        if is_text(document):
            return document
        return document.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(document, dict):
        return {mended(key): mended(part) for key, part in document.items()}
    return [mended(part) for part in document] if isinstance(document, list | tuple) else document
