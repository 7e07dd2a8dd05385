"""What is wrong with a request or a setting, in the words of who wrote it: the one translation of pydantic's errors.

Names the place and what to change, never a value: only the names of fields that nearly have a right name are repeated.
"""

from __future__ import annotations

import base64
import difflib
import re
from typing import TYPE_CHECKING, Any, cast

from unoapi.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    Sentence = Callable[[Mapping[str, Any]], str]

NOT_VALID = "Parameter value is not valid"
REQUIRED = "Field required"
"""What pydantic says of a missing field when the model says nothing of its own."""
MAX_PROBLEMS = 5
MAX_DETAILS = 1000
MAX_NAME_CHARS = 64
"""Of a name that is compared with the right ones, which takes quadratic time; ours are shorter."""
MAX_NAMES = 50
SIMILAR = 0.75
ADDRESS = "a complete address such as https://example.com/hook"
NUMBER, WHOLE = "must be a number", "must be a whole number"
MOMENT = "must be a time such as 2026-01-31T08:00:00Z"
TEXT, FLAG, OBJECT, LIST = "must be text", "must be true or false", "must be an object: {…}", "must be a list: […]"

SENTENCES: dict[str, str | Sentence] = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "string_type": TEXT,
    "string_too_short": lambda bound: _at_least(bound["min_length"], "character"),
    "string_too_long": lambda bound: _at_most(bound["max_length"], "character"),
    "string_pattern_mismatch": lambda bound: _form(str(bound["pattern"])),
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_from_float": WHOLE,
    "int_parsing_size": "has too many digits",
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "finite_number": NUMBER,
    "bool_type": FLAG,
    "bool_parsing": FLAG,
    "path_type": "must be a path",
    "dict_type": OBJECT,
    "model_type": OBJECT,
    "model_attributes_type": OBJECT,
    "mapping_type": OBJECT,
    "list_type": LIST,
    "tuple_type": LIST,
    "too_long": lambda bound: f"{_at_most(bound['max_length'], 'item')}{_not_but(bound)}",
    "too_short": lambda bound: _at_least(bound["min_length"], "item"),
    "greater_than": lambda bound: f"must be more than {_number(bound['gt'])}",
    "greater_than_equal": lambda bound: f"must be at least {_number(bound['ge'])}",
    "less_than": lambda bound: f"must be less than {_number(bound['lt'])}",
    "less_than_equal": lambda bound: f"must be at most {_number(bound['le'])}",
    "literal_error": lambda bound: f"must be {_choices(str(bound['expected']))}",
    "datetime_type": MOMENT,
    "datetime_parsing": MOMENT,
    "datetime_object_invalid": MOMENT,
    "datetime_from_date_parsing": MOMENT,
    "timezone_naive": MOMENT,
    "timezone_aware": MOMENT,
    "url_type": f"must be {ADDRESS}",
    "url_parsing": f"must be {ADDRESS}",
    "url_syntax_violation": f"must be {ADDRESS}",
    "url_scheme": lambda bound: f"must begin with {_schemes(str(bound['expected_schemes']))}",
    "url_too_long": lambda bound: _at_most(bound["max_length"], "character"),
    "value_error": lambda bound: f"{bound['error']}",
}
"""By pydantic's types, what follows the place. A type that is not here speaks for itself."""

