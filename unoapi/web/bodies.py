"""Reading request bodies that may be anything."""

from __future__ import annotations

import json
from typing import Any

from flask import request
from werkzeug.exceptions import HTTPException

from unoapi.errors import RequestError


def json_object() -> dict[str, Any]:
    """The request's JSON object. Raises RequestError."""
    raw = _raw()
    try:
        document = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RequestError("Invalid parameter", code=100, status=400, details="The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise RequestError("Invalid parameter", code=100, status=400, details="The body must be a JSON object.")
    return document


def _raw() -> bytes:
    try:
        return request.get_data(cache=False)
    except HTTPException:
        raise
    except OSError as error:
        raise RequestError("Invalid parameter", code=100, status=400, details="The body broke off.") from error


def _no_constant(name: str) -> None:
    raise ValueError(name)
