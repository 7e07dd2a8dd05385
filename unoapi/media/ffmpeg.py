"""Sound and films, by ffmpeg: converted, measured, and their first picture."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from unoapi.errors import ConversionFailed
from unoapi.models.media import LIMITS, MAX_BYTES
from unoapi.models.prepared import Film, Sound

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S = 60
MAX_SECONDS = 3600
"""So much of a sound is heard for its bars."""
MAX_VOICE_BYTES = LIMITS["audio"]
"""Voice notes are for Meta, too."""
SAMPLES = 64
"""Bars of a voice note."""
SAMPLE_RATE = 4000
LOUDEST = 100
SIDE = 100
"""Pixels of a preview's longer side, as WhatsApp's own clients send it."""
FORMATS = "aac,ac3,aiff,amr,asf,avi,caf,flac,flv,gif,matroska,mov,mp3,mpeg,mpegts,ogg,wav,webm"
"""What holds sound itself; no list of other files."""
LOCAL = ("-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS)
"""Local files only, and no playlists: given one instead of sound, ffmpeg would open what it names."""
PLAYED = {
    ("mp3", "mp3"): "audio/mpeg",
    ("aac", "aac"): "audio/aac",
    ("mov", "aac"): "audio/mp4",
    ("amr", "amr_nb"): "audio/amr",
    ("ogg", "opus"): "audio/ogg; codecs=opus",
}
"""The media type of what phones can play, by container and codec."""
SHOWN_CODECS = ("h264", "mpeg4", "h263")
SHOWN_PIXELS = ("yuv420p", "yuvj420p", "")
HEARD_CODECS = ("aac", "mp3", "amr_nb", "amr_wb")
QUICKTIME = "qt"
"""What phones show and let hear in an MP4, or in its forerunner of 3GP; Meta takes no QuickTime either."""


def to_voice(source: Path, target: Path) -> None:
    """Write `source` as a mono opus voice note. Raises ConversionFailed."""
    options = (
        "-vn", "-map_metadata", "-1", "-ac", "1", "-ar", "48000", "-c:a", "libopus", "-b:a", "64k", "-application",
        "voip", "-f", "ogg",
    )  # fmt: skip
    _convert(source, target, options, most_bytes=MAX_VOICE_BYTES)


def to_audio(source: Path, target: Path) -> None:
    """Write the sound of `source` as MP4, which every phone plays. Raises ConversionFailed."""
    options = ("-vn", "-map_metadata", "-1", "-c:a", "aac", "-b:a", "96k", "-movflags", "+faststart", "-f", "mp4")
    _convert(source, target, options, most_bytes=MAX_BYTES)


def to_mp3(source: Path, target: Path) -> None:
    """Write the sound of `source` as MP3, which every browser plays. Raises ConversionFailed."""
    options = ("-vn", "-map_metadata", "-1", "-c:a", "libmp3lame", "-b:a", "96k", "-f", "mp3")
    _convert(source, target, options, most_bytes=MAX_BYTES)


def to_film(source: Path, target: Path) -> None:
    """Write `source` as a film that every phone shows. Raises ConversionFailed."""
    even = "scale=trunc(min(iw\\,1280)/2)*2:-2"
    options = (
        "-map_metadata", "-1", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-vf", even, "-c:a",
        "aac", "-b:a", "96k", "-movflags", "+faststart", "-f", "mp4",
    )  # fmt: skip
    _convert(source, target, options, most_bytes=MAX_BYTES)


def sound_of(source: Path, *, waveform: bool) -> Sound:
    """How long a sound is, what phones call it, and how loud it is over time. Raises ConversionFailed."""
    described = _probe(source)
    stream = next((stream for stream in described["streams"] if stream.get("codec_type") == "audio"), None)
    if stream is None:
        raise ConversionFailed("the file has no sound")
    containers = _containers(described)
    codec = str(stream.get("codec_name") or "")
    seconds = _seconds(described["format"].get("duration") or stream.get("duration"))
    return Sound(
        seconds=max(1, round(seconds)),
        mime_type=next((PLAYED[container, codec] for container in containers if (container, codec) in PLAYED), ""),
        mono=stream.get("channels") == 1,
        waveform=_waveform(source) if waveform else "",
    )


def film_of(source: Path, folder: Path) -> Film:
    """A film's size, length and first picture. Raises ConversionFailed."""
    described = _probe(source)
    stream = next((stream for stream in described["streams"] if stream.get("codec_type") == "video"), None)
    if stream is None:
        raise ConversionFailed("the file has no picture")
    width, height = int(stream.get("width") or 0), int(stream.get("height") or 0)
    turned = any(abs(int(side.get("rotation") or 0)) in (90, 270) for side in stream.get("side_data_list") or [])
    picture = folder / "frame.jpg"
    shape = f"scale={SIDE}:{SIDE}:force_original_aspect_ratio=decrease:force_divisible_by=2"
    options = ("-frames:v", "1", "-an", "-vf", shape, "-q:v", "8", "-f", "mjpeg")
    _convert(source, picture, options, most_bytes=MAX_BYTES)
    return Film(
        played=_is_played(described, stream),
        width=height if turned else width,
        height=width if turned else height,
        seconds=round(_seconds(described["format"].get("duration"))),
        thumbnail=base64.b64encode(picture.read_bytes()).decode(),
        moving_picture="gif" in _containers(described),
    )


