"""The first page of a PDF, by PDFium."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unoapi.errors import ConversionFailed
from unoapi.media.pictures import jpeg_of
from unoapi.models.prepared import Pages

if TYPE_CHECKING:
    from pathlib import Path

pypdfium2: Any = importlib.import_module("pypdfium2")  # it has no types
MAX_SIDE = 200.0
"""Pixels of what is drawn."""


def pages_of(source: Path) -> Pages:
    """How many pages a PDF has, and what the first one looks like. Raises ConversionFailed."""
    try:
        document = pypdfium2.PdfDocument(source)
        try:
            count, page = len(document), document[0]
            scale = MAX_SIDE / max(*page.get_size(), 1.0)
            picture = page.render(scale=scale).to_pil()
        finally:
            document.close()
    except (pypdfium2.PdfiumError, OSError, ValueError, IndexError) as error:
        raise ConversionFailed(f"the document could not be read: {type(error).__name__}") from error
    return Pages(count=count, thumbnail=jpeg_of(picture))
