"""The description of the API (OpenAPI 3.1), made from the routes themselves and from the models that validate."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from unoapi import __version__
from unoapi.models.cloud_api.callbacks import EventPayload
from unoapi.models.cloud_api.messages import MESSAGES, Command, SandboxMessage
from unoapi.models.options import BusinessProfile
from unoapi.models.session import Session
from unoapi.models.timers import TimerRequest
from unoapi.web import admin, blacklist, connect_page, contacts, phones
from unoapi.web.converters import CONVERTERS
from unoapi.web.graph import Page

if TYPE_CHECKING:
    from flask import Flask
    from pydantic import BaseModel
    from werkzeug.routing import Rule

PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")
PATTERNS = {name: f"^{converter.regex.replace('(?:', '(')}$" for name, converter in CONVERTERS.items()} | {
    "path": r"^[0-9A-Za-z][0-9A-Za-z._-]{0,199}$",
}
BODIES: dict[str, tuple[type[BaseModel], ...]] = {
    "messages.send_message": (*MESSAGES.values(), Command),
    "sessions.register": (Session,),
    "sandbox.contact_writes": (SandboxMessage,),
    "events.receive": (EventPayload,),
    "events.receive_any": (EventPayload,),
    "blacklist.put": (blacklist.BlacklistEntry,),
    "contacts.check": (contacts.ContactsCheck,),
    "timers.start": (TimerRequest,),
    "phones.change": (phones.PhoneChange,),
    "phones.change_business_profile": (BusinessProfile,),
    "admin.replay": (admin.Replay,),
    "admin.purge": (admin.Purge,),
    "admin.pause": (admin.Pause,),
    "qr.connect": (connect_page.ConnectRequest,),
}
"""What a request's body is checked with. Others take any JSON object, or none."""
QUERIES: dict[str, tuple[type[BaseModel], ...]] = {
    "admin.dead_letters": (admin.Listing,),
    "templates.list_templates": (Page,),
    "phones.phone_numbers": (Page,),
    "meta.accounts": (Page,),
}
FILES = frozenset({"media.upload"})
PLAIN = {
    "health.ping": "text/plain",
    "events.verify": "text/plain",
    "qr.page": "text/html",
    "docs.page": "text/html",
}
STREAMED = frozenset({"media.download"})
NOT_DESCRIBED = frozenset({"broadcast.connect"})
"""Socket.IO, which OpenAPI has no words for."""
LABELS = {
    "CallbackChange": "_Change",
    "CallbackEntry": "_Entry",
    "CallbackItem": "_Item",
    "CallbackValue": "_Value",
    "ConnectRequest": "Wish",
}
"""Models whose schemas have another label in the document: programs that were generated from it use these names."""
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
    models = sorted({model for body in BODIES.values() for model in body}, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in NOT_DESCRIBED]
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
            *(parameter for model in QUERIES.get(rule.endpoint, ()) for parameter in _query(model)),
        ],
        "responses": _responses(rule.endpoint),
        "security": [] if access == "public" else [{"bearer": []}, {"query": []}],
    }
    if method in ("POST", "PUT", "PATCH") and (content := _content(rule.endpoint)):
        operation["requestBody"] = {"content": content}
    return operation


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": part}
        for name, part in schema["properties"].items()
    ]


def _content(endpoint: str) -> dict[str, Any]:
    if endpoint in FILES:
        form = {"file": {"type": "string", "format": "binary"}, "type": {"type": "string"}}
        return {"multipart/form-data": {"schema": {"type": "object", "properties": form, "required": ["file"]}}}
    models = BODIES.get(endpoint, ())
    if not models:
        return {"application/json": {"schema": {"type": "object"}}}
    schemas = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    examples = {
        model.__name__: {"value": example}
        for model in models
        for example in (model.model_config.get("json_schema_extra") or {}).get("examples", [])  # type: ignore[union-attr]
    }
    content: dict[str, Any] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
    if examples:
        content["examples"] = examples
    return {"application/json": content}


def _responses(endpoint: str) -> dict[str, Any]:
    error = {"description": "What is wrong, and what to do.", "content": _json({"$ref": "#/components/schemas/Error"})}
    if endpoint in PLAIN:
        good: dict[str, Any] = {PLAIN[endpoint]: {"schema": {"type": "string"}}}
    elif endpoint in STREAMED:
        good = {"*/*": {}}
    else:
        good = _json({"type": "object"})
    answers: dict[str, Any] = {"200": {"description": "Done, or accepted by the queue.", "content": good}}
    if endpoint == "sessions.deregister":
        answers["204"] = {"description": "Removed."}
    if endpoint == "health.ready":
        return {**answers, "503": {"description": "RabbitMQ is not reachable.", "content": good}}
    busy = {**error, "description": "RabbitMQ or Redis is not reachable now; Retry-After says when to come again."}
    later = {**error, "description": "Not built yet."}
    return {**answers, "4XX": error, "501": later, "503": busy}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
