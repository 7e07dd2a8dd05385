"""What a contact sees of a template and the values of a message: all of its parts, or an error with Meta's code.

The codes are those of Meta's reference: 132000 for the number of values, 132012 for their form, 100 for their name,
131008 for one that is missing, 132018 for anything else about them, 132005 for too long a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from pydantic import ValidationError

from unoapi.errors import RequestError
from unoapi.errors.validation import NOT_VALID, explain
from unoapi.models.cloud_api.messages import MAX_TEXT_CHARS
from unoapi.models.cloud_api.messages.contents import CaptionedMedia, Document, Location
from unoapi.models.cloud_api.templates import PLACEHOLDER, Stored, components_of, placeholders
from unoapi.models.media import plain_address

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from unoapi.models.cloud_api.messages import Template
    from unoapi.models.cloud_api.messages.interactive import CardValues, Component

FILES = {"IMAGE": "image", "VIDEO": "video", "DOCUMENT": "document", "GIF": "video"}
"""The formats of headers with a file, and what they are sent as: WhatsApp shows a GIF as a video."""
WORDS = frozenset({"text", "currency", "date_time"})
LINES = frozenset({"header", "body", "footer"})
UNFIT = re.compile(r"[\r\n\t]| {5}")
"""What Meta takes in no value of a text."""
TITLES = {
    100: "Invalid parameter",
    131008: "Required parameter is missing",
    131009: NOT_VALID,
    131051: "Message type is not supported",
    132001: "Template name does not exist in the translation",
    132000: "Number of parameters does not match the expected number of params",
    132005: "Translated text too long",
    132012: "Parameter format does not match format in the created template",
    132015: "Template is paused",
    132016: "Template is disabled",
    132018: "There is an issue with the parameters in the template",
}
IN_ADDRESS = "%/:?#[]@!$&'()*+,;=~"
"""What stays as it is in an address: a value with a space, or an accent, must not end the link."""
NOT_SENT = {"PAUSED": 132015, "DISABLED": 132016, "REJECTED": 132001}
"""Statuses of templates that Meta sends no more, with its codes."""
MAP = "https://maps.google.com/?q={latitude},{longitude}"
COPY = {"pt": "Copiar código", "es": "Copiar código"}
"""The title of a button for a code: Meta fixes it, and its clients store none. In other languages `Copy code`."""
SENTENCES = {
    "en": (
        "*{{1}}* is your verification code.", "For your security, do not share this code.",
        "This code expires in {} minutes.",
    ),
    "pt": (
        "*{{1}}* é seu código de verificação.", "Para sua segurança, não o compartilhe.",
        "Este código expira em {} minutos.",
    ),
    "es": (
        "Tu código de verificación es *{{1}}*.", "Por tu seguridad, no lo compartas.",
        "Este código caduca en {} minutos.",
    ),
}  # fmt: skip
"""The words of templates for codes: Meta fixes them, and their clients store none."""


def bind(template: Stored, request: Template) -> Stored:
    """The message that a template and the values of a request make: Cloud API fields, beginning with `type`.

    Every part of the template is sent, named or not. With buttons it is an interactive message; with a file above and
    no buttons, the file with a caption; otherwise a text. Raises RequestError for values that do not fit, 131051 for a
    part that only Meta can send, 132015 and 132016 for a template that is paused or disabled.
    """
    if (code := NOT_SENT.get(str(template.get("status") or "").upper())) is not None:
        _refuse(code, f"The template is {str(template['status'])[:40].lower()}.")
    bound = _message(_Parts(template, _language(template)), _Values(request.components))
    if bound["type"] == "text" and not bound["text"]["body"].strip():
        _refuse(132018, "The template has no words, file or buttons that this connection could send.")
    return bound


class _Parts:
    """The parts of a stored template, or of one of its cards, by their types."""

    def __init__(self, template: Stored, language: str) -> None:
        self.by_type = {str(part.get("type", "")).upper(): part for part in components_of(template)}
        self.language = language
        self.is_for_codes = is_for_codes(template)
        for kind in self.by_type:
            if kind not in ("HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER"):
                _refuse(131051, f"This connection cannot send the part {kind[:40]} of the template.")

    @property
    def format(self) -> str:
        """What the header is: TEXT, a file, LOCATION; empty without one."""
        header = self.by_type.get("HEADER")
        return "" if header is None else str(header.get("format") or "TEXT").upper()

    def text(self, kind: str) -> str:
        """The words of a part, with their placeholders; empty when it has none."""
        part = self.by_type.get(kind)
        if part is None or (kind == "HEADER" and self.format != "TEXT"):
            return ""
        if not part.get("text") and self.is_for_codes:
            return fixed_words(kind, part, self.language)
        return str(part.get("text") or "")

    @property
    def buttons(self) -> list[Stored]:
        """The stored buttons."""
        listed = self.by_type.get("BUTTONS", {}).get("buttons")
        return [button for button in listed if isinstance(button, dict)] if isinstance(listed, list) else []

    @property
    def cards(self) -> list[Stored]:
        """The stored cards of a carousel."""
        listed = self.by_type.get("CAROUSEL", {}).get("cards")
        return [card for card in listed if isinstance(card, dict)] if isinstance(listed, list) else []


def is_for_codes(template: Stored) -> bool:
    """Whether Meta fixes the words of a template: their clients store none."""
    return str(template.get("category") or "").upper() == "AUTHENTICATION"


def fixed_words(kind: str, part: Stored, language: str) -> str:
    """What Meta itself writes in a part of a template for codes."""
    code, warning, expiry = SENTENCES.get(language[:2].lower(), SENTENCES["en"])
    if kind == "BODY":
        is_warned = str(part.get("add_security_recommendation")).lower() == "true"
        return f"{code} {warning}" if is_warned else code
    minutes = str(part.get("code_expiration_minutes") or "")
    return expiry.format(minutes) if kind == "FOOTER" and minutes.isascii() and minutes.isdigit() else ""


class _Values:
    """What a request gives for the parts of a template."""

    def __init__(self, components: Sequence[Component]) -> None:
        self.by_type: dict[str, list[Stored]] = {}
        self.buttons: dict[int, Component] = {}
        self.cards: list[CardValues] = []
        for component in components:
            if component.type == "button":
                index = _index(component)
                _ensure_once(index in self.buttons, f"buttons: index {index}")
                self.buttons[index] = component
            elif component.type == "carousel":
                _ensure_once(bool(self.cards), "carousel")
                self.cards = component.cards
            elif component.type in ("header", "body", "footer", "limited_time_offer"):
                _ensure_once(component.type in self.by_type, component.type)
                self.by_type[component.type] = component.parameters
            elif component.parameters:
                _refuse(132018, f"{component.type}: the template has no such part.")

    def of(self, kind: str) -> list[Stored]:
        """The values for a part."""
        return self.by_type.get(kind.lower(), [])


def _message(parts: _Parts, values: _Values) -> Stored:
    above = _above(parts, values)
    header = "" if above else _fill(parts.text("HEADER"), _words("header", values), "header")
    lines = [above if isinstance(above, str) else "", _offer(parts, values)]
    lines.append(_fill(parts.text("BODY"), _words("body", values), "body"))
    cards = _carousel(parts, values)
    body = _joined(*lines, *("\n".join(filter(None, _card_lines(card, index))) for index, card in enumerate(cards)))
    footer = _fill(parts.text("FOOTER"), _words("footer", values), "footer")
    text = _joined(header, body, footer)
    if len(text) > MAX_TEXT_CHARS:
        _too_long()
    replies = [button for card in cards for button in _buttons_of(card) if button["type"] == "reply"]
    buttons = [*_buttons(parts, values), *replies]
    file = above if isinstance(above, dict) else None
    if buttons:
        interactive: Stored = {"type": "button", "body": {"text": body}, "action": {"buttons": buttons}}
        if file is not None or header:
            interactive["header"] = {"type": "text", "text": header} if file is None else file
        if footer:
            interactive["footer"] = {"text": footer}
        return {"type": "interactive", "interactive": interactive}
    if file is None:
        return {"type": "text", "text": {"body": text}}
    kind = file["type"]
    return {**file, kind: {**file[kind], **({"caption": text} if text else {})}}


def _joined(*texts: str) -> str:
    """Parts of a message one below the other. A text that ends with a space of its own goes on in the same line."""
    joined = ""
    for text in filter(None, texts):
        joined += text if not joined or joined[-1].isspace() else f"\n\n{text}"
    return joined


def _above(parts: _Parts, values: _Values) -> Stored | str:
    """What stands above the words: a file as `type` and its object, the lines of a place, or nothing."""
    expected, given = parts.format, values.of("header")
    kind = str(given[0].get("type") or "").lower() if given else "unknown"
    if not expected and kind in FILES.values():
        expected = kind.upper()  # the Node version takes a file over any template without a header
    if expected in ("", "TEXT"):
        return ""
    if expected not in FILES and expected != "LOCATION":
        _refuse(131051, f"This connection cannot send a header of the format {expected[:40]}.")
    if kind not in (expected.lower(), FILES.get(expected)):
        received = kind.upper()[:40] or "a parameter without a type"
        _refuse(132012, f"header: Format mismatch, expected {expected}, received {received}.")
    content = given[0].get(kind)
    if not isinstance(content, dict):
        _refuse(131008, f"header: a parameter of type {kind} is missing its {kind}.")
    if len(given) > 1:
        _wrong_number("header", given=len(given), expected=1)
    if expected == "LOCATION":
        return _place(content)
    return _file(FILES[expected], {**content, "animated": True} if expected == "GIF" else content)


def _file(kind: str, content: Stored) -> Stored:
    """A file as `type` and its object. Raises RequestError for one that names no address and no uploaded file."""
    model = Document if kind == "document" else CaptionedMedia
    try:
        model.model_validate({key: value for key, value in content.items() if key != "caption"})
    except ValidationError as error:
        problems = explain(error, place=lambda place: ".".join(("header", kind, *map(str, place))))
        _refuse(131009, "; ".join(problems))
    return {"type": kind, kind: content}


def _place(content: Stored) -> str:
    """A place as lines that every phone shows, with a link to a map."""
    try:
        place = Location.model_validate(content)
    except ValidationError:
        _refuse(132012, "header: location needs a latitude and a longitude in degrees.")
    link = MAP.format(latitude=f"{place.latitude:.7g}", longitude=f"{place.longitude:.7g}")
    return "\n".join(filter(None, (f"\U0001f4cd {place.name}" if place.name else "", place.address, link)))


def _offer(parts: _Parts, values: _Values) -> str:
    """The words of a limited-time offer, with its end."""
    offer = parts.by_type.get("LIMITED_TIME_OFFER", {}).get("limited_time_offer")
    if not isinstance(offer, dict):
        return ""
    given = values.of("limited_time_offer")
    content = given[0].get("limited_time_offer") if given else None
    end_ms = content.get("expiration_time_ms") if isinstance(content, dict) else None
    end = ""
    if end_ms is not None or offer.get("has_expiration"):
        try:
            end = f"\u23f3 {datetime.fromtimestamp(float(end_ms) / 1000, UTC):%Y-%m-%d %H:%M} UTC"  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError, OSError):
            code = 131008 if end_ms is None else 132012
            _refuse(code, "limited_time_offer: expiration_time_ms must be a time in milliseconds.")
    return "\n".join(filter(None, (str(offer.get("text") or ""), end)))


def _carousel(parts: _Parts, values: _Values) -> list[Stored]:
    """Each card as a message of its own. No phone shows cards of others than Meta's: they become lines of one."""
    indexes = [place if card.card_index is None else card.card_index for place, card in enumerate(values.cards)]
    given = dict(zip(indexes, values.cards, strict=True))
    _ensure_once(len(given) < len(indexes), "carousel: a card_index")
    if values.cards and len(values.cards) != len(parts.cards):
        details = f"carousel: {len(values.cards)} cards do not match the expected number of cards ({len(parts.cards)})."
        _refuse(132012, details)
    if given.keys() - range(len(parts.cards)):
        _refuse(132018, f"carousel: card_index counts the {len(parts.cards)} cards from 0.")
    return [
        _message(_Parts(card, parts.language), _Values(of_card.components if (of_card := given.get(index)) else []))
        for index, card in enumerate(parts.cards)
    ]


