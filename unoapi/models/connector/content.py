"""The content of a message, in a form that belongs to no engine and to no API. `kind` names it.

The same kinds travel both ways; media differ: received ones carry a descriptor, sent ones the place to fetch them from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, FiniteFloat, Tag, model_validator

MAX_TEXT = 65_536
MAX_LIST = 1000
PLACEHOLDER, EMPTY = "placeholdermessage", "empty"
"""The names of the housekeeping that stands for a message which only the phone can show, or that came without any."""
Thumbnail = Annotated[str, Field(max_length=65_536, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
"""A small picture in base64."""


class Base(BaseModel):
    """Unknown fields are ignored: an engine may say more than we need. One that is null is as if it were not there.

    A number in the place of a text is one: some languages write a text that is one, as an answer to a menu, so.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        """Many languages write null for what is not set: no message may be lost for it."""
        if not isinstance(value, dict) or None not in value.values():
            return value
        return {name: part for name, part in value.items() if part is not None}


Item = TypeVar("Item", bound=Base)


class Preview(Base):
    """What a text's link leads to. `thumbnail` is a JPEG in base64."""

    url: str = Field(max_length=4096)
    title: str = Field(default="", max_length=1000)
    description: str = Field(default="", max_length=1000)
    thumbnail: Thumbnail = ""


class Look(Base):
    """How a text looks as a status post: the colour as 0xAARRGGBB, and the number of WhatsApp's font."""

    background: int = Field(default=0xFF075E54, ge=0, le=0xFFFFFFFF)
    font: int = Field(default=0, ge=0, le=10)


class Text(Base):
    """A text. `look` is for status posts alone."""

    kind: Literal["text"] = "text"
    body: str = Field(max_length=MAX_TEXT)
    preview_url: bool = False
    preview: Preview | None = None
    look: Look | None = None


class Descriptor(Base):
    """What an engine needs to fetch a received file again. Holds keys: never in a webhook, never in a log.

    Byte fields are base64.
    """

    direct_path: str = ""
    url: str = ""
    media_key: str = ""
    file_sha256: str = ""
    file_enc_sha256: str = ""
    file_length: int = 0
    media_type: str = ""


class MediaFile(Base):
    """Where a file is. `state` says whether the store has it already; `key` is its id there."""

    key: str = ""
    state: Literal["pending", "ready", "failed"] = "pending"
    sha256: str = ""
    size: int = 0
    descriptor: Descriptor | None = None


class Media(Base):
    """A received or sent file. `link` is where the engine's side fetches a sent one: an address of the API's choice."""

    kind: Literal["image", "video", "audio", "document", "sticker"]
    mime_type: str = Field(default="", max_length=255)
    caption: str = Field(default="", max_length=MAX_TEXT)
    filename: str = Field(default="", max_length=1024)
    voice: bool = False
    animated: bool = False
    view_once: bool = False
    seconds: int = 0
    width: int = 0
    height: int = 0
    thumbnail: Thumbnail = ""
    waveform: Thumbnail = ""
    page_count: int = 0
    media: MediaFile | None = None
    link: str = Field(default="", max_length=4096)


class Card(Base):
    """One contact's card."""

    name: str = ""
    vcard: str = Field(max_length=MAX_TEXT)


class Contacts(Base):
    """Cards of contacts."""

    kind: Literal["contacts"] = "contacts"
    contacts: tuple[Card, ...] = Field(max_length=MAX_LIST)


class Location(Base):
    """A point on the map."""

    kind: Literal["location"] = "location"
    latitude: FiniteFloat
    longitude: FiniteFloat
    name: str = ""
    address: str = ""
    live: bool = False
    url: str = ""


class Reaction(Base):
    """An emoji on another message; an empty one takes it back."""

    kind: Literal["reaction"] = "reaction"
    target_id: str
    target_from_me: bool = False
    target_participant: str = ""
    emoji: str = ""


class ListReply(Base):
    """A row of a list was chosen."""

    kind: Literal["list_reply"] = "list_reply"
    id: str
    title: str = ""
    description: str = ""


class ButtonReply(Base):
    """A button was pressed."""

    kind: Literal["button_reply"] = "button_reply"
    id: str
    title: str = ""


class FlowReply(Base):
    """A form was sent back; `params` is its JSON text."""

    kind: Literal["flow_reply"] = "flow_reply"
    name: str = ""
    params: str = "{}"
    body: str = ""


class TemplateButton(Base):
    """A button of a template was pressed."""

    kind: Literal["template_button"] = "template_button"
    payload: str = ""
    text: str = ""


class Poll(Base):
    """A question with options."""

    kind: Literal["poll"] = "poll"
    name: str
    options: tuple[str, ...] = Field(default=(), max_length=MAX_LIST)
    selectable: int = 0


class PollVote(Base):
    """A vote: hashes of the options, or the options where the engine could read them. `withdrawn`: it has none now."""

    kind: Literal["poll_vote"] = "poll_vote"
    poll_id: str
    option_hashes: tuple[str, ...] = Field(default=(), max_length=MAX_LIST)
    options: tuple[str, ...] = Field(default=(), max_length=MAX_LIST)
    withdrawn: bool = False


