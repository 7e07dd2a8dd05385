"""No regular expression of ours takes more than linear time, whatever text it gets."""

from __future__ import annotations

import ast
import re
import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from re import _parser as parser  # the only parser of the very same language
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("unoapi", "tasks") for path in (ROOT / folder).rglob("*.py"))
SIZES = (1_000, 20_000, 100_000)
"""Growing, so that a slow pattern fails in seconds and not in hours."""
BOUND_S = 0.2
CUBE = (SIZES[-1] // SIZES[-2]) ** 3
"""So much longer does a cubic pattern take for the last size than for the one before."""
CALLS = {"search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"}


class Use(NamedTuple):
    """A pattern with the call that it is used in."""

    where: str
    pattern: str
    flags: int
    call: str


def uses() -> list[Use]:
    """All uses of patterns in the source. A compiled one counts for all calls on its name."""
    texts = {path: path.read_text() for path in SOURCES}
    calls_on: dict[str, set[str]] = defaultdict(set)
    for text in texts.values():
        for name, call in re.findall(r"\b(\w+)\.(\w+)\(", text):
            calls_on[name].add(call)
    all_uses = []
    for path, text in texts.items():
        if not re.search(r"\bre\.", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            name, module = node.func.attr, node.func.value
            if not (isinstance(module, ast.Name) and module.id == "re" and name in CALLS | {"compile"}):
                continue
            pattern = ast.literal_eval(node.args[0])  # a pattern that is put together would fail here: write it out
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            flags = sum(int(getattr(re, word)) for word in re.findall(r"re\.([A-Z]+)\b", ast.unparse(node)))
            if name != "compile":
                all_uses.append(Use(where, pattern, flags, name))
                continue
            own = text.splitlines()[node.lineno - 1].split("=")[0].strip()
            calls = calls_on[own] & CALLS
            assert calls, f"{where}: {own} is used in no way that this test knows"
            all_uses += [Use(where, pattern, flags, call) for call in sorted(calls)]
    return all_uses


def samples(pattern: str) -> list[str]:
    """One character for each set or literal of a pattern, and two that it may not want."""
    chars = {"\n", "!"}
    todo: list[Any] = list(parser.parse(pattern))
    while todo:
        part = todo.pop()
        if isinstance(part, (list, tuple, parser.SubPattern)):
            todo += list(part)
        elif isinstance(part, int) and not isinstance(part, bool) and str(part).isdigit() and 8 < part < 0x3000:
            chars.add(chr(part))
    if r"\w" in pattern or "." in pattern:
        chars.add("a")
    if r"\d" in pattern:
        chars.add("7")
    if r"\s" in pattern or r"\S" in pattern or "[^" in pattern:
        chars |= {" ", "a"}
    return sorted(chars)


def literal_runs(pattern: str) -> list[str]:
    """The literal texts in a pattern: what has to come before a repetition begins."""
    runs, run = [""], ""
    for operation, argument in parser.parse(pattern):
        run = run + chr(argument) if str(operation) == "LITERAL" else ""
        runs.append(run)
    return sorted(set(runs))


def hostile_texts(pattern: str, size: int) -> Iterator[str]:
    """Texts that begin what the pattern wants again and again, and never end it; one at a time, since all are much."""
    chars, runs = samples(pattern), literal_runs(pattern)
    yield from (start + char * size + end for start, char, end in product(runs, chars, ("", "!", "\n")))
    yield from ((first + second) * (size // 2) for first, second in product(chars, chars))
    yield from ((run + char) * (size // (len(run) + 1)) for run, char in product(runs, chars))


def seconds(use: Use, text: str) -> float:
    compiled = re.compile(use.pattern, use.flags)
    began = time.process_time()
    if use.call in ("sub", "subn"):
        getattr(compiled, use.call)("", text)
    elif use.call == "finditer":
        list(compiled.finditer(text))
    else:
        getattr(compiled, use.call)(text)
    return time.process_time() - began


def slow_text(use: Use) -> tuple[int, str] | None:
    """The size and the beginning of the first text that takes too long.

    The last size is tried where the size before leaves it open, even if the pattern is cubic.
    """
    doubtful: set[int] = set()
    for size in SIZES:
        for number, text in enumerate(hostile_texts(use.pattern, size)):
            if size == SIZES[-1] and number not in doubtful:
                continue
            took_s = seconds(use, text)
            if took_s > BOUND_S:
                return size, text[:20]
            if size == SIZES[-2] and took_s * CUBE > BOUND_S:
                doubtful.add(number)
    return None


@pytest.mark.parametrize("use", uses(), ids=lambda use: f"{use.where}-{use.call}")
def test_a_pattern_takes_linear_time_on_a_hundred_kilobytes(use: Use) -> None:
    assert slow_text(use) is None


@pytest.mark.parametrize(
    "pattern",
    [r"\{\{\s*([^{}]*?)\s*\}\}", r"\s*@(?:todos|all)\b", r"(\w+://[^\s?#]+)[?#]\S*"],
)
def test_the_earlier_patterns_are_found_slow(pattern: str) -> None:
    """The test would have found them: placeholders (cubic), mentions and addresses (quadratic)."""
    assert slow_text(Use("", pattern, 0, "search")) is not None


def test_the_patterns_of_models_are_run_by_an_engine_that_is_always_linear() -> None:
    """pydantic's own engine has no backtracking; Python's has to be asked for."""
    assert [path for path in SOURCES if "regex_engine" in path.read_text()] == []