def _is_played(described: dict[str, Any], picture: dict[str, Any]) -> bool:
    sounds = [stream for stream in described["streams"] if stream.get("codec_type") == "audio"]
    is_shown = picture.get("codec_name") in SHOWN_CODECS and str(picture.get("pix_fmt") or "") in SHOWN_PIXELS
    return (
        "mp4" in _containers(described)
        and is_shown
        and all(sound.get("codec_name") in HEARD_CODECS for sound in sounds)
    )


def _containers(described: dict[str, Any]) -> list[str]:
    """The names of a file's container; QuickTime is none of MP4, whose family it began."""
    container = described["format"]
    brand = str((container.get("tags") or {}).get("major_brand") or "").strip()
    return [QUICKTIME] if brand == QUICKTIME else str(container.get("format_name") or "").split(",")


def _convert(source: Path, target: Path, options: tuple[str, ...], *, most_bytes: int) -> None:
    """Write the whole of it, or fail: at the limit ffmpeg ends the file, without a word."""
    limit = ("-fs", str(most_bytes))
    _run("ffmpeg", "-nostdin", "-hide_banner", "-y", *LOCAL, "-i", str(source), *options, *limit, str(target))
    if not target.exists() or not target.stat().st_size:
        raise ConversionFailed("ffmpeg could not read the file")
    if target.stat().st_size >= most_bytes:
        raise ConversionFailed(f"the converted file would have more than {most_bytes} bytes")


def _probe(source: Path) -> dict[str, Any]:
    shown = _run("ffprobe", "-hide_banner", *LOCAL, "-show_format", "-show_streams", "-of", "json", "-i", str(source))
    described = json.loads(shown)
    if not isinstance(described, dict) or "format" not in described:
        raise ConversionFailed("ffprobe could not read the file")
    return {"streams": [], **described}


def _waveform(source: Path) -> str:
    """64 bars from 0 to 100, in base64: the loudest sample of each part."""
    heard = _run(
        "ffmpeg", "-nostdin", "-hide_banner", *LOCAL, "-i", str(source), "-t", str(MAX_SECONDS), "-vn", "-ac", "1",
        "-ar", str(SAMPLE_RATE), "-f", "s16le", "-",
    )  # fmt: skip
    samples = array("h", heard[: len(heard) // 2 * 2])
    edges = [len(samples) * part // SAMPLES for part in range(SAMPLES + 1)]
    parts = [samples[start:end] or array("h", [0]) for start, end in pairwise(edges)]
    peaks = [max(max(part), -min(part)) for part in parts]  # noqa: PLW3301 (no copy of a million samples)
    loudest = max(*peaks, 1)
    return base64.b64encode(bytes(peak * LOUDEST // loudest for peak in peaks)).decode()


def _seconds(value: object) -> float:
    try:
        return min(max(float(str(value)), 0.0), 86_400.0)
    except ValueError:
        return 0.0


def _run(name: str, *arguments: str) -> bytes:
    program = shutil.which(name)
    if program is None:
        raise ConversionFailed(f"{name} is not installed")
    command = [program, "-loglevel", "error", *arguments]
    try:
        finished = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False)  # noqa: S603 (no shell)
    except subprocess.TimeoutExpired:
        raise ConversionFailed(f"{name} took more than {DEADLINE_S} s") from None
    if finished.returncode:
        raise ConversionFailed(f"{name} could not read the file")
    return finished.stdout
