"""What is found out about a file before it is sent to a phone: WhatsApp's own clients say it with the file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sound:
    """`mime_type` is empty for what phones cannot play. `waveform` is base64 of 64 values from 0 to 100."""

    seconds: int
    mime_type: str = ""
    mono: bool = False
    waveform: str = ""


@dataclass(frozen=True)
class Film:
    """A film as it is shown. `thumbnail` is a JPEG in base64, as of a picture. `played`: phones can show it.

    `moving_picture`: it is a GIF, which phones show as a film that begins by itself, again and again.
    """

    played: bool
    width: int
    height: int
    seconds: int
    thumbnail: str
    moving_picture: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture as it is shown. `mime_type` is what it is, whatever it is called."""

    mime_type: str
    width: int
    height: int
    thumbnail: str


@dataclass(frozen=True)
class Pages:
    """A document with pages: how many, and what the first one looks like."""

    count: int
    thumbnail: str


@dataclass(frozen=True)
class LinkPreview:
    """What a page says of itself. `url` stands in the text."""

    url: str
    title: str = ""
    description: str = ""
    thumbnail: str = ""
