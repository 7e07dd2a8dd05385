"""The local model: its real loading code, against a stand-in with the library's interface; and how long audios are."""

from __future__ import annotations

import base64
import threading
import time
import wave
from typing import TYPE_CHECKING

import pytest

from unoapi.errors import Postponed, VoiceFailed, VoiceRefused
from unoapi.media.lengths import seconds_of
from unoapi.media.whisper import LocalWhisper

if TYPE_CHECKING:
    from pathlib import Path

LIBRARY = """
import os, sys, time

class Segment:
    def __init__(self, text): self.text = text

class WhisperModel:
    def __init__(self, model_size_or_path, device="auto", compute_type="default"):
        assert device == "auto" and compute_type == "default"
        if model_size_or_path == "missing":
            raise RuntimeError("no such model")
        self.model = model_size_or_path

    def transcribe(self, audio, vad_filter=False):
        data = open(audio, "rb").read()
        if data == b"slow": time.sleep(30)
        if data == b"crash": os._exit(139)
        secrets = [name for name in os.environ if "KEY" in name or "TOKEN" in name or "URL" in name]
        return (Segment(part) for part in (" " + self.model, f" {len(data)} {secrets}")), {}
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of faster-whisper that this process and its children find."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "faster_whisper.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret")


def file(tmp_path: Path, data: bytes = b"12345") -> Path:
    path = tmp_path / "audio"
    path.write_bytes(data)
    return path


@pytest.mark.usefixtures("library")
def test_the_segments_are_one_text_and_the_process_knows_no_secret(tmp_path: Path) -> None:
    assert LocalWhisper("tiny", timeout_ms=20_000).transcribe(file(tmp_path)) == "tiny 5 []"


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("model", "data"), [("missing", b"x"), ("tiny", b"crash")])
def test_a_process_that_ends_ends_no_worker(tmp_path: Path, model: str, data: bytes) -> None:
    with pytest.raises(VoiceFailed, match="exit code"):
        LocalWhisper(model, timeout_ms=20_000).transcribe(file(tmp_path, data))


@pytest.mark.usefixtures("library")
def test_a_process_that_is_slow_is_killed_and_another_audio_waits_meanwhile(tmp_path: Path) -> None:
    whisper, errors = LocalWhisper("tiny", timeout_ms=1500), []

    def first() -> None:
        try:
            whisper.transcribe(file(tmp_path, b"slow"))
        except VoiceFailed as error:
            errors.append(f"{error}")

    thread = threading.Thread(target=first)
    thread.start()
    time.sleep(0.3)
    with pytest.raises(Postponed, match="another audio"):
        whisper.transcribe(tmp_path / "audio")
    thread.join(10)

    assert errors == ["the local model was not done within 1500 ms"]


def test_without_the_library_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(VoiceRefused, match="not installed"):
        LocalWhisper("tiny", timeout_ms=1000).transcribe(file(tmp_path))


# --- lengths ---


def spoken(path: Path, seconds: int) -> Path:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000 * seconds))
    return path


def opus(seconds: int) -> bytes:
    """An Ogg with Opus whose last page says that it has so many seconds."""
    head = b"OpusHead\x01\x01" + (0).to_bytes(2, "little") + (48_000).to_bytes(4, "little") + b"\x00\x00\x00"
    tags = b"OpusTags" + (4).to_bytes(4, "little") + b"test" + (0).to_bytes(4, "little")
    return page(head, flags=2) + page(tags, number=1) + page(bytes(40), number=2, granule=seconds * 48_000, flags=4)


def page(data: bytes, *, number: int = 0, granule: int = 0, flags: int = 0) -> bytes:
    head = b"OggS\x00" + bytes([flags]) + granule.to_bytes(8, "little") + (1).to_bytes(4, "little")
    return head + number.to_bytes(4, "little") + bytes(4) + bytes([1, len(data)]) + data


def test_the_length_of_what_whatsapp_sends_is_known(tmp_path: Path) -> None:
    assert seconds_of(file(tmp_path, opus(42))) == 42
    assert seconds_of(spoken(tmp_path / "a.wav", 7)) == 7


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (b"", 1),
        (b"OggS", 1),
        (bytes(16_000), 10),
        (b"#!AMR\n" + bytes(16_000), 10),
        (opus(1) + bytes(3_200_000), 100),
        (opus(2**40), 1_000_000),
        (base64.b64decode("T2dnUwAC") + b"\xff" * 300, 1),
        (b"RIFF\xff\xff\xff\xffWAVEfmt " + b"\xff" * 100, 1),
        (b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"\xff\xfb" * 2000, 1),
        (b"\x00\x00\x00\x20ftypM4A " + b"\xff" * 1600, 1),
    ],
    ids=["empty", "ogg", "zeros", "amr", "lies", "forever", "broken ogg", "broken wav", "broken mp3", "broken mp4"],
)
def test_of_what_is_odd_there_is_a_bound_and_no_error(tmp_path: Path, data: bytes, seconds: int) -> None:
    began = time.monotonic()

    assert seconds_of(file(tmp_path, data)) >= seconds
    assert time.monotonic() - began < 2
