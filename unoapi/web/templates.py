"""Message templates of a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify, request

from unoapi.errors import Postponed, RequestError, StoreUnavailable
from unoapi.models.cloud_api.templates import MAX_TEMPLATES, StoredTemplate, components_of
from unoapi.services import templates
from unoapi.services.sessions import chosen
from unoapi.web.auth import opened_sessions, session_token
from unoapi.web.errors import not_found
from unoapi.web.graph import Page, asked_fields, listed, page
from unoapi.web.parts import parts
from unoapi.web.pass_through import forward, not_at_meta
from unoapi.web.request_body import parameters
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flask.typing import ResponseReturnValue

    from unoapi.models.cloud_api.messages import Template
    from unoapi.models.session import Session

routes = Blueprint("templates", __name__)
AT_META = "message_templates"
MAX_SEARCHED = 100
EDITABLE = frozenset({"category", "components", "message_send_ttl_seconds", "parameter_format"})
FILTERS = ("name", "language", "status", "category")
SEARCHES = ("content", "name_or_content")
"""The parameters that look for words in a template."""
OF_LIBRARY = "library_template_name"
PAGING = frozenset({"limit", "after", "before"})
PAGE_AT_META = "250"
"""As many templates as Meta lets an account have that is not verified."""


def ensure_bindable(phone: str, named: Template) -> None:
    """Refuse a message whose template is unknown here, or gets no values: RequestError 132001 (404), 132000.

    Meta knows its own templates. With Redis away the message is accepted, and checked when it is sent.
    """
    uno = parts()
    try:
        if uno.sessions.find(phone).provider == "forwarder":
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


def _choices(name: str, written: str) -> list[str]:
    """What a filter lets through: one value, or a list as JSON, as Graph's own clients send it."""
    return [_compared(name, choice) for choice in listed(name, written)]


def _compared(name: str, value: Any) -> str:
    text = str(value)
    return templates.plain_language(text) if name == "language" else text.lower()


def _holds(template: dict[str, Any], search: str, words: str) -> bool:
    """Whether a template has these words where a search looks for them; without words each one does."""
    texts = [str(part.get("text") or "") for part in components_of(template)]
    if search == "name_or_content":
        texts.append(str(template["name"]))
    return any(words.lower() in text.lower() for text in texts) or not words


def _long_page() -> dict[str, str]:
    """As many templates at once as Meta gives, for who asks with the token in the query and for no page.

    The address of the next page has no token, and Chatwoot sends none beside it: it would have Meta's first 25 alone.
    """
    asked = request.args
    return {"limit": PAGE_AT_META} if asked.get("access_token") and not PAGING & asked.keys() else {}


@routes.get("/<version>/<node:phone>/message_templates")
@routes.get("/<version>/<node:phone>/templates")
@session_token
@schema(query=Page)
def list_templates(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """The templates, with `fields`, `limit`, `after`, `before`, `summary`, by the fields and words that one has."""
    if (session := _at_meta(phone)) is not None:
        return forward(session, AT_META, **_long_page())
    everything = _shown(phone)
    wanted = {key: _choices(key, request.args[key]) for key in FILTERS if request.args.get(key)}
    matching = [
        template
        for template in everything
        if all(_compared(key, template.get(key)) in choices for key, choices in wanted.items())
        and all(_holds(template, key, request.args.get(key, "")) for key in SEARCHES)
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
    wanted = parameters(StoredTemplate)
    if wanted.get(OF_LIBRARY) and not wanted.get("components"):  # whose words only Meta has
        raise not_at_meta(OF_LIBRARY)
    return _changed(phone, lambda stored: templates.save(phone, stored, wanted)[0])[-1]


def _changed(phone: str, made: Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Store what is made of a number's templates, and return it. The default ones stay beside the first of its own."""
    only_hello = parts().settings.only_hello_template
    default = templates.shown(phone, None, only_hello=only_hello)
    return parts().templates.change(phone, lambda stored: made(default if stored is None else stored))


@routes.get("/<version>/<node:phone>/message_templates/<id_or_name>")
@session_token
def show(version: str, phone: str, id_or_name: str) -> ResponseReturnValue:  # noqa: ARG001
    """One template, by its id or name."""
    if (session := _at_meta(phone)) is not None:
        return forward(session, f"{AT_META}/{id_or_name}")
    found = next((one for one in _shown(phone) if id_or_name in (one["id"], one["name"])), None)
    if found is None:
        raise not_found("There is no template of that id or name.")
    return jsonify(chosen(found, asked_fields()))


def owner_of(template_id: str) -> tuple[str, dict[str, Any]] | None:
    """The number whose template has this id, of those that the caller's token opens, and the template.

    None for an operator of more than `MAX_SEARCHED` numbers. Raises RequestError and StoreUnavailable.
    """
    opened = opened_sessions()
    if len(opened) > MAX_SEARCHED:
        return None
    return next(
        ((session.phone, one) for session in opened for one in _shown(session.phone) if one["id"] == template_id), None
    )


def edit(phone: str, template: dict[str, Any]) -> ResponseReturnValue:
    """Change what the request names of a template, as Graph does at the template's own id."""
    wanted = parameters(StoredTemplate)
    named = {name: value for name, value in wanted.items() if name in EDITABLE and value not in (None, "", [], {})}
    _changed(phone, lambda stored: _edited(phone, stored, template["id"], named))
    return jsonify(success=True)


def _edited(
    phone: str, stored: Sequence[dict[str, Any]], template_id: str, named: dict[str, Any]
) -> list[dict[str, Any]]:
    """All templates after a change of one as it is now. Raises RequestError when it was deleted meanwhile."""
    before = next((one for one in templates.shown(phone, stored, only_hello=False) if one["id"] == template_id), None)
    if before is None:
        raise not_found("There is no template of that id or name.")
    if "components" in named:  # in whose words the form of the placeholders is seen
        del before["parameter_format"]
    return templates.save(phone, stored, {**before, **named})[0]


def _ids_in(asked: dict[str, Any]) -> set[str]:
    """The ids of the templates that are to be deleted."""
    given = asked.get("hsm_ids") or []
    several = given if isinstance(given, list) else listed("hsm_ids", str(given))
    return {str(one) for one in (*several, asked.get("hsm_id")) if one not in (None, "")}


@routes.delete("/<version>/<node:phone>/message_templates")
@routes.delete("/<version>/<node:phone>/message_templates/<id_or_name>")
@routes.delete("/<version>/<node:phone>/templates/<id_or_name>")
@session_token
def delete(version: str, phone: str, id_or_name: str = "") -> ResponseReturnValue:  # noqa: ARG001
    """Delete by id or name in the path, or by `name`, `hsm_id`, both or `hsm_ids` in the query or the body."""
    if (session := _at_meta(phone)) is not None:
        return forward(session, AT_META, **({"name": id_or_name} if id_or_name else {}))
    asked = {} if id_or_name else parameters()
    name = id_or_name or str(asked.get("name") or "")
    ids = _ids_in(asked)
    if not name and not ids:
        details = "Name the template: name=…, hsm_id=… or hsm_ids=…"
        raise RequestError("Required parameter is missing", code=131008, status=400, details=details)
    rest = _changed(phone, lambda stored: templates.delete(phone, stored, name, ids=ids))
    return jsonify(success=True, status="success", data=rest) if id_or_name else jsonify(success=True)
