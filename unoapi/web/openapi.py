"""The description of the API (OpenAPI 3.1), made from the routes and from what their views say (`schemas`)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from unoapi import __version__
from unoapi.web.converters import CONVERTERS
from unoapi.web.schemas import JSON, STREAM, RouteSchema, schema_of

if TYPE_CHECKING:
    from flask import Flask
    from pydantic import BaseModel
    from werkzeug.routing import Rule

PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")
PATTERNS = {name: f"^{converter.regex.replace('(?:', '(')}$" for name, converter in CONVERTERS.items()} | {
    "path": r"^[0-9A-Za-z][0-9A-Za-z._-]{0,199}$",
}
LABELS = {
    "CallbackChange": "_Change",
    "CallbackEntry": "_Entry",
    "CallbackItem": "_Item",
    "CallbackValue": "_Value",
    "ConnectRequest": "Wish",
}
"""Models whose schemas have another label in the document: programs that were generated from it use these names."""
NO_CONTENT = "204"
WORD = re.compile(r"[A-Za-z]+")
ACCESS = {
    "public": "Anybody may call it.",
    "operator": "The operator's token opens it.",
    "session": "The session's token or the operator's opens it.",
    "any session": "The token of any session or the operator's opens it.",
    "owner": "Opened by the token of the session that owns the thing, the operator's, or a signature.",
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "error_data", "fbtrace_id"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": "integer"},
                "error_data": {
                    "type": "object",
                    "properties": {"messaging_product": {"type": "string"}, "details": {"type": "string"}},
                },
                "fbtrace_id": {"type": "string"},
            },
        }
    },
}


def describe(app: Flask) -> dict[str, Any]:
    """The whole description. Paths that differ in the names of their parameters alone are one path with both uses."""
    schemas = {endpoint: schema_of(view) for endpoint, view in app.view_functions.items()}
    models = sorted({model for schema in schemas.values() for model in schema.body}, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    rules = [rule for rule in app.url_map.iter_rules() if schemas[rule.endpoint].described]
    for rule in sorted(rules, key=lambda rule: (rule.rule, rule.endpoint)):
        shape = PARAMETER.sub("{}", rule.rule)
        path = names.setdefault(shape, PARAMETER.sub(r"{\2}", rule.rule))
        given = re.findall(r"{(\w+)}", path)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            _add(paths.setdefault(path, {}), method.lower(), _operation(app, rule, method, given))
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Uno API",
            "version": __version__,
            "summary": "A self-hosted WhatsApp gateway in the WhatsApp Cloud API format.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": {**definitions.get("$defs", {}), "Error": ERROR},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "access_token"},
            },
        },
    }
    return dict(json.loads(WORD.sub(lambda match: LABELS.get(match[0], match[0]), json.dumps(document))))


def _add(operations: dict[str, Any], method: str, operation: dict[str, Any]) -> None:
    """Add an operation; a second one for the same form of path is described as another use of it."""
    first = operations.get(method)
    if first is None:
        operations[method] = operation
        return
    first["summary"] = f"{first['summary'].rstrip('.')}; or: {operation['summary']}"
    first["responses"] |= operation["responses"]
    for parameter, other in zip(first["parameters"], operation["parameters"], strict=False):
        if parameter != other and parameter["in"] == other["in"] == "path":
            parameter["schema"] = {"type": "string"}


def _operation(app: Flask, rule: Rule, method: str, given: list[str]) -> dict[str, Any]:
    view = app.view_functions[rule.endpoint]
    schema = schema_of(view)
    access = str(getattr(view, "access", "public"))
    lines = (view.__doc__ or rule.endpoint).strip().split("\n")
    operation: dict[str, Any] = {
        "operationId": f"{rule.endpoint}.{method.lower()}.{re.sub(r'[^a-z0-9]+', '-', rule.rule.lower()).strip('-')}",
        "summary": lines[0],
        "description": " ".join(
            [ACCESS.get(access, ""), *(line.strip() for line in lines[1:] if line.strip())]
        ).strip(),
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": [
            *(
                {
                    "name": name,
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": PATTERNS.get(kind, r"^[A-Za-z0-9._-]{1,64}$")},
                }
                for name, (kind, _) in zip(given, PARAMETER.findall(rule.rule), strict=True)
            ),
            *(_query(schema.query) if schema.query else ()),
        ],
        "responses": _responses(schema),
        "security": [] if access == "public" else [{"bearer": []}, {"query": []}],
    }
    if method in ("POST", "PUT", "PATCH"):
        operation["requestBody"] = {"content": _content(schema)}
    return operation


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": part}
        for name, part in schema["properties"].items()
    ]


def _content(schema: RouteSchema) -> dict[str, Any]:
    if schema.takes_file:
        form = {"file": {"type": "string", "format": "binary"}, "type": {"type": "string"}}
        return {"multipart/form-data": {"schema": {"type": "object", "properties": form, "required": ["file"]}}}
    if schema.takes_bytes:
        return {STREAM: {}}
    if not schema.body:
        return _json({"type": "object"})
    references = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in schema.body]
    examples = {
        model.__name__: {"value": example}
        for model in schema.body
        for example in (model.model_config.get("json_schema_extra") or {}).get("examples", [])  # type: ignore[union-attr]
    }
    content = _json(references[0] if len(references) == 1 else {"anyOf": references})
    if examples:
        content[JSON]["examples"] = examples
    return content


def _responses(schema: RouteSchema) -> dict[str, Any]:
    good = {STREAM: {}, JSON: _json({"type": "object"})[JSON]}.get(schema.answer, {"schema": {"type": "string"}})
    content = {schema.answer: good}
    answers: dict[str, Any] = {"200": {"description": "Done, or accepted by the queue.", "content": content}}
    for status, description in schema.also.items():
        answers[status] = {"description": description} | ({} if status == NO_CONTENT else {"content": content})
    if not schema.refuses:
        return answers
    error = {"description": "What is wrong, and what to do.", "content": _json({"$ref": "#/components/schemas/Error"})}
    busy = {**error, "description": "RabbitMQ or Redis is not reachable now; Retry-After says when to come again."}
    later = {**error, "description": "Not built yet."}
    return {**answers, "4XX": error, "501": later, "503": busy}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {JSON: {"schema": schema}}
