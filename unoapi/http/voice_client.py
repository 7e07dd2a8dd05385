"""OpenAI's interface for speech, which many services and local servers have: `audio/transcriptions`, `audio/speech`.

Guarded and bounded like every request to an address that a tenant may have chosen. Of an error only its status and the
word that stands for it are repeated: its sentence may quote the key.
"""

from __future__ import annotations

import io
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import pycurl

from unoapi.errors import NotSent, Postponed, VoiceFailed, VoiceRefused
from unoapi.http.guarded_handle import STOP, GuardedHandle
from unoapi.models.attempts import REDIRECTS, redirected_to
from unoapi.models.cloud_api.events import serialise
from unoapi.models.file_types import HEAD_BYTES, known_type, why_not
from unoapi.models.strict_json import read_answer
from unoapi.services.answers import THROTTLED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unoapi.http.address_guard import AddressGuard
    from unoapi.http.guarded_handle import Headers
    from unoapi.models.voice import VoiceAccount

MAX_TEXT_BYTES = 512 * 1024
MAX_ERROR_BYTES = 16 * 1024
MAX_TEXT_CHARS = 32_768
MAX_SPEECH_BYTES = 16 * 1024 * 1024
"""What WhatsApp takes as an audio."""
OK = range(200, 300)
LATER = frozenset({408, 409, 425, 429})
SERVER_ERROR = 500
CODE = re.compile(r"[A-Za-z_]{1,64}")
ENDINGS = {
    "audio/ogg": "ogg", "audio/opus": "ogg", "audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/wav": "wav",
    "audio/webm": "webm", "audio/flac": "flac", "audio/aac": "aac", "audio/x-aac": "aac", "audio/amr": "amr",
}  # fmt: skip
"""The name's ending says what a file is."""
FINAL_STEPS = ("guard", "address")


class VoiceClient:
    """Asks a service, each time on a connection of its own."""

    def __init__(self, guard: AddressGuard, *, timeout_ms: int) -> None:
        self._guard = guard
        self._timeout_ms = timeout_ms

    def transcribe(self, account: VoiceAccount, file: Path, *, mime_type: str) -> str:
        """What is said in a file. Raises VoiceFailed (retry), Postponed (as the service asks), VoiceRefused."""
        ending = ENDINGS.get(mime_type.partition(";")[0].strip().lower(), "ogg")

        def fill(curl: pycurl.Curl) -> None:
            form = pycurl.CurlMime(curl)
            form.add_field("model", account.transcribe_model.encode())
            form.add_field("response_format", "json")
            form.add_file("file", str(file), filename=f"audio.{ending}")  # read while it is sent
            curl.setopt(pycurl.MIMEPOST, form)

        answer = io.BytesIO()
        self._ask(account, "audio/transcriptions", answer, limit=MAX_TEXT_BYTES, fill=fill)
        text = read_answer(answer.getvalue()).get("text")
        if not isinstance(text, str):
            raise VoiceFailed(f"{account.name} answered with no transcription")
        return text.strip()[:MAX_TEXT_CHARS]

    def speak(self, account: VoiceAccount, text: str, target: BinaryIO, *, voice: str = "") -> str:
        """Write a text as speech; returns the media type. Raises what `transcribe` raises."""
        document = {
            "model": account.speech_model,
            "input": text,
            "voice": voice or account.voice,
            "response_format": "opus",
        }
        served = self._ask(
            account,
            "audio/speech",
            target,
            limit=MAX_SPEECH_BYTES,
            headers=(("Content-Type", "application/json"),),
            fill=lambda curl: curl.setopt(pycurl.POSTFIELDS, serialise(document).encode()),
        )
        target.seek(0)
        head = target.read(HEAD_BYTES)
        target.seek(0)
        if why := why_not("audio", head, served=served, name="speech.ogg"):
            raise VoiceFailed(f"{account.name} answered with no speech: {why}")
        return known_type(head, served=served, name="speech.ogg", kind="audio")

    def _ask(  # noqa: PLR0913 (a request)
        self,
        account: VoiceAccount,
        path: str,
        target: BinaryIO,
        *,
        limit: int,
        fill: Callable[[pycurl.Curl], Any],
        headers: Headers = (),
    ) -> str:
        """Post to a service; a good answer is in `target`. Returns its media type."""
        size = 0

        def on_body(chunk: bytes) -> int:
            nonlocal size
            size += len(chunk)
            return target.write(chunk) if size <= limit else STOP

        with closing(GuardedHandle(self._guard)) as handle:
            try:
                curl = handle.prepare(
                    f"{account.url.rstrip('/')}/{path}",
                    headers=(("Authorization", f"Bearer {account.key.get_secret_value()}"), *headers),
                    timeout_ms=self._timeout_ms,
                    on_body=on_body,
                    trusted=account.trusted,
                )
            except NotSent as error:
                raise VoiceRefused(f"{account.name} cannot be asked: {error}") from None
            fill(curl)
            failure = handle.perform()
            if handle.status >= OK.start and handle.status not in OK:
                target.seek(0)
                raise _refusal(account, handle, target.read(MAX_ERROR_BYTES))
            if size > limit:
                raise VoiceFailed(f"{account.name} answered with more than {limit} bytes")
            if failure is not None:
                kind = VoiceRefused if failure.step in FINAL_STEPS else VoiceFailed
                raise kind(f"{account.name} ({_host(account.url)}): {failure.error}")
            served = curl.getinfo(pycurl.CONTENT_TYPE) or ""
            return str(served).partition(";")[0].strip().lower()


def _refusal(account: VoiceAccount, handle: GuardedHandle, body: bytes) -> VoiceFailed | VoiceRefused | Postponed:
    said = f"{account.name} answered HTTP {handle.status}{_word(body)}"
    if handle.status in REDIRECTS and handle.redirect:
        said = f"{account.name} answered with {redirected_to(handle.redirect)}"
    if handle.status in THROTTLED and handle.retry_after_s:
        return Postponed(f"{said} with Retry-After", after_ms=handle.retry_after_s * 1000)
    if handle.status in LATER or handle.status >= SERVER_ERROR:
        return VoiceFailed(said)
    return VoiceRefused(said)


def _word(body: bytes) -> str:
    """The word that stands for an error, such as `insufficient_quota`."""
    error = read_answer(body).get("error")
    words = (error.get("code"), error.get("type")) if isinstance(error, dict) else ()
    return next((f" ({word})" for word in words if isinstance(word, str) and CODE.fullmatch(word)), "")


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "")[:100]
