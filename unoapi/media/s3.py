"""Files in S3, MinIO or any store with the same API; streamed both ways."""

from __future__ import annotations

import hashlib
import re
import time
from typing import TYPE_CHECKING, Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from unoapi.errors import MediaMissing, MediaTooLarge, StoreUnavailable
from unoapi.models.media import OWN_KEY, SavedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK_BYTES = 256 * 1024
PART_BYTES = 8 * 1024 * 1024
BUCKET_ERRORS = (BotoCoreError, ClientError)
MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
CODE = re.compile(r"[A-Za-z]{1,64}")


class S3MediaStore:
    """MediaStore in a bucket. The client is made at the first use, so after a fork."""

    def __init__(self, *, bucket: str, timeout_ms: int, **client: Any) -> None:
        self._bucket = bucket
        self._options = client
        self._config = Config(
            connect_timeout=5,
            read_timeout=max(1, timeout_ms // 1000),
            retries={"max_attempts": 3, "mode": "standard"},
            s3={"addressing_style": "path" if client.pop("path_style", False) else "auto"},
            request_checksum_calculation="when_required",  # else an AWS encoding that most other stores do not know
            response_checksum_validation="when_required",
        )
        self._client: Any = None
        self._transfer = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False
        )

    @property
    def _s3(self) -> Any:
        if self._client is None:
            self._client = boto3.client("s3", config=self._config, **self._options)
        return self._client

    def save(self, key: str, chunks: Iterable[bytes], *, mime_type: str, limit: int) -> SavedFile:
        """Save a file. Raises MediaTooLarge, StoreUnavailable; nothing is visible of it then."""
        source = _Source(chunks, limit)
        try:
            self._s3.upload_fileobj(
                source, self._bucket, key, ExtraArgs={"ContentType": mime_type}, Config=self._transfer
            )
        except BUCKET_ERRORS as error:
            raise _unavailable(error) from None
        return SavedFile(sha256=source.digest.hexdigest(), size=source.size)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The file in pieces, or `length` bytes of it from `start` on. Raises MediaMissing, StoreUnavailable."""
        whole = start == 0 and length is None
        last = "" if length is None else start + length - 1
        part = {} if whole else {"Range": f"bytes={start}-{last}"}
        return _pieces(self._get(self._s3.get_object, key, **part)["Body"])

    def size(self, key: str) -> int:
        """Bytes of a file. Raises MediaMissing, StoreUnavailable."""
        return int(self._get(self._s3.head_object, key)["ContentLength"])

    def delete(self, key: str) -> None:
        """Remove a file, if it is there. Raises StoreUnavailable."""
        try:
            self._s3.delete_object(Bucket=self._bucket, Key=key)
        except BUCKET_ERRORS as error:
            raise _unavailable(error) from None

    def expire(self, *, older_than_s: int, most: int) -> int:
        """Remove up to `most` files that are older. Returns how many. What others keep in the bucket stays."""
        removed, before = 0, time.time() - older_than_s
        try:
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket):
                for item in page.get("Contents", []):
                    if OWN_KEY.fullmatch(item["Key"]) and item["LastModified"].timestamp() < before:
                        self.delete(item["Key"])
                        removed += 1
                    if removed >= most:
                        return removed
        except BUCKET_ERRORS as error:
            raise _unavailable(error) from None
        return removed

    def _get(self, call: Any, key: str, **more: str) -> Any:
        try:
            return call(Bucket=self._bucket, Key=key, **more)
        except BUCKET_ERRORS as error:
            if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in MISSING:
                raise MediaMissing(key) from None
            raise _unavailable(error) from None


def _pieces(body: Any) -> Iterator[bytes]:
    """The pieces of a file that the bucket may stop sending. Raises StoreUnavailable."""
    try:
        yield from body.iter_chunks(CHUNK_BYTES)
    except BUCKET_ERRORS as error:
        raise _unavailable(error) from None
    finally:
        body.close()


def _unavailable(error: BotoCoreError | ClientError) -> StoreUnavailable:
    code = f"{error.response.get('Error', {}).get('Code', '')}" if isinstance(error, ClientError) else ""
    why = code if CODE.fullmatch(code) else type(error).__name__
    return StoreUnavailable(f"the bucket did not answer as it should: {why}")


class _Source:
    """Chunks as the file object that boto3 reads; counts and hashes them on the way."""

    def __init__(self, chunks: Iterable[bytes], limit: int) -> None:
        self._chunks = iter(chunks)
        self._rest = bytearray()
        self._limit = limit
        self.size = 0
        self.digest = hashlib.sha256()

    def read(self, amount: int = -1) -> bytes:
        while amount < 0 or len(self._rest) < amount:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self.size += len(chunk)
            if self.size > self._limit:
                raise MediaTooLarge(self._limit)
            self.digest.update(chunk)
            self._rest += chunk
        amount = len(self._rest) if amount < 0 else amount
        piece, self._rest = bytes(self._rest[:amount]), self._rest[amount:]
        return piece
