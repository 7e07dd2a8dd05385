"""URLs that open a saved file for some time without a token."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from itsdangerous import BadSignature, URLSafeTimedSerializer

if TYPE_CHECKING:
    from unoapi.models.media import MediaFile


class SignedUrls:
    """Makes and checks signed URLs. Processes with the same key accept each other's."""

    def __init__(self, *, base_url: str, key: str, ttl_s: int) -> None:
        self._base_url = base_url.rstrip("/")
        self._signer = URLSafeTimedSerializer(key, salt="media")
        self._ttl_s = ttl_s

    def make(self, media: MediaFile) -> str:
        """A URL that opens the file for `DATA_URL_TTL` seconds."""
        return f"{self._base_url}/v15.0/download/{quote(media.key)}?signature={self._signer.dumps(media.key)}"

    def opens(self, key: str, signature: str) -> bool:
        """Whether a signature is ours, for this file and not too old."""
        try:
            return bool(self._signer.loads(signature, max_age=self._ttl_s) == key)
        except BadSignature:
            return False
