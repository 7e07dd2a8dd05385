"""Reading request bodies that may be anything."""

from __future__ import annotations

import json
from typing import Any

from flask import request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from unoapi.errors import RequestError

MAX_DEPTH = 100
"""Far deeper than any real message; Python's own limit depends on who asks."""


def json_object() -> dict[str, Any]:
    """The request's JSON object. Raises RequestError."""
    raw = _raw()
    try:
        document = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RequestError("Invalid parameter", code=100, status=400, details="The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise RequestError("Invalid parameter", code=100, status=400, details="The body must be a JSON object.")
    if _is_deeper(document, MAX_DEPTH):
        details = f"The body is nested more than {MAX_DEPTH} levels deep."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    return document


def _raw() -> bytes:
    try:
        raw = request.get_data(cache=False)
        if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
            raise RequestEntityTooLarge  # a body in pieces is cut off at the limit, in silence
    except HTTPException:
        raise
    except OSError as error:
        raise RequestError("Invalid parameter", code=100, status=400, details="The body broke off.") from error
    return raw


def _is_deeper(document: Any, levels: int) -> bool:
    """Whether lists and objects stand in each other deeper than so: such a body could not be written as JSON again."""
    level = [document]
    for _ in range(levels):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [child for part in parts for child in part if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(name)
