"""MediaStore: the folder, and S3 over a real socket."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from tests.support.constants import PHONE
from tests.support.raw_http_server import PARTIAL, Receiver, close, say
from tests.support.stack import eventually
from unoapi.errors import MediaMissing, MediaTooLarge, StoreRefusesWrites, StoreUnavailable
from unoapi.media.folder import UNFINISHED, FolderMediaStore
from unoapi.media.s3 import S3MediaStore
from unoapi.models.media import LEAST_COUNTED_BYTES, MediaFile, from_node_version
from unoapi.stores.media_index import RedisMediaIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from unoapi.ports import MediaStore
    from unoapi.stores.redis import RedisClient

KEY = f"{PHONE}/31410000000000000001.png"
LIMIT = 40_000_000


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """An S3 server on loopback with one bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client: Any = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="unoapi")
    yield url
    server.stop()


def s3(url: str, *, timeout_ms: int = 10_000) -> S3MediaStore:
    return S3MediaStore(
        bucket="unoapi",
        timeout_ms=timeout_ms,
        path_style=True,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


@pytest.fixture(params=["folder", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    if request.param == "folder":
        return FolderMediaStore(tmp_path / "medias")
    return s3(request.getfixturevalue("s3_url"))


def content(store: MediaStore, key: str = KEY) -> bytes:
    return b"".join(store.read(key))


@pytest.mark.parametrize("size", [0, 1, 300_000, 20_000_000])
def test_what_was_saved_is_read(files: MediaStore, size: int) -> None:
    data = secrets.token_bytes(size)
    pieces = [data[start : start + 100_000] for start in range(0, size, 100_000)]

    saved = files.save(KEY, pieces, mime_type="image/png", limit=LIMIT)

    assert (saved.size, saved.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert content(files) == data
    assert files.size(KEY) == size


@pytest.mark.parametrize(
    ("start", "length"), [(0, 1), (0, 700_000), (1, 699_999), (5, None), (299_999, 2), (699_999, 1), (0, None)]
)
def test_a_part_of_a_file_is_read(files: MediaStore, start: int, length: int | None) -> None:
    data = secrets.token_bytes(700_000)
    files.save(KEY, [data], mime_type="image/png", limit=LIMIT)

    part = b"".join(files.read(KEY, start=start, length=length))

    assert part == (data[start:] if length is None else data[start : start + length])


def test_a_later_file_takes_the_place_of_an_earlier_one(files: MediaStore) -> None:
    for data in (b"first", b"second"):
        files.save(KEY, [data], mime_type="text/plain", limit=LIMIT)

    assert content(files) == b"second"


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 5, b"x" * 6], [b"x"] * 11])
def test_of_a_file_over_its_limit_nothing_is_visible(files: MediaStore, chunks: list[bytes]) -> None:
    key = f"{PHONE}/large"

    with pytest.raises(MediaTooLarge):
        files.save(key, chunks, mime_type="text/plain", limit=10)

    with pytest.raises(MediaMissing):
        files.read(key)


def test_a_folder_that_takes_no_file_refuses_it_as_redis_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    full = FolderMediaStore(tmp_path / "full")

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreRefusesWrites, match="takes no file: "):
        FolderMediaStore(tmp_path / "taken").save(KEY, [b"x"], mime_type="image/png", limit=LIMIT)
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StoreRefusesWrites, match="takes no file: No space left on device"):
        full.save(KEY, [b"x"], mime_type="image/png", limit=LIMIT)

    assert [path for path in (tmp_path / "full").rglob("*") if path.is_file()] == []


def test_of_an_upload_that_breaks_off_nothing_is_visible(files: MediaStore) -> None:
    key = f"{PHONE}/broken"

    def breaks() -> Iterator[bytes]:
        yield b"x" * 9_000_000
        raise OSError("the client left")

    with pytest.raises(OSError, match="the client left"):
        files.save(key, breaks(), mime_type="text/plain", limit=LIMIT)

    with pytest.raises(MediaMissing):
        files.size(key)


def test_what_is_not_there_is_missing_and_may_be_deleted(files: MediaStore) -> None:
    for read in (files.read, files.size):
        with pytest.raises(MediaMissing):
            read(f"{PHONE}/nothing")
    files.delete(f"{PHONE}/nothing")

    files.save(KEY, [b"x"], mime_type="text/plain", limit=LIMIT)
    files.delete(KEY)
    with pytest.raises(MediaMissing):
        files.read(KEY)