CLASSES = {"A-Z": "capital letters", "a-z": "small letters", "A-Za-z": "letters", "0-9": "digits", "_": "'_'"}
CLASSES |= {"-": "'-'", ".": "'.'", ",": "','", " ": "spaces", r"\x20-\x7e": "ASCII characters"}
CLASSES |= {r"\x21-\x7e": "ASCII characters without spaces"}
CLASSES |= {sign: f"'{sign}'" for sign in ":/+=()"}
FORMS = {
    r"^(v[0-9]{1,3}(\.[0-9]{1,3})?)?$": "v21.0",
    r"^v[0-9]{1,3}(\.[0-9]{1,3})?$": "v21.0",
    r"^v[0-9]{1,3}\.[0-9]{1,3}$": "v21.0",
    r"^[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}$": "BR.1234567890, a user id of Meta's",
    r"^([A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}|[0-9]{1,20}@lid)?$": "BR.1234567890 or 123456789@lid, a user id",
    r"^[0-9A-Za-z][0-9A-Za-z._/-]{0,255}$": "1234567890, as the upload answered it",
    r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*$": "pt_BR",
    r"^[0-9]{1,32}(-[0-9]{1,32})?@g\.us$": "120363012345678901@g.us",
    r"^[A-Za-z0-9+/]*={0,2}$": "base64",
    r"^(([01]?[0-9]|2[0-3]):[0-5][0-9]-([01]?[0-9]|2[0-4]):[0-5][0-9])?$": "09:00-18:00",
    r"^([1-7](-[1-7])?(,[1-7](-[1-7])?){0,6})?$": "1-5 or 1,3,6: 1 is Monday, 7 is Sunday",
    r"^(1h|1d|7d)?$": "1h, 1d or 7d",
    r"^UNO\.CMD\.[0-9A-F]{16}$": "UNO.CMD.0123456789ABCDEF",
}
"""What stands for patterns that no sentence describes."""
TOKEN = re.compile(r"[\x20-\x7e]*")
"""What a client can send as a token in a header."""
MIN_TOKEN_LENGTH = 16
"""Characters of a token, so that nobody guesses it. Shorter ones of sessions that are stored go on working."""
HEADER_NAME = r"^[A-Za-z0-9._-]{1,64}$"
"""What a webhook's own header may be called."""
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""What a header can carry at all."""
NOWHERE = re.compile(r"http://(?:localhost|127\.0\.0\.1):[0-9]{1,5}/webhooks/fake/?", re.ASCII)
"""The Node version's own address that takes anything: what it calls a webhook where nobody configured one."""
SOCKS = re.compile(r"(?i)^socks(?:5h)?://")
"""How an address of a SOCKS proxy begins under its other names: each of ours looks names up itself."""
STANDARD_SECRET = "whsec_"  # noqa: S105 (only how one begins)
"""How a secret of Standard Webhooks begins; base64 of the key follows."""
SIMPLE = re.compile(r"\^\[(?P<chars>[^\]]+)\](?P<count>\+|\*|\{(?P<least>\d+),(?P<most>\d+)\})\$")
PART = re.compile(r"A-Za-z|A-Z|a-z|0-9|\\x2[01]-\\x7e|.")


def is_usable_secret(secret: str) -> bool:
    """Whether receivers can decode a webhook's secret: base64 follows `whsec_`; any other is taken as it stands."""
    if not secret.startswith(STANDARD_SECRET):
        return True
    try:
        return bool(base64.b64decode(secret.removeprefix(STANDARD_SECRET), validate=True))
    except ValueError:
        return False


def nearest(name: str, known: Iterable[str], *, similar: float = SIMILAR) -> str:
    """The known name that was probably meant, or nothing. `similar` is from 0 (all are) to 1 (only the same)."""
    if len(name) > MAX_NAME_CHARS:
        return ""
    by_spelling: dict[str, str] = {}
    for right in known:
        by_spelling.setdefault(_spelling(right), right)
    near = difflib.get_close_matches(_spelling(name), by_spelling, n=1, cutoff=similar)
    return by_spelling[near[0]] if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing."""
    right = nearest(name, known)
    return f"; did you mean {right}?" if right else ""


def names_of(model: type[BaseModel]) -> list[str]:
    """The fields of a model, by the names that clients write."""
    return [field.alias or name for name, field in model.model_fields.items()]


def explain(
    error: ValidationError,
    *,
    known: Collection[str] = (),
    place: Callable[[tuple[Any, ...]], str] | None = None,
    most: int | None = MAX_PROBLEMS,
) -> list[str]:
    """A sentence for each problem, at most `most`. `known` are the names that may stand where one is not known."""
    problems = error.errors(include_url=False)
    path = place or _path
    return [_sentence(problem, known, path) for problem in problems[:most]]


def invalid_value(details: str) -> RequestError:
    """The Cloud API's error for a field whose value is none that it may have: HTTP 400, code 131009."""
    return RequestError(NOT_VALID, code=131009, status=400, details=details)


