"""Files of messages: saved, found, described, replaced by links, expired."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING, Any

from unoapi.errors import MediaMissing, MediaQuotaReached, StoreUnavailable
from unoapi.errors.validation import invalid_value
from unoapi.models.media import (
    FILE_NAME,
    MEDIA_TYPES,
    MediaFile,
    file_key,
    is_plain,
    limit_of,
    may_be_metas,
    new_media_id,
    plain_address,
    plain_filename,
    plain_mime_type,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from unoapi.models.cloud_api.messages import OutboundMessage
    from unoapi.ports import MediaIndex, MediaStore

RECEIVED = frozenset({"animated", "file_size", "mime_type", "sha256", "url", "view_once"})
"""What the file of a received message says of itself: who passes it on writes it, too."""
DAY_S = 86_400
PIECE_BYTES = 256 * 1024


def save(  # noqa: PLR0913 (collaborators)
    phone: str,
    chunks: Iterable[bytes],
    *,
    mime_type: str,
    filename: str = "",
    files: MediaStore,
    index: MediaIndex,
    limit: int | None = None,
    media_id: str | None = None,
    quota: int | None = None,
) -> MediaFile:
    """Save a file of a session. First the file, then its entry in the index.

    With `quota` it counts: the bytes that all files may have together which the number made, 0 for no limit.
    Raises MediaTooLarge, MediaQuotaReached, StoreUnavailable.
    """
    if quota and index.counted_bytes(phone) >= quota:
        raise MediaQuotaReached(quota)
    own_id, mime_type = media_id or new_media_id(), plain_mime_type(mime_type)
    key = file_key(phone, own_id, mime_type)
    saved = files.save(key, chunks, mime_type=mime_type, limit=limit_of(mime_type) if limit is None else limit)
    media = MediaFile(
        id=own_id,
        phone=phone,
        mime_type=mime_type,
        sha256=saved.sha256,
        file_size=saved.size,
        filename=plain_filename(filename)[-255:],
        key=key,
        counted_on=0 if quota is None else int(time.time()) // DAY_S,
    )
    index.write(media)
    return media


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """What is left of an open file, in pieces of at most `PIECE_BYTES`."""
    while piece := file.read(PIECE_BYTES):
        yield piece


def save_picture(phone: str, data: bytes, media_id: str, *, files: MediaStore, index: MediaIndex) -> dict[str, Any]:
    """Save a PNG under an id; returns what a message says of it. Raises StoreUnavailable."""
    picture = save(phone, [data], mime_type="image/png", files=files, index=index, media_id=media_id)
    return {"id": picture.id, "sha256": picture.sha256}


def remove(media: MediaFile, *, files: MediaStore, index: MediaIndex) -> None:
    """Remove a file: first its entry in the index, so that nobody finds half of it."""
    index.remove(media)
    files.delete(media.key)


def holders(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The media objects in a message's document: its own, an interactive header's, those of template parameters."""
    return [holder for _, holder in kinds_of_files(message)]