def _buttons_of(card: Stored) -> list[Stored]:
    return card["interactive"]["action"]["buttons"] if card["type"] == "interactive" else []


def _card_lines(bound: Stored, index: int) -> Iterator[str]:
    """A card as lines: its picture's address, its words, its links. Its replies are buttons below all cards."""
    content = bound[bound["type"]]
    if bound["type"] == "text":
        yield content["body"]
        return
    if bound["type"] != "interactive":
        yield _link(content, index)
        yield content.get("caption", "")
        return
    header = content.get("header", {})
    if header:
        yield header["text"] if header["type"] == "text" else _link(header[header["type"]], index)
    yield content["body"]["text"]
    yield content.get("footer", {}).get("text", "")
    for button in _buttons_of(bound):
        part = button[button["type"]]
        value = part.get("link") or part.get("phone_number") or part.get("code") or ""
        if button["type"] != "reply":
            yield f"\u25b8 {part['title']}: {value}"


def _link(file: Stored, index: int) -> str:
    if not file.get("link"):
        _refuse(131051, f"carousel: this connection needs the file of card {index} as a link.")
    return plain_address(str(file["link"]))


def _words(kind: str, values: _Values) -> list[Stored]:
    """The values for a part of words. Raises RequestError for one of another form."""
    given = values.of(kind)
    for parameter in given:
        form = str(parameter.get("type") or "text").lower()
        if form not in WORDS:
            _refuse(132012, f"{kind}: Format mismatch, expected TEXT, received {form.upper()[:40]}.")
    return given


