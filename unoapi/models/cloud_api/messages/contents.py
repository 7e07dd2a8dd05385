"""The plain message types, with Meta's limits."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError, Url

from unoapi.models.blanks import EmptyIsAbsent, EmptyIsNoItems, NothingIsEmpty
from unoapi.models.cloud_api.as_sent import ClientPart
from unoapi.models.cloud_api.messages.outbound import OutboundMessage
from unoapi.models.cloud_api.messages.sender import AtMost, sender_of

MAX_LINK_CHARS = 4096
MAX_CONTACTS = 257
Caption = Annotated[str, AtMost(1024)] | None
MediaId = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._/-]{0,255}$"), AfterValidator(lambda value: value)]


def _web_address(value: str) -> str:
    urlsplit(value)  # refuses a few logins that the other reader takes
    scheme = Url(value).scheme
    if scheme == "data":
        raise ValueError("must be an http or https address; upload a file first (POST …/media), and send its id")
    if scheme not in ("http", "https"):
        raise ValueError("must be an http or https address")
    return value


Link = Annotated[str, Field(max_length=MAX_LINK_CHARS), AfterValidator(_web_address)]


class Text(ClientPart):
    """The object of a text."""

    body: Annotated[str, StringConstraints(min_length=1), AtMost(4096)]
    preview_url: bool | None = False


class MediaObject(ClientPart):
    """A file: uploaded before (`id`), or to be fetched (`link`)."""

    id: Annotated[MediaId | None, EmptyIsAbsent] = None
    link: Annotated[Link | None, EmptyIsAbsent] = None

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_ids(cls, value: Any) -> Any:
        return {**value, "id": str(value["id"])} if isinstance(value, dict) and _is_number(value.get("id")) else value

    @model_validator(mode="after")
    def _has_a_file(self) -> Self:
        if self.id is None and self.link is None:
            raise PydanticCustomError("missing", "either id or link is required")
        return self


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class CaptionedMedia(MediaObject):
    """A picture or a video."""

    caption: Caption = None


class Audio(MediaObject):
    """An audio; with `voice` a voice note."""

    voice: bool | None = None


class Document(CaptionedMedia):
    """Any other file."""

    filename: Annotated[str | None, Field(max_length=512)] = None


class Location(ClientPart):
    """A point on the map, in degrees."""

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    name: Annotated[str | None, Field(max_length=1000)] = None
    address: Annotated[str | None, Field(max_length=1000)] = None


class ContactName(ClientPart):
    """How a contact is called."""

    formatted_name: Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class ContactPhone(ClientPart):
    """One of a contact's phones."""

    phone: Annotated[str | None, Field(max_length=64)] = None
    wa_id: Annotated[str | None, Field(max_length=64)] = None
    type: Annotated[str | None, Field(max_length=64)] = None


class ContactCard(ClientPart):
    """One shared contact."""

    name: ContactName
    phones: Annotated[list[ContactPhone], Field(max_length=100), EmptyIsNoItems] = Field(default=[])


ONE_EMOJI = re.compile(
    r"[\U0001f1e6-\U0001f1ff]{2}|[0-9#*]\ufe0f?\u20e3|"
    r"(?:(?:^|(?!^)\u200d)[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf\u2900-\u297f"
    r"\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
    r"[\ufe0e\ufe0f]?[\U0001f3fb-\U0001f3ff]?[\U000e0020-\U000e007f]*)+"
)
"""A flag, a keycap, or signs joined to one: by Unicode's blocks (UTS 51), so that new emojis are taken, too."""


def _one_emoji(value: str, info: ValidationInfo) -> str:
    if value and not sender_of(info).accepted and not ONE_EMOJI.fullmatch(value):
        raise ValueError("must be one emoji, or an empty text, which takes the reaction away")
    return value


class Reaction(ClientPart):
    """An emoji on a message; an empty one takes it away."""

    message_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    emoji: Annotated[
        str,
        Field(max_length=64),
        NothingIsEmpty,
        AfterValidator(_one_emoji),
    ]


class TextMessage(OutboundMessage):
    """A text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "text",
                                         "text": {"body": "Hello, your order is on its way.", "preview_url": False}}]}
    )  # fmt: skip
    type: Literal["text"] = "text"
    text: Text


class ImageMessage(OutboundMessage):
    """A picture."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "image",
                                         "image": {"link": "https://example.com/a.jpg", "caption": "Look"}}]}
    )  # fmt: skip
    type: Literal["image"]
    image: CaptionedMedia


