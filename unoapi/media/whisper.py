"""Transcription on this machine, by the optional library faster-whisper: in a process of its own for each audio.

So a file that breaks the library's native code ends no worker, and the deadline holds: the process is killed.
`python -m unoapi.media.whisper MODEL FILE` prints what is said in a file as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from unoapi.errors import Postponed, VoiceFailed, VoiceRefused
from unoapi.models.text import mended

if TYPE_CHECKING:
    from pathlib import Path

LIBRARY = "faster_whisper"
BUSY_WAIT_MS = 4000
MAX_TEXT_CHARS = 32_768
KEPT = (
    "PATH",
    "HOME",
    "PYTHONPATH",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "XDG_CACHE_HOME",
    "TMPDIR",
    "OMP_NUM_THREADS",
    "LANG",
)
"""All that the process gets of the environment: it reads files of strangers, and needs no secret of ours."""


class LocalWhisper:
    """Transcribes one audio at a time. `model` is a name such as `tiny` or `small`, or a folder."""

    def __init__(self, model: str, *, timeout_ms: int) -> None:
        self._model = model
        self._timeout_ms = timeout_ms
        self._turn = threading.Semaphore(1)

    def transcribe(self, file: Path) -> str:
        """What is said in a file. Raises Postponed while another one is being read, VoiceFailed, VoiceRefused."""
        if importlib.util.find_spec(LIBRARY) is None:
            raise VoiceRefused("UNOAPI_WHISPER_MODEL is set, and faster-whisper is not installed here")
        if not self._turn.acquire(blocking=False):
            raise Postponed("another audio is being transcribed on this machine", after_ms=BUSY_WAIT_MS)
        try:
            return self._run(file)
        finally:
            self._turn.release()

    def _run(self, file: Path) -> str:
        command = [sys.executable, "-m", "unoapi.media.whisper", self._model, str(file)]
        environment = {name: value for name in KEPT if (value := os.environ.get(name)) is not None}
        try:
            done = subprocess.run(  # noqa: S603 (no shell)
                command, capture_output=True, timeout=self._timeout_ms / 1000, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            raise VoiceFailed(f"the local model was not done within {self._timeout_ms} ms") from None
        try:
            text = mended(json.loads(done.stdout)["text"])
        except (ValueError, LookupError, TypeError):
            raise VoiceFailed(f"the local model failed (exit code {done.returncode})") from None
        return str(text).strip()[:MAX_TEXT_CHARS]


def main(model: str, file: str) -> None:
    """Load the model, which is fetched at its first use if it is no folder, and print what is said."""
    from faster_whisper import WhisperModel  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 (an extra)

    segments, _ = WhisperModel(model, device="auto", compute_type="default").transcribe(file, vad_filter=False)
    text = "".join(segment.text for segment in segments)
    sys.stdout.write(json.dumps({"text": text[:MAX_TEXT_CHARS]}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
