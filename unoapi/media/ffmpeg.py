"""Voice notes: audio as ogg/opus, by ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from unoapi.errors import ConversionFailed

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S = 60
MAX_SECONDS = 3600
MAX_BYTES = 16 * 1024 * 1024


FORMATS = "aac,ac3,aiff,amr,asf,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,wav,webm"
"""What holds sound itself; no list of other files."""


def to_voice(source: Path, target: Path) -> None:
    """Write `source` as a mono opus voice note. Raises ConversionFailed.

    ffmpeg may open local files only, and no playlists: given one instead of audio, it would open the addresses and the
    files of others that it names.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise ConversionFailed("ffmpeg is not installed")
    command = [
        program, "-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-protocol_whitelist", "file,pipe",
        "-format_whitelist", FORMATS,
        "-i", str(source), "-t", str(MAX_SECONDS), "-vn", "-map_metadata", "-1", "-ac", "1", "-ar", "48000",
        "-c:a", "libopus", "-b:a", "64k", "-application", "voip", "-fs", str(MAX_BYTES), "-f", "ogg",
        str(target),
    ]  # fmt: skip
    try:
        finished = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False)  # noqa: S603 (no shell)
    except subprocess.TimeoutExpired:
        raise ConversionFailed(f"ffmpeg took more than {DEADLINE_S} s") from None
    if finished.returncode or not target.exists() or not target.stat().st_size:
        raise ConversionFailed("ffmpeg could not read the audio")
