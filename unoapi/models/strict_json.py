"""JSON from outside, as narrow as its standard: only numbers that JSON has, no deeper than it can be written again."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic_core import from_json

from unoapi.models.text import mended

NO_NUMBER = "NaN and Infinity are no numbers in JSON; a text stands in double quotes"
TOO_LARGE = "a number is too large"
MAX_WHOLE = 2**53 - 1
"""Above it a number with a point may be another one."""
MAX_DEPTH = 100
"""Far deeper than any real message; Python's own limit depends on who asks."""


def parsed(text: str) -> Any:
    """What a JSON text stands for. Raises ValueError, RecursionError."""
    return _DECODER.decode(text)


def parsed_own(text: str | bytes) -> Any:
    """What a JSON text stands for that a program of this installation wrote, as `json.loads` has it, and quicker.

    Raises ValueError, RecursionError, and TypeError for what is no text.
    """
    try:
        return from_json(text, cache_strings="keys")  # no text of a message outlives it
    except (ValueError, TypeError):
        return json.loads(text)  # half a surrogate pair, escaped or not, or nested as deep as only Python reads it


def read_answer(body: bytes) -> dict[str, Any]:
    """The JSON object that another service answered, all text in it such as can be stored; an empty one without any.

    Its words become events, statuses and messages. Never raises.
    """
    try:
        document = parsed(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return {}
    return dict(mended(document)) if isinstance(document, dict) and not is_too_deep(document) else {}


def is_too_deep(document: Any) -> bool:
    """Whether lists and objects are nested deeper than `MAX_DEPTH`: such a body could not be written as JSON again."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(MAX_DEPTH):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [child for part in parts for child in part if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _no_constant(name: str) -> None:  # noqa: ARG001 (the decoder's)
    raise ValueError(NO_NUMBER)


def _finite(written: str) -> float:
    """A number with a point. A whole one has none, as in JavaScript: where a text is meant, 150.0 is `150`."""
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(TOO_LARGE)
    return int(number) if number.is_integer() and abs(number) <= MAX_WHOLE else number


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
"""Made once: `json.loads` with arguments makes one for each document."""
