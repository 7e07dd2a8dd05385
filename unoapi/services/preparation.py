"""What is done with a message's file before it is sent, in the `media` process: sessions' processes convert nothing.

Voice notes, and what phones cannot play or show, are converted, stickers made; length, bars, size and preview are
measured, because WhatsApp's own clients send them with the file. Of a text that wants one, the preview of its first
link is made.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from unoapi.errors import (
    ConversionFailed,
    FetchFailed,
    MediaMissing,
    MediaQuotaReached,
    MediaTooLarge,
    StoreUnavailable,
    UnoError,
    describe,
)
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import AudioMessage, TextMessage
from unoapi.models.file_types import OPUS
from unoapi.models.jobs import SendMessage, now_ms
from unoapi.models.media import MAX_BYTES
from unoapi.services.media import copied, kinds_of_files, own_id, pieces_of, save
from unoapi.services.message_parsing import message_of
from unoapi.services.retries import too_old, wait_for_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.jobs import PrepareMessage
    from unoapi.models.media import MediaFile
    from unoapi.ports import FileDownloader, MediaIndex, MediaStore, MediaTools

    Save = Callable[[Path, str, str], MediaFile]
    """Saves a converted file: where it is, its media type, its name."""

READY = (".ogg", ".oga", ".opus")
PDF = ".pdf"
PHOTOS = ("image/jpeg", "image/png")
KINDS = ("image", "video", "audio", "sticker")
PREPARED = ("seconds", "waveform", "width", "height", "thumbnail", "animated", "mime_type", "preview", "page_count")
"""The fields that are added to a message's object, for phones only."""
MAX_FILES = 1
"""Of a message: a phone shows no more of one. A template may name thousands, each with a server that takes its time."""
PAGE_BYTES, PAGE_MS = 2 * 1024 * 1024, 8_000
"""So much of a page's beginning is read, and so large may its picture be."""
LINK = re.compile(r"https?://[^\s<>\"']{1,2000}", re.IGNORECASE)
AFTER_LINK = ".,;:!?*_~\u2026\u3002\uff0c\u3001\uff01\uff1f\u201d\u2019\u00bb\u200b\u200e\u200f\u2060\ufeff"
"""What ends a sentence, or a quotation, and no address."""
BRACKETS = {")": "(", "]": "[", "}": "{", "\uff09": "\uff08", "\u300d": "\u300c"}
"""Of an address only if they were opened in it, as in Wikipedia's."""
FAILURES = (ConversionFailed, FetchFailed, MediaMissing, MediaQuotaReached, MediaTooLarge)


def wanted(message: OutboundMessage, *, for_phone: bool, voice: bool, always_voice: bool) -> bool:
    """Whether a message is prepared first. `voice`: voice notes are converted; `always_voice`: every audio is one."""
    if isinstance(message, TextMessage):
        return for_phone and bool(message.text.preview_url) and first_link(message.text.body) != ""
    if for_phone:
        return any(kind in KINDS or _may_be_pdf(file) for kind, file in kinds_of_files(message.to_wire()))
    if not isinstance(message, AudioMessage) or not voice or not (always_voice or message.audio.voice):
        return False
    return not urlsplit(message.audio.link or "").path.lower().endswith(READY)


def _may_be_pdf(document: dict[str, Any]) -> bool:
    """Whether a document has pages to look at, by its names; one whose name has no ending may be anything."""
    name, link = (str(document.get(field) or "") for field in ("filename", "link"))
    ending = PurePath(name).suffix or PurePath(urlsplit(link).path).suffix
    return ending.lower() in ("", PDF)


def first_link(text: str) -> str:
    """The first web address in a text, without the punctuation after it."""
    found = LINK.search(text)
    link = found[0] if found else ""
    while link and (link[-1] in AFTER_LINK or link.count(link[-1]) > link.count(BRACKETS.get(link[-1], link[-1]))):
        link = link[:-1]
    return link


def prepare(  # noqa: PLR0913 (collaborators and switches)
    job: PrepareMessage,
    *,
    for_phone: bool,
    files: MediaStore,
    index: MediaIndex,
    downloader: FileDownloader,
    tools: MediaTools,
    timeout_ms: int,
    quota: int,
    patience_s: int,
    voice: bool = True,
    always_voice: bool = False,
    waveform: bool = True,
) -> tuple[SendMessage, str]:
    """The message as it is sent, and what could not be done, if so.

    Whatever goes wrong with its file, the message goes on with the file as it came: who sends it refuses what phones
    cannot show. While what holds the files is away it raises Postponed instead, until the message is older than
    `patience_s`.
    """
    message = message_of(job)
    document = copied(message.to_wire())

    def saved(path: Path, mime_type: str, name: str) -> MediaFile:
        with path.open("rb") as file:
            return save(
                job.phone, pieces_of(file), mime_type=mime_type, filename=name, files=files, index=index,
                limit=MAX_BYTES, quota=quota,
            )  # fmt: skip

    problem = ""
    with tempfile.TemporaryDirectory(prefix="unoapi-media-") as folder:
        work = _Work(Path(folder), tools=tools, save=saved, waveform=waveform and for_phone)
        try:
            if isinstance(message, TextMessage):
                preview = preview_of(message.text.body, work.folder, downloader=downloader, tools=tools)
                document["text"]["preview"] = preview
            for kind, item in kinds_of_files(document)[:MAX_FILES]:
                _fetch(item, work.source, job.phone, files, index, downloader, timeout_ms)
                as_voice = voice and kind == "audio" and (always_voice or _is_voice(message))
                made = work.done(kind, item, as_voice=as_voice, for_phone=for_phone)
                item.clear()
                item.update(made)
        except FAILURES as error:
            problem = f"{error}"
        except StoreUnavailable as error:
            if not too_old(job, max_age_s=patience_s):
                raise wait_for_store(error, age_ms=now_ms() - job.due_at_ms) from error
            problem = f"{error}"
        except UnoError:
            raise
        except Exception as error:  # noqa: BLE001 (a full /tmp; and strangers' files break their readers in any way)
            problem = describe(error)
    return SendMessage.model_validate(job.model_dump() | {"body": serialise(document)}), problem