def test_only_what_is_too_old_expires(files: MediaStore) -> None:
    files.expire(older_than_s=-10, most=1000)
    files.save(KEY, [b"x"], mime_type="text/plain", limit=LIMIT)

    assert files.expire(older_than_s=60, most=1000) == 0
    assert content(files) == b"x"
    assert files.expire(older_than_s=-10, most=1000) == 1
    with pytest.raises(MediaMissing):
        files.read(KEY)


def test_a_sweep_is_bounded(files: MediaStore) -> None:
    files.expire(older_than_s=-10, most=1000)
    for number in range(5):
        files.save(f"{PHONE}/{number}", [b"x"], mime_type="text/plain", limit=LIMIT)

    assert files.expire(older_than_s=-10, most=3) == 3
    assert files.expire(older_than_s=-10, most=3) == 2


@pytest.mark.parametrize(
    ("key", "is_ours"),
    [
        (KEY, True),
        ("notes/314100000000000000000001.json", True),
        (f"{PHONE}/UNO.OUT.1.jpeg", True),
        (f"{PHONE}/profile-pictures/5511988880001.jpg", True),
        ("kq3v0d0bq1m6zcm4xj8v5s0m1r2t", False),
        ("2024/01/photo.jpg", False),
        ("2024/photo.jpg", False),
        ("202611/photo.jpg", False),
        ("20261128/backup.sql", False),
        ("10023/avatar.png", False),
        ("notes/todo.json", False),
        ("backups/postgres.sql.gz", False),
        (f"{PHONE}/others/a/b.txt", False),
    ],
)
def test_what_others_keep_in_the_bucket_never_expires(s3_url: str, key: str, *, is_ours: bool) -> None:
    store = s3(s3_url)
    store.save(key, [b"x"], mime_type="text/plain", limit=LIMIT)

    store.expire(older_than_s=-10, most=1000)

    if is_ours:
        with pytest.raises(MediaMissing):
            store.size(key)
    else:
        assert store.size(key) == 1
        store.delete(key)


def test_no_other_user_of_the_machine_reads_a_file(tmp_path: Path) -> None:
    FolderMediaStore(tmp_path / "medias").save("a/b.bin", [b"x"], mime_type="text/plain", limit=10)

    assert (tmp_path / "medias").stat().st_mode & 0o077 == 0


def test_an_upload_that_a_crash_cut_off_is_swept_after_a_day(tmp_path: Path) -> None:
    left = tmp_path / UNFINISHED / "half"
    left.parent.mkdir()
    left.write_bytes(b"half")
    store = FolderMediaStore(tmp_path)

    assert store.expire(older_than_s=0, most=10) == 0
    os.utime(left, (time.time() - 90_000,) * 2)
    assert store.expire(older_than_s=1_000_000, most=10) == 1


@given(st.text(min_size=1, max_size=60))
def test_no_key_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "jail"
    folder.mkdir(exist_ok=True)
    (folder.parent / "secret").write_text("secret")
    store = FolderMediaStore(folder)
    for attempt in (key, f"../{key}", f"{PHONE}/../../{key}", "../secret", f"/{key}"):
        try:
            assert b"secret" not in b"".join(store.read(attempt))
        except (MediaMissing, ValueError):
            continue


@pytest.mark.parametrize("size", [5, 9_000_000])
def test_a_store_that_knows_s3_as_it_was_gets_nothing_newer(size: int) -> None:
    begun = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
    answer = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s'
    with Receiver(*[say(answer % (len(begun), begun), then=close)]) as bucket:
        s3(bucket.url).save(KEY, [bytes(size)], mime_type="image/png", limit=LIMIT)

    heads = "".join(request.head.lower() for request in bucket.requests)
    assert heads.startswith(("put ", "post "))
    assert not [word for word in ("checksum", "trailer", "aws-chunked") if word in heads]


def test_a_bucket_that_is_not_there_is_an_error() -> None:
    store = s3("http://127.0.0.1:1", timeout_ms=1000)

    with pytest.raises(StoreUnavailable):
        store.read(KEY)
    with pytest.raises(StoreUnavailable):
        store.save(KEY, [b"x"], mime_type="text/plain", limit=LIMIT)


