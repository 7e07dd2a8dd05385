"""Templates: list, save, delete, and turn one into the message that a contact sees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from unoapi.errors import MessageRejected, RequestError
from unoapi.models.cloud_api.templates import (
    DEFAULT_LANGUAGE,
    DEFAULT_TEMPLATES,
    HELLO,
    MAX_TEMPLATES,
    Template,
    computed_template_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
TEXTS = ("header", "body", "footer")
MEDIA = frozenset({"image", "video", "document"})

Stored = dict[str, Any]


def shown(phone: str, stored: Sequence[Stored] | None, *, only_hello: bool) -> list[Stored]:
    """The templates of a session with every field that clients read. The default ones when none were ever stored."""
    templates = stored if stored is not None else [HELLO] if only_hello else DEFAULT_TEMPLATES
    return [_complete(phone, template) for template in templates]


def _complete(phone: str, template: Stored) -> Stored:
    name, language = str(template["name"]), _language(template)
    components = template.get("components")
    return {
        "status": "APPROVED",
        "category": "UTILITY",
        **template,
        "id": template_id(phone, template),
        "name": name,
        "language": language,
        "components": [_with_example(part) for part in components] if isinstance(components, list) else [],
        "parameter_format": _format(template),
    }


def template_id(phone: str, template: Stored) -> str:
    """Its own id, else a computed one."""
    own = template.get("id")
    return (
        str(own) if own not in (None, "") else computed_template_id(phone, str(template["name"]), _language(template))
    )


def _language(template: Stored) -> str:
    language = template.get("language") or DEFAULT_LANGUAGE
    return str(language.get("code") or DEFAULT_LANGUAGE) if isinstance(language, dict) else str(language)


def _texts(template: Stored) -> dict[str, str]:
    """The texts of header, body and footer that a template has."""
    texts: dict[str, str] = {}
    for part in template.get("components") or []:
        if isinstance(part, dict) and (kind := str(part.get("type", "")).lower()) in TEXTS and part.get("text"):
            texts[kind] = str(part["text"])
    return texts


def _format(template: Stored) -> str:
    given = template.get("parameter_format")
    if given in ("NAMED", "POSITIONAL"):
        return str(given)
    names = [name for text in _texts(template).values() for name in PLACEHOLDER.findall(text)]
    return "NAMED" if names and not all(name.isdigit() for name in names) else "POSITIONAL"


def _with_example(part: Any) -> Any:
    """A text with placeholders carries an example: clients look for it."""
    if not isinstance(part, dict) or part.get("example") or str(part.get("type", "")).upper() not in ("BODY", "HEADER"):
        return part
    names = PLACEHOLDER.findall(str(part.get("text") or ""))
    if not names:
        return part
    kind = str(part["type"]).lower()
    if not all(name.isdigit() for name in names):
        named = [{"param_name": name, "example": name} for name in names]
        return {**part, "example": {f"{kind}_text_named_params": named}}
    return {**part, "example": {"body_text": [names]} if kind == "body" else {"header_text": names}}


def save(phone: str, stored: Sequence[Stored] | None, change: Stored) -> tuple[list[Stored], Stored]:
    """All templates after saving one, and that one. The same id, or name and language, is replaced.

    Raises ValidationError, RequestError when there are too many.
    """
    Template.model_validate(change)
    template = {key: value for key, value in change.items() if key != "messaging_product"}
    mine = template_id(phone, template)
    others = [
        each
        for each in stored or []
        if template_id(phone, each) != mine
        and (each.get("name"), _language(each)) != (template["name"], _language(template))
    ]
    if len(others) >= MAX_TEMPLATES:
        details = f"A number keeps at most {MAX_TEMPLATES} templates: delete one first."
        raise RequestError("Too many templates", code=100, status=400, details=details)
    return [*others, template], template


def delete(phone: str, stored: Sequence[Stored], id_or_name: str, *, template_id_too: str = "") -> list[Stored]:
    """All templates but those of this id or name. Raises RequestError when there is none."""

    def is_meant(template: Stored) -> bool:
        own = template_id(phone, template)
        if template_id_too:
            return own == template_id_too and template.get("name") == id_or_name
        return id_or_name in (own, str(template.get("name")))

    rest = [template for template in stored if not is_meant(template)]
    if len(rest) == len(stored):
        raise RequestError(
            "Template not found", code=100, status=404, details="There is no template of that id or name."
        )
    return rest


def find(templates: Sequence[Stored], name: str, language: str = "") -> Stored:
    """The template with this name, if possible in this language. Raises RequestError 132001."""
    named = [template for template in templates if template.get("name") == name]
    if not named:
        details = f"There is no template {name[:100]!r}: save it first, or look at message_templates."
        raise RequestError("Template name does not exist in the translation", code=132001, status=404, details=details)
    return next((template for template in named if _language(template) == language), named[0])


def rendered(message: Stored, everything: Callable[[], Sequence[Stored]]) -> Stored:
    """A message as a connection without templates of its own can send it: bound, if it is a template's.

    Raises MessageRejected for a template that is unknown by now or does not fit.
    """
    if message.get("type") != "template":
        return message
    request = message["template"]
    language = request.get("language") or {}
    try:
        template = find(everything(), str(request["name"]), str(language.get("code") or ""))
        bound = bind(template, request)
    except RequestError as error:
        raise MessageRejected(error.title, code=error.code, details=error.details) from error
    return {**{key: part for key, part in message.items() if key not in ("type", "template")}, **bound}


def bind(template: Stored, request: Stored) -> Stored:
    """The message that a template and the parameters of a request make: Cloud API fields, beginning with `type`.

    `request` is the object `template` of the client's message. The texts of the components that it names go out, one
    after the other, each parameter in place of the first placeholder that is left; when it names none, all texts do.
    With buttons it is an interactive message; with a media header and no buttons, the media with a caption.
    Raises RequestError 132000 when nothing was given for the placeholders.
    """
    given = [part for part in request.get("components") or [] if isinstance(part, dict)]
    parts = {str(part.get("type", "")).lower(): part.get("parameters") or [] for part in given}
    texts = _texts(template)
    named = [kind for kind in TEXTS if kind in parts]
    if not named and any(PLACEHOLDER.search(text) for text in texts.values()):
        details = "The template has placeholders, and the message names no component with parameters for them."
        raise RequestError("Number of parameters does not match", code=132000, status=400, details=details)
    bound = {kind: _fill(text, parts.get(kind, [])) for kind, text in texts.items() if not named or kind in named}
    media = next(
        (each for each in parts.get("header", []) if isinstance(each, dict) and str(each.get("type")).lower() in MEDIA),
        None,
    )
    buttons = _buttons(template, given)
    if buttons:
        return {"type": "interactive", "interactive": _interactive(bound, media, buttons)}
    text = "".join(bound[kind] for kind in TEXTS if kind in bound)
    if media is not None:
        kind = str(media["type"]).lower()
        content = media.get(kind)
        return {
            "type": kind,
            kind: {**(content if isinstance(content, dict) else {}), **({"caption": text} if text else {})},
        }
    return {"type": "text", "text": {"body": text}}


def _fill(text: str, parameters: Sequence[Any]) -> str:
    """Every value literally, in one pass: what looks like a placeholder in a value stays."""
    values = [
        (str(each.get("parameter_name") or ""), _value(each))
        for each in parameters
        if isinstance(each, dict) and str(each.get("type")).lower() not in MEDIA
    ]
    by_name = {name: value for name, value in values if name}
    in_order = iter([value for name, value in values if not name])

    def replace(found: re.Match[str]) -> str:
        return by_name[found[1]] if found[1] in by_name else next(in_order, found[0])

    return PLACEHOLDER.sub(replace, text)


def _value(parameter: Stored) -> str:
    """The text of a parameter; of an amount or a date what the client says for those who cannot format it."""
    kind = str(parameter.get("type", "text")).lower()
    if kind in ("currency", "date_time"):
        content = parameter.get(kind)
        return str(content.get("fallback_value", "")) if isinstance(content, dict) else ""
    value = parameter.get("text", parameter.get("payload", ""))
    return "" if value is None else str(value)


def _interactive(bound: dict[str, str], media: Stored | None, buttons: list[Stored]) -> Stored:
    interactive: Stored = {"type": "button", "body": {"text": bound.get("body", "")}, "action": {"buttons": buttons}}
    if media is not None:
        kind = str(media["type"]).lower()
        interactive["header"] = {"type": kind, kind: media.get(kind) or {}}
    elif bound.get("header"):
        interactive["header"] = {"type": "text", "text": bound["header"]}
    if bound.get("footer"):
        interactive["footer"] = {"text": bound["footer"]}
    return interactive


def _buttons(template: Stored, given: Sequence[Stored]) -> list[Stored]:
    """The buttons of a template with the request's parameters, in the form of an interactive message."""
    asked: dict[str, Sequence[Any]] = {
        str(part.get("index", "0")): part.get("parameters") or []
        for part in given
        if str(part.get("type", "")).lower() == "button"
    }
    buttons: list[Stored] = []
    for part in template.get("components") or []:
        if not isinstance(part, dict) or str(part.get("type", "")).upper() != "BUTTONS":
            continue
        for index, button in enumerate(part.get("buttons") or []):
            if isinstance(button, dict):
                buttons.append(_button(button, asked.get(str(index), [])))
    return buttons


def _button(button: Stored, parameters: Sequence[Any]) -> Stored:
    kind, title = str(button.get("type", "")).upper(), str(button.get("text") or "")
    first = next((each for each in parameters if isinstance(each, dict)), None)
    if kind == "URL":
        return {"type": "url", "url": {"title": title, "link": _fill(str(button.get("url") or ""), parameters)}}
    if kind == "PHONE_NUMBER":
        return {"type": "call", "call": {"title": title, "phone_number": str(button.get("phone_number") or "")}}
    if kind == "COPY_CODE":
        code = str((first or {}).get("coupon_code") or (_value(first) if first else button.get("example") or ""))
        return {"type": "copy_code", "copy_code": {"id": title or "code", "title": title, "code": code}}
    return {"type": "reply", "reply": {"id": (_value(first) if first else "") or title, "title": title}}
