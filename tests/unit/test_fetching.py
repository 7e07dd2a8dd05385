"""The files of a message that stand at addresses: what becomes of it, by what is found there."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from tests.support.fakes import CONTACT, PHONE, MemoryMediaIndex, MemorySessions, make_session
from unoapi.errors import (
    FetchFailed,
    FileRefused,
    MediaMissing,
    MessageRejected,
    Postponed,
    RequestError,
    StoreUnavailable,
    TooOld,
)
from unoapi.media.folder import FolderMediaStore
from unoapi.media.signed_urls import SignedUrls
from unoapi.models.file_types import declared_type, known_type, type_of_content, why_not
from unoapi.models.jobs import FetchFiles, PrepareMessage, SendMessage, now_ms
from unoapi.models.media import ID_PREFIX, MediaFile
from unoapi.services.bulkhead import Bulkhead
from unoapi.services.fetching import fetch, wanted
from unoapi.services.media import check, resolve
from unoapi.services.message_parsing import message_of, parse_message
from unoapi.services.sending import failed_envelope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINK = "https://files.example.com/a/b%20c.jpg?x=1"
JPEG = b"\xff\xd8\xff\xe0" + bytes(64)
MP3 = b"ID3" + bytes(64)
OWN_LINKS = SignedUrls(base_url="http://localhost:9876", read_key=lambda: "k", former_keys=(), ttl_s=60)


class Fetched:
    def __init__(self, mime_type: str, filename: str = "") -> None:
        self.mime_type, self.filename = mime_type, filename


class Files:
    """A downloader that answers all addresses alike."""

    def __init__(
        self, data: bytes = b"", mime_type: str = "", error: Exception | None = None, filename: str = ""
    ) -> None:
        self.data, self.mime_type, self.error, self.filename = data, mime_type, error, filename
        self.asked: list[str] = []

    def fetch(self, url: str, target: BinaryIO, *, limit: int, timeout_ms: int) -> Fetched:  # noqa: ARG002 (the port's)
        self.asked.append(url)
        if self.error is not None:
            raise self.error
        target.write(self.data)
        return Fetched(self.mime_type, self.filename)

    fetch_beginning = fetch


class Index:
    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.written: list[MediaFile] = []

    def counted_bytes(self, phone: str) -> int:  # noqa: ARG002 (the port's)
        return 0

    def write(self, media: MediaFile) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")
        self.written.append(media)


def run(
    tmp_path: Path,
    files: Files,
    *,
    index: Index | MemoryMediaIndex | None = None,
    accepted_at_ms: int | None = None,
    **message: Any,
) -> SendMessage | PrepareMessage:
    body = json.dumps({"to": CONTACT, "type": next(iter(message)), **message})
    job = FetchFiles(
        id="wamid.1", phone=PHONE, message_id="wamid.1", body=body, contact=CONTACT, marketing=True,
        accepted_at_ms=accepted_at_ms or now_ms(),
    )  # fmt: skip
    return fetch(
        job, files=FolderMediaStore(tmp_path), index=index or Index(),  # type: ignore[arg-type] # what is used of it
        downloader=files, bulkhead=Bulkhead(4), timeout_ms=1000, quota=10**9, max_age_s=600, voice=True,
        always_voice=False, key_in=OWN_LINKS.key_in,
    )  # fmt: skip


@pytest.mark.parametrize("query", ["", "?signature=expired"])
@pytest.mark.parametrize("version", ["v15.0", "v21.0"])
def test_a_link_to_a_file_of_the_number_itself_is_that_file(tmp_path: Path, version: str, query: str) -> None:
    index, files = MemoryMediaIndex(), Files(error=FileRefused("localhost is this machine"))
    own = MediaFile(
        id=NOBODYS, phone=PHONE, mime_type="application/pdf", filename="a.pdf", key=f"{PHONE}/{NOBODYS}.pdf"
    )
    index.write(own)
    link = f"http://localhost:9876/{version}/download/{own.key}{query}"

    job = run(tmp_path, files, index=index, document={"link": link})

    assert json.loads(job.body)["document"] == {"id": NOBODYS, "filename": "a.pdf"}
    assert files.asked == []
    for other in (link.replace(PHONE, "5521977776666"), link.replace(NOBODYS, NOBODYS[::-1]), f"{link[:21]}/a.pdf"):
        with pytest.raises(MessageRejected):
            run(tmp_path, files, index=index, document={"link": other})
    assert len(files.asked) == 3


@pytest.mark.parametrize(
    ("last", "given", "name"),
    [
        ("uc?export=download&id=1", None, "Boleto nov.pdf"),
        ("boleto.php", None, "Boleto nov.pdf"),
        ("", None, "Boleto nov.pdf"),
        ("nota.pdf", None, "nota.pdf"),
        ("uc", "Contrato.pdf", "Contrato.pdf"),
    ],
)
def test_a_document_whose_address_names_no_file_is_called_as_its_server_calls_it(
    tmp_path: Path, last: str, given: str | None, name: str
) -> None:
    document = {"link": f"https://h.test/{last}"} | ({"filename": given} if given else {})
    files = Files(b"%PDF-1.7", "application/pdf", filename="C:\\ana\\Boleto nov.pdf")

    job = run(tmp_path, files, document=document)

    assert json.loads(job.body)["document"]["filename"] == name


def test_a_file_is_saved_and_its_id_takes_the_place_of_its_address(tmp_path: Path) -> None:
    index = Index()

    job = run(tmp_path, Files(JPEG, "application/octet-stream"), index=index, image={"link": LINK, "caption": "x"})

    (media,) = index.written
    assert isinstance(job, PrepareMessage)
    assert json.loads(job.body)["image"] == {"id": media.id, "caption": "x"}
    assert (media.mime_type, media.filename) == ("image/jpeg", "b c.jpg")
    assert (job.contact, job.marketing, job.id) == (CONTACT, True, "wamid.1")


@pytest.mark.parametrize(
    ("last", "given", "name"),
    [
        ("nota/123", None, "123.pdf"),
        ("boleto.php?id=1", None, "boleto.pdf"),
        ("REM0101.rem", None, "REM0101.rem"),
        ("a.PDF", None, "a.PDF"),
        ("nota/123", "Contrato", "Contrato"),
        ("Relat%C3%B3rio%20de%20a%C3%A7%C3%B5es.pdf", None, "Relatório de ações.pdf"),
        ("Relat%F3rio%20de%20a%E7%F5es.pdf", None, "Relatório de ações.pdf"),
    ],
)
def test_a_document_named_by_its_address_has_the_ending_of_its_type(
    tmp_path: Path, last: str, given: str | None, name: str
) -> None:
    document = {"link": f"https://h.test/{last}"} | ({"filename": given} if given else {})

    job = run(tmp_path, Files(b"%PDF-1.7", "application/pdf"), document=document)

    assert json.loads(job.body)["document"]["filename"] == name


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ({"interactive": {"type": "button", "header": {"type": "image", "image": {"link": LINK}}, "body": {"text": "x"},
                          "action": {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "A"}}]}}}, JPEG),
        ({"template": {"name": "a", "components": [
            {"type": "header", "parameters": [{"type": "image", "image": {"link": LINK}}]}]}}, JPEG),
        ({"document": {"link": LINK, "filename": "a.pdf"}}, b"%PDF-1.7"),
    ],
    ids=["header", "template", "document"],
)  # fmt: skip
def test_every_address_of_a_message_is_fetched(tmp_path: Path, message: dict[str, Any], data: bytes) -> None:
    job = run(tmp_path, Files(data), **message)

    assert "link" not in job.body


def test_of_a_template_that_names_many_files_one_is_fetched(tmp_path: Path) -> None:
    files = Files(JPEG)
    heads = [{"type": "image", "image": {"link": LINK}}] * 50

    run(tmp_path, files, template={"name": "a", "components": [{"type": "header", "parameters": heads}] * 20})

    assert files.asked == [LINK]


NOBODYS = f"{ID_PREFIX}{0:020}"
HEAD = {"type": "image", "image": {"link": LINK}}
IN_TEMPLATE = {"template": {"name": "a", "components": [{"type": "carousel", "cards": [
    {"card_index": 0, "components": [{"type": "header", "parameters": [HEAD]}]}]}]}}  # fmt: skip
IN_CAROUSEL = {"interactive": {"type": "carousel", "body": {"text": "x"}, "action": {"cards": [{"header": HEAD}]}}}


@pytest.mark.parametrize("message", [IN_TEMPLATE, IN_CAROUSEL], ids=["template", "carousel"])
def test_field_report_65_the_pictures_of_cards_stay_addresses_which_phones_read(
    tmp_path: Path, message: dict[str, Any]
) -> None:
    files = Files(JPEG)

    job = run(tmp_path, files, **message)

    assert (files.asked, json.loads(job.body)) == ([], {"to": CONTACT, "type": next(iter(message)), **message})
    assert not wanted(message_of(job))


@pytest.mark.parametrize("place", ["alone", "above buttons", "in a template"])
def test_meta_gets_the_name_of_an_uploaded_document_wherever_it_stands(place: str) -> None:
    index = MemoryMediaIndex()
    index.write(MediaFile(id="123", phone=PHONE, filename="Contrato.pdf", key="k"))
    part = {"type": "document", "document": {"id": "123"}}
    message: dict[str, Any] = {
        "alone": part,
        "above buttons": {"type": "interactive", "interactive": {"type": "button", "header": part}},
        "in a template": {"type": "template", "template": {"components": [{"type": "header", "parameters": [part]}]}},
    }[place]

    resolved = resolve(message, phone=PHONE, index=index, link=lambda media: f"https://api.test/{media.id}")

    named = '"document": {"link": "https://api.test/123", "filename": "Contrato.pdf"}'
    assert named in json.dumps(resolved)


@pytest.mark.parametrize("message", [IN_TEMPLATE, IN_CAROUSEL], ids=["template", "carousel"])
def test_field_report_65_meta_gets_the_uploaded_pictures_of_cards_as_links(message: dict[str, Any]) -> None:
    index, kind = MemoryMediaIndex(), next(iter(message))
    index.write(MediaFile(id="123", phone=PHONE, mime_type="image/jpeg", sha256="", file_size=1, key="k"))
    uploaded = json.loads(json.dumps({"to": CONTACT, "type": kind, **message}).replace('"link"', '"id"'))
    known, unknown = (json.loads(json.dumps(uploaded).replace(LINK, media_id)) for media_id in ("123", NOBODYS))

    resolved = resolve(known, phone=PHONE, index=index, link=lambda media: f"https://api.test/{media.id}")

    assert resolved[kind] == json.loads(json.dumps(message[kind]).replace(LINK, "https://api.test/123"))
    check(parse_message(known), phone=PHONE, index=index)
    with pytest.raises(RequestError):
        check(parse_message(unknown), phone=PHONE, index=index)
    with pytest.raises(MediaMissing):
        resolve(unknown, phone=PHONE, index=index, link=str)


@pytest.mark.parametrize("blank", ["", None])
def test_meta_gets_no_empty_field_of_a_file_and_the_name_of_an_uploaded_one(blank: str | None) -> None:
    index = MemoryMediaIndex()
    index.write(
        MediaFile(id="123", phone=PHONE, mime_type="application/pdf", sha256="", file_size=1, key="k", filename="a.pdf")
    )
    header = {"type": "document", "document": {"id": blank, "link": LINK, "filename": blank, "caption": blank}}
    linked = {"to": CONTACT, "type": "interactive", "interactive": {"type": "button", "header": header}}
    uploaded = {"to": CONTACT, "type": "document", "document": {"id": "123", "link": blank, "filename": blank}}

    sent, named = (resolve(message, phone=PHONE, index=index, link=lambda _: "L") for message in (linked, uploaded))

    assert sent["interactive"]["header"]["document"] == {"link": LINK}
    assert named["document"] == {"link": "L", "filename": "a.pdf"}


PLACES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "alone": lambda part: part,
    "above buttons": lambda part: {"type": "interactive", "interactive": {"type": "button", "header": part}},
    "in a template": lambda part: {"type": "template", "template": {"components": [{"parameters": [part]}]}},
    "in a template's card": lambda part: {
        "type": "template",
        "template": {"components": [{"cards": [{"components": [{"parameters": [part]}]}]}]},
    },
    "in a card": lambda part: {"type": "interactive", "interactive": {"action": {"cards": [{"header": part}]}}},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://files.test/foto 1.jpg", "https://files.test/foto%201.jpg"),
        (" https://files.test/promo\u00e7\u00e3o.jpg\n", "https://files.test/promo%C3%A7%C3%A3o.jpg"),
        ("https://padaria-s\u00e3o.com.br/a%20b.jpg?x=1", "https://xn--padaria-so-n5a.com.br/a%20b.jpg?x=1"),
        ("https://Files.test/a%2Fb.jpg?x=a|b", "https://Files.test/a%2Fb.jpg?x=a|b"),
    ],
)
def test_meta_gets_a_files_link_as_a_browser_asks_for_it(place: str, written: str, sent: str) -> None:
    def message(link: str) -> dict[str, Any]:
        return PLACES[place]({"type": "image", "image": {"link": link, "caption": "x"}})

    assert resolve(message(written), phone=PHONE, index=MemoryMediaIndex(), link=str) == message(sent)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("kind", "filename"), [("image", None), ("video", None), ("document", "a.jpg")])
def test_meta_gets_a_name_of_documents_alone(place: str, kind: str, filename: str | None) -> None:
    def message(**more: str | None) -> dict[str, Any]:
        told = {name: part for name, part in more.items() if part}
        return PLACES[place]({"type": kind, kind: {"link": LINK, "caption": "x", **told}})

    sent = resolve(message(filename="a.jpg"), phone=PHONE, index=MemoryMediaIndex(), link=str)

    assert sent == message(filename=filename)


@pytest.mark.parametrize("place", PLACES)
def test_meta_gets_a_new_link_of_a_file_of_the_number_itself(place: str) -> None:
    index, key = MemoryMediaIndex(), f"{PHONE}/{NOBODYS}.pdf"
    index.write(MediaFile(id=NOBODYS, phone=PHONE, key=key))

    def message(link: str) -> dict[str, Any]:
        return PLACES[place]({"type": "image", "image": {"link": link}})

    def sent(link: str) -> dict[str, Any]:
        return resolve(
            message(link), phone=PHONE, index=index, link=lambda media: f"new:{media.id}", key_in=OWN_LINKS.key_in
        )

    old = f"http://localhost:9876/v15.0/download/{key}?signature=expired"
    assert sent(old) == message(f"new:{NOBODYS}")
    for other in (old.replace(PHONE, "5521977776666"), old.replace(NOBODYS, NOBODYS[::-1])):
        assert sent(other) == message(other)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("media_id", [NOBODYS, "1234567890123456", "123"])
def test_of_a_file_with_a_link_and_an_id_meta_gets_the_link_as_phones_do(place: str, media_id: str) -> None:
    def message(**more: str) -> dict[str, Any]:
        return PLACES[place]({"type": "image", "image": {"link": LINK, **more}})

    assert resolve(message(id=media_id), phone=PHONE, index=MemoryMediaIndex(), link=str) == message()


@pytest.mark.parametrize(("media_id", "is_metas"), [("1234567890123456", True), (NOBODYS, False), ("a/b", False)])
@pytest.mark.parametrize("kind", ["image", "document", "audio"])
def test_a_file_that_was_uploaded_to_meta_itself_is_sent_by_its_id(kind: str, media_id: str, is_metas: bool) -> None:
    index, message = MemoryMediaIndex(), {"to": CONTACT, "type": kind, kind: {"id": media_id}}

    def sent() -> Any:
        check(parse_message(message), phone=PHONE, index=index, at_meta=True)
        return resolve(message, phone=PHONE, index=index, link=str)

    if is_metas:
        assert sent() == message
    else:
        with pytest.raises(RequestError):
            sent()
    with pytest.raises(RequestError):
        check(parse_message(message), phone=PHONE, index=index)


@pytest.mark.parametrize(
    ("message", "data", "kind"),
    [
        ({"audio": {"link": "https://files.example.com/a.ogg", "voice": True}}, MP3, PrepareMessage),
        ({"document": {"link": LINK}}, b"%PDF-1.7", SendMessage),
    ],
    ids=["audio", "document"],
)
def test_what_can_be_prepared_is_prepared_next(
    tmp_path: Path, message: dict[str, Any], data: bytes, kind: type
) -> None:
    assert type(run(tmp_path, Files(data), **message)) is kind


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (FileRefused("the file's server answered HTTP 404"), MessageRejected),
        (FetchFailed("the file's server answered HTTP 503"), FetchFailed),
        (FetchFailed("the file's server answered HTTP 429", after_ms=5000), Postponed),
        (FetchFailed("the file's server answered HTTP 429", after_ms=7_200_000), MessageRejected),
    ],
)
def test_field_report_45_what_becomes_of_a_message_whose_file_cannot_be_had(
    tmp_path: Path, error: Exception, becomes: type[Exception]
) -> None:
    with pytest.raises(becomes) as raised:
        run(tmp_path, Files(error=error), image={"link": LINK})

    if isinstance(raised.value, MessageRejected):
        assert (raised.value.code, str(error) in raised.value.details) == (131053, True)
    if isinstance(raised.value, Postponed):
        assert raised.value.after_ms == 5000


def test_a_file_that_cannot_be_saved_here_stays_where_it_is(tmp_path: Path) -> None:
    job = run(tmp_path, Files(JPEG), index=Index(away=True), image={"link": LINK})

    assert json.loads(job.body)["image"] == {"link": LINK}


def test_a_message_that_is_too_old_fetches_nothing(tmp_path: Path) -> None:
    files = Files(JPEG)

    with pytest.raises(TooOld):
        run(tmp_path, files, accepted_at_ms=now_ms() - 601_000, image={"link": LINK})

    assert files.asked == []


def test_field_report_45_at_the_end_of_the_schedule_the_status_says_that_the_file_could_not_be_had() -> None:
    job = FetchFiles(id="wamid.1", phone=PHONE, message_id="wamid.1", body=json.dumps({"to": CONTACT}))

    envelope = failed_envelope(
        job, reason="fetch_failed", error="the file's server answered HTTP 503", sessions=MemorySessions(make_session())
    )

    (status,) = json.loads(envelope.job.body)["entry"][0]["changes"][0]["value"]["statuses"]  # type: ignore[attr-defined]
    assert (status["status"], status["errors"][0]["code"]) == ("failed", 131053)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"RIFF", b"OggS", b"\x00\x00\x00\x20ftyp", b"<", b"PK\x03\x04", b"\x1a\x45\xdf\xa3"]
)
@pytest.mark.parametrize("kind", ["image", "video", "audio", "document", "sticker"])
def test_a_file_that_breaks_off_breaks_nothing(data: bytes, kind: str) -> None:
    assert isinstance(type_of_content(data), str)
    assert isinstance(why_not(kind, data, served="", name=""), str)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("image", "a.jpg"), ("video", "a"), ("audio", "a.mp3"), ("document", "a.pdf"), ("document", "a.docx")],
)
def test_field_report_45_words_in_the_place_of_a_file_are_no_file(kind: str, name: str) -> None:
    assert "words" in why_not(kind, b"Not found\n", served="text/plain; charset=utf-8", name=name)


@pytest.mark.parametrize(
    ("kind", "served", "name"),
    [("image", "image/jpeg", "a.jpg"), ("video", "", "a"), ("audio", "application/octet-stream", "a.mp3"),
     ("sticker", "", "a.webp"), ("document", "application/octet-stream", "a.pdf"), ("document", "", "a.docx")],
)  # fmt: skip
@pytest.mark.parametrize(
    "head", ['{"mensagem": "não encontrado"}'.encode(), b'{\r\n  "error": 1}', b'<?xml version="1.0"?><Error><Code>']
)
def test_field_report_45_an_error_is_no_file_whatever_type_it_is_served_with(
    kind: str, served: str, name: str, head: bytes
) -> None:
    assert "answer" in why_not(kind, head, served=served, name=name)


@pytest.mark.parametrize(
    ("kind", "head", "served", "name"),
    [("document", b'{"a": 1}', "", "a.json"), ("document", b"<?xml?><nfe>", "application/octet-stream", "nota.xml"),
     ("document", b'{"a": 1}', "", "a"), ("document", b'{"a": 1}', "", "a.bin"), ("image", b"{x", "", "a.jpg")],
)  # fmt: skip
def test_field_report_45_documents_of_words_are_files(kind: str, head: bytes, served: str, name: str) -> None:
    assert why_not(kind, head, served=served, name=name) == ""


TABLE = b"<html><body><table><tr><td>1</td></tr></table>"


@pytest.mark.parametrize(
    ("mime_type", "name"), [("application/vnd.ms-excel", "a.xls"), ("application/msword", "a.doc")]
)
def test_field_report_45_a_table_that_a_program_wrote_as_a_page_is_a_file(mime_type: str, name: str) -> None:
    assert why_not("document", TABLE, served=f"{mime_type}; charset=utf-8", name=name) == ""
    assert known_type(TABLE, served=mime_type, name="export") == mime_type
    assert known_type(TABLE, served="", name=name) == mime_type
    older = mime_type.replace("vnd.ms-excel", "x-msexcel").replace("/msword", "/x-msword")
    assert why_not("document", TABLE, served=older, name=name) == ""
    assert known_type(TABLE, served=older, name="export") == declared_type(older, TABLE, name="") == mime_type
    for served in ("text/html", "application/octet-stream", "application/pdf", ""):
        assert "page" in why_not("document", TABLE, served=served, name=name)
    assert "page" in why_not("document", TABLE, served="application/pdf", name="a.pdf")
    assert why_not("image", TABLE, served=mime_type, name=name) != ""


@pytest.mark.parametrize(
    ("kind", "head", "name"),
    [("document", b"a;b\n", "a.csv"), ("document", b"hello", "a.txt"), ("document", b"hello", "notes"),
     ("image", b"\xff\xd8\xff\xe0", "a"), ("document", b"%PDF-1.4", "a.pdf")],
)  # fmt: skip
def test_field_report_42_a_file_that_is_served_as_text_is_what_its_bytes_say(kind: str, head: bytes, name: str) -> None:
    assert why_not(kind, head, served="text/plain", name=name) == ""


def test_field_report_42_a_text_in_utf_16_is_no_audio() -> None:
    assert type_of_content("a;b".encode("utf-16")) == ""


@pytest.mark.parametrize(
    ("served", "brand"), [("audio/x-ms-wma", b"0&\xb2u\x8ef\xcf\x11"), ("audio/mp4", b"\0\0\0\x14ftypqt  ")]
)
def test_field_report_43_sound_in_a_container_of_films_is_no_film(served: str, brand: bytes) -> None:
    assert why_not("audio", brand + bytes(64), served=served, name="a") == ""


def zipped(mime_type: str) -> bytes:
    """An archive that begins with the name of its type, as those of OpenOffice do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", mime_type)
        archive.writestr("content.xml", "")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (b"Rar!\x1a\x07\x01\x00", "application/vnd.rar"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "application/x-7z-compressed"),
        (b"\x1f\x8b\x08\x00", "application/gzip"),
        (b"{\\rtf1\\ansi hello}", "application/rtf"),
        (b"BM\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00", "image/bmp"),
        (b"BMW is a car of Bavaria", ""),
        (b"%!PS-Adobe-3.0", "application/postscript"),
        (b"0&\xb2u\x8ef\xcf\x11\xa6\xd9", "video/x-ms-asf"),
        (b"\x00\x00\x01\xba\x44", "video/mpeg"),
        (b"\xef\xbb\xbf\r\n%PDF-1.7", "application/pdf"),
        (b"\x00\x00\x00\x18ftyphevc\x00\x00\x00\x00mif1", "image/heic"),
        (b"\x00\x00\x00\x18ftypmsf1\x00\x00\x00\x00hevc", "image/heic"),
        (b"\x00\x00\x00\x18ftypavis\x00\x00\x00\x00msf1", "image/avif"),
        (zipped("application/vnd.oasis.opendocument.text"), "application/vnd.oasis.opendocument.text"),
        (zipped("application/epub+zip"), "application/epub+zip"),
        (zipped("application/vnd.oasis.opendocument.text\n"), "application/vnd.oasis.opendocument.text"),
        (zipped("application/vnd.oasis.opendocument.<script>"), "application/zip"),
        (zipped("text/x"), "application/zip"),
    ],
)
def test_field_report_48_a_file_is_known_by_its_first_bytes(head: bytes, mime_type: str) -> None:
    assert type_of_content(head) == mime_type
