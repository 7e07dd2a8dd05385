"""Files of messages: their description, their ids, how large they may be."""

from __future__ import annotations

import mimetypes
import re
import secrets
import unicodedata
from base64 import b64encode
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import Url

MEDIA_TYPES = ("image", "video", "audio", "document", "sticker")
"""The types of messages with a file."""
ID_PREFIX = "3141"
MEDIA_ID = ID_PREFIX + "[0-9]{20}"
"""Digits only, for clients that take anything else for a file; longer than any phone number."""
METAS_ID = re.compile(r"[0-9]{10,20}", re.ASCII)
FORMER_ID = r"[0-9A-Za-z][0-9A-Za-z_]*[.-][0-9A-Za-z._-]*|[0-9A-Z]{16,64}"
"""Of a file of the Node version: the id of its message, its own (`UNO.…`) or WhatsApp's. No other path looks so."""
FILE_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,199}", re.ASCII)
OWN_KEY = re.compile(r"(?!20[0-9]{6}/)[0-9]{8,20}/(?:profile-pictures/)?[^/]{1,255}|notes/[0-9]{8,40}\.json", re.ASCII)
"""What the files of this program and of the Node version are called in their store, and their notes.

A folder is a phone, and no day as in `20261128/backup.sql`.
"""
MEGABYTE = 1_048_576
LIMITS = {"image": 5 * MEGABYTE, "audio": 16 * MEGABYTE, "video": 16 * MEGABYTE}
"""Largest files in bytes, by the first half of the media type; from Meta's reference."""
MAX_BYTES = 100 * MEGABYTE
LEAST_COUNTED_BYTES = 64 * 1024
"""What a file counts at least: its name and its entry in the index need room, too."""
UNKNOWN = "application/octet-stream"
OFFICE = "application/vnd.openxmlformats-officedocument"
EXTENSIONS = {
    "audio/ogg": "oga", "audio/mpeg": "mpga", "audio/mp4": "m4a", "audio/aac": "aac", "audio/x-aac": "aac",
    "audio/amr": "amr", "image/jpeg": "jpeg", "image/png": "png", "image/webp": "webp", "video/mp4": "mp4",
    "video/3gpp": "3gp", "application/pdf": "pdf", "text/csv": "csv", "text/plain": "txt",
    f"{OFFICE}.wordprocessingml.document": "docx", f"{OFFICE}.spreadsheetml.sheet": "xlsx",
    f"{OFFICE}.presentationml.presentation": "pptx",
}  # fmt: skip
"""The ending of a new file's name, by media type: those that Meta takes, and what the library lacks or names otherwise.

Where a type has two names, the last one is given to files that come without: `audio/x-aac`, as the Node version does.
"""
TYPES = {ending: mime_type for mime_type, ending in EXTENSIONS.items()} | {
    "jpg": "image/jpeg", "mp3": "audio/mpeg", "ogg": "audio/ogg", "opus": "audio/ogg",
}  # fmt: skip
"""The other way round, with all endings that a type has."""
PROGRAMS = frozenset({"php", "asp", "aspx", "ashx", "jsp", "cgi", "do"})
"""Endings of addresses whose files are made by a program: no file's own."""
JOINERS = "\u200c\u200d"
"""Not printed, and part of words and emojis."""
MIME_TYPE = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}(;[ -~]{0,100})?", re.ASCII)
"""RFC 6838, with parameters."""
CONTROLS = frozenset(map(chr, range(ord(" "))))


def is_own_media_id(text: str) -> bool:
    """Whether it is an id of the form that `MEDIA_ID` has."""
    return text.startswith(ID_PREFIX) and len(text) == len(ID_PREFIX) + 20 and text.isascii() and text.isdigit()


def may_be_metas(media_id: str) -> bool:
    """Whether an id that nobody knows here may be of a file that was uploaded to Meta itself."""
    return METAS_ID.fullmatch(media_id) is not None


def plain_mime_type(text: str) -> str:
    """A media type that can stand in a header; what is none is of an unknown type."""
    return text if MIME_TYPE.fullmatch(text) else UNKNOWN


