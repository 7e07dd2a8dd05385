"""Files in forms: how large a form may be, what is wrong with a file, and the name that its client gives it."""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import TYPE_CHECKING

from flask import request

from unoapi.errors import RequestError
from unoapi.models.media import MAX_BYTES, own_filename

if TYPE_CHECKING:
    from werkzeug.datastructures import FileStorage

FORM_BYTES = 1024 * 1024
"""Of what a form holds beside its file: the parser needs several of its pieces at once."""
QUOTED_NAME = re.compile(r';\s{0,8}filename="((?:[^"\\]|\\.){1,1000})"', re.IGNORECASE)
ENCODED_NAME = "filename*="
"""The name in RFC 5987's form, as .NET writes it beside the other, in which `?` may stand for letters."""
ESCAPED = re.compile(r'\\(["\\])')
MAX_ENCODED_CHARS = 1000
CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"})


def allow_file() -> None:
    """Let this request have the size of a form with a file. Before the form is read."""
    request.max_content_length = MAX_BYTES + FORM_BYTES
    request.max_form_memory_size = FORM_BYTES


def refused_file(details: str) -> RequestError:
    """The Cloud API's error for a file that is not taken: HTTP 400, code 131053."""
    return RequestError("Media upload error", code=131053, status=400, details=details)


def name_of(file: FileStorage) -> str:
    r"""The file's own name, without the folders of its sender's machine; empty if it has none.

    Programs write a path as it is (`C:\a.pdf`), where RFC 9110 takes a backslash for the sign of an escape, and accents
    as e-mails do (RFC 2047), as Delphi's library.
    """
    name, disposition = file.filename or "", file.headers.get("Content-Disposition", "")
    if ENCODED_NAME not in disposition and (quoted := QUOTED_NAME.search(disposition)):
        name = ESCAPED.sub(r"\1", quoted[1]) if "\\" in quoted[1] else name
    own = own_filename(_decoded(name) if name.startswith("=?") and len(name) <= MAX_ENCODED_CHARS else name)
    return "" if own == "blob" else own


def _decoded(name: str) -> str:
    try:
        words = decode_header(name)
        return str(make_header(words)) if all((charset or "us-ascii") in CHARSETS for _, charset in words) else name
    except (ValueError, HeaderParseError):  # it is called so
        return name
