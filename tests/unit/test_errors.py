"""What is said of an error never quotes what the error stumbled over."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.support.fakes import SECRET
from tests.support.stack import ROOT
from unoapi import errors
from unoapi.errors import (
    DeliveryFailed,
    EngineUnavailable,
    NoConnector,
    NotSent,
    PermanentError,
    Postponed,
    SessionEnding,
    TransientError,
    Unanswered,
    UnoError,
    describe,
    safe_traceback,
)
from unoapi.models.attempts import Attempt


class Loose(BaseModel):
    """A model that does not hide its input, to prove that `describe` does."""

    count: int


def caught(function: Any, *arguments: Any) -> Exception:
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 (any)
        return error
    raise AssertionError("nothing was raised")


def decode_badly() -> None:
    json.loads(f'{{"token": "{SECRET}"')


def look_up_badly() -> None:
    empty: dict[str, str] = {}
    _ = empty[SECRET]


def convert_badly() -> None:
    int(SECRET)


@pytest.mark.parametrize("trouble", [decode_badly, look_up_badly, convert_badly])
def test_a_foreign_error_is_shown_by_its_class_and_place(trouble: Any) -> None:
    error = caught(trouble)

    text = describe(error)

    assert SECRET not in text
    assert text.startswith(type(error).__name__)
    assert ".py:" in text


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert describe(ValueError(SECRET)) == "ValueError"


def test_our_own_errors_speak_for_themselves() -> None:
    assert describe(NoConnector("5511")) == "no connector is connected for 5511"


def test_our_own_error_does_not_show_its_foreign_cause() -> None:
    error = UnoError("the step failed")
    error.__cause__ = ValueError(SECRET)

    assert describe(error) == "the step failed"


def test_an_invalid_model_is_shown_by_its_field_and_rule() -> None:
    error = caught(Loose.model_validate, {"count": SECRET})

    assert isinstance(error, ValidationError)
    assert describe(error) == "Loose: count: int_parsing"


@pytest.mark.parametrize("error", [UnoError("x" * 1000), type("E" * 1000, (Exception,), {})()])
def test_a_description_has_at_most_300_characters(error: Exception) -> None:
    assert len(describe(error)) == 300


def test_a_traceback_shows_the_way_and_no_values() -> None:
    text = safe_traceback(caught(convert_badly))

    assert "convert_badly" in text
    assert SECRET not in text
    assert text.endswith(describe(caught(convert_badly)))


def test_a_traceback_has_at_most_8000_characters() -> None:
    def deep(number: int) -> None:
        deep_too(number - 1)

    def deep_too(number: int) -> None:
        if number < 0:
            raise ValueError
        deep(number - 1)

    assert len(safe_traceback(caught(deep, 200))) == 8000


def errors_in_the_tree() -> list[type[UnoError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UnoError)]


def test_every_error_is_in_the_tree_and_names_its_reason() -> None:
    kinds = errors_in_the_tree()

    for kind in kinds:
        assert f" {kind.__name__} " in (errors.__doc__ or "") or kind is UnoError
    reasons = [kind.reason for kind in kinds]
    assert len(set(reasons)) >= len(reasons) - 1  # DeliveryRefused says its own, of the moment


def test_errors_are_defined_in_one_module_only() -> None:
    bases = {kind.__name__ for kind in errors_in_the_tree()} | {"Exception", "RuntimeError", "ValueError", "OSError"}
    paths = [path for room in ("unoapi", "tasks") for path in (ROOT / room).rglob("*.py")]
    product = [path for path in paths if path.parent.name != "devenv" and path != Path(errors.__file__)]

    strays = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in product
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and bases & {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    ]

    assert len(product) > 100
    assert strays == []


@pytest.mark.parametrize("kind", [NotSent, Unanswered, EngineUnavailable, SessionEnding])
def test_an_error_of_one_request_that_slips_through_is_retried(kind: type[UnoError]) -> None:
    assert issubclass(kind, TransientError)


def test_the_class_decides_the_retry() -> None:
    assert issubclass(DeliveryFailed, TransientError)
    assert issubclass(Postponed, TransientError)
    assert not issubclass(PermanentError, TransientError)
    assert DeliveryFailed("x", attempt=Attempt(status=500)).attempt.status == 500
