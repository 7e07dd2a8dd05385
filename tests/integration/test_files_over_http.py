"""Files over HTTP: their types by what they are, their names in every program, and parts of them."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import Answer, Api
from tests.support.api import api as serve_api
from tests.support.stack import CONTACT, PHONE
from unoapi.services.media import save

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

TOKEN = f"session-token-{PHONE}"
DIGITS = b"0123456789" * 100_000


def office(part: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(part, "x")
    return file.getvalue()


OFFICE = "application/vnd.openxmlformats-officedocument"
CONTENTS = {
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(64),
    "image/png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64),
    "image/webp": b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(64),
    "image/gif": b"GIF89a" + bytes(64),
    "video/mp4": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(64),
    "video/3gpp": b"\x00\x00\x00\x18ftyp3gp4\x00\x00\x00\x00isom3gp4" + bytes(64),
    "audio/mp4": b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00M4A mp42isom" + bytes(64),
    "audio/ogg; codecs=opus": b"OggS\x00\x02" + bytes(22) + b"\x01\x13OpusHead" + bytes(64),
    "audio/mpeg": b"\xff\xfb\x90\x64" + bytes(64),
    "audio/aac": b"\xff\xf1\x50\x80" + bytes(64),
    "audio/amr": b"#!AMR\n" + bytes(64),
    "application/pdf": b"%PDF-1.7\n" + bytes(64),
    f"{OFFICE}.wordprocessingml.document": office("word/document.xml"),
    f"{OFFICE}.spreadsheetml.sheet": office("xl/workbook.xml"),
    f"{OFFICE}.presentationml.presentation": office("ppt/presentation.xml"),
}


@pytest.fixture(scope="module")
def api(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve_api(servers, tmp_path_factory.mktemp("files")) as running:
        running.register([])
        yield running


def upload(api: Api, data: bytes, name: str, said: str, **form: str) -> Answer:
    fields = {"messaging_product": "whatsapp", **form, "file": (io.BytesIO(data), name, said)}
    return api.request("POST", f"/v15.0/{PHONE}/media", token=TOKEN, data=fields, content_type="multipart/form-data")


def described(api: Api, answer: Answer) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    described: dict[str, Any] = api.get(f"/v15.0/{answer.json()['id']}", token=TOKEN).json()
    return described


def link_of(api: Api, data: bytes, name: str, said: str) -> str:
    return str(described(api, upload(api, data, name, said))["url"]).removeprefix(api.url)


# --- types ---


@pytest.mark.parametrize("form", [{}, {"type": "image"}], ids=["no field", "field"])
@pytest.mark.parametrize("said", ["application/octet-stream", "binary/octet-stream", ""])
@pytest.mark.parametrize("mime_type", CONTENTS)
def test_field_report_48_the_type_of_an_upload_is_what_its_bytes_tell(
    api: Api, mime_type: str, said: str, form: dict[str, str]
) -> None:
    assert described(api, upload(api, CONTENTS[mime_type], "a", said, **form))["mime_type"] == mime_type


@pytest.mark.parametrize(
    ("data", "name", "said", "mime_type"),
    [
        (b"words", "a", "application/octet-stream", "application/octet-stream"),
        (b"words", "jpg", "application/octet-stream", "application/octet-stream"),
        (b"words", "a.csv", "", "text/csv"),
        (b"words", "a.b", "text/plain", "text/plain"),
        (CONTENTS["image/png"], "photo.jpg", "application/octet-stream", "image/png"),
        (CONTENTS["image/png"], "photo.jpg", "image/jpeg", "image/jpeg"),
        (CONTENTS["image/png"], "photo", "image/*", "image/png"),
        (CONTENTS["application/pdf"], "a", "pdf", "application/pdf"),
        (b"words", "photo.jpg", "image/jpg", "image/jpeg"),
        (b"words", "photo.jfif", "image/pjpeg", "image/jpeg"),
        (b"words", "a.mp3", "audio/mp3", "audio/mpeg"),
        (b"words", "a.m4a", "audio/x-m4a", "audio/mp4"),
        (b"words", "a.pdf", "application/x-pdf", "application/pdf"),
        (CONTENTS["application/pdf"], "a", "text/plain", "application/pdf"),
        (CONTENTS["audio/ogg; codecs=opus"], "a.ogg", "audio/ogg", "audio/ogg; codecs=opus"),
        (CONTENTS["audio/ogg; codecs=opus"], "a.ogg", "audio/ogg; codecs=opus", "audio/ogg; codecs=opus"),
        (CONTENTS["audio/ogg; codecs=opus"], "a", "audio/opus", "audio/ogg; codecs=opus"),
        (b"OggS" + bytes(64), "a.ogg", "audio/ogg", "audio/ogg"),
        (b"<!doctype html><html>", "a.txt", "text/plain", "text/plain"),
        (b"PK\x03\x04" + bytes(64), "a.epub", "", "application/epub+zip"),
        (b"PK\x03\x04" + bytes(64), "a", "", "application/zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64), "a.doc", "", "application/msword"),
    ],
)
def test_field_report_48_what_the_bytes_do_not_tell_is_told_by_what_came_with_them(
    api: Api, data: bytes, name: str, said: str, mime_type: str
) -> None:
    assert described(api, upload(api, data, name, said))["mime_type"] == mime_type


def test_field_report_48_an_empty_file_is_refused(api: Api) -> None:
    error = upload(api, b"", "a.pdf", "application/pdf").json()["error"]

    assert (error["code"], error["error_data"]["details"]) == (131053, "file: it is empty")


def test_field_report_48_a_part_without_a_name_is_told_from_none(api: Api) -> None:
    form = {"messaging_product": "whatsapp", "file": "bytes"}

    answer = api.request("POST", f"/v15.0/{PHONE}/media", token=TOKEN, data=form, content_type="multipart/form-data")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 131008)
    assert answer.json()["error"]["error_data"]["details"] == "file: its part needs a filename"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"data": b"\xff\xd8\xff", "content_type": "image/jpeg"},
         "file: is missing: the body must be multipart/form-data"),
        ({"json": {"file": "https://h.test/a.jpg"}}, "file: is missing: the body must be multipart/form-data"),
        ({"data": {"media": (io.BytesIO(b"x"), "a.jpg")}, "content_type": "multipart/form-data"},
         "file: is missing; did you mean file by media?"),
    ],
)  # fmt: skip
def test_an_upload_without_its_file_says_what_to_send(api: Api, sent: dict[str, Any], said: str) -> None:
    answer = api.request("POST", f"/v15.0/{PHONE}/media", token=TOKEN, **sent)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 131008)
    assert answer.json()["error"]["error_data"]["details"] == said


def test_a_form_that_cannot_be_read_is_told_from_one_without_a_file(api: Api) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="relat\xf3rio.pdf"\r\n\r\n%PDF-1.7\r\n--x--\r\n'
    )

    answer = api.request(
        "POST", f"/v15.0/{PHONE}/media", token=TOKEN, data=form, content_type="multipart/form-data; boundary=x"
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 131008)
    assert "UTF-8" in answer.json()["error"]["error_data"]["details"]


# --- names ---


@pytest.mark.parametrize(
    ("name", "plain", "encoded"),
    [
        ("报告.pdf", "file.pdf", "%E6%8A%A5%E5%91%8A.pdf"),
        ("Número.docx", "Numero.docx", "N%C3%BAmero.docx"),
        ("é.pdf", "e.pdf", "%C3%A9.pdf"),
        ("😀.png", "file.png", "%F0%9F%98%80.png"),
        ("报告", "file", "%E6%8A%A5%E5%91%8A"),
        ("Relatório final 2026.PDF", "Relatorio final 2026.PDF", "Relat%C3%B3rio%20final%202026.PDF"),
        ("報告 v2.xlsx", "v2.xlsx", "%E5%A0%B1%E5%91%8A%20v2.xlsx"),
        ("plain.pdf", "plain.pdf", ""),
        ("Screenshot 10.00\u202fAM.png", "Screenshot 10.00 AM.png", "Screenshot%2010.00%E2%80%AFAM.png"),
        ("报\u200c告.pdf", "file.pdf", "%E6%8A%A5%E2%80%8C%E5%91%8A.pdf"),
        ("a\u202egnp.exe", "agnp.exe", ""),
        ("plain", "plain", ""),
    ],
)
def test_field_report_47_a_download_has_a_name_in_every_program(api: Api, name: str, plain: str, encoded: str) -> None:
    answer = api.get(link_of(api, b"%PDF-1.7", name, "application/pdf"), token=None)

    expected = f'attachment; filename="{plain}"' + (f"; filename*=UTF-8''{encoded}" if encoded else "")
    assert answer.headers["Content-Disposition"] == expected


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("C:\\Users\\ana\\relat\u00f3rio.pdf", "relat\u00f3rio.pdf"),
        ("/srv/ana/a.pdf", "a.pdf"),
        ('a\\"b\\".pdf', 'a"b".pdf'),
        ("=?UTF-8?B?cmVsYXTDs3Jpby5wZGY=?=", "relat\u00f3rio.pdf"),
        ("=?ISO-8859-1?Q?relat=F3rio_final.pdf?=", "relat\u00f3rio final.pdf"),
        ("=?utf-8?q?=00a=0Ab.pdf?=", "ab.pdf"),
        ("=?unicode_escape?q?=5Cud800.pdf?=", "=?unicode_escape?q?=5Cud800.pdf?="),
        ("=?utf-8?b?x", "=?utf-8?b?x"),
        ("=?utf-8?b?x?=", "=?utf-8?b?x?="),
        ("C:\\a\\relat?rio.pdf\"; filename*=utf-8''C%3A%5Ca%5Crelat%C3%B3rio.pdf; x=\"", "relat\u00f3rio.pdf"),
    ],
)
def test_field_report_48_a_files_name_is_read_as_programs_write_it(api: Api, sent: str, name: str) -> None:
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{sent}"\r\nContent-Type: application/pdf'
    form = f"{head}\r\n\r\n%PDF-1.7\r\n--x--\r\n".encode()

    answer = api.request(
        "POST", f"/v15.0/{PHONE}/media", token=TOKEN, data=form, content_type="multipart/form-data; boundary=x"
    )

    assert described(api, answer)["filename"] == name


# --- whose a file is, and for how long a link opens it ---


def test_a_file_is_not_deleted_by_a_request_that_names_another_number(api: Api) -> None:
    media_id = upload(api, b"%PDF-1.7", "a.pdf", "application/pdf").json()["id"]

    refused = api.request("DELETE", f"/v15.0/{media_id}", params={"phone_number_id": "5521977776666"})
    deleted = api.request("DELETE", f"/v15.0/{media_id}", params={"phone_number_id": PHONE})

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, 100)
    assert deleted.json() == {"success": True}


@pytest.mark.parametrize("token", [None, "a token of nobody"])
def test_who_comes_with_a_link_that_opens_the_file_no_longer_is_told_so(api: Api, token: str | None) -> None:
    link = link_of(api, b"%PDF-1.7", "a.pdf", "application/pdf")

    answer = api.get(f"{link}x", token=token)

    assert answer.status_code == 401
    assert "link has expired" in answer.json()["error"]["error_data"]["details"]
    assert api.get(f"{link}x", token=TOKEN).content == b"%PDF-1.7"


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("text/csv; charset=iso-8859-1", "text/csv; charset=iso-8859-1"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("audio/ogg; codecs=opus", "audio/ogg; codecs=opus"),
    ],
)
def test_a_download_has_the_type_that_the_file_came_with_once(api: Api, stored: str, told: str) -> None:
    data = iter([b"a;b"])
    media = save(PHONE, data, mime_type=stored, files=api.uno.media_store, index=api.uno.media_index)

    assert api.get(f"/v15.0/download/{media.key}", token=TOKEN).headers["Content-Type"] == told


# --- parts ---


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-1", 0, 2),
        ("bytes=0-", 0, 1_000_000),
        ("bytes=0-0", 0, 1),
        ("bytes=999999-", 999_999, 1_000_000),
        ("bytes=500000-900000", 500_000, 900_001),
        ("bytes=-7", 999_993, 1_000_000),
        ("bytes=-2000000", 0, 1_000_000),
        ("bytes=10-99999999", 10, 1_000_000),
    ],
)
def test_field_report_52_a_range_is_answered_with_its_bytes(api: Api, asked: str, begin: int, end: int) -> None:
    link = link_of(api, DIGITS, "a.mp3", "audio/mpeg")

    answer = api.get(link, token=None, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (206, DIGITS[begin:end])
    assert answer.headers["Content-Range"] == f"bytes {begin}-{end - 1}/1000000"
    assert answer.headers["Content-Length"] == str(end - begin)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "audio/mpeg"


@pytest.mark.parametrize("asked", ["bytes=1-0", "bytes=0-1,5-6", "lines=0-1", "bytes", "bytes=a-b", "bytes=--1"])
def test_field_report_52_what_is_no_single_range_is_answered_with_the_file(api: Api, asked: str) -> None:
    answer = api.get(link_of(api, DIGITS, "a.mp3", "audio/mpeg"), token=None, headers={"Range": asked})

    assert (answer.status_code, len(answer.content)) == (200, len(DIGITS))
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_field_report_52_a_range_behind_the_end_is_refused(api: Api) -> None:
    link = link_of(api, DIGITS, "a.mp3", "audio/mpeg")

    for asked in ("bytes=1000000-", "bytes=5000000-6000000"):
        answer = api.get(link, token=None, headers={"Range": asked})
        assert (answer.status_code, answer.json()["error"]["code"]) == (416, 100)
        assert answer.headers["Content-Range"] == f"bytes */{len(DIGITS)}"


def test_field_report_52_a_range_of_another_file_is_answered_with_this_one(api: Api) -> None:
    link = link_of(api, DIGITS, "a.mp3", "audio/mpeg")
    tag = api.get(link, token=None).headers["ETag"]

    same = api.get(link, token=None, headers={"Range": "bytes=0-1", "If-Range": tag})
    others = ('"other"', f"W/{tag}", "Fri, 27 Nov 2026 20:00:00 GMT")
    answers = [api.get(link, token=None, headers={"Range": "bytes=0-1", "If-Range": other}) for other in others]

    assert same.status_code == 206
    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_field_report_52_who_has_the_file_already_does_not_get_it_again(api: Api, method: str) -> None:
    link = link_of(api, DIGITS, "a.mp3", "audio/mpeg")
    tag = api.get(link, token=None).headers["ETag"]

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        for part in ({}, {"Range": "bytes=0-1"}):
            answer = api.request(method, link, token=None, headers={"If-None-Match": known, **part})
            assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    assert api.request(method, link, token=None, headers={"If-None-Match": '"other"'}).status_code == 200
    assert api.request(method, link, token=None, headers={"If-Match": tag}).status_code == 200
    assert api.request(method, link, token=None, headers={"If-Match": '"other"'}).status_code == 412
    bare = link.partition("?")[0]
    assert api.request(method, bare, token=None, headers={"If-None-Match": tag}).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}])
def test_field_report_52_a_head_is_answered_without_the_bytes(api: Api, headers: dict[str, str]) -> None:
    link = link_of(api, DIGITS, "a.mp3", "audio/mpeg")

    answer = api.request("HEAD", link, token=None, headers=headers)
    whole = api.get(link, token=None, headers=headers)

    assert (answer.status_code, answer.content) == (whole.status_code, b"")
    for name in ("Content-Length", "Content-Type", "Content-Disposition", "Accept-Ranges", "ETag"):
        assert answer.headers[name] == whole.headers[name]


def test_field_report_52_a_range_opens_nothing_without_the_signature(api: Api) -> None:
    link = link_of(api, DIGITS, "a.mp3", "audio/mpeg").partition("?")[0]

    for method in ("GET", "HEAD"):
        assert api.request(method, link, token=None, headers={"Range": "bytes=0-1"}).status_code == 401


def test_the_file_of_a_simulated_contact_is_described_as_one_that_a_contact_sends(api: Api) -> None:
    media = described(api, upload(api, DIGITS, "a.mp3", "audio/mpeg"))
    api.queues.jobs("unoapi.outgoing")
    body = {"from": CONTACT, "type": "audio", "audio": {"id": media["id"], "voice": False}}

    answers = [
        api.post(f"/sandbox/{PHONE}/messages", body),
        api.post(f"/sandbox/{PHONE}/messages", {**body, "audio": {"id": "1", "mime_type": "audio/ogg"}}),
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    told, unknown = (json.loads(job.body)["entry"][0]["changes"][0]["value"]["messages"][0]["audio"]
                     for job in api.queues.jobs("unoapi.outgoing"))  # fmt: skip
    assert told == {name: media[name] for name in ("id", "mime_type", "sha256", "filename")} | {"voice": False}
    assert unknown == {"id": "1", "mime_type": "audio/ogg"}
