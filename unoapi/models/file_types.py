"""The media type of a file, by its first bytes; and whether a file is what a message says that it is.

Servers of files often name no type, or a wrong one, and names end as their owners like. WhatsApp shows nothing of a
picture that is announced as something else.
"""

from __future__ import annotations

from unoapi.models.media import OFFICE, UNKNOWN, plain_mime_type, type_of

HEAD_BYTES = 4096
"""So much of a file says what it is."""
VAGUE = frozenset({"", UNKNOWN, "binary/octet-stream", "application/force-download", "application/x-download"})
"""What a server says that does not know."""
USUAL = {
    "image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/jfif": "image/jpeg", "image/x-png": "image/png",
    "audio/mp3": "audio/mpeg", "audio/x-mp3": "audio/mpeg", "audio/mpeg3": "audio/mpeg", "audio/x-mpeg": "audio/mpeg",
    "audio/m4a": "audio/mp4", "audio/x-m4a": "audio/mp4", "audio/x-aac": "audio/aac", "audio/amr-nb": "audio/amr",
    "audio/wave": "audio/wav", "audio/x-wav": "audio/wav", "video/x-m4v": "video/mp4",
    "application/x-pdf": "application/pdf", "application/csv": "text/csv",
    **dict.fromkeys(("application/excel", "application/msexcel", "application/x-excel", "application/x-msexcel",
                     "application/xls", "application/x-xls"), "application/vnd.ms-excel"),
    "application/x-msword": "application/msword", "application/doc": "application/msword",
}  # fmt: skip
"""Types under other names: Meta takes none of them, and phones show nothing of what is announced so."""
ZIP, OLE, PAGE, SVG = "application/zip", "application/x-ole-storage", "text/html", "image/svg+xml"
OPUS = "audio/ogg; codecs=opus"
OGG = ("audio/ogg", "application/ogg", "audio/opus")
"""How programs call it."""
STARTS = {
    b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif", b"ID3": "audio/mpeg",
    b"#!AMR": "audio/amr", b"fLaC": "audio/flac", b"%PDF-": "application/pdf", b"PK\x03\x04": ZIP,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": OLE, b"II*\x00": "image/tiff", b"MM\x00*": "image/tiff",
    b"Rar!\x1a\x07": "application/vnd.rar", b"7z\xbc\xaf\x27\x1c": "application/x-7z-compressed",
    b"\x1f\x8b\x08": "application/gzip", b"BZh": "application/x-bzip2", b"\xfd7zXZ\x00": "application/x-xz",
    b"{\\rtf": "application/rtf", b"%!PS": "application/postscript", b"8BPS": "image/vnd.adobe.photoshop",
    b"FLV\x01": "video/x-flv", b"0&\xb2u\x8ef\xcf\x11": "video/x-ms-asf", b"\x00\x00\x01\xba": "video/mpeg",
    b"MThd\x00\x00\x00\x06": "audio/midi", b"\x00\x00\x01\x00": "image/vnd.microsoft.icon",
}  # fmt: skip
RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
BRANDS = {
    b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"3gp": "video/3gpp", b"3g2": "video/3gpp", b"qt  ": "video/quicktime",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "image/heic"),
    b"avif": "image/avif", b"avis": "image/avif",
}  # fmt: skip
"""Of the family of MP4; all others are videos."""
OFFICE_PARTS = {
    b"word/": f"{OFFICE}.wordprocessingml.document",
    b"xl/": f"{OFFICE}.spreadsheetml.sheet",
    b"ppt/": f"{OFFICE}.presentationml.presentation",
}
OPEN_DOCUMENT, BOOK = "application/vnd.oasis.opendocument.", "application/epub+zip"
"""What stands at the begin of an archive that is a text of OpenOffice, or a book."""
BEFORE_PDF = b"\xef\xbb\xbf \t\r\n\x00"
"""What programs write before a PDF, and readers pass over."""
WRITTEN_AS_PAGES = ("application/vnd.ms-excel", "application/msword")
"""What programs of shops and offices write as a page, with a table mostly: Excel and Word open it."""
SIGNED = frozenset({*STARTS.values(), *OFFICE_PARTS.values()})
"""Types whose files never begin with words."""
UTF_16 = b"\xff\xfe"
"""How a text begins that would pass for a frame of audio."""
PAGE_MARKS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
ERRORS = frozenset({PAGE, "application/json", "application/problem+json", "application/xml", "text/xml"})
"""What a server says of its own words, where it has no file."""
PAGE_THERE = "there is a web page in the place of the file"
FAMILIES = {"image": "image", "sticker": "image", "video": "video", "audio": "audio"}
"""The first half of the types that a kind of message takes; documents take all."""
ALSO = {
    "audio": frozenset(
        {"video/mp4", "video/3gpp", "video/webm", "video/x-matroska", "video/quicktime", "video/x-ms-asf"}
    ),
    "video": frozenset({"image/gif"}),
}
"""Types of another family: audio stands in containers of videos, too."""


def type_of_content(head: bytes) -> str:
    """The media type that the first bytes of a file tell; empty when they tell none."""
    for start, mime_type in STARTS.items():
        if head.startswith(start):
            return _type_in_zip(head) if mime_type == ZIP else mime_type
    container = CONTAINERS.get(head[4:8] if head[4:8] == b"ftyp" else head[:4])
    if container is not None:
        return container(head)
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # two letters are too few to go by
        return "image/bmp"
    if head.lstrip(BEFORE_PDF).startswith(b"%PDF-"):
        return "application/pdf"
    return PAGE if _is_page(head) else _type_of_frame(head)


def _type_in_riff(head: bytes) -> str:
    return RIFF.get(head[8:12], "")