class VideoMessage(OutboundMessage):
    """A video."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "video",
                                         "video": {"link": "https://example.com/a.mp4"}}]}
    )  # fmt: skip
    type: Literal["video"]
    video: CaptionedMedia


class AudioMessage(OutboundMessage):
    """An audio file or a voice note."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "audio",
                                         "audio": {"link": "https://example.com/a.ogg", "voice": True}}]}
    )  # fmt: skip
    type: Literal["audio"]
    audio: Audio


class Speech(ClientPart):
    """A text that is said. `voice` in the place of the one that is set."""

    body: Annotated[str, StringConstraints(min_length=1), AtMost(4096)]
    voice: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = None


class SpeechMessage(OutboundMessage):
    """A text that arrives as a voice note."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "speech",
                                         "speech": {"body": "Hello, your order is on its way."}}]}
    )  # fmt: skip
    type: Literal["speech"]
    speech: Speech


class DocumentMessage(OutboundMessage):
    """A document."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "document",
                                         "document": {"link": "https://example.com/a.pdf", "filename": "a.pdf"}}]}
    )  # fmt: skip
    type: Literal["document"]
    document: Document


class StickerMessage(OutboundMessage):
    """A sticker."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "sticker",
                                         "sticker": {"link": "https://example.com/a.webp"}}]}
    )  # fmt: skip
    type: Literal["sticker"]
    sticker: MediaObject


class LocationMessage(OutboundMessage):
    """A location."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "location",
                                         "location": {"latitude": -23.56, "longitude": -46.65, "name": "MASP"}}]}
    )  # fmt: skip
    type: Literal["location"]
    location: Location


class ContactsMessage(OutboundMessage):
    """Shared contacts."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "contacts",
                                         "contacts": [{"name": {"formatted_name": "Ana", "first_name": "Ana"},
                                                       "phones": [{"phone": "+5511988887777"}]}]}]}
    )  # fmt: skip
    type: Literal["contacts"]
    contacts: list[ContactCard] = Field(min_length=1, max_length=MAX_CONTACTS)


class ReactionMessage(OutboundMessage):
    """A reaction."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "reaction",
                                         "reaction": {"message_id": "wamid.X", "emoji": "👍"}}]}
    )  # fmt: skip
    type: Literal["reaction"]
    reaction: Reaction

    def to_wire(self) -> dict[str, Any]:
        """The message as it goes to others: an emoji that is null is an empty text there."""
        wire = super().to_wire()
        return {**wire, "reaction": {**wire["reaction"], "emoji": self.reaction.emoji}}


class Poll(ClientPart):
    """A question with options."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    options: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=100)]], Field(min_length=2, max_length=12)
    ]
    selectable_count: Annotated[int, BeforeValidator(lambda value: 1 if value in (None, "") else value)] = Field(
        default=1, ge=0, le=12, description="How many may be chosen; 0: all."
    )

    @model_validator(mode="after")
    def _options_differ(self) -> Self:
        if not all(text.strip() for text in (self.name, *self.options)):
            raise ValueError("name and options must not be empty")
        if len({option.strip() for option in self.options}) != len(self.options):
            raise ValueError("options: each must be there once")
        if self.selectable_count > len(self.options):
            raise ValueError("selectable_count: at most the number of options")
        return self


class PollMessage(OutboundMessage):
    """A poll, for connected phones: Meta's own API has none. Votes come as texts that answer to it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "poll",
                                         "poll": {"name": "Which day?", "options": ["Monday", "Tuesday"],
                                                  "selectable_count": 1}}]}
    )  # fmt: skip
    type: Literal["poll"]
    poll: Poll


class Pin(ClientPart):
    """Which message stands at the top of its chat, and for how many days; `unpin` takes it from there."""

    type: Literal["pin", "unpin"] = "pin"
    message_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    expiration_days: Annotated[int | None, EmptyIsAbsent] = Field(
        default=None, ge=1, le=30, description="7 without it. Phones know 1, 7 and 30: the next one counts."
    )


class PinMessage(OutboundMessage):
    """Pins a message of the chat, or unpins it. At Meta in groups only."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777", "type": "pin",
                                         "pin": {"type": "pin", "message_id": "wamid.X", "expiration_days": 7}}]}
    )  # fmt: skip
    type: Literal["pin"]
    pin: Pin


class EditMessage(OutboundMessage):
    """New words for a text that was sent before; `context` names it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messaging_product": "whatsapp", "to": "5549988887777",
                                         "type": "message_edit", "context": {"message_id": "wamid.X"},
                                         "text": {"body": "Hello, your order arrives today."}}]}
    )  # fmt: skip
    type: Literal["message_edit"]
    text: Text

    @model_validator(mode="after")
    def _names_the_message(self) -> Self:
        if self.context is None or not self.context.message_id:
            raise PydanticCustomError("missing", "context.message_id: is missing")
        return self
