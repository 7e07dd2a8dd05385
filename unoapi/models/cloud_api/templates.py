"""Message templates as clients save and read them."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from unoapi.errors.validation import nearest
from unoapi.models.blanks import EmptyIsAbsent
from unoapi.models.text import figures

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TEMPLATES = 1000
PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
"""Linear on any text: spaces around the name are cut off afterwards."""
DEFAULT_LANGUAGE, DEFAULT_CATEGORY = "pt_BR", "UTILITY"

Stored = dict[str, Any]
"""A template, or a part of one, as it is stored: with whatever its client gave."""
COMPONENTS = ("HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER", "CALL_PERMISSION_REQUEST")
"""Parts of a template; Meta may have newer ones."""
FORMATS = ("TEXT", "IMAGE", "VIDEO", "DOCUMENT", "GIF", "LOCATION", "PRODUCT")
BUTTONS = ("QUICK_REPLY", "URL", "PHONE_NUMBER", "COPY_CODE", "OTP", "FLOW", "CATALOG", "MPM", "SPM", "VOICE_CALL")
"""Formats of headers and types of buttons; Meta may have newer ones."""
NEEDED = {"QUICK_REPLY": ("text",), "URL": ("text", "url"), "PHONE_NUMBER": ("text", "phone_number")}
"""Without what a button shows nothing, or leads nowhere."""


def _ensure_no_slip(value: str, known: Sequence[str]) -> str:
    if value.upper() not in known and (right := nearest(value, known)):
        raise ValueError(f"is not known; did you mean {right}?")
    return value


def _ensure_whole(text: str) -> str:
    if "{{" in PLACEHOLDER.sub("", text):
        raise ValueError("has a placeholder that does not end: write {{1}}, or {{name}}")
    return text


Words = Annotated[str, AfterValidator(_ensure_whole)]
"""A text whose placeholders are some: contacts would read a broken one."""


class StoredButton(BaseModel):
    """A button of a template."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, coerce_numbers_to_str=True)

    type: str = Field(min_length=1, max_length=32)
    text: str | None = Field(default=None, max_length=60)
    url: Words | None = None
    phone_number: str | None = None

    @field_validator("type")
    @classmethod
    def _no_slip(cls, value: str) -> str:
        return _ensure_no_slip(value, BUTTONS)

    @model_validator(mode="after")
    def _says_where_it_leads(self) -> Self:
        for name in NEEDED.get(self.type.upper(), ()):
            if not str(getattr(self, name) or "").strip():
                raise PydanticCustomError("missing", f"{name}: is missing")
        for name in ("text", "phone_number"):
            if PLACEHOLDER.search(getattr(self, name) or ""):
                raise ValueError(f"{name}: has a placeholder, and only the address of a button takes values")
        return self


class StoredComponent(BaseModel):
    """One part of a template. Meta writes the types in capitals, some clients do not."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, coerce_numbers_to_str=True)

    type: str = Field(pattern=r"^[A-Za-z_]{1,40}$")
    format: str | None = Field(default=None, max_length=32)
    text: Words | None = Field(default=None, max_length=4096)
    buttons: Annotated[list[StoredButton] | None, EmptyIsAbsent] = Field(default=None, max_length=10)
    cards: Annotated[list[StoredCard] | None, EmptyIsAbsent] = None

    @field_validator("type")
    @classmethod
    def _no_slip(cls, value: str) -> str:
        return _ensure_no_slip(value, COMPONENTS)

    @field_validator("format")
    @classmethod
    def _no_slip_of_a_format(cls, value: str | None) -> str | None:
        return _ensure_no_slip(value, FORMATS) if value else value


def _ensure_each_once(parts: list[StoredComponent]) -> list[StoredComponent]:
    kinds = [part.type.upper() for part in parts]
    if len(set(kinds)) < len(kinds):
        raise ValueError("each type must be there once")
    return parts


StoredComponents = Annotated[list[StoredComponent], AfterValidator(_ensure_each_once)]


class StoredCard(BaseModel):
    """A card of a carousel: a template within one."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    components: Annotated[StoredComponents | None, EmptyIsAbsent] = None


class StoredTemplate(BaseModel):
    """A template as a client posts it. Its other fields are stored, too."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9_-]+$")]
    id: str | None = Field(default=None, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    language: str = Field(default=DEFAULT_LANGUAGE, pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*$")
    category: str = Field(default=DEFAULT_CATEGORY, pattern=r"^[A-Za-z_]{1,32}$")
    components: StoredComponents | None = Field(default=None, max_length=20)

    @field_validator("id", mode="before")
    @classmethod
    def _numbers_too(cls, value: object) -> object:
        return None if value == "" else figures(value)

    @field_validator("language", mode="before")
    @classmethod
    def _code_of_a_language(cls, value: object) -> object:
        return (value.get("code") if isinstance(value, dict) else value) or DEFAULT_LANGUAGE

    @field_validator("category", mode="before")
    @classmethod
    def _usual_category(cls, value: object) -> object:
        return value or DEFAULT_CATEGORY


def components_of(template: Stored) -> list[Stored]:
    """The parts of a template that are some."""
    parts = template.get("components")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def placeholders(text: str) -> list[str]:
    """The names in the placeholders of a text, each once, in order."""
    return list(dict.fromkeys(name.strip() for name in PLACEHOLDER.findall(text)))


def computed_template_id(phone: str, name: str, language: str) -> str:
    """15 digits, the same for the same template."""
    digest = hashlib.sha256(f"{phone}:{name}:{language}".encode()).hexdigest()
    return str(10**14 + int(digest[:16], 16) % (9 * 10**14))


def _default(number: int, name: str, text: str) -> dict[str, Any]:
    return {
        "id": str(number),
        "name": name,
        "language": DEFAULT_LANGUAGE,
        "status": "APPROVED",
        "category": "UTILITY",
        "components": [{"type": "BODY", "text": text}],
    }


HELLO = _default(1, "hello", "{{hello}}")
DEFAULT_TEMPLATES = [
    HELLO,
    _default(2, "unoapi-webhook", "url: {{url}}\nheader: {{header}}\ntoken: {{token}}"),
    _default(3, "unoapi-bulk-report", "bulk: {{bulk}}"),
    _default(4, "unoapi-config", "label: {{label}}\nprovider: {{provider}}\nwebhooks: {{webhooks}}"),
]
"""What a session has that never stored any: the names are those of the Node version."""
