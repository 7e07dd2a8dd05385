"""Files: uploaded, described, downloaded, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Blueprint, Response, after_this_request, jsonify, request

from unoapi.errors import MediaMissing, MediaQuotaReached, MediaTooLarge, RequestError, StoreUnavailable
from unoapi.models.file_types import HEAD_BYTES, VAGUE, declared_type
from unoapi.models.media import (
    FILE_NAME,
    MAX_BYTES,
    UNKNOWN,
    MediaFile,
    ascii_filename,
    limit_of,
    plain_filename,
    plain_mime_type,
    type_of,
)
from unoapi.services import media as service
from unoapi.web.auth import check_owner, owner, session_token
from unoapi.web.form_files import allow_file, name_of, refused_file
from unoapi.web.messages import sender_for
from unoapi.web.parts import parts
from unoapi.web.request_body import MULTIPART
from unoapi.web.schemas import STREAM, schema
from unoapi.web.waiting import let_in

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue
    from werkzeug.datastructures import FileStorage

routes = Blueprint("media", __name__)

UNAUTHORISED, NOT_FOUND = 401, 404


@routes.post("/<version>/<node:phone>/media")
@session_token
@schema(takes_file=True)
def upload(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Save a file for a message that is sent later. It goes through the disk, never as a whole through the memory.

    The bounds of a type are Meta's: phones take what they take by link.
    """
    allow_file()
    file = request.files.get("file")
    if file is None:
        why = _why_no_file()
        raise RequestError("Required parameter is missing", code=131008, status=400, details=f"file: {why}")
    head = file.stream.read(HEAD_BYTES)
    if not head:
        raise refused_file("file: it is empty")
    file.stream.seek(0)
    name = name_of(file)
    mime_type = _type_of(file, head, name=name)
    uno = parts()
    limit = limit_of(mime_type) if sender_for(phone).at_meta else MAX_BYTES
    try:
        media = service.save(
            phone,
            service.pieces_of(file.stream),
            mime_type=mime_type,
            filename=name,
            files=uno.media_store,
            index=uno.media_index,
            limit=limit,
            quota=uno.settings.unoapi_session_media_max,
        )
    except MediaQuotaReached as error:
        details = f"file: {error}; delete some, or wait: each expires after DATA_TTL."
        raise refused_file(details) from None
    except MediaTooLarge:
        details = f"file: a file of type {mime_type} has at most {limit} bytes."
        raise refused_file(details) from None
    return jsonify(id=media.id)


@routes.get("/<version>/<media_id:media_id>")
@routes.get("/<media_id:media_id>")
@owner
def describe(media_id: str, version: str = "") -> ResponseReturnValue:  # noqa: ARG001
    """A file's metadata, with an address that opens it for some time."""
    return _described(_find(media_id))