# --- index ---


def make_media(media_id: str = "314100000000000000000001") -> MediaFile:
    return MediaFile(id=media_id, phone=PHONE, mime_type="image/png", sha256="0" * 64, file_size=3, key=KEY)


def test_metadata_are_found_with_and_without_the_phone(
    redis_client: RedisClient, raw_redis: redis.Redis, tmp_path: Path
) -> None:
    index, media = RedisMediaIndex(redis_client, FolderMediaStore(tmp_path), ttl_s=100), make_media()
    index.write(media)

    assert index.find(media.id) == index.find(media.id, phone=PHONE) == media
    with pytest.raises(MediaMissing):
        index.find(media.id, phone="5511000000000")
    raw_redis.flushall()
    assert index.find(media.id) == media  # from the store, when Redis forgot
    with pytest.raises(MediaMissing):
        index.find(media.id, phone="5511000000000")


@pytest.mark.parametrize("is_read", [False, True])
def test_a_file_that_was_deleted_meanwhile_is_not_written_again(
    redis_client: RedisClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_read: bool
) -> None:
    """Another process may delete it while what nobody waits for is still on its way to Redis."""
    index, media, late = RedisMediaIndex(redis_client, FolderMediaStore(tmp_path), ttl_s=100), make_media(), list[Any]()
    with monkeypatch.context() as patched:
        patched.setattr(redis_client, "post", lambda *commands: late.extend(commands))
        index.write(media)
        if is_read:
            redis_client.call(("FLUSHALL",))
            index.find(media.id)
    index.remove(media)

    redis_client.call(("PING",), *late)

    with pytest.raises(MediaMissing):
        index.find(media.id)


def test_the_files_that_a_number_made_count_until_they_are_gone(
    redis_client: RedisClient, raw_redis: redis.Redis, tmp_path: Path
) -> None:
    index, today = RedisMediaIndex(redis_client, FolderMediaStore(tmp_path), ttl_s=100), int(time.time()) // 86_400
    large = make_media().model_copy(update={"counted_on": today, "file_size": 1_000_000})
    small = make_media("314100000000000000000002").model_copy(update={"counted_on": today})
    received = make_media("314100000000000000000003")

    for media in (large, small, received):
        index.write(media)
    raw_redis.hset(f"unoapi-media-bytes:{PHONE}", str(today - 5), 7)  # expired since
    assert eventually(lambda: index.counted_bytes(PHONE) == 1_000_000 + LEAST_COUNTED_BYTES)
    index.remove(large)
    index.remove(received)

    assert eventually(lambda: index.counted_bytes(PHONE) == LEAST_COUNTED_BYTES)
    assert eventually(lambda: raw_redis.hkeys(f"unoapi-media-bytes:{PHONE}") == [f"{today}"])
    assert index.counted_bytes("5511000000000") == 0


def test_without_redis_no_file_counts(away: RedisClient, tmp_path: Path) -> None:
    assert RedisMediaIndex(away, FolderMediaStore(tmp_path), ttl_s=100).counted_bytes(PHONE) == 0


def test_without_redis_the_metadata_in_the_media_store_serve(away: RedisClient, tmp_path: Path) -> None:
    index, media = RedisMediaIndex(away, FolderMediaStore(tmp_path), ttl_s=100), make_media()
    index.write(media)

    assert index.find(media.id) == media
    index.remove(media)
    with pytest.raises(MediaMissing):
        index.find(media.id)


def test_metadata_of_the_node_version_are_read(
    redis_client: RedisClient, raw_redis: redis.Redis, tmp_path: Path
) -> None:
    raw_redis.set(
        f"unoapi-media:{PHONE}:UNO.OUT.1",
        '{"messaging_product":"whatsapp","mime_type":"image/jpeg","sha256":{"0":255,"1":1},"file_size":"5",'
        f'"id":"{PHONE}/UNO.OUT.1","filename":"{PHONE}/UNO.OUT.1.jpeg"}}',
    )

    media = RedisMediaIndex(redis_client, FolderMediaStore(tmp_path), ttl_s=100).find("UNO.OUT.1", phone=PHONE)

    assert (media.id, media.key, media.sha256) == (f"{PHONE}/UNO.OUT.1", f"{PHONE}/UNO.OUT.1.jpeg", "ff01")
    assert (media.mime_type, media.file_size) == ("image/jpeg", 5)