def _fill(text: str, given: Sequence[Stored], place: str) -> str:
    """A text with its values, each literally and in one pass: what looks like a placeholder in a value stays.

    Raises RequestError 132005 for a text that becomes too long, before it is made.
    """
    by_name = _by_name(placeholders(text), given, place)
    chars = len(text)

    def replace(placeholder: re.Match[str]) -> str:
        nonlocal chars
        value = by_name[placeholder[1].strip()]
        chars += len(value)
        if chars > MAX_TEXT_CHARS:
            _too_long()
        return value

    return PLACEHOLDER.sub(replace, text)


def _by_name(names: Sequence[str], given: Sequence[Stored], place: str) -> dict[str, str]:
    """The value of each placeholder: the n-th one for {{n}}, a named one by its name.

    Values without a name fill named placeholders in their order, as in the Node version.
    """
    if len(given) != len(names):
        _wrong_number(place, given=len(given), expected=len(names))
    values = [(str(parameter.get("parameter_name") or "").strip(), _value(parameter, place)) for parameter in given]
    if any(name for name, _ in values):
        by_name = dict(values)
        if by_name.keys() != set(names):
            _refuse(100, f"{place}: {_misnamed(by_name, names)}: the template has {', '.join(names)[:200]}.")
        return by_name
    in_order = sorted(names, key=int) if all(name.isascii() and name.isdigit() for name in names) else names
    return dict(zip(in_order, (value for _, value in values), strict=True))