def kinds_of_files(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The same, each behind its kind, as `image` or `document`. The files of a carousel's cards are not among them."""
    kind = message.get("type")
    if kind in MEDIA_TYPES:
        return _files_in([{kind: message[kind]}])
    if kind == "interactive":
        return _files_in([message["interactive"].get("header")])
    if kind == "template":
        return _files_in(_parts(message["template"], "components", "parameters"))
    return []


def kinds_in_cards(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The media objects of a carousel's cards: Meta shows them, a phone writes their addresses among the words."""
    kind = message.get("type")
    if kind == "interactive":
        action = message["interactive"].get("action")
        inner = action.get("carousel") if isinstance(action, dict) else None
        cards = [*_parts(action, "cards"), *_parts(inner, "cards")]
        heads = [card.get("header") for card in cards if isinstance(card, dict)]
        return _files_in(heads)
    if kind == "template":
        return _files_in(_parts(message["template"], "components", "cards", "components", "parameters"))
    return []


def _files_in(parts: Iterable[Any]) -> list[tuple[str, dict[str, Any]]]:
    named = [(name, part.get(name)) for part in parts if isinstance(part, dict) for name in MEDIA_TYPES]
    return [(name, holder) for name, holder in named if isinstance(holder, dict)]


def _parts(part: Any, *path: str) -> list[Any]:
    """What the lists at the end of a path of lists hold."""
    found = [part]
    for name in path:
        lists = [one.get(name) for one in found if isinstance(one, dict)]
        found = [inner for listed in lists if isinstance(listed, list) for inner in listed]
    return found


def own_id(phone: str, media_id: str) -> str:
    """The id without the session, in the forms that the Node version gave out: `P/id` and `P-id`."""
    for separator in ("/", "-"):
        owner, separated, rest = media_id.partition(separator)
        if separated and owner == phone:
            return rest
    return media_id


def own_file(key: str, *, phone: str, index: MediaIndex) -> MediaFile | None:
    """The number's own file of this key, which an address of ours leads to. Raises StoreUnavailable."""
    owner, _, file = key.partition("/")
    if owner != phone or not FILE_NAME.fullmatch(file):
        return None
    try:
        return index.find(file.rpartition(".")[0], phone=phone)
    except MediaMissing:
        return None


def check(message: OutboundMessage, *, phone: str, index: MediaIndex, at_meta: bool = False) -> None:
    """Refuse a message with a file that nobody uploaded. Raises RequestError.

    `at_meta`: Meta sends it, so that the file may have been uploaded there.
    """
    document = message.to_wire()
    for _, holder in _all_files(document):
        if holder.get("id") and not holder.get("link"):
            try:
                index.find(own_id(phone, str(holder["id"])), phone=phone)
            except MediaMissing:
                if at_meta and may_be_metas(str(holder["id"])):
                    continue
                details = f"{message.type}.id: no uploaded media of this number has this id, or it has expired."
                raise invalid_value(details) from None


def resolve(
    message: dict[str, Any],
    *,
    phone: str,
    index: MediaIndex,
    link: Callable[[MediaFile], str],
    key_in: Callable[[str], str] = lambda _: "",
) -> dict[str, Any]:
    """The message's document for Meta, which cannot read our store: with a link in the place of each uploaded id.

    An id that may be Meta's own stays. What says nothing there does not, nor does an id beside a link, which counts on
    phones, too. Links are as browsers write them; one to a file of the number itself, as `key_in` tells it, is made
    anew: the old one may have expired. Raises MediaMissing, StoreUnavailable.
    """

    def is_as_meta_takes_it(kind: str, holder: dict[str, Any]) -> bool:
        given = holder.get("link")
        return not _superfluous(kind, holder) and is_plain(given) and not key_in(given)

    if all(is_as_meta_takes_it(kind, holder) for kind, holder in _all_files(message)):
        return message
    changed: dict[str, Any] = copied(message)
    for kind, holder in _all_files(changed):
        for name in _superfluous(kind, holder):
            del holder[name]
        if holder.get("id"):
            try:
                media = index.find(own_id(phone, str(holder["id"])), phone=phone)
            except MediaMissing:
                if may_be_metas(str(holder["id"])):
                    continue
                raise
            del holder["id"]
            holder["link"] = link(media)
            if kind == "document" and media.filename:
                holder.setdefault("filename", media.filename)
        elif given := str(holder.get("link") or ""):
            own = own_file(key_in(given), phone=phone, index=index)
            holder["link"] = link(own) if own else plain_address(given)
    return changed


def as_received(file: dict[str, Any], *, phone: str, index: MediaIndex) -> dict[str, Any]:
    """The media object of a sent message as events tell those of received ones: of ours with what is known of it.

    Without a link, which is another one each time: the same message has to make the same event.
    """
    try:
        media = index.find(own_id(phone, str(file.get("id") or "")), phone=phone)
    except (MediaMissing, StoreUnavailable):
        return file
    known = {"id": media.id, "mime_type": media.mime_type.partition(";")[0], "sha256": media.sha256}
    given = {name: part for name, part in file.items() if part not in (None, "")}
    return {"filename": media.filename or media.key.rpartition("/")[2], **given, **known}


def _all_files(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The media objects of a message, each behind its kind."""
    return [*kinds_of_files(message), *kinds_in_cards(message)]


def _superfluous(kind: str, holder: dict[str, Any]) -> list[str]:
    """What Meta takes of no file: what clients left empty, names of what is shown, and what only received ones have."""
    names = [name for name in ("id", "link", "filename", "caption") if holder.get(name, "-") in (None, "")]
    if "id" in holder and "id" not in names and holder.get("link"):
        names.append("id")
    if "filename" in holder and "filename" not in names and kind != "document":
        names.append("filename")
    return [*names, *(RECEIVED & holder.keys())]


def copied(value: Any) -> Any:
    """A document of its own."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    return [copied(part) for part in value] if isinstance(value, list) else value
