"""A span for each request, if traces are exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request

from unoapi.telemetry.tracing import HEADER, is_tracing, span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Flask, Response

SPAN = "tracing_span"


def register_tracing(app: Flask) -> None:
    """Begin a trace at each request, or go on with its client's. Nothing is registered while nothing is traced."""
    if not is_tracing():
        return
    inner = app.wsgi_app

    def traced(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method = str(environ.get("REQUEST_METHOD", ""))[:16]
        parent = environ.get(f"HTTP_{HEADER.upper()}")
        with span(method, "server", parent=parent, **{"http.request.method": method}) as step:
            environ[SPAN] = step
            return inner(environ, start_response)

    app.wsgi_app = traced  # type: ignore[method-assign]
    app.after_request(_describe)


def _describe(answer: Response) -> Response:
    rule = f"{request.url_rule}" if request.url_rule is not None else "no route"
    name_span(request.environ, rule, answer.status_code)
    return answer


def name_span(environ: dict[str, Any], rule: str, status: int) -> None:
    """Name the request's span, if there is one, by the route: a path may hold what opens a file."""
    step = environ.get(SPAN)
    if step is not None:
        step.update_name(f"{environ['REQUEST_METHOD'][:16]} {rule}")
        step.set_attribute("http.route", rule)
        step.set_attribute("http.response.status_code", status)