def _misnamed(given: Collection[str], names: Sequence[str]) -> str:
    wrong = next((name for name in given if name not in names), None)
    if wrong is None:
        return "a parameter_name is given twice"
    return f"parameter_name {wrong[:100]!r} is not known" if wrong else "a parameter_name is missing"


def _value(parameter: Stored, place: str) -> str:
    """The text of a value; of an amount or a date what the client says for those who cannot format it."""
    kind = str(parameter.get("type") or "text").lower()
    value = parameter.get("payload") if parameter.get("text") in (None, "") else parameter["text"]
    if kind in ("currency", "date_time"):
        content = parameter.get(kind)
        value = content.get("fallback_value") or _amount(content) if isinstance(content, Mapping) else None
    if isinstance(value, (dict, list, bool)):
        _refuse(132012, f"{place}: a parameter of type {kind[:40]} has no text.")
    if value is None or f"{value}".strip() == "":
        _refuse(131008, f"{place}: a parameter of type {kind[:40]} is missing its text.")
    if place in LINES and UNFIT.search(str(value)):
        _refuse(132018, f"{place}: Param text cannot have new-line/tab characters or more than 4 consecutive spaces.")
    return str(value)


def _amount(content: Mapping[str, Any]) -> str:
    amount = content.get("amount_1000")
    return f"{content.get('code') or ''} {amount / 1000:.2f}".strip() if isinstance(amount, (int, float)) else ""