def plain_filename(text: str) -> str:
    """A name that can stand in a header: without control characters and whatever else is not shown.

    Spaces of all widths stay, as the clocks in the names of screenshots have them.
    """
    return "".join(char for char in text if char.isprintable() or char in JOINERS or unicodedata.category(char) == "Zs")


def own_filename(path: str) -> str:
    """The same of a file that was sent with the folders of its sender's machine before its name, which are left out."""
    return plain_filename(path).replace("\\", "/").rpartition("/")[2]


def ascii_filename(text: str) -> str:
    """The name for who reads no other than ASCII: letters without their accents; a name of its own if none is left.

    RFC 6266: several programs save a file under it.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    stem, dot, ending = "".join(char for char in plain if char not in '"\\/').rpartition(".")
    if not dot:
        stem, ending = ending, ""
    stem, ending = stem.strip(" .") or "file", ending.strip()
    return f"{stem}.{ending}" if ending else stem


class MediaFile(BaseModel):
    """One saved file. `key` is its name in the store, `sha256` is hexadecimal.

    `counted_on` is the day, since the epoch, on which it began to count against its number's quota; 0: it does not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    phone: str
    mime_type: str = UNKNOWN
    sha256: str = ""
    file_size: int = 0
    filename: str = Field(default="", max_length=512)
    key: str
    counted_on: int = 0

    @property
    def counted_bytes(self) -> int:
        """What it takes of its number's quota."""
        return max(self.file_size, LEAST_COUNTED_BYTES) if self.counted_on else 0

    def described(self, url: str) -> dict[str, Any]:
        """The six fields that every client reads, and the file's name."""
        description = {
            "messaging_product": "whatsapp",
            "url": url,
            "mime_type": self.mime_type,
            "sha256": self.sha256,
            "file_size": self.file_size,
            "id": self.id,
        }
        return {**description, "filename": self.filename} if self.filename else description


def handle_of(media: MediaFile) -> str:
    """An uploaded file as templates and profiles name it; the form is Meta's."""
    return f"4::{b64encode(media.mime_type.encode()).decode()}:{media.id}"


def media_id_of_handle(handle: str) -> str:
    """The id of the file in a handle; what it may be in a text that is none."""
    return handle.rpartition(":")[2]


def from_node_version(phone: str, media_id: str, stored: dict[str, Any]) -> MediaFile:
    """A file of the Node version: its hash is a buffer, and its size may be one of 64 bits, as JavaScript writes them.

    Its name in the store is that of its message with an ending: its `filename`, but not that of a document, which is
    the one that its sender gave it.
    """
    mime_type, name = str(stored.get("mime_type") or UNKNOWN), str(stored.get("filename") or "")
    mime_type = (type_of(name) or UNKNOWN) if mime_type == UNKNOWN else mime_type
    last = media_id.rpartition("/")[2]
    stored_as = name.removeprefix(f"{phone}/")
    is_key = stored_as.startswith(f"{last}.") and FILE_NAME.fullmatch(stored_as) is not None  # no path elsewhere
    key = name if is_key or not name else file_key(phone, last, mime_type)
    return MediaFile(
        id=str(stored.get("id") or f"{phone}/{media_id}"),
        phone=phone,
        mime_type=mime_type,
        sha256=_digest_of(stored.get("sha256")),
        file_size=_size_of(stored.get("file_size")),
        filename="" if is_key else own_filename(name)[:512],
        key=key if key.startswith(f"{phone}/") else f"{phone}/{key or last}",
    )


def _digest_of(written: Any) -> str:
    """A digest in hexadecimal, out of its bytes as JavaScript writes them; a text is one already."""
    octets = written.get("data", list(written.values())) if isinstance(written, dict) else written
    if not isinstance(octets, list):
        return str(octets or "")
    try:
        return bytes(octets).hex()
    except (TypeError, ValueError):
        return ""


