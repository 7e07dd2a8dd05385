"""QR codes as pictures."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import segno


def png(code: str) -> bytes:
    """The PNG of a code to scan."""
    picture = BytesIO()
    segno.make(code, error="m").save(picture, kind="png", scale=5, border=2)
    return picture.getvalue()


def data_url(code: str) -> str:
    """The PNG as an address that holds it."""
    return f"data:image/png;base64,{b64encode(png(code)).decode()}"
