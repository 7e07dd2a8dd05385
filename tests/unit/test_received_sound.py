"""Received sound as MP3 (DOWNLOAD_AUDIO_CONVERT_TO_MP3): by ffmpeg itself, and without it the sound as it came."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes import PHONE, MemoryPublisher, make_event, make_fan_out, make_session
from tests.support.worker import make_uno, run
from tests.unit.test_preparation import Shelf, made, sound
from unoapi.errors import ConversionFailed, Postponed, StoreUnavailable
from unoapi.media import ffmpeg
from unoapi.media.ffmpeg import sound_of
from unoapi.media.tools import FileTools
from unoapi.models.jobs import ConvertAudio, FanOut, ReceiveEvent, now_ms
from unoapi.models.media import MediaFile
from unoapi.services.received_media import convert_audio, converting

if TYPE_CHECKING:
    from pathlib import Path

ID = "314100000000000000000001"
VOICE = {"id": ID, "mime_type": "audio/ogg", "filename": "3EB0.oga", "voice": True, "sha256": "f0"}


def event_of(audio: Any, **fields: Any) -> FanOut:
    return make_fan_out(make_event(**{"type": "audio", "audio": audio, "text": None, **fields}))


def shelf_with(data: bytes) -> Any:
    shelf = Shelf()
    key = f"{PHONE}/{ID}.oga"
    shelf.save(key, [data])
    shelf.write(MediaFile(id=ID, phone=PHONE, mime_type="audio/ogg", key=key))
    return shelf


def audio_in(job: FanOut) -> dict[str, Any]:
    message = json.loads(job.body)["entry"][0]["changes"][0]["value"]["messages"][0]
    return dict(message["audio"])


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_voice_note_becomes_an_mp3_under_an_id_that_stays_the_same(tmp_path: Path) -> None:
    shelf = shelf_with(sound(tmp_path, "a.oga", "-c:a", "libopus"))
    job = converting(event_of(VOICE))
    assert isinstance(job, ConvertAudio)

    first, second = (
        convert_audio(job, files=shelf, index=shelf, tools=FileTools(), link=lambda media: media.key) for _ in range(2)
    )

    told = audio_in(first)
    assert (told["mime_type"], told["filename"], told["voice"]) == ("audio/mpeg", "3EB0.mp3", True)
    assert told == audio_in(second)
    assert told["id"] != ID
    (tmp_path / "made.mp3").write_bytes(shelf.saved[told["id"]][1])
    measured = sound_of(tmp_path / "made.mp3", waveform=False)
    assert (measured.mime_type, measured.seconds) == ("audio/mpeg", 2)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_what_holds_no_sound_is_not_converted(tmp_path: Path) -> None:
    silent = made(tmp_path, "a.mp4", "-f", "lavfi", "-i", "color=red:duration=1")
    job = ConvertAudio.model_validate(event_of(VOICE).model_dump())

    for data in (silent, b"", b"#EXTM3U\nfile:///etc/passwd"):
        shelf = shelf_with(data)
        with pytest.raises(ConversionFailed):
            convert_audio(job, files=shelf, index=shelf, tools=FileTools(), link=lambda media: media.key)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_no_sound_is_cut_where_an_mp3_of_it_would_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MAX_BYTES", 10_000)
    shelf = shelf_with(sound(tmp_path, "a.oga", "-c:a", "libopus"))
    job = ConvertAudio.model_validate(event_of(VOICE).model_dump())

    with pytest.raises(ConversionFailed, match="more than 10000 bytes"):
        convert_audio(job, files=shelf, index=shelf, tools=FileTools(), link=lambda media: media.key)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_sound_of_half_an_hour_is_whole(tmp_path: Path) -> None:
    long = made(tmp_path, "a.flac", "-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=1800")
    shelf = shelf_with(long)
    job = ConvertAudio.model_validate(event_of(VOICE).model_dump())

    event = convert_audio(job, files=shelf, index=shelf, tools=FileTools(), link=lambda media: media.key)

    (tmp_path / "made.mp3").write_bytes(shelf.saved[audio_in(event)["id"]][1])
    assert sound_of(tmp_path / "made.mp3", waveform=False).seconds == 1800


@pytest.mark.parametrize(
    "job",
    [
        make_fan_out(),
        event_of({**VOICE, "mime_type": "audio/mpeg"}),
        event_of({}),
        event_of(None),
        event_of("x"),
        make_fan_out(make_event(text={"body": '"type":"audio"'})),
    ],
    ids=["text", "mp3", "no id", "none", "text for it", "words"],
)
def test_every_other_event_goes_on_as_it_is(job: FanOut) -> None:
    assert converting(job) is job


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_a_phones_voice_note_is_converted_only_where_the_setting_says_so(wanted: str) -> None:
    uno = make_uno(make_session(), settings={"DOWNLOAD_AUDIO_CONVERT_TO_MP3": wanted})
    chat = {"jid": "5549988887777@s.whatsapp.net", "kind": "user", "phone": "5549988887777"}
    content = {"kind": "audio", "mime_type": "audio/ogg", "voice": True, "media": {"key": ID, "state": "ready"}}
    data = {"id": "3EB0", "chat": chat, "sender": chat, "timestamp_ms": 1_000, "content": content}
    event = {"version": 1, "type": "message", "event_id": "e", "session": PHONE, "data": data}

    run(uno, ReceiveEvent(id="e", phone=PHONE, event=event))

    queues: Any = uno.publisher
    assert isinstance(queues, MemoryPublisher)
    (job,) = queues.jobs("unoapi.media" if wanted == "true" else "unoapi.outgoing")
    assert isinstance(job, ConvertAudio if wanted == "true" else FanOut)


def test_while_files_cannot_be_read_an_event_waits_for_its_mp3_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the bucket did not answer as it should")

    shelf = shelf_with(b"x")
    monkeypatch.setattr(shelf, "read", away)
    job = ConvertAudio.model_validate(event_of(VOICE).model_dump() | {"accepted_at_ms": now_ms()})
    old = job.model_copy(update={"accepted_at_ms": 1})

    with pytest.raises(Postponed, match="the bucket did not answer"):
        convert_audio(job, files=shelf, index=shelf, tools=FileTools(), link=lambda media: media.key)
    with pytest.raises(ConversionFailed, match="the bucket did not answer"):
        convert_audio(old, files=shelf, index=shelf, tools=FileTools(), link=lambda media: media.key)


def test_without_the_file_the_event_goes_on_with_the_sound_as_it_came() -> None:
    uno = make_uno(make_session())
    job = ConvertAudio.model_validate(event_of(VOICE).model_dump())

    run(uno, job)

    queues: Any = uno.publisher
    (going_on,) = queues.jobs("unoapi.outgoing")
    assert going_on.body == job.body
