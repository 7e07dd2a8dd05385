"""Message templates of a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify, request

from unoapi.errors import Postponed, RequestError, StoreUnavailable
from unoapi.models.cloud_api.templates import MAX_TEMPLATES
from unoapi.services import templates
from unoapi.services.sessions import chosen
from unoapi.web.auth import session_token
from unoapi.web.graph import Page, asked_fields, page
from unoapi.web.parts import parts
from unoapi.web.pass_through import forward
from unoapi.web.request_body import json_object
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from unoapi.models.cloud_api.messages import Template
    from unoapi.models.session import Session

routes = Blueprint("templates", __name__)
AT_META = "message_templates"
NATIVE = frozenset({"forwarder", "sandbox"})
FILTERS = ("name", "language", "status", "category")


def ensure_bindable(phone: str, named: Template) -> None:
    """Refuse a message whose template is unknown here, or gets no values: RequestError 132001 (404), 132000.

    Meta and the sandbox know their own templates. With Redis away the message is accepted, and checked when it is sent.
    """
    uno = parts()
    try:
        if uno.sessions.find(phone).provider in NATIVE:
            return
        stored = uno.templates.get(phone)
    except (Postponed, StoreUnavailable):
        return
    templates.bind_named(templates.of_session(stored, only_hello=uno.settings.only_hello_template), named)


def _at_meta(phone: str) -> Session | None:
    """The session of a number at Meta, whose templates are there. Raises Postponed: answered 503."""
    session = parts().sessions.find(phone)
    return session if session.provider == "forwarder" else None


def _shown(phone: str) -> list[dict[str, Any]]:
    uno = parts()
    return templates.shown(phone, uno.templates.get(phone), only_hello=uno.settings.only_hello_template)


@routes.get("/<version>/<node:phone>/message_templates")
@routes.get("/<version>/<node:phone>/templates")
@session_token
@schema(query=Page)
def list_templates(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """The templates, with `fields`, `limit`, `after`, `before`, `summary` and by name, language, status, category."""
    if (session := _at_meta(phone)) is not None:
        return forward(session, AT_META)
    everything = _shown(phone)
    wanted = {key: request.args[key] for key in FILTERS if request.args.get(key)}
    matching = [
        template
        for template in everything
        if all(str(template.get(key)).lower() == value.lower() for key, value in wanted.items())
    ]
    answer = page(matching)
    fields = asked_fields()
    answer["data"] = [chosen(template, fields) for template in answer["data"]]
    if request.args.get("summary"):
        answer["summary"] = {
            "total_count": len(matching),
            "message_template_count": len(everything),
            "message_template_limit": MAX_TEMPLATES,
            "are_translations_complete": False,
        }
    return jsonify(answer)


@routes.post("/<version>/<node:phone>/message_templates")
@session_token
def create(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Save a template, Meta's way."""
    if (session := _at_meta(phone)) is not None:
        return forward(session, AT_META)
    saved = _save(phone)
    shown = templates.shown(phone, [saved], only_hello=False)[0]
    return jsonify(id=shown["id"], status=shown["status"], category=shown["category"])


@routes.post("/<version>/<node:phone>/templates")
@session_token
def save(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Save a template, the Node version's way."""
    if (session := _at_meta(phone)) is not None:
        return forward(session, AT_META)
    return jsonify(status="success", data=_save(phone))


def _save(phone: str) -> dict[str, Any]:
    uno = parts()
    everything, saved = templates.save(phone, uno.templates.get(phone), json_object())
    uno.templates.put(phone, everything)
    return saved


@routes.delete("/<version>/<node:phone>/message_templates")
@routes.delete("/<version>/<node:phone>/message_templates/<id_or_name>")
@routes.delete("/<version>/<node:phone>/templates/<id_or_name>")
@session_token
def delete(version: str, phone: str, id_or_name: str = "") -> ResponseReturnValue:  # noqa: ARG001
    """Delete by id or name in the path, or by `name` and perhaps `hsm_id` in the query."""
    if (session := _at_meta(phone)) is not None:
        return forward(session, AT_META, **({"name": id_or_name} if id_or_name else {}))
    uno = parts()
    name = id_or_name or request.args.get("name", "")
    if not name:
        details = "Name the template: name=…"
        raise RequestError("Required parameter is missing", code=131008, status=400, details=details)
    stored = uno.templates.get(phone)
    own_id = "" if id_or_name else request.args.get("hsm_id", "")
    rest = templates.delete(phone, _shown(phone) if stored is None else stored, name, template_id_too=own_id)
    uno.templates.put(phone, rest)
    return jsonify(success=True, status="success", data=rest) if id_or_name else jsonify(success=True)
