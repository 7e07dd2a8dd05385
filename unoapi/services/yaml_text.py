"""YAML that a person wrote into a chat: plain values alone, bounded, and every mistake with its line.

Neither tags nor anchors and aliases, with which a short text unfolds to a huge one; no key twice. A value is text
unless it is `true`, `false`, `null` or a decimal number: `no`, dates and leading zeros stay as they were written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from unoapi.errors import RequestError

MAX_BYTES = 16 * 1024
MAX_DEPTH = 10
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlText:
    """The object that was written, and on which line (from 1) each of its values begins, by its path."""

    value: dict[str, Any]
    lines: dict[Path, int]


def read_yaml(text: str) -> YamlText:
    """Read an object. Raises RequestError, whose details name the line, for everything else."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise _mistake(f"more than {MAX_BYTES} bytes")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _mistake(error.problem or "cannot be read", line=mark.line + 1 if mark else 0) from None
    except yaml.YAMLError:
        raise _mistake("it has characters that YAML does not allow") from None
    lines: dict[Path, int] = {}
    if not isinstance(node, yaml.MappingNode):
        raise _mistake("`name: value` lines are expected", line=1)
    value: dict[str, Any] = _value(node, (), lines)
    return YamlText(value, lines)


class _Loader(yaml.SafeLoader):
    """Makes nodes; no constructor of YAML's is ever used."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _at(event, "anchors and aliases (& and *) are not taken; put such a value into quotes")
        if getattr(event, "tag", None):
            raise _at(event, "tags (!) are not taken; put such a value into quotes")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _at(event, f"more than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _value(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_value(part, (*path, number), lines) for number, part in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        value: dict[str, Any] = {}
        for key, part in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _mistake("a name must be text; put a value with braces into quotes", line=line)
            if key.value in value:
                raise _mistake(f"{_shown(key.value)} is there twice", line=line)
            value[key.value] = _value(part, (*path, key.value), lines)
            lines[*path, key.value] = line
        return value
    return _plain(node.value) if getattr(node, "style", None) is None else node.value


def _plain(written: str) -> Any:
    """The value of what stands there without quotes."""
    if (word := written.lower()) in WORDS:
        return WORDS[word]
    return int(written) if INTEGER.fullmatch(written) else written


def _at(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _shown(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name[:64])


def _mistake(problem: str, *, line: int = 0) -> RequestError:
    place = f"line {line}: " if line else ""
    return RequestError("Invalid YAML", code=100, status=400, details=f"{place}{problem[:200]}")