def refused(
    error: ValidationError, *, known: Collection[str] = (), place: Callable[[tuple[Any, ...]], str] | None = None
) -> RequestError:
    """The Cloud API's error for a body or a query that does not validate."""
    details = "; ".join(explain(error, known=known, place=place))[:MAX_DETAILS]
    if all(problem["type"] == "missing" for problem in error.errors(include_input=False, include_url=False)):
        return RequestError("Required parameter is missing", code=131008, status=400, details=details)
    return invalid_value(details)


def _sentence(problem: ErrorDetails, known: Collection[str], path: Callable[[tuple[Any, ...]], str]) -> str:
    kind, bound = problem["type"], cast("Mapping[str, Any]", problem.get("ctx") or {})
    words = SENTENCES.get(kind, problem["msg"])
    sentence = words if isinstance(words, str) else words(bound)
    where, last = path(problem["loc"]), str(problem["loc"][-1]) if problem["loc"] else ""
    if kind == "missing" and problem["msg"] != REQUIRED:  # a model's own word: what is missing stands before the colon
        name, _, own = problem["msg"].rpartition(": ")
        where, sentence, last = ".".join(filter(None, (where, name))), own, name
    sentence = f"{sentence}{_hint(problem, last, known)}"
    return f"{where}: {sentence}" if where else sentence


def _hint(problem: ErrorDetails, name: str, known: Collection[str]) -> str:
    """What was probably meant; of what came only a field's name is shown, and only when it is nearly a right one."""
    kind, given = problem["type"], problem["input"]
    if kind == "extra_forbidden" and known:
        return did_you_mean(name, known) or f"; there are {', '.join(known)}"
    if kind == "missing" and isinstance(given, dict):
        others = (key for key in list(given)[:MAX_NAMES] if isinstance(key, str) and key != name)
        wrong = next((key for key in others if nearest(key, [name])), "")
        return f"; did you mean {name} by {wrong}?" if wrong else ""
    if kind == "literal_error" and isinstance(given, str):
        right = re.findall(r"'([^']+)'", str((problem.get("ctx") or {}).get("expected", "")))
        return did_you_mean(given, right) if len(right) > 1 else ""
    return ""


def _path(place: tuple[Any, ...]) -> str:
    """Where something stands; what pydantic names of its own validators is left out."""
    parts = [str(part) for part in place if not re.search(r"[\[({-]", str(part))]
    return ".".join(parts)


def _spelling(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _at_least(count: int, what: str) -> str:
    return "must not be empty" if count == 1 else f"needs at least {count} {what}s"


def _at_most(count: int, what: str) -> str:
    return f"has at most {count} {what}{'' if count == 1 else 's'}"


def _choices(expected: str) -> str:
    """The words that may stand there; that nothing may is no word of advice."""
    return expected.removeprefix("'', ")


def _number(value: object) -> str:
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else f"{value}"


def _not_but(bound: Mapping[str, Any]) -> str:
    actual = bound.get("actual_length")
    return "" if actual is None else f", not {actual}"


def _schemes(expected: str) -> str:
    return " or ".join(f"{scheme}://" for scheme in re.findall(r"'([^']+)'", expected))


def _form(pattern: str) -> str:
    """A simple pattern in words; any other as it stands."""
    if pattern in FORMS:
        return f"must have the form {FORMS[pattern]}"
    match = SIMPLE.fullmatch(pattern)
    parts = PART.findall(match["chars"]) if match else []
    if match is None or not all(part in CLASSES for part in parts):
        return f"must have the form {pattern}"
    words = [CLASSES[part] for part in parts]
    listed = " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    least, most = match["least"], match["most"]
    count = f"{least} to {most} " if most and least != "0" else f"at most {most} " if most else ""
    return f"must be {count}{listed}{'' if most else ' only'}"
