"""Serves the description of the API: `/docs` for people, `/docs/openapi.json` and `/docs/events` for programs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, current_app, jsonify, render_template_string

from unoapi.models.cloud_api.event_catalogue import catalogue
from unoapi.web.auth import public
from unoapi.web.errors import not_found
from unoapi.web.openapi import describe
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue

routes = Blueprint("docs", __name__)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Uno API {{ info.version }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b1f23 }
details { border-top: 1px solid #d0d7de; padding: .5rem 0 }
summary { cursor: pointer } code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { background: #f6f8fa; overflow-x: auto; padding: .75rem } b { display: inline-block; min-width: 4.5rem }
</style></head><body>
<h1>Uno API {{ info.version }}</h1><p>{{ info.summary }} For programs: <a href="docs/openapi.json">openapi.json</a>, and
<a href="docs/events">the events that webhooks get</a>.</p>
{% for tag, operations in tags.items() %}<h2>{{ tag }}</h2>
{% for path, method, operation in operations %}<details><summary><b>{{ method.upper() }}</b> <code>{{ path }}</code>
{{ operation.summary }}</summary><p>{{ operation.description }}</p>
{% for kind, content in operation.get("requestBody", {}).get("content", {}).items() %}
{% for name, example in content.get("examples", {}).items() %}<p>{{ name }}</p>
<pre>{{ example.value | tojson(indent=2) }}</pre>{% endfor %}{% endfor %}
</details>{% endfor %}{% endfor %}
</body></html>"""


@routes.get("/docs")
@public
@schema(answer="text/html")
def page() -> ResponseReturnValue:
    """The description for people: every route with its examples."""
    document = _document(current_app._get_current_object())  # type: ignore[attr-defined] # noqa: SLF001 (Flask's way)
    tags: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation["tags"][0], []).append((path, method, operation))
    answer = Response(render_template_string(PAGE, info=document["info"], tags=tags), mimetype="text/html")
    answer.headers["Content-Security-Policy"] = POLICY
    return answer


@routes.get("/docs/openapi.json")
@public
def openapi() -> ResponseReturnValue:
    """The description for programs: OpenAPI 3.1."""
    return jsonify(_document(current_app._get_current_object()))  # type: ignore[attr-defined] # noqa: SLF001 (Flask's way)


@routes.get("/docs/events")
@public
def events() -> ResponseReturnValue:
    """The catalogue of the events that webhooks get: a JSON Schema and an example of each kind."""
    return jsonify(data=_catalogue())


@routes.get("/docs/events/<name>")
@public
def event_schema(name: str) -> ResponseReturnValue:
    """The JSON Schema of one kind of event."""
    found = next((entry for entry in _catalogue() if entry["name"] == name), None)
    if found is None:
        raise not_found("There is no such event: /docs/events lists them.")
    return jsonify({"$schema": DIALECT, "title": name, **found["schema"]})


@lru_cache(maxsize=1)
def _catalogue() -> list[dict[str, Any]]:
    return [entry.model_dump(mode="json", by_alias=True) for entry in catalogue()]


@lru_cache(maxsize=1)
def _document(app: Flask) -> dict[str, Any]:
    return describe(app)