def _size_of(written: Any) -> int:
    """A file's size, perhaps as two halves of 32 bits; 0 for what is none."""
    if isinstance(written, dict):
        low, high = written.get("low"), written.get("high")
        return (high << 32) + (low % 2**32) if isinstance(low, int) and isinstance(high, int) else 0
    return int(written) if isinstance(written, int) or (isinstance(written, str) and written.isdecimal()) else 0


def former_keys(media: MediaFile) -> list[str]:
    """Where the Node version may have saved a file of its own: its table of types has other endings than ours.

    It writes `false` for a type that it does not know, and its fork `bin`. The place is certain where it was written
    down, which it is not of documents.
    """
    stem = media.id.rpartition("/")[2]
    if not media.filename and media.key.startswith(f"{media.phone}/{stem}."):
        return [media.key]
    ending = media.filename.rpartition(".")[2].lower()
    likely = [f".{ending}"] if ending.isascii() and ending.isalnum() else []
    likely += mimetypes.guess_all_extensions(media.mime_type.partition(";")[0].strip().lower())[:5]
    return list(dict.fromkeys([media.key, *(f"{media.phone}/{stem}{part}" for part in (*likely, ".false", ".bin"))]))


def media_id_of(computed: str) -> str:
    """The media id that belongs to a computed id: the same thing has the same file."""
    return f"{ID_PREFIX}{UUID(computed).int % 10**20:020}"


def new_media_id() -> str:
    """A media id of digits only."""
    return ID_PREFIX + "".join(secrets.choice("0123456789") for _ in range(20))


def file_key(phone: str, media_id: str, mime_type: str) -> str:
    """The key of a file in the media store: by phone, as in the Node version."""
    return f"{phone}/{media_id}.{extension(mime_type)}"


def extension(mime_type: str) -> str:
    """The file extension of a media type; `bin` for one that nobody knows."""
    plain = mime_type.partition(";")[0].strip().lower()
    return EXTENSIONS.get(plain) or (mimetypes.guess_extension(plain) or ".bin").removeprefix(".")


def web_address(link: str) -> str:
    """A link as a browser asks for it: spaces, accents and joiners encoded, an accented host as DNS knows it.

    https://url.spec.whatwg.org, but that no line end within it is left out. Empty for what is no address.
    """
    address = link.strip()
    try:
        return str(Url(address)) if CONTROLS.isdisjoint(address) else ""
    except ValueError:
        return ""


def is_plain(link: object) -> TypeGuard[str]:
    """Whether a link needs no encoding to be one as a browser asks for it."""
    return isinstance(link, str) and link.isascii() and link.isprintable() and " " not in link


def plain_address(link: str) -> str:
    """A link as a browser asks for it where it needs encoding; any other, and what is no address, as it is."""
    return link if is_plain(link) else web_address(link) or link


def path_of(link: str) -> str:
    """The path of an address without its escapes, which older servers write in Windows-1252 instead of UTF-8."""
    path = urlsplit(link.strip()).path
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        return unquote(path, encoding="windows-1252", errors="replace")


def names_a_file(last: str) -> bool:
    """Whether the end of an address is a file's own name, not as in `/nota/123` or `/boleto.php`."""
    stem, _, program = last.rpartition(".")
    return bool(stem) and program.lower() not in PROGRAMS


def with_ending(name: str, mime_type: str) -> str:
    """A name out of an address with an ending by which computers know the file."""
    stem, _, program = name.rpartition(".")
    ending = extension(mime_type)
    return name if ending == "bin" or names_a_file(name) else f"{stem or program}.{ending}"


def type_of(filename: str) -> str:
    """The media type that the ending of a file's name stands for; empty when nobody knows it."""
    name = filename.rpartition("/")[2].lower()
    _, dot, ending = name.rpartition(".")
    return (TYPES.get(ending) or mimetypes.guess_type(f"x.{name}")[0] or "") if dot else ""


def limit_of(mime_type: str) -> int:
    """How large a file of this type may be, in bytes."""
    return LIMITS.get(mime_type.partition("/")[0], MAX_BYTES)


@dataclass(frozen=True)
class SavedFile:
    """What a store says of a file that it took: SHA-256 in hexadecimal, size in bytes."""

    sha256: str
    size: int
