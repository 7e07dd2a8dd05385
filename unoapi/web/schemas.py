"""What a route takes and answers: said once, at its view, for the check of requests and for the API's description."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from unoapi.errors.validation import names_of, refused
from unoapi.web.request_body import parameters, query_parameters

Model = TypeVar("Model", bound=BaseModel)
View = TypeVar("View", bound=Callable[..., Any])
JSON = "application/json"
STREAM = "*/*"


@dataclass(frozen=True, kw_only=True)
class RouteSchema:
    """The models and media types of one route. Without any it takes a JSON object or nothing, and answers with JSON."""

    body: tuple[type[BaseModel], ...] = ()
    query: type[BaseModel] | None = None
    takes_file: bool = False
    takes_bytes: bool = False
    answer: str = JSON
    also: dict[str, str] = field(default_factory=dict)
    """What it answers beside 200, by status."""
    refuses: bool = True
    """Whether it answers with errors, too."""
    described: bool = True


def schema_of(view: Callable[..., Any]) -> RouteSchema:
    """What was said of a view."""
    return cast("RouteSchema", getattr(view, "schema", RouteSchema()))


def schema(**fields: Any) -> Callable[[View], View]:
    """Say what a view takes and answers, when it or a service checks it. The fields are those of `RouteSchema`."""

    def decorate(view: View) -> View:
        view.schema = replace(schema_of(view), **fields)  # type: ignore[attr-defined]
        return view

    return decorate


def body(model: type[BaseModel]) -> Callable[[View], View]:
    """Check the request's parameters; the view gets them as `body`. Stands below who may call the route."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            return view(*args, body=checked(model, parameters(model)), **kwargs)

        return schema(body=(model,))(cast("View", guarded))

    return decorate


def query(model: type[BaseModel]) -> Callable[[View], View]:
    """Check the query; the view gets it as `query`. Stands below who may call the route."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            return view(*args, query=checked(model, query_parameters(model)), **kwargs)

        return schema(query=model)(cast("View", guarded))

    return decorate


def checked(model: type[Model], document: dict[str, Any], *, context: object = None) -> Model:
    """What a request says. A field that may be left out, and must not be empty, counts as left out when it is.

    Not so in a form of our own, such as that of a purge: without a filter that turned out empty more would go. Raises
    RequestError.
    """
    try:
        return model.model_validate(document, context=context)
    except ValidationError as error:
        if model.model_config.get("extra") != "forbid":
            with suppress(ValidationError):
                return model.model_validate(_without_blanks(document, error), context=context)
        raise refused(error, known=names_of(model)) from None


def _without_blanks(document: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """The document without refused fields that a client left empty: they may be left out, if all the rest is right."""
    filled = copy.deepcopy(document)
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        part: Any = filled
        with suppress(KeyError, IndexError, TypeError):  # a place may have the name of a choice in it
            for step in problem["loc"][:-1]:
                part = part[step]
            if isinstance(part, dict) and part.get(problem["loc"][-1], "-") in (None, ""):
                del part[problem["loc"][-1]]
    return filled
