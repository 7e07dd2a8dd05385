"""Reading request bodies that may be anything."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from unoapi.errors import RequestError

MAX_DEPTH = 100
"""Far deeper than any real message; Python's own limit depends on who asks."""
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
MAX_FIELDS = 1000
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escapes of which emoji are made in pairs."""
MAX_FORM_DEPTH = 10


def json_object() -> dict[str, Any]:
    """The request's JSON object. Raises RequestError."""
    raw = raw_body()
    try:
        document = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RequestError("Invalid parameter", code=100, status=400, details="The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise RequestError("Invalid parameter", code=100, status=400, details="The body must be a JSON object.")
    if _is_deeper(document, MAX_DEPTH):
        details = f"The body is nested more than {MAX_DEPTH} levels deep."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    if SURROGATE.search(raw) and _has_half_a_pair(document):
        details = "The body has a text that is not valid Unicode: half of a surrogate pair."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    return document


def any_object() -> dict[str, Any]:
    """The request's JSON object or form; empty when there is no body. Raises RequestError."""
    if request.mimetype in FORMS:
        return _form()
    return json_object() if request.content_length or (request.content_length is None and _has_pieces()) else {}


def named_fields() -> dict[str, Any]:
    """The fields of the body over those of the query. Raises RequestError."""
    return {**request.args.to_dict(), **any_object()}


def _has_pieces() -> bool:
    return "chunked" in request.headers.get("Transfer-Encoding", "").lower()


def _form() -> dict[str, Any]:
    """A form's fields; `webhooks[0][url]` stands for a field of an object in a list."""
    document: dict[str, Any] = {}
    for name, written in list(request.form.items(multi=True))[:MAX_FIELDS]:
        first, *path = [part.rstrip("]") for part in name.split("[")][:MAX_FORM_DEPTH]
        target = document
        for part, key in zip(path, [first, *path], strict=False):
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                raise RequestError("Invalid parameter", code=100, status=400, details="The form contradicts itself.")
            target, first = inner, part
        target[first] = {"true": True, "false": False}.get(written, written)
    return {key: _listed(value) for key, value in document.items()}


def _listed(value: Any) -> Any:
    """An object whose keys count from 0 is a list."""
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(part) for key, part in value.items()}
    counts = list(inner) and all(key == str(position) for position, key in enumerate(inner))
    return list(inner.values()) if counts else inner


def raw_body() -> bytes:
    """The exact bytes of the request's body. Raises RequestError."""
    try:
        raw = request.get_data()
        if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
            raise RequestEntityTooLarge  # a body in pieces is cut off at the limit, without a word
    except HTTPException:
        raise
    except OSError as error:
        raise RequestError("Invalid parameter", code=100, status=400, details="The body broke off.") from error
    return raw


def _is_deeper(document: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than `levels`: such a body could not be written as JSON again."""
    level = [document]
    for _ in range(levels):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [child for part in parts for child in part if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _has_half_a_pair(document: Any) -> bool:
    """Whether a text in it is valid in JSON and in no encoding, so that it can be neither stored nor sent."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _no_constant(name: str) -> None:
    raise ValueError(name)
