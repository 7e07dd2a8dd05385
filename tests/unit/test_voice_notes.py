"""Voice notes: whatever is wrong with the audio, the message is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from tests.support.constants import CONTACT, PHONE
from unoapi.models.jobs import PrepareVoice
from unoapi.services.voice_notes import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from unoapi.ports import FileDownloader, MediaIndex

AUDIO = {"to": CONTACT, "type": "audio", "audio": {"link": "https://h.test/a.mp3", "voice": True}}


class FullIndex:
    """The files of the number have as many bytes as they may."""

    def counted_bytes(self, phone: str) -> int:
        assert phone == PHONE
        return 1000


class Reachable:
    """Every file is there."""

    def fetch(self, url: str, target: BinaryIO, **_: Any) -> None:
        target.write(url.encode())


def copied(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def test_over_the_quota_an_audio_is_sent_as_it_came() -> None:
    job = PrepareVoice(id="wamid.1", message_id="wamid.1", phone=PHONE, body=json.dumps(AUDIO), claimed_only=True)

    sent, problem = prepare(
        job,
        files=cast("Any", None),  # nothing is saved
        index=cast("MediaIndex", FullIndex()),
        downloader=cast("FileDownloader", Reachable()),
        convert=copied,
        timeout_ms=1000,
        quota=1000,
    )

    assert json.loads(sent.body)["audio"] == AUDIO["audio"]
    assert sent.claimed_only
    assert "UNOAPI_SESSION_MEDIA_MAX" in problem