@pytest.mark.parametrize(
    ("filename", "mime_type", "key", "name"),
    [
        ("3EB0AA.jpeg", "image/jpeg", "3EB0AA.jpeg", ""),
        ("Proposta nº 7.pdf", "application/pdf", "3EB0AA.pdf", "Proposta nº 7.pdf"),
        ("boleto.PDF", "application/octet-stream", "3EB0AA.pdf", "boleto.PDF"),
        ("../../etc/passwd", "text/plain", "3EB0AA.txt", "passwd"),
        ("3EB0AA./../../5511888880001/3EB0BB.pdf", "application/pdf", "3EB0AA.pdf", "3EB0BB.pdf"),
        ("", "image/jpeg", "3EB0AA", ""),
    ],
)
def test_a_document_of_the_node_version_has_its_messages_name_in_the_store(
    filename: str, mime_type: str, key: str, name: str
) -> None:
    media = from_node_version(PHONE, "3EB0AA", {"mime_type": mime_type, "filename": filename, "file_size": 5})

    assert (media.key, media.filename) == (f"{PHONE}/{key}", name)


@pytest.mark.parametrize(
    ("sha256", "file_size", "digest", "size"),
    [
        ({"type": "Buffer", "data": [255, 1]}, {"low": 5, "high": 0, "unsigned": True}, "ff01", 5),
        ({"0": 255, "1": 1}, {"low": -1, "high": 1, "unsigned": True}, "ff01", 2**33 - 1),
        ([255, 1], "5", "ff01", 5),
        ("ff01", 5, "ff01", 5),
        ({"type": "Buffer", "data": [256]}, "many", "", 0),
        ({"type": "Buffer"}, {"low": "5"}, "", 0),
        (None, None, "", 0),
        ({}, {}, "", 0),
    ],
)
def test_a_file_of_the_node_version_is_read_whatever_javascript_made_of_its_numbers(
    sha256: Any, file_size: Any, digest: str, size: int
) -> None:
    stored = {"mime_type": "image/jpeg", "filename": "3EB0AA.jpeg", "sha256": sha256, "file_size": file_size}

    media = from_node_version(PHONE, "3EB0AA", stored)

    assert (media.sha256, media.file_size, media.key) == (digest, size, f"{PHONE}/3EB0AA.jpeg")


@pytest.mark.parametrize(
    ("mime_type", "name", "saved_as"),
    [
        ("application/x-ofx", "extrato.ofx", "false"),
        ("application/x-ofx", "extrato.ofx", "bin"),
        ("application/x-rar", "fotos.rar", "false"),
        ("video/quicktime", "casa.mov", "qt"),
        ("audio/wav", "som.wav", "wav"),
        ("application/pdf", "Proposta nº 7.pdf", "pdf"),
        ("application/x-ofx", "sem nome", "false"),
        ("image/jpeg", "", "jpeg"),
    ],
)
def test_a_document_of_the_node_version_is_found_under_the_ending_that_it_had_there(
    redis_client: RedisClient, raw_redis: redis.Redis, tmp_path: Path, *, mime_type: str, name: str, saved_as: str
) -> None:
    files = FolderMediaStore(tmp_path)
    files.save(f"{PHONE}/UNO.OUT.1.{saved_as}", [b"x"], mime_type=mime_type, limit=1)
    note = {"mime_type": mime_type, "file_size": 1, "id": f"{PHONE}/UNO.OUT.1", "filename": name}
    raw_redis.set(f"unoapi-media:{PHONE}:UNO.OUT.1", json.dumps(note))

    media = RedisMediaIndex(redis_client, files, ttl_s=100).find("UNO.OUT.1", phone=PHONE)

    assert (media.key, media.filename) == (f"{PHONE}/UNO.OUT.1.{saved_as}", name)


def test_a_bucket_that_breaks_off_in_a_file_is_away() -> None:
    """Whoever reads a file waits then, or goes on without it, as when nothing comes at all."""
    with Receiver(say(PARTIAL, then=close)) as bucket:
        pieces = s3(bucket.url).read(KEY)

        with pytest.raises(StoreUnavailable):
            list(pieces)
