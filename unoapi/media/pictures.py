"""Pictures and stickers, by Pillow. A picture is hostile: its size is looked at before its pixels are."""

from __future__ import annotations

import base64
import io
import struct
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, ImageSequence

from unoapi.errors import ConversionFailed
from unoapi.models.prepared import Picture

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
STILL = {"MPO": "JPEG"}
"""A photo with others behind it, as cameras of phones write it: everybody shows the first one."""
MOVING = ("GIF", "PNG", "WEBP", "AVIF")
"""Of the pictures with several, those that move; the pages of a TIFF do not."""
MAX_PIXELS = 50_000_000
Image.MAX_IMAGE_PIXELS = None  # ours is smaller, and refuses instead of warning
MAX_FRAMES = 120
THUMBNAIL = (100, 100)
STICKER = (512, 512)
MAX_STICKER, MAX_ANIMATED = 100 * 1024, 500 * 1024
"""Meta's limits, in bytes."""
UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    struct.error, Image.DecompressionBombError,
)  # fmt: skip
"""What the readers of broken pictures end with."""
QUALITIES = (90, 75, 60, 40, 20)


def picture_of(source: Path) -> Picture:
    """A picture's size and preview. Raises ConversionFailed."""
    try:
        with _opened(source) as image:
            upright = ImageOps.exif_transpose(image)
            width, height = upright.size
            mime_type = Image.MIME.get(STILL.get(image.format or "", image.format or ""), "")
            return Picture(mime_type=mime_type, width=width, height=height, thumbnail=jpeg_of(upright))
    except UNREADABLE as error:
        raise ConversionFailed(f"the picture could not be read: {type(error).__name__}") from error


def to_jpeg(source: Path, target: Path) -> None:
    """Write a picture in the form that every phone shows. Raises ConversionFailed."""
    try:
        with _opened(source) as image:
            _flat(ImageOps.exif_transpose(image)).save(target, "JPEG", quality=90)
    except UNREADABLE as error:
        raise ConversionFailed(f"the picture could not be read: {type(error).__name__}") from error


def to_sticker(source: Path, target: Path) -> bool:
    """Write a WebP of 512 x 512 within Meta's limits; whether it moves. Raises ConversionFailed."""
    try:
        with _opened(source) as image:
            animated = image.format in MOVING and getattr(image, "n_frames", 1) > 1
            frames, durations = _frames(image) if animated else ([_framed(image)], [])
    except UNREADABLE as error:
        raise ConversionFailed(f"the sticker could not be read: {type(error).__name__}") from error
    first, *others = frames
    moving = {"save_all": True, "append_images": others, "duration": durations, "loop": 0} if animated else {}
    for quality in QUALITIES:
        first.save(target, "WEBP", quality=quality, method=4, **moving)
        if target.stat().st_size <= (MAX_ANIMATED if animated else MAX_STICKER):
            return animated
    raise ConversionFailed("the sticker stays larger than WhatsApp takes")


def is_sticker(source: Path) -> bool | None:
    """Whether a file is a sticker as it is, and moves; none when it is no sticker."""
    try:
        with _opened(source) as image:
            animated = bool(getattr(image, "is_animated", False))
            fits = source.stat().st_size <= (MAX_ANIMATED if animated else MAX_STICKER)
            return animated if image.format == "WEBP" and image.size == STICKER and fits else None
    except UNREADABLE:
        return None


def _opened(source: Path) -> Image.Image:
    image = Image.open(source, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError("too many pixels")
    return image


def jpeg_of(image: Image.Image) -> str:
    """A small picture, as a JPEG in base64."""
    small = image.copy()
    small.thumbnail(THUMBNAIL)
    buffer = io.BytesIO()
    _flat(small).save(buffer, "JPEG", quality=60)
    return base64.b64encode(buffer.getvalue()).decode()


def _flat(image: Image.Image) -> Image.Image:
    """The picture on white, where it lets something through."""
    flat = Image.new("RGB", image.size, "white")
    solid = image.convert("RGBA")
    flat.paste(solid, mask=solid.getchannel("A"))
    return flat


def _frames(image: Image.Image) -> tuple[list[Image.Image], list[int]]:
    frames, durations = [], []
    for frame in ImageSequence.Iterator(image):
        frames.append(_framed(frame))
        durations.append(int(frame.info.get("duration") or 100))
        if len(frames) == MAX_FRAMES:
            break
    return frames, durations


def _framed(image: Image.Image) -> Image.Image:
    """The picture in the middle of a transparent square."""
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    scale = min(STICKER[0] / upright.width, STICKER[1] / upright.height)
    size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    square = Image.new("RGBA", STICKER, (0, 0, 0, 0))
    square.paste(upright.resize(size), ((STICKER[0] - size[0]) // 2, (STICKER[1] - size[1]) // 2))
    return square