# --- buttons ---


def _ensure_once(is_there: bool, place: str) -> None:
    """Of two values for one part nobody knows which is meant."""
    if is_there:
        _refuse(132018, f"{place}: is given twice.")


def _index(component: Component) -> int:
    text = "" if component.index is None else str(component.index).strip()
    if not text:
        _refuse(131008, "buttons: a button component needs an index.")
    if not text.isascii() or not text.isdigit():
        _refuse(132018, "buttons: the index of a button is a number, from 0.")
    return int(text[:4])


def _buttons(parts: _Parts, values: _Values) -> Iterator[Stored]:
    """The buttons of a template with the request's values, in the form of an interactive message."""
    stored, copy = parts.buttons, COPY.get(parts.language[:2].lower(), "Copy code")
    for index in values.buttons:
        if index >= len(stored):
            _refuse(132018, f"buttons: the template has no button at index {index}.")
    for index, button in enumerate(stored):
        component = values.buttons.get(index)
        kind = str(button.get("type") or "").upper()
        asked = (component.sub_type or kind).upper() if component else kind
        if kind not in (asked, "OTP"):
            _refuse(132012, f"buttons: Button at index {index} is of type {kind[:40]}, not {asked}.")
        given = component.parameters if component else []
        yield _button(button, kind, given, place=f"Button at index {index}", copy=copy)


def _button(button: Stored, kind: str, given: Sequence[Stored], *, place: str, copy: str) -> Stored:
    title = str(button.get("text") or "")
    if kind == "URL":
        return {"type": "url", "url": {"title": title, "link": _address(button, given, place)}}
    if len(given) > 1:
        _wrong_number(f"buttons: {place}", given=len(given), expected=1)
    first = given[0] if given else None
    if kind == "PHONE_NUMBER":
        if first:
            _refuse(100, f"buttons: {place} is of type Call and does not support parameters.")
        return {"type": "call", "call": {"title": title, "phone_number": str(button.get("phone_number") or "")}}
    if kind in ("COPY_CODE", "OTP"):
        if first is None:  # what stands as its example is for Meta's review: no contact is meant to use it
            _refuse(131008, f"buttons: {place} of type {kind} requires a parameter.")
        coupon = first.get("coupon_code")
        code = _value({"text": coupon} if coupon else first, place)
        return {"type": "copy_code", "copy_code": {"id": title or "code", "title": title or copy, "code": code}}
    if kind != "QUICK_REPLY":
        _refuse(131051, f"buttons: {place} is of type {kind[:40]}, which this connection cannot send.")
    return {"type": "reply", "reply": {"id": (_value(first, place) if first else "") or title, "title": title}}


def _address(button: Stored, given: Sequence[Stored], place: str) -> str:
    url = str(button.get("url") or "")
    expected = len(placeholders(url))
    if expected and not given:
        _refuse(131008, f"buttons: {place} of type Url requires a parameter.")
    if given and not expected:
        _refuse(100, f"buttons: {place} is of type Url and does not support parameters.")
    return quote(_fill(url, given, f"buttons: {place}"), safe=IN_ADDRESS)


def _language(template: Stored) -> str:
    language = template.get("language")
    return str(language.get("code") if isinstance(language, dict) else language or "")


def _wrong_number(place: str, *, given: int, expected: int) -> NoReturn:
    details = (
        f"{place}: number of localizable_params ({given}) does not match the expected number of params ({expected})"
    )
    _refuse(132000, details)


def _too_long() -> NoReturn:
    _refuse(132005, f"With its values a text of the template has more than {MAX_TEXT_CHARS} characters.")


def _refuse(code: int, details: str) -> NoReturn:
    status = 404 if code == 132001 else 400  # noqa: PLR2004 (unknown)
    raise RequestError(TITLES[code], code=code, status=status, details=details)
