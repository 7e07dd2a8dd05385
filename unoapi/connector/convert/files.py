"""Converts received files: what they are, and what the engine needs to fetch them."""

from __future__ import annotations

from typing import Any

from unoapi.connector.convert.json_fields import Raw, int_at, text_at

MEDIA = {
    "imagemessage": "image",
    "videomessage": "video",
    "ptvmessage": "video",
    "audiomessage": "audio",
    "documentmessage": "document",
    "stickermessage": "sticker",
}


def file_in(message: Raw) -> dict[str, Any] | None:
    """The file in a message, or above a menu; None where there is none."""
    for name, kind in MEDIA.items():
        if isinstance(message.get(name), dict):
            return _media(kind, message[name], note=name == "ptvmessage")
    return None


def _media(kind: str, part: Raw, *, note: bool) -> dict[str, Any]:
    return {
        "kind": kind,
        "mime_type": text_at(part, "mimetype"),
        "caption": text_at(part, "caption"),
        "filename": text_at(part, "filename") or (text_at(part, "title") if kind == "document" else ""),
        "voice": bool(part.get("ptt")) or note,
        "animated": bool(part.get("isanimated")),
        "view_once": bool(part.get("viewonce")),
        "seconds": int_at(part, "seconds"),
        "width": int_at(part, "width"),
        "height": int_at(part, "height"),
        "media": {
            "state": "pending",
            "descriptor": {
                "direct_path": text_at(part, "directpath"),
                "url": text_at(part, "url"),
                "media_key": text_at(part, "mediakey"),
                "file_sha256": text_at(part, "filesha256"),
                "file_enc_sha256": text_at(part, "fileencsha256"),
                "file_length": int_at(part, "filelength"),
                "media_type": kind,
            },
        },
    }
