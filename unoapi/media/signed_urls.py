"""URLs that open a saved file for some time without a token."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer

from unoapi.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.media import MediaFile


class SignedUrls:
    """Makes and checks signed URLs. Processes with the same key accept each other's.

    `read_key` gives the key, or raises StoreUnavailable. `former_keys` signed earlier URLs; the last signs while the
    key cannot be read: whoever makes a URL may be sending a message, and must not fail for it.
    """

    def __init__(self, *, base_url: str, read_key: Callable[[], str], former_keys: Sequence[str], ttl_s: int) -> None:
        self._base_url = base_url.rstrip("/")
        self._read_key = read_key
        self._former_keys = list(former_keys)
        self._ttl_s = ttl_s

    def make(self, media: MediaFile) -> str:
        """A URL that opens the file for `DATA_URL_TTL` seconds."""
        try:
            signer = self._signer(self._read_key())
        except StoreUnavailable:
            signer = self._signer()
        return f"{self._base_url}/v15.0/download/{quote(media.key)}?signature={signer.dumps(media.key)}"

    def key_in(self, url: str) -> str:
        """The key of the file that one of our URLs leads to, whether it opens it or not; empty for any other."""
        address = url.strip()
        if not address.startswith(f"{self._base_url}/"):
            return ""
        _, _, key = unquote(urlsplit(address).path).partition("/download/")
        return key

    def opens(self, key: str, signature: str) -> bool:
        """Whether a signature is ours, for this file and not too old. Raises StoreUnavailable: nobody can say."""
        try:
            return bool(self._signer(self._read_key()).loads(signature, max_age=self._ttl_s) == key)
        except BadSignature:
            return False

    def seal(self, fields: dict[str, str]) -> str:
        """Fields as a text that only this installation makes, for as long as a URL works. Raises StoreUnavailable."""
        return str(self._signer(self._read_key(), salt="upload").dumps(fields))

    def unseal(self, text: str) -> dict[str, str] | None:
        """The fields of such a text; none for any other. Raises StoreUnavailable."""
        try:
            return dict(self._signer(self._read_key(), salt="upload").loads(text, max_age=self._ttl_s))
        except BadSignature:
            return None

    def _signer(self, *newer: str, salt: str = "media") -> URLSafeTimedSerializer:
        """It signs with the last key and checks with all."""
        return URLSafeTimedSerializer([*self._former_keys, *newer], salt=salt)
