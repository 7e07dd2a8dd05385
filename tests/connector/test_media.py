"""The files of a session: what its process fetches itself, and from where."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from tests.connector.pocket import Pocket
from tests.support.fakes import GROUP, PHONE, MemoryMediaIndex
from unoapi.connector import outbox_publisher
from unoapi.connector.engines.base import ProfilePicture
from unoapi.connector.media import SessionMedia
from unoapi.errors import EngineUnavailable, FileRefused, SendRefused
from unoapi.media.folder import FolderMediaStore
from unoapi.models.connector.content import Media
from unoapi.services.media import save

if TYPE_CHECKING:
    from pathlib import Path


PICTURE = ProfilePicture("7", "https://pps.whatsapp.net/1.jpg")
GROUP_CHAT = {"jid": GROUP, "kind": "group"}
CHANNEL = {"jid": "120363111@newsletter", "kind": "newsletter"}


class Files:
    """A downloader that has one picture."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fetch(self, url: str, target: BinaryIO, **_: Any) -> None:
        self.asked.append(url)
        target.write(b"\xff\xd8\xff picture")


def media_of(folder: Path, direct: Files, through_the_proxy: Files) -> SessionMedia:
    files: Any = FolderMediaStore(folder)
    parts: Any = {"index": MemoryMediaIndex(), "downloader": direct, "pictures": through_the_proxy}
    return SessionMedia(
        PHONE, files=files, link_to=lambda file: f"https://uno.test/{file.id}", timeout_ms=1000, **parts
    )


def test_a_contacts_picture_is_fetched_once_and_from_where_the_session_is_connected(tmp_path: Path) -> None:
    direct, through_the_proxy = Files(), Files()
    media = media_of(tmp_path, direct, through_the_proxy)

    links = {media.save_picture(PICTURE) for _ in range(2)}

    assert len(links) == 1
    assert (through_the_proxy.asked, direct.asked) == ([PICTURE.url], [])


PDF, HEIC, JPEG = b"%PDF-1.7", b"\0\0\0\x18ftypheic", b"\xff\xd8\xff"


@pytest.mark.parametrize(
    ("kind", "data", "mime_type", "reason"),
    [
        ("image", PDF, "application/pdf", "the file is application/pdf, no image"),
        ("image", PDF, "image/jpeg", "the file is application/pdf, no image"),
        ("video", JPEG, "image/jpeg", "the file is image/jpeg, no video"),
        ("audio", JPEG, "audio/mpeg", "the file is image/jpeg, no audio"),
        ("image", b"", "image/jpeg", "the file is empty"),
        ("image", HEIC, "image/jpeg", "phones do not show image/heic, and it was not converted"),
        ("video", b"RIFF....AVI ", "video/mp4", "phones do not show video/x-msvideo, and it was not converted"),
        ("image", bytes(64), "", "phones do not show application/octet-stream, and it was not converted"),
        ("video", bytes(64), "binary/octet-stream", "phones do not show application/octet-stream, and it was not"),
        ("image", b"<svg/>", "image/svg+xml", "phones do not show image/svg+xml, and it was not converted"),
    ],
)
def test_an_uploaded_file_of_another_kind_is_refused(
    tmp_path: Path, kind: str, data: bytes, mime_type: str, reason: str
) -> None:
    media, item = uploaded(tmp_path, kind, data, mime_type)

    with pytest.raises(SendRefused, match=re.escape(reason)) as raised:
        media.fetch(item)

    assert raised.value.code == 131053


def test_an_uploaded_file_has_the_type_of_its_bytes_and_a_document_the_one_it_was_given(tmp_path: Path) -> None:
    for kind, data, mime_type, expected in (
        ("image", JPEG, "image/png", "image/jpeg"),
        ("audio", b"ID3", "audio/mp4", "audio/mpeg"),
        ("document", b"<html>", "text/html", "text/html"),
        ("document", PDF, "application/x-nota", "application/x-nota"),
    ):
        media, item = uploaded(tmp_path, kind, data, mime_type)

        assert media.fetch(item)[0].mime_type == expected


