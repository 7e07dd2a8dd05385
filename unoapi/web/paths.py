"""What is said of a path that is not there: the one that was probably meant."""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Iterable

    from werkzeug.routing import Map

MAX_CHARS = 120
"""Of a path that is compared with the routes; ours are shorter, and comparing takes quadratic time."""
SIMILAR = 0.7
AT_META = frozenset({"pass_through.edge_of_number", "pass_through.delete_node"})
"""The routes of what only Meta could have: any path behind a number, and any thing to be deleted."""
SEE = "See /docs for all paths."
VERSION = re.compile(r"v[0-9]{1,3}(\.[0-9]{1,3})?")
PHONE = re.compile(r"(%2B|\+)?[0-9]{5,20}|<p>|<phone>|\{phone\}|:phone")
ID = re.compile(r"(?:wamid|uno\.cmd)\..+")
ELSEWHERE = {
    "/metrics": "Prometheus' numbers are on a port of their own: UNOAPI_METRICS_PORT.",
    "/swagger": "This API describes itself at /docs, and for programs at /docs/openapi.json.",
    "/openapi.json": "This API describes itself at /docs, and for programs at /docs/openapi.json.",
}
"""What other programs have, and where it is here."""
ONE_OF = re.compile(r"<any\(([a-z_,]+)\):\w+>")
CONVERTER = re.compile(r"<(?:\w+(?:\(.*?\))?:)?(\w+)>")


def no_such_path(routes: Map, method: str, path: str) -> str:
    """The details of a 404."""
    if re.search(r"/\+[0-9]", path):
        return f"There is no such path: a number in a path is digits only, without +. {SEE}"
    if len(path) > MAX_CHARS:
        return f"There is no such path. {SEE}"
    if (lower := path.lower().rstrip("/")) in ELSEWHERE:
        return f"There is no such path. {ELSEWHERE[lower]}"
    near = _nearest("/".join(map(_meant, lower.split("/"))), method, _rules(routes))
    return f"There is no such path; did you mean {method} {near}? {SEE}" if near else f"There is no such path. {SEE}"


def no_such_method(method: str, allowed: Iterable[str]) -> str:
    """The details of a 405."""
    named = sorted(set(allowed) - {"HEAD", "OPTIONS"})
    return f"{method} is not allowed on this path, but {' and '.join(named)}. {SEE}"


def own_methods(routes: Map, path: str, allowed: Iterable[str]) -> list[str]:
    """The methods that a path has here, of those that any route of it takes: without what only Meta could answer."""
    adapter, own = routes.bind(""), []
    for method in allowed:
        with suppress(HTTPException):
            if adapter.match(path, method=method)[0] not in AT_META:
                own.append(method)
    return own or list(allowed)


def _rules(routes: Map) -> tuple[tuple[str, frozenset[str]], ...]:
    shown = ((path, rule.methods) for rule in routes.iter_rules() for path in _shown(rule.rule))
    return tuple((path, frozenset(methods or ())) for path, methods in shown)


def _shown(rule: str) -> list[str]:
    """A rule as people read it; one with a choice of words once with each of them."""
    choice = ONE_OF.search(rule)
    words = choice[1].split(",") if choice else [""]
    return [CONVERTER.sub(r"<\1>", ONE_OF.sub(word, rule)) for word in words]


@lru_cache(maxsize=256)
def _nearest(words: str, method: str, rules: tuple[tuple[str, frozenset[str]], ...]) -> str:
    shown = {re.sub(r"<(?!version|phone)\w+>", "<id>", rule): rule for rule, methods in rules if method in methods}
    bare = words.replace("/<version>", "").replace("/<phone>", "")
    same = [rule for rule in (f"/<version>{words}", bare) if rule in shown]
    near = same or difflib.get_close_matches(words, shown, n=1, cutoff=SIMILAR)
    return shown[near[0]] if near else ""


def _meant(part: str) -> str:
    if VERSION.fullmatch(part):
        return "<version>"
    return "<phone>" if PHONE.fullmatch(part) else "<id>" if ID.fullmatch(part) else part
