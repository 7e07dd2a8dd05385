"""Templates: list, save, delete, and turn one into the message that a contact sees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from unoapi.errors import MessageRejected, RequestError, describe
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import (
    MESSAGES,
    CaptionedMedia,
    MediaObject,
    TemplateMessage,
    Text,
)
from unoapi.models.cloud_api.messages.contents import Document
from unoapi.models.cloud_api.messages.interactive import (
    Body,
    Button,
    ButtonAction,
    Buttons,
    CallButton,
    CopyCodeButton,
    Footer,
    Header,
    Reply,
    UrlButton,
)
from unoapi.models.cloud_api.templates import (
    DEFAULT_LANGUAGE,
    DEFAULT_TEMPLATES,
    HELLO,
    MAX_TEMPLATES,
    StoredTemplate,
    computed_template_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.cloud_api.messages import OutboundMessage, Template
    from unoapi.models.cloud_api.messages.interactive import Component

PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
"""Linear on any text: spaces around the name are cut off afterwards."""
MAX_TEMPLATES_BYTES = 500 * 1024
MAX_TEXT_CHARS = 65_536
"""WhatsApp's limit of a text; here also of one that a template and its values make: they multiply."""
TEXTS = ("header", "body", "footer")
MEDIA = frozenset({"image", "video", "document"})
PRESSED: dict[str, type[BaseModel]] = {
    "reply": Reply, "url": UrlButton, "call": CallButton, "copy_code": CopyCodeButton
}  # fmt: skip

Stored = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


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
    names = [name for text in _texts(template).values() for name in _names(text)]
    return "NAMED" if names and not all(name.isdigit() for name in names) else "POSITIONAL"


def _names(text: str) -> list[str]:
    """The names in the placeholders of a text."""
    return [name.strip() for name in PLACEHOLDER.findall(text)]


def _with_example(part: Any) -> Any:
    """A text with placeholders carries an example: clients read it."""
    if not isinstance(part, dict) or part.get("example") or str(part.get("type", "")).upper() not in ("BODY", "HEADER"):
        return part
    names = _names(str(part.get("text") or ""))
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
    StoredTemplate.model_validate(change)
    template = {key: value for key, value in change.items() if key != "messaging_product"}
    own_id = template_id(phone, template)
    others = [
        other
        for other in stored or []
        if template_id(phone, other) != own_id
        and (other.get("name"), _language(other)) != (template["name"], _language(template))
    ]
    if len(others) >= MAX_TEMPLATES:
        details = f"A number has at most {MAX_TEMPLATES} templates: delete one first."
        raise RequestError("Too many templates", code=100, status=400, details=details)
    if sum(len(serialise(stored_one)) for stored_one in (*others, template)) > MAX_TEMPLATES_BYTES:
        details = f"The templates of a number have at most {MAX_TEMPLATES_BYTES} bytes of JSON: delete some first."
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
        details = f"There is no template {name[:100]!r}: save it first, or list message_templates."
        raise RequestError("Template name does not exist in the translation", code=132001, status=404, details=details)
    return next((template for template in named if _language(template) == language), named[0])


def rendered(message: OutboundMessage, everything: Callable[[], Sequence[Stored]]) -> OutboundMessage:
    """A message as a connection without templates of its own can send it: bound, if it is a template's.

    Raises MessageRejected for a template that is unknown by now or does not fit.
    """
    if not isinstance(message, TemplateMessage):
        return message
    try:
        bound = bind_named(everything(), message.template)
        return _message(bound, {name: value for name, value in message if name not in {"type", "template"}})
    except RequestError as error:
        raise MessageRejected(error.title, code=error.code, details=error.details) from error
    except ValidationError as error:
        raise MessageRejected("Parameter value is not valid", code=131009, details=describe(error)) from error


def _message(bound: Stored, others: dict[str, Any]) -> OutboundMessage:
    """The typed message of a bound template; `others` are the fields beside its content."""
    kind = str(bound["type"])
    content: BaseModel
    if kind == "text":
        content = _unlimited(Text, bound["text"])
    elif kind == "interactive":
        content = _menu(bound["interactive"])
    else:
        content = _file(kind, bound[kind])
    return _unlimited(MESSAGES[kind], {**others, "type": kind, kind: content})


def _menu(part: Stored) -> Buttons:
    menu: Stored = {"type": "button", "body": _unlimited(Body, part["body"])}
    buttons = [_unlimited(Button, _pressed(button)) for button in part["action"]["buttons"]]
    menu["action"] = _unlimited(ButtonAction, {"buttons": buttons})
    if "header" in part:
        kind = part["header"]["type"]
        header = part["header"][kind]
        menu["header"] = _unlimited(Header, {"type": kind, kind: header if kind == "text" else _file(kind, header)})
    if "footer" in part:
        menu["footer"] = _unlimited(Footer, part["footer"])
    return _unlimited(Buttons, menu)


