"""Messages with something to press, and templates; with Meta's limits and real clients' liberties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from unoapi.models.blanks import EmptyIsNoItems
from unoapi.models.cloud_api.as_sent import ClientPart
from unoapi.models.cloud_api.messages.contents import CaptionedMedia, Document, Link
from unoapi.models.cloud_api.messages.outbound import OutboundMessage
from unoapi.models.cloud_api.messages.sender import AtMost, AtMostItems, sender_of
from unoapi.models.cloud_api.messages.written import from_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_ROWS = 10
MAX_ROWS_OF_PHONES, MAX_BUTTONS_OF_PHONES = 100, 20
"""What the Node version sent in any number: numbered lines, or a native list."""
OPENS_A_LIST = "Selecione"
MAX_COMPONENTS = 20
MAX_CARDS = 10
MAX_PARAMETER_CHARS = 32_768
"""Of one text in a template's parameter, as in Meta's reference."""
MAX_PARAMETER_NAME_CHARS = 512
PassedOn = Literal[
    "location_request_message", "flow", "product", "product_list", "catalog_message", "address_message",
    "call_permission_request", "voice_call", "carousel", "cta_call", "request_contact_info", "order_details",
    "order_status",
]  # fmt: skip
"""Kinds whose `action` is the provider's affair."""
HEADERS = ("text", "image", "video", "document")
BUTTONS = ("reply", "url", "call", "copy_code")
INTERACTIVE_KINDS = ("button", "list", "cta_url", *get_args(PassedOn))


def typed(part: Any, kinds: Sequence[str]) -> Any:
    """A part that names its type: the only one of these that it has an object for, else the first."""
    if not isinstance(part, dict) or part.get("type"):
        return part
    there = [kind for kind in kinds if part.get(kind)]
    return {**part, "type": there[0] if len(there) == 1 else kinds[0]}


class Footer(ClientPart):
    """The small print."""

    text: Annotated[str, AtMost(60)]


class Header(ClientPart):
    """The head: a line of text, or a file."""

    type: Literal["text", "image", "video", "document"] = "text"
    text: Annotated[str, AtMost(60)] | None = None
    image: CaptionedMedia | None = None
    video: CaptionedMedia | None = None
    document: Document | None = None

    @model_validator(mode="before")
    @classmethod
    def _names_its_type(cls, value: Any) -> Any:
        return typed(value, HEADERS)

    @model_validator(mode="after")
    def _has_its_object(self) -> Self:
        if getattr(self, self.type) is None:
            raise PydanticCustomError("missing", f"{self.type}: is missing")
        return self


class Body(ClientPart):
    """The words of a message with buttons."""

    text: Annotated[str, StringConstraints(min_length=1), AtMost(1024)]


class LongBody(ClientPart):
    """The words of a list."""

    text: Annotated[str, StringConstraints(min_length=1), AtMost(4096)]


class Reply(ClientPart):
    """A quick reply."""

    id: Annotated[str, StringConstraints(min_length=1), AtMost(256)]
    title: Annotated[str, StringConstraints(min_length=1), AtMost(20)]


class UrlButton(ClientPart):
    """Opens an address."""

    title: Annotated[str, StringConstraints(min_length=1), AtMost(25)]
    link: Link


class CallButton(ClientPart):
    """Calls a number."""

    title: Annotated[str, StringConstraints(min_length=1), AtMost(25)]
    phone_number: Annotated[str, StringConstraints(min_length=1, max_length=32)]


class CopyCodeButton(ClientPart):
    """Copies a code."""

    id: Annotated[str | None, Field(max_length=256)] = None
    title: Annotated[str, StringConstraints(min_length=1), AtMost(25)]
    code: Annotated[str, StringConstraints(min_length=1), AtMost(256)]


class Button(ClientPart):
    """One button: Meta's quick reply, or one of the Node version's."""

    type: Literal["reply", "url", "call", "copy_code"] = "reply"
    reply: Reply | None = None
    url: UrlButton | None = None
    call: CallButton | None = None
    copy_code: CopyCodeButton | None = None

    @model_validator(mode="before")
    @classmethod
    def _names_its_type(cls, value: Any) -> Any:
        return typed(value, BUTTONS)

    @model_validator(mode="after")
    def _has_its_object(self) -> Self:
        if getattr(self, self.type) is None:
            raise PydanticCustomError("missing", f"{self.type}: is missing")
        return self


class ButtonAction(ClientPart):
    """Up to three buttons, of a phone more, each with its own id and title."""

    buttons: Annotated[list[Button], AtMostItems(3, MAX_BUTTONS_OF_PHONES)] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_and_titles_are_unique(self, info: ValidationInfo) -> Self:
        sender = sender_of(info)
        replies = [button.reply for button in self.buttons if button.reply is not None]
        if len({reply.id for reply in replies}) < len(replies):
            raise ValueError("the ids of the buttons must be unique")
        if sender.at_meta and not sender.accepted and len({reply.title for reply in replies}) < len(replies):
            raise ValueError("the titles of the buttons must be unique")
        return self


class Row(ClientPart):
    """One choice of a list."""

    id: Annotated[str, StringConstraints(min_length=1), AtMost(200)]
    title: Annotated[str, StringConstraints(min_length=1), AtMost(24)]
    description: Annotated[str, AtMost(72)] | None = None


class Section(ClientPart):
    """A group of choices."""

    title: Annotated[str, AtMost(24)] | None = None
    rows: Annotated[list[Row], AtMostItems(MAX_ROWS, MAX_ROWS_OF_PHONES)] = Field(min_length=1)


class ListAction(ClientPart):
    """Up to ten choices in all, of a phone more."""

    button: Annotated[str, StringConstraints(min_length=1), AtMost(20)]
    sections: Annotated[list[Section], AtMostItems(10, MAX_ROWS_OF_PHONES)] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _opens_by_itself(cls, value: Any, info: ValidationInfo) -> Any:
        """A list of a phone opens with the Node version's word when its client names none; Meta wants one."""
        sender = sender_of(info)
        of_meta = sender.at_meta and not sender.accepted
        unnamed = isinstance(value, dict) and value.get("button") in (None, "")
        return {**value, "button": OPENS_A_LIST} if unnamed and not of_meta else value

    @model_validator(mode="after")
    def _rows_are_few_and_unique(self, info: ValidationInfo) -> Self:
        ids = [row.id for section in self.sections for row in section.rows]
        sender = sender_of(info)
        of_meta = sender.at_meta and not sender.accepted
        most = MAX_ROWS if of_meta else MAX_ROWS_OF_PHONES
        if len(ids) > most:
            raise ValueError(f"a list has at most {most} rows in all sections together")
        if len(set(ids)) < len(ids):
            raise ValueError("the ids of the rows must be unique")
        if of_meta and len(self.sections) > 1 and not all(section.title for section in self.sections):
            raise ValueError("with more than one section each needs a title")
        return self


class UrlParameters(ClientPart):
    """Where a button leads."""

    display_text: Annotated[str, StringConstraints(min_length=1), AtMost(20)]
    url: Link


class UrlAction(ClientPart):
    """A button that opens an address."""

    parameters: UrlParameters


class _Interactive(ClientPart):
    header: Header | None = None
    footer: Footer | None = None


class Buttons(_Interactive):
    """Words with buttons. Below a header they may be missing: Typebot sends pictures to choose from so."""

    type: Literal["button"]
    body: Body | None = None
    action: Annotated[ButtonAction, BeforeValidator(from_json)]

    @model_validator(mode="after")
    def _shows_something(self) -> Self:
        if self.body is None and self.header is None:
            raise PydanticCustomError("missing", "body: is missing")
        return self


class List(_Interactive):
    """Words with a list to choose from."""

    type: Literal["list"]
    body: LongBody
    action: Annotated[ListAction, BeforeValidator(from_json)]

    @model_validator(mode="after")
    def _its_header_is_text(self) -> Self:
        if self.header is not None and self.header.type != "text":
            raise ValueError("the header of a list is text")
        return self


class UrlLink(_Interactive):
    """Words with a button that opens an address."""

    type: Literal["cta_url"]
    body: Body
    action: Annotated[UrlAction, BeforeValidator(from_json)]


class OtherInteractive(_Interactive):
    """A kind that the provider knows or refuses."""

    type: PassedOn
    body: Body | None = None
    action: Annotated[dict[str, Any], BeforeValidator(from_json)]


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "other" if kind in get_args(PassedOn) else str(kind)


