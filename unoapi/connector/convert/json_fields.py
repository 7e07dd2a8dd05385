"""Fields of JSON of any form: a missing one, or one of another type, is empty, never an error."""

from __future__ import annotations

import json
import math
from typing import Any

from unoapi.models.text import mended

Raw = dict[str, Any]
MAX_LEVELS = 48


def lowered(value: Any, depth: int = 0) -> Any:
    """The same with all keys in lower case and without underscores."""
    if isinstance(value, dict) and depth < MAX_LEVELS:
        return {str(key).replace("_", "").lower(): lowered(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list) and depth < MAX_LEVELS:
        return [lowered(part, depth + 1) for part in value]
    return value


def text_at(part: Raw, name: str) -> str:
    """The text of a field; empty when it is none."""
    value = part.get(name)
    return value if isinstance(value, str) else "" if value is None or isinstance(value, dict | list) else str(value)


def int_at(part: Raw, name: str) -> int:
    """The whole number of a field; 0 when it is none."""
    try:
        return int(part.get(name) or 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def float_at(part: Raw, name: str) -> float:
    """The number of a field; 0 when it is none that JSON has."""
    try:
        number = float(part.get(name) or 0.0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def object_at(part: Raw, name: str) -> Raw:
    """The object of a field; an empty one when it is none."""
    value = part.get(name)
    return value if isinstance(value, dict) else {}


def list_at(part: Raw, name: str) -> list[Any]:
    """The list of a field; an empty one when it is none."""
    value = part.get(name)
    return value if isinstance(value, list) else []


def objects_at(part: Raw, name: str) -> list[Raw]:
    """The objects in the list of a field."""
    return [item for item in list_at(part, name) if isinstance(item, dict)]


def json_object(text: str) -> Any:
    """The object in a JSON text, all text in it such as can be stored; an empty one when it is none."""
    try:
        value = mended(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
