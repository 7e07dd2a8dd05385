"""Services that transcribe and speak: what they are asked, and what becomes of each of their answers."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.support.voice_server import KEY, SPEECH, Answered, VoiceServer, error_body
from unoapi.errors import Postponed, VoiceFailed, VoiceRefused, describe
from unoapi.http.address_guard import AddressGuard
from unoapi.http.voice_client import MAX_SPEECH_BYTES, MAX_TEXT_BYTES, MAX_TEXT_CHARS, VoiceClient
from unoapi.models.voice import VoiceAccount

if TYPE_CHECKING:
    from pathlib import Path

AUDIO = b"OggS" + bytes(range(256)) * 20


def account(server: VoiceServer, *, key: str = KEY, trusted: bool = True) -> VoiceAccount:
    return VoiceAccount(
        name="openai", url=server.url, key=SecretStr(key), transcribe_model="whisper-1", speech_model="tts-1",
        voice="alloy", trusted=trusted,
    )  # fmt: skip


def client(timeout_ms: int = 5000) -> VoiceClient:
    return VoiceClient(AddressGuard(()), timeout_ms=timeout_ms)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "audio"
    path.write_bytes(AUDIO)
    return path


def test_an_audio_is_sent_as_a_form_with_its_type_in_its_name(audio: Path) -> None:
    with VoiceServer() as server:
        text = client().transcribe(account(server), audio, mime_type="audio/mpeg")

    (asked,) = server.asked
    assert text == "hello, this is Maria"
    assert asked.path == "/v1/audio/transcriptions"
    assert asked.fields == {"model": "whisper-1", "response_format": "json"}
    assert (asked.filename, asked.file) == ("audio.mp3", AUDIO)


def test_a_text_is_said_as_opus() -> None:
    target = io.BytesIO()
    with VoiceServer() as server:
        mime_type = client().speak(account(server), "Olá, “Maria”", target, voice="nova")

    (asked,) = server.asked
    assert (mime_type, target.getvalue()) == ("audio/ogg; codecs=opus", SPEECH)
    assert asked.fields == {"model": "tts-1", "input": "Olá, “Maria”", "voice": "nova", "response_format": "opus"}


BAD = [
    (Answered(429, error_body("slow down"), headers=(("Retry-After", "7"),)), Postponed),
    (Answered(503, b"", headers=(("Retry-After", "7"),)), Postponed),
    (Answered(429, error_body("You exceeded your quota", code="insufficient_quota")), VoiceFailed),
    (Answered(500, b"oops", mime_type="text/plain"), VoiceFailed),
    (Answered(502, b"<html>" + bytes(10_000_000), mime_type="text/html"), VoiceFailed),
    (Answered(408), VoiceFailed),
    (Answered(400, error_body("The audio file could not be decoded")), VoiceRefused),
    (Answered(401, error_body(f"Incorrect API key provided: {KEY}", code="invalid_api_key")), VoiceRefused),
    (Answered(404, error_body("The model does not exist", code="model_not_found")), VoiceRefused),
    (Answered(413, b""), VoiceRefused),
    (Answered(301, b"", headers=(("Location", "http://169.254.169.254/"),)), VoiceRefused),
    (Answered(200, b"<html>login</html>", mime_type="text/html"), VoiceFailed),
    (Answered(200, b""), VoiceFailed),
    (Answered(200, b'{"text": 5}'), VoiceFailed),
    (Answered(200, b'{"words": []}'), VoiceFailed),
    (Answered(200, b"[" * 100_000), VoiceFailed),
    (Answered(200, json.dumps({"text": "x" * MAX_TEXT_BYTES}).encode()), VoiceFailed),
    (Answered(200, b'{"text": "', endless=True), VoiceFailed),
    (Answered(500, b"", endless=True), VoiceFailed),
    (Answered(200, b"", pause_s=2), VoiceFailed),
]  # fmt: skip
bad_answers = pytest.mark.parametrize(
    ("answer", "error"), BAD, ids=[f"{number}-{answer.status}" for number, (answer, _) in enumerate(BAD)]
)


@bad_answers
def test_every_bad_answer_to_an_audio_has_its_error(audio: Path, answer: Answered, error: type[Exception]) -> None:
    began = time.monotonic()
    with VoiceServer(answer) as server, pytest.raises(error) as raised:
        client(1000).transcribe(account(server), audio, mime_type="audio/ogg")

    assert type(raised.value) is error
    assert KEY not in describe(raised.value)
    assert time.monotonic() - began < 3
    if isinstance(raised.value, Postponed):
        assert raised.value.after_ms == 7000


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answered(200, b'{"error": "no"}'), VoiceFailed),
        (Answered(200, b"<html>", mime_type="audio/ogg"), VoiceFailed),
        (Answered(200, b"", mime_type="audio/ogg"), VoiceFailed),
        (Answered(200, b"\x89PNG\r\n\x1a\n", mime_type="image/png"), VoiceFailed),
        (Answered(200, SPEECH + bytes(MAX_SPEECH_BYTES), mime_type="audio/ogg"), VoiceFailed),
        (Answered(200, SPEECH, mime_type="audio/ogg", endless=True), VoiceFailed),
        (Answered(429, error_body("slow down"), headers=(("Retry-After", "7"),)), Postponed),
        (Answered(401, error_body("no")), VoiceRefused),
    ],
    ids=["json", "page", "empty", "picture", "large", "endless", "429", "401"],
)
def test_every_bad_answer_to_a_text_has_its_error(answer: Answered, error: type[Exception]) -> None:
    target = io.BytesIO()

    with VoiceServer(answer) as server, pytest.raises(error) as raised:
        client(3000).speak(account(server), "hello", target)

    assert type(raised.value) is error
    assert len(target.getvalue()) <= MAX_SPEECH_BYTES


def test_the_word_of_an_error_is_told_and_not_its_sentence(audio: Path) -> None:
    said = f"quota of {KEY}"
    refused = Answered(429, error_body(said, code="insufficient_quota"))

    with VoiceServer(refused) as server, pytest.raises(VoiceFailed) as raised:
        client().transcribe(account(server), audio, mime_type="audio/ogg")

    assert str(raised.value) == "openai answered HTTP 429 (insufficient_quota)"


def test_a_long_text_is_cut(audio: Path) -> None:
    with VoiceServer(heard="x" * (MAX_TEXT_CHARS + 5)) as server:
        assert len(client().transcribe(account(server), audio, mime_type="audio/ogg")) == MAX_TEXT_CHARS


def test_an_address_that_a_tenant_chose_is_guarded(audio: Path) -> None:
    with VoiceServer() as server, pytest.raises(VoiceRefused, match="loopback"):
        client().transcribe(account(server, trusted=False), audio, mime_type="audio/ogg")

    assert server.asked == []


def test_nobody_there_is_tried_again(audio: Path) -> None:
    with VoiceServer() as server:
        gone = account(server)

    with pytest.raises(VoiceFailed, match="connection refused"):
        client().transcribe(gone, audio, mime_type="audio/ogg")


@pytest.mark.parametrize("key", ["a\r\nX-Other: 1", "a\n", "é€"])
def test_a_key_that_no_header_can_carry_is_not_sent(audio: Path, key: str) -> None:
    with VoiceServer() as server, pytest.raises(VoiceRefused) as raised:
        client().transcribe(account(server, key=key), audio, mime_type="audio/ogg")

    assert key not in str(raised.value)
    assert server.asked == []


def test_field_report_89_what_is_heard_can_be_stored(audio: Path) -> None:
    with VoiceServer(heard="a\0b\ud83d") as server:
        assert client().transcribe(account(server), audio, mime_type="audio/ogg") == "ab\ufffd"
