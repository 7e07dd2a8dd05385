"""The files of a message that stand at addresses: fetched and saved before a phone sends it.

In a thread of the workers, within the share of the file's server, so that a slow one holds up neither the number nor
anybody else. What is no file that the message could hold ends it at once, with the reason.
"""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO

from unoapi.errors import FetchFailed, FileRefused, MediaQuotaReached, MessageRejected, Postponed, StoreUnavailable
from unoapi.models.cloud_api.events import serialise
from unoapi.models.file_types import HEAD_BYTES, known_type, why_not
from unoapi.models.jobs import PrepareMessage, SendMessage, now_ms
from unoapi.models.media import MAX_BYTES, names_a_file, own_filename, path_of, with_ending
from unoapi.services import preparation
from unoapi.services.media import copied, holders, kinds_of_files, own_file, pieces_of, save
from unoapi.services.message_parsing import message_of
from unoapi.services.retries import ensure_fresh
from unoapi.services.sending import UPLOAD_FAILED

if TYPE_CHECKING:
    from collections.abc import Callable

    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.models.jobs import FetchFiles
    from unoapi.models.media import MediaFile
    from unoapi.ports import FetchedFile, FileDownloader, MediaIndex, MediaStore
    from unoapi.services.bulkhead import Bulkhead


def wanted(message: OutboundMessage) -> bool:
    """Whether a message has a file at an address."""
    return any(holder.get("link") for holder in holders(message.to_wire()))


def fetch(  # noqa: PLR0913 (collaborators and switches)
    job: FetchFiles,
    *,
    files: MediaStore,
    index: MediaIndex,
    downloader: FileDownloader,
    bulkhead: Bulkhead,
    timeout_ms: int,
    quota: int,
    max_age_s: int,
    voice: bool,
    always_voice: bool,
    key_in: Callable[[str], str] = lambda _: "",
) -> SendMessage | PrepareMessage:
    """The message with our ids in the place of its addresses, to be prepared or sent: see `preparation.wanted`.

    `key_in` says which of our own files an address leads to: such a one is not asked for over the network.
    Raises FetchFailed (retry), Postponed (when the file's server asks for it), TooOld, and MessageRejected for a file
    that is not there, or not what it has to be. A file that cannot be saved here stays where it is.
    """
    ensure_fresh(job, max_age_s=max_age_s)
    document: dict[str, Any] = copied(json.loads(job.body))
    for kind, holder in kinds_of_files(document)[: preparation.MAX_FILES]:
        link = str(holder.get("link") or "").strip()
        if not link:
            continue
        try:
            if (saved := own_file(key_in(link), phone=job.phone, index=index)) is not None:
                _replace(holder, kind, saved)
                continue
            with bulkhead.taken(link, phone=job.phone), tempfile.TemporaryFile(prefix="unoapi-fetch-") as file:
                fetched = downloader.fetch(link, file, limit=MAX_BYTES, timeout_ms=timeout_ms)
                saved = _saved(job, kind, holder, file, fetched, files=files, index=index, quota=quota)
        except (MediaQuotaReached, StoreUnavailable, OSError):
            continue
        except FileRefused as error:
            raise _rejected(f"{error}") from error
        except FetchFailed as error:
            raise _later(job, error, max_age_s=max_age_s) from error
        _replace(holder, kind, saved)
    following = SendMessage.model_validate(job.model_dump() | {"body": serialise(document)})
    if preparation.wanted(message_of(following), for_phone=True, voice=voice, always_voice=always_voice):
        return PrepareMessage.model_validate(following.model_dump())
    return following


def _replace(holder: dict[str, Any], kind: str, saved: MediaFile) -> None:
    """Name a file by our id instead of its address."""
    del holder["link"]
    holder["id"] = saved.id
    if kind == "document" and saved.filename:
        holder.setdefault("filename", saved.filename)


def ensure_is(kind: str, file: BinaryIO, *, served: str, name: str) -> str:
    """The media type of a fetched file. Raises FileRefused for what a message of this kind cannot hold."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if why := why_not(kind, head, served=served, name=name):
        raise FileRefused(why)
    return known_type(head, served=served, name=name, kind=kind)


def name_in(link: str) -> str:
    """The name at the end of an address's path."""
    return path_of(link).rpartition("/")[2]


def _saved(  # noqa: PLR0913 (collaborators)
    job: FetchFiles,
    kind: str,
    holder: dict[str, Any],
    file: BinaryIO,
    fetched: FetchedFile,
    *,
    files: MediaStore,
    index: MediaIndex,
    quota: int,
) -> MediaFile:
    given, last = str(holder.get("filename") or ""), name_in(str(holder["link"]))
    if not names_a_file(last):
        last = own_filename(fetched.filename) or last
    mime_type = ensure_is(kind, file, served=fetched.mime_type, name=given or last)
    name = given or (with_ending(last, mime_type) if last else "")
    pieces = pieces_of(file)
    return save(
        job.phone, pieces, mime_type=mime_type, filename=name, files=files, index=index, limit=MAX_BYTES, quota=quota
    )


def _later(job: FetchFiles, error: FetchFailed, *, max_age_s: int) -> FetchFailed | Postponed | MessageRejected:
    """What becomes of a message whose file may be had later, by the word of the file's server or on the schedule."""
    if error.after_ms is None:
        return error
    if now_ms() + error.after_ms > job.accepted_at_ms + max_age_s * 1000:
        return _rejected(f"{error}, and asks to come back in {error.after_ms // 1000} s")
    return Postponed(f"{error} with Retry-After", after_ms=error.after_ms)


def _rejected(details: str) -> MessageRejected:
    return MessageRejected("Media upload error", code=UPLOAD_FAILED, details=f"{details}.")