class Order(Base):
    """A basket; its items need a catalogue that is not there. `total_1000` is the price in thousandths."""

    kind: Literal["order"] = "order"
    item_count: int = 0
    currency: str = ""
    total_1000: int = 0
    text: str = ""


class Product(Base):
    """A product of a catalogue."""

    kind: Literal["product"] = "product"
    title: str = ""
    description: str = ""


class Row(Base):
    """One row of a list."""

    id: str
    title: str
    description: str = ""


class Section(Base):
    """Rows under a title."""

    title: str = ""
    rows: tuple[Row, ...] = Field(default=(), max_length=MAX_LIST)


class ListMenu(Base):
    """A list to choose from."""

    kind: Literal["list"] = "list"
    header: str = ""
    body: str = ""
    footer: str = ""
    button: str = ""
    sections: tuple[Section, ...] = Field(default=(), max_length=MAX_LIST)


class Button(Base):
    """A button: `type` says what `value` is (an id, a link, a phone number, a code)."""

    type: Literal["reply", "url", "call", "copy_code", "other"] = "reply"
    title: str = ""
    value: str = ""
    id: str = ""


class Buttons(Base):
    """A text with buttons, with a file above it perhaps."""

    kind: Literal["buttons"] = "buttons"
    header: str = ""
    header_media: Media | None = None
    body: str = ""
    footer: str = ""
    buttons: tuple[Button, ...] = Field(default=(), max_length=MAX_LIST)


class Pin(Base):
    """A message shall stand at the top of its chat for so many seconds, or no longer (0). Others' pins are no event."""

    kind: Literal["pin"] = "pin"
    target_id: str
    target_from_me: bool = False
    target_participant: str = ""
    seconds: int = Field(default=0, ge=0, le=2_592_000)


class Revoke(Base):
    """A message was deleted for everyone, or shall be: then `about` is the API's id of it, and comes back."""

    kind: Literal["revoke"] = "revoke"
    target_id: str
    target_from_me: bool = True
    target_participant: str = ""
    by_admin: bool = False
    about: str = ""


class Protocol(Base):
    """Housekeeping between devices: no event. `seconds` is the chat's new timer, in a change of it."""

    kind: Literal["protocol"] = "protocol"
    name: str = ""
    seconds: int = 0


class Unsupported(Base):
    """A message of a kind that nobody here knows. `field` is WhatsApp's name of it."""

    kind: str
    field: str = ""


class Edit(Base):
    """New content for a message."""

    kind: Literal["edit"] = "edit"
    target_id: str
    content: Content
    at_ms: int = 0


KINDS: dict[str, type[Base]] = {
    "text": Text,
    "image": Media,
    "video": Media,
    "audio": Media,
    "document": Media,
    "sticker": Media,
    "contacts": Contacts,
    "location": Location,
    "reaction": Reaction,
    "list_reply": ListReply,
    "button_reply": ButtonReply,
    "flow_reply": FlowReply,
    "template_button": TemplateButton,
    "poll": Poll,
    "poll_vote": PollVote,
    "order": Order,
    "product": Product,
    "list": ListMenu,
    "buttons": Buttons,
    "pin": Pin,
    "revoke": Revoke,
    "protocol": Protocol,
    "edit": Edit,
}
CAPTIONED = ("image", "video", "document")
"""Files below which WhatsApp shows words; those of a sound follow it as a text."""
WORDS: dict[type[Base], str] = {Text: "body", Media: "caption", ListMenu: "body", Buttons: "body", Poll: "name"}
"""The field in which members of a group can be mentioned."""


def spoken(item: Base) -> Base:
    """Where the words of a content stand: in an edit, in what it says now."""
    return item.content if isinstance(item, Edit) else item


def with_words(item: Item, words: str) -> Item:
    """The content with other words. It must have some: see `WORDS`."""
    if isinstance(item, Edit):
        return item.model_copy(update={"content": with_words(item.content, words)})
    return item.model_copy(update={WORDS[type(item)]: words})


def _tag(value: Any) -> str:
    """The class of a content; a kind from the future is unsupported, not an error."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return KINDS[kind].__name__ if kind in KINDS else "Unsupported"


Content = Annotated[
    Annotated[Text, Tag("Text")]
    | Annotated[Media, Tag("Media")]
    | Annotated[Contacts, Tag("Contacts")]
    | Annotated[Location, Tag("Location")]
    | Annotated[Reaction, Tag("Reaction")]
    | Annotated[ListReply, Tag("ListReply")]
    | Annotated[ButtonReply, Tag("ButtonReply")]
    | Annotated[FlowReply, Tag("FlowReply")]
    | Annotated[TemplateButton, Tag("TemplateButton")]
    | Annotated[Poll, Tag("Poll")]
    | Annotated[PollVote, Tag("PollVote")]
    | Annotated[Order, Tag("Order")]
    | Annotated[Product, Tag("Product")]
    | Annotated[ListMenu, Tag("ListMenu")]
    | Annotated[Buttons, Tag("Buttons")]
    | Annotated[Pin, Tag("Pin")]
    | Annotated[Revoke, Tag("Revoke")]
    | Annotated[Protocol, Tag("Protocol")]
    | Annotated[Edit, Tag("Edit")]
    | Annotated[Unsupported, Tag("Unsupported")],
    Discriminator(_tag),
]
Edit.model_rebuild()
