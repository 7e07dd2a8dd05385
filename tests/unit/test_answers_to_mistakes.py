"""Whatever is wrong with a request or a setting is said in words of ours: no word of pydantic's, no pattern."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.support.api import memory_api
from unoapi.cli.findings import broker_advice
from unoapi.errors import BrokerUnavailable
from unoapi.errors.validation import SENTENCES, explain
from unoapi.settings import Settings
from unoapi.web.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

WRONG: tuple[Any, ...] = (
    None,
    True,
    5,
    -1,
    10**30,
    1.5,
    "",
    "§",
    "5s",
    "x" * 70_000,
    [],
    [1],
    {},
    "https://",
    "2026-13",
)
OWN = {"interactive_type"}
"""Types of errors of ours, whose words are ours."""


@pytest.fixture(scope="module")
def models() -> set[type[BaseModel]]:
    """What people write: bodies and queries of all routes, the settings, and the objects in them."""
    with memory_api() as api:
        schemas = [schema_of(view) for view in api.app.view_functions.values()]
    seen: set[type[BaseModel]] = set()
    outer: list[type[BaseModel]] = [
        *(model for one in schemas for model in (*one.body, one.query) if model is not None),
        Settings,
    ]
    for model in outer:
        seen |= {model, *_inner(model)}
    return seen


def _inner(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield kind
                yield from _inner(kind)


def test_every_mistake_in_a_field_is_answered_in_words_of_ours(models: set[type[BaseModel]]) -> None:
    foreign = {}
    for model in models:
        names = [field.alias or name for name, field in model.model_fields.items()]
        for value in WRONG:
            try:
                model.model_validate(dict.fromkeys(names, value))
            except ValidationError as error:
                problems = error.errors(include_input=False, include_url=False)
                said = zip(problems, explain(error, most=None), strict=True)
                for problem, sentence in said:
                    if problem["type"] not in SENTENCES.keys() | OWN or "^" in sentence:
                        foreign[f"{model.__name__}.{problem['loc']}"] = sentence

    assert len(models) > 50
    assert foreign == {}


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ConnectionRefusedError(), "nothing listens there"),
        (socket.gaierror(-2, "Name or service not known"), "no name server here knows its host"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "speaks no TLS"),
        (TimeoutError(), "is a firewall between?"),
        (ConnectionResetError(), "does the port want TLS?"),
        (ValueError("a-secret-of-the-address"), ""),
    ],
)
def test_why_a_server_is_not_reached_is_said_however_deep_it_lies(cause: Exception, words: str) -> None:
    try:
        try:
            raise cause
        except type(cause) as error:
            raise BrokerUnavailable("RabbitMQ is not reachable") from error
    except BrokerUnavailable as error:
        said = broker_advice(error)

    assert said.startswith("RabbitMQ is not reachable; check AMQP_URL")
    assert words in said
    assert "a-secret-of-the-address" not in said
