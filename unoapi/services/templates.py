"""Templates: list, save, delete, and turn one into the message that a contact sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from unoapi.errors import MessageRejected, RequestError, describe
from unoapi.errors.validation import NOT_VALID
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
    Stored,
    StoredTemplate,
    components_of,
    computed_template_id,
    placeholders,
)
from unoapi.services.template_binding import bind, fixed_words, is_for_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from unoapi.models.cloud_api.messages import OutboundMessage, Template

MAX_TEMPLATES_BYTES = 500 * 1024
PRESSED: dict[str, type[BaseModel]] = {
    "reply": Reply, "url": UrlButton, "call": CallButton, "copy_code": CopyCodeButton
}  # fmt: skip

Model = TypeVar("Model", bound=BaseModel)


def shown(phone: str, stored: Sequence[Stored] | None, *, only_hello: bool) -> list[Stored]:
    """The templates of a session with every field that clients read. The default ones when none were ever stored."""
    return [_complete(phone, template) for template in of_session(stored, only_hello=only_hello)]


def of_session(stored: Sequence[Stored] | None, *, only_hello: bool) -> Sequence[Stored]:
    """The templates of a session as they are stored; the default ones when none were ever stored."""
    return stored if stored is not None else [HELLO] if only_hello else DEFAULT_TEMPLATES


def _complete(phone: str, template: Stored) -> Stored:
    name, language = str(template["name"]), _language(template)
    parts = [_in_capitals(part) for part in components_of(template)]
    if is_for_codes(template):
        parts = [_with_words(part, language) for part in parts]
    return {
        **template,
        "status": str(template.get("status") or "APPROVED").upper(),
        "category": str(template.get("category") or "UTILITY").upper(),
        "id": template_id(phone, template),
        "name": name,
        "language": language,
        "components": [_with_example(part) for part in parts],
        "parameter_format": _format(template),
    }


def _in_capitals(part: Stored) -> Stored:
    """A part with its type, its format and its buttons' types as Meta writes them: clients compare these."""
    shown = {**part, "type": str(part.get("type", "")).upper()}
    if shown["type"] == "HEADER":
        shown["format"] = str(part.get("format") or "TEXT").upper()
    if isinstance(buttons := part.get("buttons"), list):
        shown["buttons"] = [_in_capitals(button) if isinstance(button, dict) else button for button in buttons]
    if isinstance(cards := part.get("cards"), list):
        shown["cards"] = [_card_in_capitals(card) if isinstance(card, dict) else card for card in cards]
    return shown


def _with_words(part: Stored, language: str) -> Stored:
    """A part of a template for codes with the words that Meta gives it, as Meta lists it."""
    words = "" if part.get("text") else fixed_words(part["type"], part, language)
    return {**part, "text": words} if words else part


def _card_in_capitals(card: Stored) -> Stored:
    return {**card, "components": [_in_capitals(part) for part in components_of(card)]}


def template_id(phone: str, template: Stored) -> str:
    """Its own id, else a computed one."""
    own = template.get("id")
    return (
        str(own) if own not in (None, "") else computed_template_id(phone, str(template["name"]), _language(template))
    )


def _language(template: Stored) -> str:
    language = template.get("language") or DEFAULT_LANGUAGE
    return str(language.get("code") or DEFAULT_LANGUAGE) if isinstance(language, dict) else str(language)


def _format(template: Stored) -> str:
    given = str(template.get("parameter_format") or "").upper()
    if given in ("NAMED", "POSITIONAL"):
        return given
    names = [name for part in components_of(template) for name in placeholders(str(part.get("text") or ""))]
    return "NAMED" if names and not all(name.isdigit() for name in names) else "POSITIONAL"


def _with_example(part: Stored) -> Stored:
    """A text with placeholders carries an example: clients read it."""
    names = placeholders(str(part.get("text") or ""))
    if part.get("example") or not names or part["type"] not in ("BODY", "HEADER"):
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
    own_id, own_language = template_id(phone, template), plain_language(_language(template))
    others = [
        other
        for other in stored or []
        if template_id(phone, other) != own_id
        and (other.get("name"), plain_language(_language(other))) != (template["name"], own_language)
    ]
    if len(others) >= MAX_TEMPLATES:
        details = f"A number has at most {MAX_TEMPLATES} templates: delete one first."
        raise RequestError("Too many templates", code=100, status=400, details=details)
    if sum(len(serialise(stored_one)) for stored_one in (*others, template)) > MAX_TEMPLATES_BYTES:
        details = f"The templates of a number have at most {MAX_TEMPLATES_BYTES} bytes of JSON: delete some first."
        raise RequestError("Too many templates", code=100, status=400, details=details)
    return [*others, template], template


def delete(phone: str, stored: Sequence[Stored], id_or_name: str, *, ids: Collection[str] = ()) -> list[Stored]:
    """All templates but those of this id or name, or, of any name or that one, of these `ids`.

    Raises RequestError when there is none.
    """

    def is_meant(template: Stored) -> bool:
        own, name = template_id(phone, template), str(template.get("name"))
        return own in ids and id_or_name in ("", name) if ids else id_or_name in (own, name)

    rest = [template for template in stored if not is_meant(template)]
    if len(rest) == len(stored):
        raise RequestError(
            "Template not found", code=100, status=404, details="There is no template of that id or name."
        )
    return rest


def find(templates: Sequence[Stored], name: str, language: str = "") -> Stored:
    """The template with this name, in this language if one is named. Raises RequestError 132001.

    A template that says no language of its own, as those of the Node version, is taken for every language. Nor did that
    version take spaces from their names.
    """
    named = [template for template in templates if str(template.get("name") or "").strip() == name.strip()]
    if not named:
        details = f"There is no template {name[:100]!r}: save it first, or list message_templates."
        raise RequestError("Template name does not exist in the translation", code=132001, status=404, details=details)
    asked = plain_language(language)
    fitting = [template for template in named if asked in ("", plain_language(_language(template)))]
    found = fitting or [template for template in named if not template.get("language") or _is_default(template)]
    if not found:
        there = ", ".join(sorted(_language(template) for template in named)[:20])
        details = f"The template {name[:100]!r} is not there in {language!r}, but in {there}."
        raise RequestError("Template name does not exist in the translation", code=132001, status=404, details=details)
    return next((template for template in found if _language(template) == DEFAULT_LANGUAGE), found[0])


def _is_default(template: Stored) -> bool:
    """Whether it is one of the default ones, perhaps stored beside the first of one's own."""
    texts = [part.get("text") for part in components_of(template)]
    return any(
        (template.get("name"), texts) == (default["name"], [part["text"] for part in default["components"]])
        for default in DEFAULT_TEMPLATES
    )


def plain_language(language: str) -> str:
    """A language in one of the spellings that it may have: `pt-BR` is `pt_BR`."""
    return language.strip().replace("-", "_").lower()


def bind_named(everything: Sequence[Stored], request: Template) -> Stored:
    """What `bind` makes of the template that a request names. Raises RequestError 132001, and what `bind` raises."""
    return bind(find(everything, request.name, request.language.code if request.language else ""), request)


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
        raise MessageRejected(NOT_VALID, code=131009, details=describe(error)) from error


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
