"""The files of a session: what its process fetches itself, and from where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from tests.support.fakes import PHONE, MemoryMediaIndex
from unoapi.connector.engines.base import ProfilePicture
from unoapi.connector.media import SessionMedia
from unoapi.media.folder import FolderMediaStore

if TYPE_CHECKING:
    from pathlib import Path


class Files:
    """A downloader that has one picture."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fetch(self, url: str, target: BinaryIO, **_: Any) -> None:
        self.asked.append(url)
        target.write(b"\xff\xd8\xff picture")


def test_a_contacts_picture_is_fetched_once_and_from_where_the_session_is_connected(tmp_path: Path) -> None:
    direct, through_the_proxy = Files(), Files()
    files: Any = FolderMediaStore(tmp_path)
    media = SessionMedia(
        PHONE, files=files, index=MemoryMediaIndex(), downloader=direct, pictures=through_the_proxy,  # type: ignore[arg-type]
        link_to=lambda file: f"https://uno.test/{file.id}", timeout_ms=1000,
    )  # fmt: skip
    picture = ProfilePicture("7", "https://pps.whatsapp.net/1.jpg")

    links = {media.save_picture(picture) for _ in range(2)}

    assert len(links) == 1
    assert (through_the_proxy.asked, direct.asked) == ([picture.url], [])