def _type_in_ogg(head: bytes) -> str:
    return OPUS if b"OpusHead" in head[:128] else "video/ogg" if b"theora" in head[:128] else "audio/ogg"


def _type_in_mp4(head: bytes) -> str:
    return BRANDS.get(head[8:12]) or BRANDS.get(head[8:11], "video/mp4")


def _type_in_matroska(head: bytes) -> str:
    return "video/webm" if b"webm" in head[:64] else "video/x-matroska"


CONTAINERS = {
    b"RIFF": _type_in_riff, b"OggS": _type_in_ogg, b"ftyp": _type_in_mp4, b"\x1a\x45\xdf\xa3": _type_in_matroska
}  # fmt: skip


def _is_page(head: bytes) -> bool:
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1024].lower()
    return begin.startswith(b"<") and any(mark in begin for mark in PAGE_MARKS)


def _is_words(head: bytes) -> bool:
    """Whether it begins with words of ASCII: `Not found`."""
    begin = head[:64]
    return begin.isascii() and all(byte >= ord(" ") or byte in b"\t\r\n" for byte in begin)


def _is_answer(head: bytes) -> bool:
    """Whether it begins as JSON or XML does: errors of storage servers, whatever type they name."""
    begin = head.lstrip()
    is_object = begin.startswith(b"{") and begin[1:].lstrip().startswith(b'"')
    return is_object or begin.startswith((b"<?xml", b"<Error"))


def _type_in_zip(head: bytes) -> str:
    named = head[38:100].partition(b"PK")[0].decode("ascii", "ignore") if head[30:38] == b"mimetype" else ""
    named = plain_mime_type(named.strip())
    if named == BOOK or named.startswith(OPEN_DOCUMENT):
        return named
    return next((mime_type for part, mime_type in OFFICE_PARTS.items() if part in head), ZIP)


def _type_of_frame(head: bytes) -> str:
    """Audio without a header of its own: a frame of MPEG or of AAC."""
    if head.startswith(UTF_16) or len(head) < 2 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 (the first frame's sync word)
        return ""
    if head[1] & 0xF6 == 0xF0:  # noqa: PLR2004 (ADTS: layer 0)
        return "audio/aac"
    return "audio/mpeg" if head[1] & 0x06 else ""


def known_type(head: bytes, *, served: str, name: str, kind: str = "") -> str:
    """The media type of a file: what its bytes tell, else what came with it, else what its name's ending stands for.

    `served` is what its sender says of it, `kind` the message's: audio stands in containers of videos, too. What comes
    with an archive tells more than its bytes: many formats are archives.
    """
    content, named = type_of_content(head), type_of(name)
    served = plain_mime_type(served.strip().lower()) if served else ""
    served = USUAL.get(served, served)
    if content in (ZIP, OLE):
        return next(
            (one for one in (served, named) if one not in VAGUE and "/" in one and not one.startswith("text/")), content
        )
    if content == PAGE and (written := next((one for one in (served, named) if one in WRITTEN_AS_PAGES), "")):
        return written
    if kind == "audio" and content.startswith("video/"):
        return content.replace("video/", "audio/")
    candidates = (named, served) if served == "text/plain" else (served, named)
    return content or next((one for one in candidates if one not in VAGUE), UNKNOWN)


def declared_type(said: str, head: bytes, *, name: str) -> str:
    """The media type of a file that a client uploads as `said`: its usual name, and no text for other bytes.

    Opus is named with its codec: Meta takes no other sound in ogg.
    """
    if said in VAGUE:
        return known_type(head, served="", name=name)
    content = type_of_content(head) if said in ("text/plain", *OGG) else ""
    told = content == OPUS if said in OGG else content not in ("", PAGE)
    return content if told else USUAL.get(said, said)


def received_type(said: str, head: bytes, *, served: str = "", name: str, kind: str) -> str:
    """The media type of a file that a contact sent: what is said of it, where that says anything."""
    is_vague = said.partition(";")[0].strip().lower() in VAGUE
    return known_type(head, served=served, name=name, kind=kind) if is_vague else said


def why_not(kind: str, head: bytes, *, served: str, name: str) -> str:
    """Why a file is not what a message of this kind can hold; empty when it is.

    A server answers with a page where it has no file, or wants a login first.
    """
    if not head:
        return "the file is empty"
    served = served.partition(";")[0].strip().lower()
    served = USUAL.get(served, served)
    content, found = type_of_content(head), known_type(head, served=served, name=name)
    if served == "text/plain" and not content and _is_words(head) and (kind != "document" or type_of(name) in SIGNED):
        return "there are words in the place of the file"
    is_signed = kind != "document" or (served in VAGUE and type_of(name) in SIGNED)
    if is_signed and not content and found != SVG and _is_answer(head):
        return "there is a server's answer in the place of the file"
    if kind == "document":
        return _why_no_document(content, served, named=type_of(name))
    family = found.partition("/")[0]
    if found == UNKNOWN or family == FAMILIES[kind] or found in ALSO.get(kind, ()):
        return ""
    return PAGE_THERE if found == PAGE else f"the file is {found}, no {kind}"


def _why_no_document(content: str, served: str, *, named: str) -> str:
    """A page, or an error's words, in the place of the file that the name promises."""
    said = content or served
    if content == PAGE and served in WRITTEN_AS_PAGES:
        return ""
    if said not in ERRORS or named == said or (not named and said != PAGE):
        return ""
    if said == PAGE:
        return PAGE_THERE
    is_words = named.startswith("text/") or named in ERRORS or named.endswith(("+xml", "+json"))
    return "" if content or is_words else f"the file is {said}, and its name says {named}"