Interactive = Annotated[
    Annotated[Buttons, Tag("button")]
    | Annotated[List, Tag("list")]
    | Annotated[UrlLink, Tag("cta_url")]
    | Annotated[OtherInteractive, Tag("other")],
    Discriminator(
        _kind,
        custom_error_type="interactive_type",
        custom_error_message=f"type must be one of {', '.join(INTERACTIVE_KINDS)}",
    ),
]


class InteractiveMessage(OutboundMessage):
    """Something to press."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "interactive",
                                         "interactive": {"type": "button", "body": {"text": "Shall we?"},
                                                         "action": {"buttons": [{"type": "reply", "reply": {
                                                             "id": "yes", "title": "Yes"}}]}}}]}
    )  # fmt: skip
    type: Literal["interactive"]
    interactive: Interactive

    def to_wire(self) -> dict[str, Any]:
        """The message as it goes to others: an action that is still a text is an object there."""
        wire = super().to_wire()
        sent = wire["interactive"]
        return {**wire, "interactive": {**sent, "action": from_json(sent["action"])}}


class Language(ClientPart):
    """A language code, as `pt_BR`."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=16, strip_whitespace=True)]


def _language(value: Any) -> Any:
    """A language as its code alone, too; one without a code is none, as in the Node version."""
    code = value.get("code") if isinstance(value, dict) else value
    return None if code in (None, "") else value if isinstance(value, dict) else {"code": value}


def _ensure_short(parameter: dict[str, Any]) -> dict[str, Any]:
    """Raise ValueError for a text that is too long, at any depth."""
    if len(str(parameter.get("parameter_name") or "")) > MAX_PARAMETER_NAME_CHARS:
        raise ValueError(f"parameter_name has at most {MAX_PARAMETER_NAME_CHARS} characters")
    if any(len(text) > MAX_PARAMETER_CHARS for text in _texts(parameter)):
        raise ValueError(f"a text has at most {MAX_PARAMETER_CHARS} characters")
    return parameter


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value if isinstance(value, list) else (*value, *value.values()):
            yield from _texts(part)


Parameter = Annotated[dict[str, Any], AfterValidator(_ensure_short)]


class Component(ClientPart):
    """The values for one part of a template."""

    type: Annotated[str, StringConstraints(to_lower=True, min_length=1, max_length=32)]
    sub_type: Annotated[str | None, Field(max_length=32)] = None
    index: Annotated[int | str | None, Field()] = None
    parameters: Annotated[list[Parameter], Field(max_length=100), EmptyIsNoItems] = Field(default=[])
    cards: Annotated[list[CardValues], Field(max_length=MAX_CARDS), EmptyIsNoItems] = Field(default=[])


class CardValues(ClientPart):
    """The values for one card of a carousel; it counts from 0."""

    card_index: int | None = Field(default=None, ge=0)
    components: Annotated[list[Component], Field(max_length=MAX_COMPONENTS), EmptyIsNoItems] = Field(default=[])


class Template(ClientPart):
    """A template by its name, with values for its placeholders."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=512, strip_whitespace=True)]
    language: Annotated[Language | None, BeforeValidator(_language)] = None
    components: Annotated[
        list[Component], Field(max_length=MAX_COMPONENTS), BeforeValidator(lambda value: from_json(value or []))
    ] = Field(default=[])


class TemplateMessage(OutboundMessage):
    """A message made from a stored template."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "template",
                                         "template": {"name": "hello", "language": {"code": "pt_BR"},
                                                      "components": [{"type": "body", "parameters": [
                                                          {"type": "text", "text": "Maria"}]}]}}]}
    )  # fmt: skip
    type: Literal["template"]
    template: Template

    def to_wire(self) -> dict[str, Any]:
        """The message as it goes to others: components are a list there, a language's code is in an object.

        Its names are without what was copied around them.
        """
        wire = super().to_wire()
        sent = dict(wire["template"])
        if isinstance(sent.get("components"), str):
            sent["components"] = from_json(sent["components"] or "[]")
        if (language := self.template.language) is not None:
            named = sent["language"] if isinstance(sent["language"], dict) else {}
            sent["language"] = {**named, "code": language.code}
        return {**wire, "template": {**sent, "name": self.template.name}}
