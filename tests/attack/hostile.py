"""Hostile requests, made from the description of the API: every field of every model, one at a time."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.attack.stage import Caller

METHODS = ("get", "post", "put", "patch", "delete")
JSON = "application/json"
FORM = "multipart/form-data"
BOUNDARY = "edge-of-the-attack"
QUERIES = ("fields", "limit", "after", "access_token", "hub.mode", "hub.verify_token", "hub.challenge", "expires")
SPACES = " " * 100_000
DEEPEST = 6
"""Levels of a model that are filled in; the events' own are three."""
FIELDS = 80
"""Fields of one body that are tried; no model has so many."""


Make = Callable[[Any], tuple[bytes | None, str, str]]
"""From a hostile value to a body, a query and the type of the body."""


@dataclass(frozen=True)
class Attempt:
    """One request. `body` is bytes as they are sent."""

    method: str
    path: str
    body: bytes | None
    caller: Caller
    what: str
    public: bool
    kind: str = JSON


def nested(depth: int) -> list[Any]:
    """A list in a list, so many levels deep, within what `json.dumps` can write."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def values(closed: list[str]) -> list[Any]:
    """What stands in a field. `closed` are addresses that the guard has to keep closed."""
    return [
        None, True, 0, -1, 2**31, 2**63, 10**400, 1.5, -0.0, "", " ", "\u0000", "a\u0000b", "\ud800", "\ufeff\u202e",
        "\r\nX-Canary: 1\r\n\r\n", "\x1b]0;title\x07\x1b[2J", "[/x][link=http://evil.example]", "<!channel>",
        "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/proc/self/environ", "file:///proc/self/environ",
        "gopher://127.0.0.1:6379/_FLUSHALL", "{{7*7}}", "${jndi:ldap://127.0.0.1/x}", "%s%n%x", "' OR 1=1 --",
        "__class__", "__proto__", "é" * 300, "9" * 5_000, "٣٣٣", "x" * 70_000, "{{" + SPACES, SPACES + "@todos",
        [], {}, [None], [[]], {"": ""}, {"__type__": "datetime", "__value__": "x"}, nested(90), [0] * 20_000,
        {f"k{number}": number for number in range(5_000)}, *closed,
    ]  # fmt: skip


def attempts(
    document: dict[str, Any],
    callers: list[Caller],
    *,
    paths: Callable[[str, str, int], str],
    values_per_field: int,
    hostile: list[Any],
) -> Iterator[tuple[str, list[Attempt]]]:
    """For each operation of the description its requests: `values_per_field` hostile values for every field, in turn.

    `paths` fills in the parameters of a path: what it gets is the path, the caller's own number and a count.
    """
    count = 0
    for path, operations in sorted(document["paths"].items()):
        for method in (name for name in METHODS if name in operations):
            operation = operations[method]
            public = not operation["security"]
            made: list[Attempt] = []
            plain = [("no body", _nothing)] * (2 * len(callers))
            for what, make in [
                *plain,
                *(pair for pair in ways(operation, document, method) for _ in range(values_per_field)),
            ]:
                caller = callers[count % len(callers)]
                body, query, kind = make(hostile[count % len(hostile)])
                filled_in = paths(path, caller.phone, count) + query
                made.append(Attempt(method.upper(), filled_in, body, caller, what, public, kind))
                count += 1
            yield f"{method.upper()} {path}", made


def ways(operation: dict[str, Any], document: dict[str, Any], method: str) -> list[tuple[str, Make]]:
    """The places of a request that can be hostile, each with what makes the request from a value."""
    declared = [part["name"] for part in operation["parameters"] if part["in"] == "query"]
    names = sorted({*declared, *QUERIES}) if method == "get" else []
    makers: list[tuple[str, Make]] = [(f"query {name}", partial(_in_query, name)) for name in names]
    content = (operation.get("requestBody") or {}).get("content", {})
    makers += [("form", _in_form)] * (10 if FORM in content else 0)
    for number, good in enumerate(bodies(content[JSON], document) if JSON in content else []):
        makers += [
            (f"{number} {'.'.join(map(str, where))}", partial(_in_body, good, where))
            for where in list(places(good))[:FIELDS]
        ]
    return makers


def _nothing(_: Any) -> tuple[bytes | None, str, str]:
    return None, "", JSON


def _in_query(name: str, value: Any) -> tuple[bytes | None, str, str]:
    return None, "?" + urlencode({name: f"{value}"[:2_000]}, errors="surrogatepass"), JSON


def _in_body(good: Any, where: tuple[str | int, ...], value: Any) -> tuple[bytes | None, str, str]:
    return json.dumps(changed(good, where, value)).encode(), "", JSON


def bodies(content: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    """Bodies that are taken or nearly: the examples, and one that has every field of the model."""
    examples = [example["value"] for example in content.get("examples", {}).values()]
    schema = content["schema"]
    full = [] if "anyOf" in schema else [filled(schema, document, depth=0)]
    return [*examples, *full]


def filled(schema: dict[str, Any], document: dict[str, Any], *, depth: int) -> Any:
    """A value that a schema allows, more or less, with all the fields that it names."""
    if reference := schema.get("$ref"):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    fixed = [schema.get("default"), schema.get("const"), *schema.get("enum", [])]
    if chosen := [value for value in fixed if value is not None]:
        return chosen[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return filled(schema[key][0], document, depth=depth)
    kind = schema.get("type") if depth <= DEEPEST else "null"
    if kind == "array":
        return [filled(schema.get("items", {}), document, depth=depth + 1)]
    if kind == "object" or (kind is None and "properties" in schema):
        return {name: filled(part, document, depth=depth + 1) for name, part in schema.get("properties", {}).items()}
    return {"integer": 1, "number": 1, "boolean": True, "null": None}.get(str(kind), "5549988887777")


def places(body: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every field of a body, and to one that is not there."""
    if isinstance(body, dict):
        for key, value in body.items():
            yield (*before, key)
            yield from places(value, (*before, key))
        if not before:
            yield ("unheard_of",)
    elif isinstance(body, list) and body:
        yield (*before, 0)
        yield from places(body[0], (*before, 0))


