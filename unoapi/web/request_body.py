"""Reading requests that may hold anything.

All text of a request is Unicode that can be stored: half of a surrogate pair, which JSON may spell and UTF-8 may not,
and control characters are refused here, once, for all routes. In what WhatsApp sends they are mended: nobody there
reads the refusal, and no message may be lost for what a contact wrote beside it.
"""

from __future__ import annotations

import codecs
import json
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, cast, get_args, get_origin
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes

from flask import has_request_context, request
from pydantic import BaseModel
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from unoapi.errors import RequestError
from unoapi.errors.validation import invalid_value
from unoapi.models.strict_json import MAX_DEPTH, NO_NUMBER, TOO_LARGE, is_too_deep, parsed
from unoapi.models.text import is_text, mended

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flask import Flask
    from werkzeug.datastructures import MultiDict

MULTIPART = "multipart/form-data"
FORMS = frozenset({"application/x-www-form-urlencoded", MULTIPART})
JSON_BEGINS = (b"{", b"[", b"\xef\xbb\xbf")
ANSI = "cp1252"
IN_ANSI = " (the header Content-Type may name it: application/json; charset=windows-1252)"
MARKS = {b"\x1f\x8b": "compressed with gzip", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
"""How a body begins that is certainly no UTF-8."""
ASCII = bytes(range(128))
BEGINNING, GOING_ON = 0xC2, frozenset(bytes([byte]) for byte in range(0x80, 0xC0))
"""Of a letter of UTF-8 that has more than one byte: the least first byte, and what follows it."""
CHARSETS = {"iso-8859-1": ANSI, "latin1": ANSI, "us-ascii": ANSI, "windows-1252": ANSI, "iso-8859-15": "iso-8859-15"}
"""What programs that know no UTF-8 call their texts, and what these are."""
TOKENS = frozenset({"access_token", "appsecret_proof", "hub.verify_token"})
"""A token says who asks; it is no part of what is asked, and goes nowhere with it."""
OF_ALL_REQUESTS = TOKENS | {"debug", "fields", "format", "locale", "method", "pretty", "suppress_http_code"}
"""What Graph takes in any query, about the answer."""
MAX_FIELDS = 1000
MAX_TOKEN_FORM = 16 * 1024
"""A form that is read before its sender is known is no larger."""
_ESCAPES = (b"\\u", b"\\b", b"\\f")
"""Without one of them, what was read is what UTF-8 and JSON allow."""
MAX_FORM_DEPTH = 10
NAMES = " (names stand in straight double quotes, and no comma before a closing bracket)"
HINTS = {
    "Expecting property name enclosed in double quotes": NAMES,
    "Illegal trailing comma before end of object": NAMES,
    "Illegal trailing comma before end of array": NAMES,
    "Invalid control character at": " (a line break within a text is written \\n)",
    "Expecting value": " (a text stands in double quotes; true, false and null are written small)",
    "Extra data": " (it is one object, from { to })",
}
"""What to do about a mistake that Python's reader of JSON names."""


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


def _decoded(raw: bytes) -> str:
    """A body's text: UTF-8, and where it is none, what its header calls it. Raises UnicodeDecodeError."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        charset = CHARSETS.get(_charset())
        if charset is None:
            raise
        return raw.decode(charset)


def _charset() -> str:
    """The charset that the request names; an ordinary message, which is read without Flask, names no other."""
    return request.mimetype_params.get("charset", "").lower() if has_request_context() else ""


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _invalid("The body must be a JSON object: {…}.")
    return document


def _parsed(raw: bytes | str, *, name: str) -> Any:
    try:
        document = parsed(raw if isinstance(raw, str) else _decoded(raw))
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{name} is not valid JSON{_where(error)}.") from None
    if is_too_deep(document):
        raise _invalid(f"{name} is nested more than {MAX_DEPTH} levels deep.")
    return document


def register_text_check(app: Flask) -> None:
    """Refuse requests whose path or query is no text."""

    @app.before_request
    def _check() -> None:
        _ensure_text([("The path", request.path)])
        if request.query_string:
            _ensure_text(("The query", part) for item in request.args.items(multi=True) for part in item)


def limit_body(most_bytes: int) -> None:
    """Let this request's body be no larger than that, nor than any."""
    request.max_content_length = min(most_bytes, request.max_content_length or most_bytes)


def query_parameters(model: type[BaseModel]) -> dict[str, str]:
    """The query without what any request may have, such as a token, unless it is a field of the model."""
    names = OF_ALL_REQUESTS - model.model_fields.keys()
    return {name: value for name, value in request.args.items() if name not in names}


def parameters(*models: type[BaseModel]) -> dict[str, Any]:
    """What the request says, in whichever way Graph takes it: the fields of its body over those of its query.

    A body that begins like JSON is JSON, whatever its header says; else it is the form that its header names, or there
    is none. Lists and objects of `models` may be written as JSON text. Tokens are left out. Raises RequestError.
    """
    written = dict(reversed(_fields(request.query_string, request.args)))
    query = {name: value for name, value in written.items() if name not in OF_ALL_REQUESTS}
    return _without_tokens({**query, **_body_object()}, models)


def json_parameters(raw: bytes, *models: type[BaseModel]) -> dict[str, Any]:
    """The same of a request that has a JSON body and no query. Raises RequestError."""
    return _without_tokens(_json_object(raw), models)


def _without_tokens(document: dict[str, Any], models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    for name in TOKENS & document.keys():
        del document[name]
    return _unfolded(document, models)


def body_token() -> str:
    """The token in a small form, for who names it nowhere else; empty when there is none. Raises RequestError."""
    if request.mimetype not in FORMS or not 0 < (request.content_length or 0) <= MAX_TOKEN_FORM:
        return ""
    raw_body()  # a body that breaks off is refused here
    return request.form.get("access_token", "")


def ensure_named_parts() -> None:
    """Refuse a form with a part that has no name: werkzeug's name of it is None. Raises RequestError."""
    if None in request.form:
        raise _invalid("A part of the form has no name.")


def _body_object() -> dict[str, Any]:
    raw = b"" if request.mimetype == MULTIPART else raw_body()
    if request.mimetype in FORMS and not raw.lstrip().startswith(JSON_BEGINS):
        return _form(raw)
    return _json_object(raw)


def _json_object(raw: bytes) -> dict[str, Any]:
    return _object(json_of(raw, name="The body")) if raw.strip() else {}


def _form(raw: bytes) -> dict[str, Any]:
    """A form's fields; `webhooks[0][url]` stands for a field of an object in a list, `websites[]` for one of a list."""
    if raw.strip() and b"=" not in raw:
        raise _invalid("The body is neither JSON nor a form.")
    ensure_named_parts()
    document: dict[str, Any] = {}
    fields = _fields(raw, request.form)[:MAX_FIELDS]
    _ensure_text(("The form", part) for field in fields for part in field)
    for name, written in fields:
        first, *path = [part.rstrip("]") for part in name.split("[")][:MAX_FORM_DEPTH]
        target = document
        for part in path:
            inner = target.setdefault(first, {})
            if not isinstance(inner, dict):
                raise _invalid("The form contradicts itself.")
            target, first = inner, part or str(len(inner))
        target[first] = written
    return {key: _listed(value) for key, value in document.items()}


def _fields(raw: bytes, read: MultiDict[str, str]) -> list[tuple[str, str]]:
    """The fields of a form or a query in their order. What is no UTF-8 in them is taken for what old programs write.

    Where the header names none of their charsets the rest stays UTF-8: a program may have cut a letter in two.
    """
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        charset, errors = (named, "replace") if (named := CHARSETS.get(_charset())) else ("utf-8", AS_OLD_PROGRAMS)
        written = quote_from_bytes(raw, safe=ASCII)
        return parse_qsl(written, keep_blank_values=True, encoding=charset, errors=errors)
    return list(read.items(multi=True))


def _as_old_programs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    end, accents = error.end, error.object
    while end < len(accents) and accents[end] >= len(ASCII):
        if accents[end] >= BEGINNING and accents[end + 1 : end + 2] in GOING_ON:
            break  # perhaps a letter, which stays
        end += 1
    return accents[error.start : end].decode(ANSI, "replace"), end


AS_OLD_PROGRAMS = "unoapi.as_old_programs"
codecs.register_error(AS_OLD_PROGRAMS, _as_old_programs)


def _listed(value: Any) -> Any:
    """An object whose keys count from 0 is a list."""
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(part) for key, part in value.items()}
    counts = list(inner) and all(key == str(position) for position, key in enumerate(inner))
    return list(inner.values()) if counts else inner


def _unfolded(document: dict[str, Any], models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """The document with its lists and objects out of the JSON texts that stand for them."""
    for name in document.keys() & _structured(models):
        written = document[name]
        if isinstance(written, str) and written.lstrip().startswith(("{", "[")):
            document[name] = json_of(written, name=name)
    return document


@cache
def _structured(models: tuple[type[BaseModel], ...]) -> frozenset[str]:
    """The fields of the models, as clients name them, that are never a text: lists and objects."""
    return frozenset(
        field.alias or name
        for model in models
        for name, field in model.model_fields.items()
        if _is_structured(field.annotation)
    )


def _is_structured(annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _is_structured(arguments[0])
    if origin in (Union, UnionType):
        return all(_is_structured(argument) for argument in arguments if argument is not NoneType)
    kind = origin or annotation
    return isinstance(kind, type) and issubclass(kind, (BaseModel, list, tuple, dict))


def raw_body() -> bytes:
    """The exact bytes of the request's body. Raises RequestError."""
    try:
        raw = request.get_data()
        if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
            raise RequestEntityTooLarge  # a body in pieces is cut off at the limit, without a word
    except (ClientDisconnected, OSError) as error:
        raise _invalid("The body broke off.") from error
    return raw


def read_body(stream: Any, length: int) -> bytes:
    """The same of a body whose length is known, without Flask. Raises RequestError."""
    try:
        raw: bytes = stream.read(length)
    except (ClientDisconnected, OSError) as error:
        raise _invalid("The body broke off.") from error
    if len(raw) < length:
        raise _invalid("The body broke off.")
    return raw


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
            raise invalid_value(details[:1000])


def _invalid(details: str) -> RequestError:
    return RequestError("Invalid parameter", code=100, status=400, details=details)


def _where(error: Exception) -> str:
    """The place of a mistake in JSON, as far as it is known, and what is wrong there; never what was read."""
    if isinstance(error, json.JSONDecodeError):
        if not error.doc.strip():
            return ": it is empty"
        said = f"{error.msg[0].lower()}{error.msg[1:].removesuffix(' at')}"
        return f": {said}, line {error.lineno}, column {error.colno}{HINTS.get(error.msg.split(':')[0], '')}"
    if isinstance(error, UnicodeDecodeError):
        known = next((name for mark, name in MARKS.items() if error.object.startswith(mark)), "")
        return f": it is {known}, and must be UTF-8" if known else f": it is not UTF-8, byte {error.start}{IN_ANSI}"
    if isinstance(error, RecursionError):
        return f": it is nested more than {MAX_DEPTH} levels deep"
    return f": {NO_NUMBER if f'{error}' == NO_NUMBER else TOO_LARGE}"
