"""Reading requests that may hold anything.

All text of a request is Unicode that can be stored: half of a surrogate pair, which JSON may spell and UTF-8 may not,
and control characters are refused here, once, for all routes. In what WhatsApp sends they are mended: nobody there
reads the refusal, and no message may be lost for what a contact wrote beside it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, cast

from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from unoapi.errors import RequestError
from unoapi.models.text import is_text, mended

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flask import Flask

MAX_DEPTH = 100
"""Far deeper than any real message; Python's own limit depends on who asks."""
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
MAX_FIELDS = 1000
_ESCAPES = (b"\\u", b"\\b", b"\\f")
"""Without one of them, what was read is what UTF-8 and JSON allow."""
MAX_FORM_DEPTH = 10


def json_object() -> dict[str, Any]:
    """The request's JSON object. Raises RequestError."""
    return _object(json_of(raw_body(), name="The body"))


def mended_object() -> dict[str, Any]:
    """The request's JSON object as WhatsApp sent it: without control characters, and U+FFFD stands for half a pair.

    Raises RequestError.
    """
    raw = raw_body()
    document = _object(_parsed(raw, name="The body"))
    return cast("dict[str, Any]", mended(document)) if _has_escapes(raw) else document


def _has_escapes(raw: bytes) -> bool:
    return any(escape in raw for escape in _ESCAPES)


def json_of(raw: bytes | str, *, name: str) -> Any:
    """What a JSON text stands for; `name` is what an error calls it. Raises RequestError."""
    document = _parsed(raw, name=name)
    if _has_escapes(raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw):
        _ensure_text(_texts(document, name))
    return document


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _invalid("The body must be a JSON object: {…}.")
    return document


def _parsed(raw: bytes | str, *, name: str) -> Any:
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8-sig")
        document = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{name} is not valid JSON{_where(error)}.") from None
    if _is_deeper(document, MAX_DEPTH):
        raise _invalid(f"{name} is nested more than {MAX_DEPTH} levels deep.")
    return document


def register_text_check(app: Flask) -> None:
    """Refuse requests whose path or query is no text."""

    @app.before_request
    def _check() -> None:
        _ensure_text([("The path", request.path)])
        if request.query_string:
            _ensure_text(("The query", part) for item in request.args.items(multi=True) for part in item)


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
    fields = list(request.form.items(multi=True))[:MAX_FIELDS]
    _ensure_text(("The form", part) for field in fields for part in field)
    for name, written in fields:
        first, *path = [part.rstrip("]") for part in name.split("[")][:MAX_FORM_DEPTH]
        target = document
        for part, key in zip(path, [first, *path], strict=False):
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                raise _invalid("The form contradicts itself.")
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
    except (ClientDisconnected, OSError) as error:
        raise _invalid("The body broke off.") from error
    return raw


def _is_deeper(document: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than `levels`: such a body could not be written as JSON again."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(levels):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [child for part in parts for child in part if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _texts(document: Any, name: str, path: str = "") -> Iterator[tuple[str, str]]:
    """All texts in a document that is not too deep, each behind where it stands: keys and values."""
    if isinstance(document, str):
        yield path or name, document
    elif isinstance(document, dict | list):
        for key, part in document.items() if isinstance(document, dict) else enumerate(document):
            if isinstance(key, str):
                yield path or name, key
            yield from _texts(part, name, f"{path}.{key}" if path else f"{key}")


def _ensure_text(named: Iterable[tuple[str, str]]) -> None:
    for name, text in named:
        if not is_text(text):
            details = f"{name}: holds a control character or half of a surrogate pair."
            raise RequestError("Parameter value is not valid", code=131009, status=400, details=details[:1000])


def _invalid(details: str) -> RequestError:
    return RequestError("Invalid parameter", code=100, status=400, details=details)


def _where(error: Exception) -> str:
    """The place of a mistake in JSON, as far as it is known, and what is wrong there; never what was read."""
    if isinstance(error, json.JSONDecodeError):
        if not error.doc.strip():
            return ": it is empty"
        return f": {error.msg[0].lower()}{error.msg[1:]}, line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f": it is not UTF-8, byte {error.start}"
    return ""


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _finite(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(written)
    return number