def _pressed(button: Stored) -> Stored:
    kind = button["type"]
    return {"type": kind, kind: _unlimited(PRESSED[kind], button[kind])}


def _file(kind: str, content: Stored) -> MediaObject:
    """A file that a client named among a template's values: nobody has checked it yet. Raises ValidationError."""
    model = Document if kind == "document" else CaptionedMedia
    file = model.model_validate({key: value for key, value in content.items() if key != "caption"})
    return file.model_copy(update={"caption": content.get("caption")})


def _unlimited(model: type[Model], fields: dict[str, Any]) -> Model:
    """An object of a message whose texts are a stored template's: they may be longer than those that clients send."""
    return model.model_construct(**fields)


def bind_named(everything: Sequence[Stored], request: Template) -> Stored:
    """What `bind` makes of the template that a request names. Raises RequestError 132001, 132000, 132005."""
    template = find(everything, request.name, request.language.code if request.language else "")
    return bind(template, request)


def bind(template: Stored, request: Template) -> Stored:
    """The message that a template and the parameters of a request make: Cloud API fields, beginning with `type`.

    The texts of the components that it names go out, one
    after the other, each parameter in place of the first placeholder that is left; when it names none, all texts do.
    With buttons it is an interactive message; with a media header and no buttons, the media with a caption.
    Raises RequestError 132000 when nothing was given for the placeholders, 132005 for too long a text.
    """
    parts = {component.type: component.parameters for component in request.components}
    texts = _texts(template)
    named = [kind for kind in TEXTS if kind in parts]
    if not named and any(PLACEHOLDER.search(text) for text in texts.values()):
        details = "The template has placeholders, and the message names no component with parameters for them."
        raise RequestError("Number of parameters does not match", code=132000, status=400, details=details)
    bound = {kind: _fill(text, parts.get(kind, [])) for kind, text in texts.items() if not named or kind in named}
    media = next(
        (parameter for parameter in parts.get("header", []) if str(parameter.get("type")).lower() in MEDIA), None
    )
    buttons = _buttons(template, request.components)
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


def _fill(text: str, parameters: Sequence[Stored]) -> str:
    """Every value literally, in one pass: what looks like a placeholder in a value stays.

    Raises RequestError 132005 for a text that becomes too long, before it is made.
    """
    values = [
        (str(parameter.get("parameter_name") or ""), _value(parameter))
        for parameter in parameters
        if str(parameter.get("type")).lower() not in MEDIA
    ]
    by_name = {name: value for name, value in values if name}
    in_order = iter([value for name, value in values if not name])
    chars = len(text)

    def replace(placeholder: re.Match[str]) -> str:
        nonlocal chars
        name = placeholder[1].strip()
        value = by_name[name] if name in by_name else next(in_order, placeholder[0])
        chars += len(value)
        if chars > MAX_TEXT_CHARS:
            details = f"With its values a text of the template has more than {MAX_TEXT_CHARS} characters."
            raise RequestError("Translated text too long", code=132005, status=400, details=details)
        return value

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


def _buttons(template: Stored, components: Sequence[Component]) -> list[Stored]:
    """The buttons of a template with the request's parameters, in the form of an interactive message."""
    asked = {
        str(0 if component.index is None else component.index): component.parameters
        for component in components
        if component.type == "button"
    }
    buttons: list[Stored] = []
    for part in template.get("components") or []:
        if not isinstance(part, dict) or str(part.get("type", "")).upper() != "BUTTONS":
            continue
        for index, button in enumerate(part.get("buttons") or []):
            if isinstance(button, dict):
                buttons.append(_button(button, asked.get(str(index), [])))
    return buttons


def _button(button: Stored, parameters: Sequence[Stored]) -> Stored:
    kind, title = str(button.get("type", "")).upper(), str(button.get("text") or "")
    first = parameters[0] if parameters else None
    if kind == "URL":
        return {"type": "url", "url": {"title": title, "link": _fill(str(button.get("url") or ""), parameters)}}
    if kind == "PHONE_NUMBER":
        return {"type": "call", "call": {"title": title, "phone_number": str(button.get("phone_number") or "")}}
    if kind == "COPY_CODE":
        code = str((first or {}).get("coupon_code") or (_value(first) if first else button.get("example") or ""))
        return {"type": "copy_code", "copy_code": {"id": title or "code", "title": title, "code": code}}
    return {"type": "reply", "reply": {"id": (_value(first) if first else "") or title, "title": title}}