def changed(body: Any, where: tuple[str | int, ...], value: Any) -> Any:
    """A copy of a body with one field replaced."""
    copied = copy.deepcopy(body)
    inner = copied
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return copied


def _in_form(value: Any) -> tuple[bytes | None, str, str]:
    """A file whose name, kind and type are hostile."""
    word = f"{value}"[:2_000].encode("utf-8", "surrogatepass")
    parts = (
        b'Content-Disposition: form-data; name="type"\r\n\r\n' + word,
        b'Content-Disposition: form-data; name="messaging_product"\r\n\r\nwhatsapp',
        b'Content-Disposition: form-data; name="file"; filename="'
        + word
        + b'"\r\nContent-Type: '
        + word
        + b"\r\n\r\nx",
    )
    edge = BOUNDARY.encode()
    body = b"".join(b"--" + edge + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + edge + b"--\r\n"
    return body, "", f"{FORM}; boundary={BOUNDARY}"


def filler(others: list[str], odd: list[str]) -> Callable[[str, str, int], str]:
    """Fill in the parameters of paths: mostly the caller's own number; odd words for ids."""

    def path(template: str, own: str, count: int) -> str:
        numbers = [own, *others]

        def word(match: re.Match[str]) -> str:
            if match[1] == "version":
                return "v15.0"
            if match[1] in {"phone", "phone_id", "waba_id", "business_id"}:
                return others[count // 6 % len(others)] if others and count % 6 == 0 else own
            return [*odd, own, *others][count % (len(odd) + len(numbers))]

        return re.sub(r"{(\w+)}", word, template)

    return path
