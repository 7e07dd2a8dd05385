"""Resumable uploads, as Graph has them: a session, then the bytes, then a handle for templates and profile pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from flask import Blueprint, jsonify, request
from pydantic import BaseModel, ConfigDict, Field

from unoapi.errors import MediaMissing, MediaQuotaReached, MediaTooLarge, RequestError
from unoapi.errors.validation import invalid_value
from unoapi.models.file_types import declared_type
from unoapi.models.media import MAX_BYTES, handle_of, media_id_of_handle
from unoapi.services import media as service
from unoapi.web.apps import number_of
from unoapi.web.auth import any_session_token, check_owner, owner, session_at_meta, visible_sessions
from unoapi.web.form_files import refused_file
from unoapi.web.parts import parts
from unoapi.web.pass_through import REFUSED, forward_node, forward_upload
from unoapi.web.schemas import body, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.typing import ResponseReturnValue

    from unoapi.models.media import MediaFile
    from unoapi.models.session import Session

routes = Blueprint("uploads", __name__)
PREFIX = "upload:"


class UploadStart(BaseModel):
    """What is going to be uploaded."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    file_length: int = Field(default=0, ge=0, le=MAX_BYTES)
    file_type: Annotated[str, Field(max_length=255)] = ""
    file_name: Annotated[str, Field(max_length=255)] = ""


@routes.post("/<version>/<node:app>/uploads")
@any_session_token
@schema(also=REFUSED)
@body(UploadStart)
def start(version: str, app: str, body: UploadStart) -> ResponseReturnValue:  # noqa: ARG001 (any version is served alike)
    """Begin an upload for the number that the token opens. `app` may be that number's id, or any app's.

    That of a number at Meta is there, whose app's id it must be: only Meta's handles stand in what Meta keeps.
    """
    session = number_of(app, visible_sessions())
    if session.provider == "forwarder":
        return forward_node(session, f"{app}/uploads")
    fields = {"phone": session.phone, "type": body.file_type, "name": body.file_name}
    return jsonify(id=PREFIX + parts().signed_urls.seal(fields))


@routes.get("/<version>/<upload_id:upload_id>")
@owner
@schema(also=REFUSED)
def offset(version: str, upload_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """How much of it has come: an upload is taken as a whole, or not at all."""
    if (session := _at_meta(upload_id)) is not None:
        return forward_upload(session, upload_id)
    check_owner(_fields(upload_id)["phone"])
    return jsonify(id=upload_id, file_offset=0)


@routes.post("/<version>/<upload_id:upload_id>")
@owner
@schema(takes_bytes=True, also=REFUSED)
def take(version: str, upload_id: str) -> ResponseReturnValue:  # noqa: ARG001
    """Save the bytes of the body; answers the handle."""
    if (session := _at_meta(upload_id)) is not None:
        return forward_upload(session, upload_id)
    fields = _fields(upload_id)
    check_owner(fields["phone"])
    request.max_content_length = MAX_BYTES
    if request.headers.get("file_offset", "0").strip() not in ("", "0"):
        raise RequestError("Invalid parameter", code=100, status=400, details="file_offset: begin again at 0.")
    uno = parts()
    pieces = service.pieces_of(request.stream)
    head = next(pieces, b"")
    if not head:
        raise refused_file("The body is empty.")
    try:
        media = service.save(
            fields["phone"],
            _all(head, pieces),
            mime_type=declared_type(fields["type"], head, name=fields["name"]),
            filename=fields["name"],
            files=uno.media_store,
            index=uno.media_index,
            quota=uno.settings.unoapi_session_media_max,
        )
    except (MediaQuotaReached, MediaTooLarge) as error:
        raise refused_file(f"{error}.") from None
    return jsonify(h=handle_of(media))


def _at_meta(upload_id: str) -> Session | None:
    """The number at Meta of an upload that is none of ours. Raises RequestError, StoreUnavailable."""
    is_ours = parts().signed_urls.unseal(upload_id.removeprefix(PREFIX)) is not None
    return None if is_ours else session_at_meta(upload_id)


def file_of_handle(handle: str, *, phone: str) -> MediaFile:
    """The uploaded file of a number. Raises RequestError for a handle that is none, or another number's."""
    try:
        return parts().media_index.find(media_id_of_handle(handle), phone=phone)
    except MediaMissing:
        details = "There is no uploaded file of this handle, or it has expired."
        raise invalid_value(details) from None


def _fields(upload_id: str) -> dict[str, str]:
    fields = parts().signed_urls.unseal(upload_id.removeprefix(PREFIX))
    if fields is None:
        check_owner(None)
        details = "There is no such upload, or it is too old: begin another one."
        raise RequestError("Unsupported request: unknown id", code=100, status=404, details=details)
    return fields


def _all(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest
