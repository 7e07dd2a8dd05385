"""Hostile requests, made from the description of the API: every field of every model, one at a time."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.attack.stage import Caller

METHODS = ("get", "post", "put", "patch", "delete")
SPACES = " " * 100_000
DEEPEST = 6
"""Levels of a model that are filled in; the events' own are three."""
FIELDS = 80
"""Fields of one body that are tried; no model has so many."""


@dataclass(frozen=True)
class Attempt:
    """One request. `body` is bytes as they are sent."""

    method: str
    path: str
    body: bytes | None
    caller: Caller
    what: str
    public: bool


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
    each: int,
    hostile: list[Any],
) -> Iterator[tuple[str, list[Attempt]]]:
    """For each operation of the description its requests: `each` hostile values for every field, in turn.

    `paths` fills in the parameters of a path: what it gets is the path, the caller's own number and a count.
    """
    turn = 0
    for path, operations in sorted(document["paths"].items()):
        for method in METHODS:
            operation = operations.get(method)
            if operation is None:
                continue
            public = not operation["security"]
            made: list[Attempt] = []

            def add(body: bytes | None, what: str) -> None:
                nonlocal turn
                caller = callers[turn % len(callers)]
                made.append(  # noqa: B023 (used within this round)
                    Attempt(method.upper(), paths(path, caller.phone, turn), body, caller, what, public)  # noqa: B023
                )
                turn += 1

            for _ in range(2 * len(callers)):
                add(None, "no body")
            content = (operation.get("requestBody") or {}).get("content", {}).get("application/json")
            for number, good in enumerate(bodies(content, document) if content else []):
                for where in list(places(good))[:FIELDS]:
                    for _ in range(each):
                        value = hostile[turn % len(hostile)]
                        add(_json(changed(good, where, value)), f"{number} {'.'.join(map(str, where))}")
            yield f"{method.upper()} {path}", made


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


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


def filler(others: list[str], odd: list[str]) -> Callable[[str, str, int], str]:
    """Fill in the parameters of paths: mostly the caller's own number; odd words for ids."""

    def path(template: str, own: str, turn: int) -> str:
        numbers = [own, *others]

        def word(match: re.Match[str]) -> str:
            if match[1] == "version":
                return "v15.0"
            if match[1] in {"phone", "phone_id", "waba_id", "business_id"}:
                return others[turn // 6 % len(others)] if others and turn % 6 == 0 else own
            return [*odd, own, *others][turn % (len(odd) + len(numbers))]

        return re.sub(r"{(\w+)}", word, template)

    return path