def _is_voice(message: OutboundMessage) -> bool:
    return isinstance(message, AudioMessage) and bool(message.audio.voice)


class _Work:
    """The work on one file, in a folder of its own."""

    def __init__(self, folder: Path, *, tools: MediaTools, save: Save, waveform: bool) -> None:
        self.folder = folder
        self.source = folder / "source"
        self._target = folder / "target"
        self._tools = tools
        self._save = save
        self._waveform = waveform

    def done(self, kind: str, item: dict[str, Any], *, as_voice: bool, for_phone: bool) -> dict[str, Any]:
        """The message's object with what was made and measured."""
        if as_voice:
            return self._voice(item, measured=for_phone)
        measure = {"image": self._picture, "video": self._film, "audio": self._sound, "sticker": self._sticker,
                   "document": self._document}  # fmt: skip
        return measure[kind](item)

    def _voice(self, item: dict[str, Any], *, measured: bool) -> dict[str, Any]:
        sound = self._tools.sound(self.source, waveform=self._waveform) if measured else None
        if sound is None or sound.mime_type != OPUS or not sound.mono:
            self._tools.voice(self.source, self._target)
            item = _replaced(item, self._save(self._target, OPUS, "voice.ogg"))
        if sound is not None:
            item = {**item, "seconds": sound.seconds, "mime_type": OPUS}
            item |= {"waveform": sound.waveform} if sound.waveform else {}
        return {**item, "voice": True}

    def _sound(self, item: dict[str, Any]) -> dict[str, Any]:
        sound = self._tools.sound(self.source, waveform=False)
        item, mime_type = {**item, "seconds": sound.seconds}, sound.mime_type
        if not mime_type:
            mime_type = "audio/mp4"
            self._tools.audio(self.source, self._target)
            item = _replaced(item, self._save(self._target, mime_type, "audio.m4a"))
        return {**item, "mime_type": mime_type}

    def _picture(self, item: dict[str, Any]) -> dict[str, Any]:
        picture = self._tools.picture(self.source)
        mime_type = picture.mime_type
        if mime_type not in PHOTOS:
            mime_type = "image/jpeg"
            self._tools.jpeg(self.source, self._target)
            item = _replaced(item, self._save(self._target, mime_type, "image.jpeg"))
        shown = {"width": picture.width, "height": picture.height, "thumbnail": picture.thumbnail}
        return {**item, **shown, "mime_type": mime_type}

    def _film(self, item: dict[str, Any]) -> dict[str, Any]:
        film = self._tools.film(self.source, self.folder)
        if not film.played:
            self._tools.show(self.source, self._target)
            item = _replaced(item, self._save(self._target, "video/mp4", "video.mp4")) | {"mime_type": "video/mp4"}
        measured = {"width": film.width, "height": film.height, "seconds": film.seconds, "thumbnail": film.thumbnail}
        return {**item, **measured} | ({"animated": True} if film.moving_picture else {})

    def _document(self, item: dict[str, Any]) -> dict[str, Any]:
        pages = self._tools.pages(self.source)
        return {**item, "page_count": pages.count, "thumbnail": pages.thumbnail}

    def _sticker(self, item: dict[str, Any]) -> dict[str, Any]:
        animated = self._tools.is_sticker(self.source)
        if animated is None:
            animated = self._tools.sticker(self.source, self._target)
            item = _replaced(item, self._save(self._target, "image/webp", "sticker.webp"))
        return {**item, "mime_type": "image/webp", "animated": animated, "width": 512, "height": 512}


def preview_of(text: str, folder: Path, *, downloader: FileDownloader, tools: MediaTools) -> dict[str, str]:
    """The preview of the first link in a text; of a page that cannot be had, its address alone."""
    link = first_link(text)
    page, picture = folder / "page", folder / "picture"
    try:
        with page.open("wb") as file:
            downloader.fetch_beginning(link, file, limit=PAGE_BYTES, timeout_ms=PAGE_MS)
        preview, address = tools.page(link, page.read_bytes())
    except FetchFailed:
        return {"url": link}
    shown = {"url": link, "title": preview.title, "description": preview.description}
    if address:
        try:
            with picture.open("wb") as file:
                downloader.fetch(address, file, limit=PAGE_BYTES, timeout_ms=PAGE_MS)
            shown["thumbnail"] = tools.picture(picture).thumbnail
        except (FetchFailed, ConversionFailed):
            pass  # the words alone
    return {name: value for name, value in shown.items() if value}


def _replaced(item: dict[str, Any], media: MediaFile) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "link"} | {"id": media.id}


def _fetch(  # noqa: PLR0913, PLR0917 (all in their order)
    media: dict[str, Any],
    source: Path,
    phone: str,
    files: MediaStore,
    index: MediaIndex,
    downloader: FileDownloader,
    timeout_ms: int,
) -> None:
    with source.open("wb") as file:
        if link := media.get("link"):
            downloader.fetch(str(link), file, limit=MAX_BYTES, timeout_ms=timeout_ms)
            return
        for chunk in files.read(index.find(own_id(phone, str(media.get("id") or "")), phone=phone).key):
            file.write(chunk)