def test_the_bytes_of_a_film_tell_more_than_its_client(tmp_path: Path) -> None:
    media, item = uploaded(tmp_path, "video", b"\0\0\0\x18ftypisom", "video/mp4")

    assert media.fetch(item.model_copy(update={"mime_type": "x/y"}))[0].mime_type == "video/mp4"


def uploaded(folder: Path, kind: str, data: bytes, mime_type: str) -> tuple[SessionMedia, Media]:
    files: Any = FolderMediaStore(folder)
    index: Any = MemoryMediaIndex()
    saved = save(PHONE, [data], mime_type=mime_type, files=files, index=index)
    nothing: Any = None
    media = SessionMedia(
        PHONE, files=files, index=index, downloader=nothing, pictures=nothing, link_to=nothing, timeout_ms=1000
    )
    return media, Media.model_validate({"kind": kind, "media": {"key": saved.id, "state": "ready"}})


def test_a_channels_file_is_fetched_from_whatsapps_servers_alone(tmp_path: Path) -> None:
    direct, through_the_proxy = Files(), Files()
    media = media_of(tmp_path, direct, through_the_proxy)

    data = media.fetch_open("https://mmg.whatsapp.net/m1/v/x")
    for url in ("https://evil.test/x", "https://whatsapp.net.evil.test/x", "http://127.0.0.1/x", "x"):
        with pytest.raises(FileRefused):
            media.fetch_open(url)

    assert data.startswith(b"\xff\xd8\xff")
    assert through_the_proxy.asked == ["https://mmg.whatsapp.net/m1/v/x"]


@pytest.mark.parametrize(
    ("digest", "key"),
    [(hashlib.sha256(b"picture").digest(), "3141"), (b"", "3141"), (b"another", None)],
    ids=["as announced", "without a digest", "another file"],
)
def test_a_channels_picture_is_told_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: bytes, key: str | None
) -> None:
    monkeypatch.setattr(outbox_publisher, "MEDIA_PAUSE_S", 0.0)
    pocket = Pocket(tmp_path)
    descriptor = {"url": "https://mmg.whatsapp.net/a", "file_sha256": base64.b64encode(digest).decode()}
    file = {"descriptor": {**descriptor, "media_type": "image"}, "state": "pending"}
    pocket.receives({"kind": "image", "media": file}, chat=CHANNEL)
    pocket.wait_for_files()

    (message,) = pocket.messages()
    assert message["image"].get("id") == key


@pytest.mark.parametrize(("size", "tries"), [(100 * 1_048_576, 3), (100 * 1_048_576 + 1, 0)])
def test_of_a_file_that_is_too_large_the_message_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, tries: int
) -> None:
    monkeypatch.setattr(outbox_publisher, "MEDIA_PAUSE_S", 0.0 if tries else 60.0)
    pocket, asked = Pocket(tmp_path), []

    def download(descriptor: dict[str, Any]) -> bytes:
        asked.append(descriptor)
        raise EngineUnavailable("not now")

    monkeypatch.setattr(pocket.engine, "download", download)
    descriptor = {"media_type": "video", "media_key": "k", "file_length": size}
    pocket.receives({"kind": "video", "media": {"state": "pending", "descriptor": descriptor}})
    pocket.wait_for_files()

    (message,) = pocket.messages()
    (error,) = message["errors"]
    assert (error["code"], len(asked)) == (131052, tries)
    assert ("more than 100 MB" in error["error_data"]["details"]) == (tries == 0)


def test_files_of_ignored_groups_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pocket = Pocket(tmp_path, ignoreGroupMessages=True)
    fetched: list[Any] = []

    def download(descriptor: dict[str, Any]) -> bytes:
        fetched.append(descriptor)
        return b"file"

    monkeypatch.setattr(pocket.engine, "download", download)
    image = {"kind": "image", "media": {"state": "pending", "descriptor": {"media_type": "image", "media_key": "k"}}}

    pocket.receives(image, "3EB01", chat=GROUP_CHAT)
    pocket.receives(image, "3EB02")
    pocket.wait_for_files()

    assert len(fetched) == 1
    assert [message["id"] for message in pocket.messages()] == ["3EB02"]
