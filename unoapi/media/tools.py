"""The tools of the `media` process. Pillow and PDFium are loaded at their first use: others need none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unoapi.media import ffmpeg
from unoapi.media.link_previews import read_page
from unoapi.models.prepared import LinkPreview

if TYPE_CHECKING:
    from pathlib import Path

    from unoapi.models.prepared import Film, Pages, Picture, Sound


class FileTools:
    """Files on the disk, converted and measured. Raises ConversionFailed for what is not what it should be."""

    def voice(self, source: Path, target: Path) -> None:
        """Write a voice note."""
        ffmpeg.to_voice(source, target)

    def audio(self, source: Path, target: Path) -> None:
        """Write sound that every phone plays."""
        ffmpeg.to_audio(source, target)

    def mp3(self, source: Path, target: Path) -> None:
        """Write sound that every browser plays."""
        ffmpeg.to_mp3(source, target)

    def sound(self, source: Path, *, waveform: bool) -> Sound:
        """Measure a sound."""
        return ffmpeg.sound_of(source, waveform=waveform)

    def film(self, source: Path, folder: Path) -> Film:
        """Measure a film; `folder` takes its first picture."""
        return ffmpeg.film_of(source, folder)

    def picture(self, source: Path) -> Picture:
        """Measure a picture."""
        from unoapi.media import pictures  # noqa: PLC0415 (see above)

        return pictures.picture_of(source)

    def jpeg(self, source: Path, target: Path) -> None:
        """Write a picture that every phone shows."""
        from unoapi.media import pictures  # noqa: PLC0415 (see above)

        pictures.to_jpeg(source, target)

    def show(self, source: Path, target: Path) -> None:
        """Write a film that every phone shows."""
        ffmpeg.to_film(source, target)

    def pages(self, source: Path) -> Pages:
        """Measure a PDF."""
        from unoapi.media import documents  # noqa: PLC0415 (see above)

        return documents.pages_of(source)

    def is_sticker(self, source: Path) -> bool | None:
        """Whether a file is a sticker as it is, and moves; none when it is no sticker."""
        from unoapi.media import pictures  # noqa: PLC0415 (see above)

        return pictures.is_sticker(source)

    def sticker(self, source: Path, target: Path) -> bool:
        """Write a sticker; whether it moves."""
        from unoapi.media import pictures  # noqa: PLC0415 (see above)

        return pictures.to_sticker(source, target)

    def page(self, link: str, html: bytes) -> tuple[LinkPreview, str]:
        """What a page says of itself, and the address of its picture."""
        head = read_page(html)
        return LinkPreview(url=link, title=head.title, description=head.description), head.picture(link)