@routes.get("/<version>/<digits:phone>/<former_media_id:media_id>")
@session_token
def describe_of(version: str, phone: str, media_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """The same, at the address of the Node version."""
    return _described(_find(media_id, phone))


@routes.delete("/<version>/<media_id:media_id>")
@routes.delete("/<media_id:media_id>")
@owner
def delete(media_id: str, version: str = "") -> ResponseReturnValue:  # noqa: ARG001
    """Remove a file."""
    uno, media = parts(), _find(media_id)
    _check_number(media)
    service.remove(media, files=uno.media_store, index=uno.media_index)
    return jsonify(success=True)


@routes.get("/<version>/download/<digits:phone>/<path:file>")
@owner
@schema(answer=STREAM)
def download(version: str, phone: str, file: str) -> ResponseReturnValue:  # noqa: ARG001
    """The bytes. A signed address needs no token."""
    if not FILE_NAME.fullmatch(file) or ".." in file:
        raise RequestError("Invalid parameter", code=100, status=400, details="This is not the name of a file.")
    key = f"{phone}/{file}"
    signature = request.args.get("signature", "")
    if signature and parts().signed_urls.opens(key, signature):
        let_in(request.environ, f"links of {phone}")
    else:
        _check_owner(phone, by_link=bool(signature))
    uno = parts()
    try:
        size = uno.media_store.size(key)
    except MediaMissing:
        raise _unknown() from None
    mime_type, name, tag = _facts_of(file, phone=phone)
    if tag and (unchanged := _unchanged(tag)) is not None:
        return unchanged
    part = _asked_part(size, tag)
    start, length = part or (0, size)
    try:
        pieces = iter(()) if request.method == "HEAD" else uno.media_store.read(key, start=start, length=length)
    except MediaMissing:
        raise _unknown() from None
    answer = Response(pieces, mimetype=mime_type)
    if ";" in mime_type:  # it has its own charset
        answer.content_type = mime_type
    answer.content_length = length
    answer.headers["Accept-Ranges"] = "bytes"
    if part:
        answer.status_code = 206
        answer.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    if tag:
        answer.set_etag(tag)
    answer.headers["Content-Disposition"] = _attachment(name)
    return answer


def _facts_of(file: str, *, phone: str) -> tuple[str, str, str]:
    """The media type, the name and the checksum of a file; the last one is empty where nobody knows it."""
    try:
        media = parts().media_index.find(file.rpartition(".")[0], phone=phone)
    except (MediaMissing, StoreUnavailable):  # saved by the Node version, or Redis is away: the name's ending says it
        return type_of(file) or UNKNOWN, file, ""
    # Cleaned again: it may have been saved by an earlier version.
    return plain_mime_type(media.mime_type), plain_filename(media.filename) or file, media.sha256


def _attachment(name: str) -> str:
    """The header with a file's name, for programs that read ASCII alone as well (RFC 6266)."""
    plain = ascii_filename(name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{encoded}'


def _unchanged(tag: str) -> Response | None:
    """The answer to who has the file already (RFC 9110). Raises RequestError for who has another one and says so."""
    if request.if_match and not request.if_match.contains(tag):
        raise RequestError("Precondition failed", code=100, status=412, details="If-Match: the file is another one.")
    if not request.if_none_match.contains_weak(tag):
        return None
    answer = Response(status=304)
    answer.set_etag(tag)
    return answer


def _asked_part(size: int, tag: str) -> tuple[int, int] | None:
    """Where the range that was asked for begins, and how many bytes it has (RFC 9110); none for the whole file.

    Apple's players take audio and video from no server without ranges. Raises RequestError for a range behind the end.
    """
    asked = request.range
    condition = request.headers.get("If-Range", "").strip()
    stale = bool(condition) and not (tag and condition == f'"{tag}"')
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1 or stale:
        return None
    ((begin, end),) = asked.ranges
    if end is None and begin < -size:  # the last bytes of a file that has fewer: all of it
        return 0, size
    part = asked.range_for_length(size)
    if part is None:

        @after_this_request
        def _with_size(answer: Response) -> Response:
            answer.headers["Content-Range"] = f"bytes */{size}"
            return answer

        raise RequestError("Range not satisfiable", code=100, status=416, details=f"The file has {size} bytes.")
    return part[0], part[1] - part[0]


def _described(media: MediaFile) -> ResponseReturnValue:
    _check_number(media)
    return jsonify(media.described(parts().signed_urls.make(media)))


def _check_number(media: MediaFile) -> None:
    """Refuse a request that names another number than the file's, as Meta does."""
    asked = request.args.get("phone_number_id")
    if asked and asked != media.phone and media.phone not in parts().directory.phones_of(asked):
        raise _unknown()


def _find(media_id: str, phone: str | None = None) -> MediaFile:
    owner_phone, _, rest = media_id.partition("-")
    if phone is None and rest and owner_phone.isdigit():  # the Node version's form for Typebot
        phone, media_id = owner_phone, rest
    try:
        media = parts().media_index.find(media_id, phone=phone)
    except MediaMissing:
        _check_owner(phone)
        raise _unknown() from None
    _check_owner(media.phone)
    return media


def _check_owner(phone: str | None, *, by_link: bool = False) -> None:
    """Refuse a caller who may not see the file: another number's looks like nobody's.

    `by_link`: the caller came with a signature that opens it no longer, mostly without a token.
    """
    try:
        check_owner(phone)
    except RequestError as error:
        if by_link and error.status == UNAUTHORISED:
            details = "This link has expired, or is not whole: GET /<version>/<media id> has a new one."
            raise RequestError(error.title, code=error.code, status=error.status, details=details) from None
        raise (_unknown() if error.status == NOT_FOUND else error) from None


def _unknown() -> RequestError:
    details = "No media with this id: it was never here, was deleted or has expired, or is another number's."
    return RequestError("Unsupported get request", code=100, status=400, details=details)


def _why_no_file() -> str:
    """Why a request to upload has no file, in the words of who made it."""
    if request.mimetype != MULTIPART:
        return "is missing: the body must be multipart/form-data"
    if "file" in request.form:
        return "its part needs a filename"
    if not request.form and not request.files:
        return "the form cannot be read: is its boundary right, are its names in UTF-8, and did all of it come?"
    other = next(iter(request.files), "")
    return f"is missing; did you mean file by {other[:40]}?" if other else "is missing"


def _type_of(file: FileStorage, head: bytes, *, name: str) -> str:
    """The part's own type, else what the client names, as far as its first bytes allow; else what those tell."""
    named = (request.form.get("type") or "").strip().lower()
    offered = (one for one in (file.mimetype or "", named) if plain_mime_type(one) not in VAGUE and "*" not in one)
    said = next(offered, "")
    mime_type = declared_type(said, head, name=name)
    if len(mime_type) > 255 or not mime_type.isprintable():  # noqa: PLR2004 (RFC 6838)
        return UNKNOWN
    return mime_type
