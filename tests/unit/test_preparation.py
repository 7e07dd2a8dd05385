"""Files are prepared before a phone sends them (field reports 38 to 41, 43, 44); whatever is wrong, they are sent."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest
from PIL import Image

from tests.support.constants import CONTACT, PHONE
from tests.support.fakes import make_session
from unoapi.connector.convert.outbound import message_of as whatsapp_message
from unoapi.connector.media import ensure_shown
from unoapi.errors import FetchFailed, Postponed, SendRefused, StoreUnavailable
from unoapi.media.tools import FileTools
from unoapi.models.connector.commands import Send
from unoapi.models.connector.content import Media
from unoapi.models.jobs import PrepareMessage, SendMessage, now_ms
from unoapi.models.media import SavedFile
from unoapi.providers.whatsmeow.commands import commands_for
from unoapi.services import preparation
from unoapi.services.message_parsing import message_of, parse_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from unoapi.models.media import MediaFile

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
OPUS = "audio/ogg; codecs=opus"


class Web:
    """Addresses and their files."""

    def __init__(self, **files: bytes) -> None:
        self.files = {f"https://h.test/{name.replace('_', '.')}": data for name, data in files.items()}
        self.asked: list[str] = []

    def fetch(self, url: str, target: BinaryIO, **_: Any) -> None:
        self.asked.append(url)
        if url not in self.files:
            raise FetchFailed("the file's server answered HTTP 404")
        target.write(self.files[url])

    def fetch_beginning(self, url: str, target: BinaryIO, *, limit: int, **more: Any) -> None:
        whole = io.BytesIO()
        self.fetch(url, whole, **more)
        target.write(whole.getvalue()[:limit])


class Shelf:
    """A media store and its index."""

    def __init__(self, counted: int = 0) -> None:
        self.saved: dict[str, tuple[MediaFile, bytes]] = {}
        self._data: dict[str, bytes] = {}
        self._counted = counted

    def save(self, key: str, chunks: Iterable[bytes], **_: Any) -> SavedFile:
        self._data[key] = b"".join(chunks)
        return SavedFile(sha256="0", size=len(self._data[key]))

    def read(self, key: str) -> Iterator[bytes]:
        return iter([self._data[key]])

    def write(self, media: MediaFile) -> None:
        self.saved[media.id] = (media, self._data[media.key])

    def find(self, media_id: str, **_: Any) -> MediaFile:
        return self.saved[media_id][0]

    def counted_bytes(self, phone: str) -> int:
        assert phone == PHONE
        return self._counted


def made(folder: Path, name: str, *options: str) -> bytes:
    """A file that ffmpeg makes."""
    command = ["ffmpeg", "-loglevel", "error", "-y", *options, str(folder / name)]
    subprocess.run(command, check=True)
    return (folder / name).read_bytes()


def sound(folder: Path, name: str, *options: str) -> bytes:
    return made(folder, name, "-f", "lavfi", "-i", "sine=frequency=440:duration=2", *options)


def picture(kind: str = "JPEG", size: tuple[int, int] = (640, 480), **more: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, kind, **more)
    return buffer.getvalue()


def prepared(
    web: Web,
    shelf: Shelf,
    *,
    quota: int = 0,
    for_phone: bool = True,
    accepted_at_ms: int | None = None,
    **message: Any,
) -> tuple[SendMessage, str]:
    body = json.dumps({"to": CONTACT, **message})
    job = PrepareMessage(
        id="wamid.1", message_id="wamid.1", phone=PHONE, body=body, claimed_only=True,
        accepted_at_ms=now_ms() if accepted_at_ms is None else accepted_at_ms,
    )  # fmt: skip
    stores: Any = shelf
    return preparation.prepare(
        job, for_phone=for_phone, files=stores, index=stores, downloader=cast("Any", web), tools=FileTools(),
        timeout_ms=1000, quota=quota, patience_s=300,
    )  # fmt: skip


def left(send: SendMessage, shelf: Shelf, *, mode: str = "text") -> dict[str, Any]:
    """What leaves for WhatsApp of a prepared message, as the connector makes it."""
    session = make_session(interactiveMode=mode)
    (command, *_) = commands_for(
        message_of(send), message_id="wamid.1", session=session, keys=lambda _: None, until_ms=1
    )
    data = Send.model_validate(command.data)
    content: Any = data.content
    if isinstance(content, Media) and content.media:
        stored = shelf.find(content.media.key)
        content = content.model_copy(update={"mime_type": content.mime_type or stored.mime_type})
    return whatsapp_message(data.model_copy(update={"content": content}), to=f"{CONTACT}@s.whatsapp.net", uploaded={})


def test_field_reports_38_and_39_a_voice_note_has_its_codec_its_length_and_64_bars(tmp_path: Path) -> None:
    shelf = Shelf()
    web = Web(a_mp3=sound(tmp_path, "a.mp3"))

    send, problem = prepared(web, shelf, type="audio", audio={"link": "https://h.test/a.mp3", "voice": True})

    part = left(send, shelf)["audioMessage"]
    assert (problem, part["mimetype"], part["PTT"], part["seconds"]) == ("", OPUS, True, 2)
    bars = base64.b64decode(part["waveform"])
    assert (len(bars), max(bars)) == (64, 100)
    ((media, data),) = shelf.saved.values()
    assert media.mime_type == OPUS
    (tmp_path / "out.ogg").write_bytes(data)
    measured = FileTools().sound(tmp_path / "out.ogg", waveform=False)
    assert (measured.mime_type, measured.mono) == (OPUS, True)
    assert send.claimed_only


def test_field_report_38_a_converted_voice_note_has_for_meta_what_meta_knows(tmp_path: Path) -> None:
    shelf, web = Shelf(), Web(a_mp3=sound(tmp_path, "a.mp3"))

    send, _ = prepared(web, shelf, for_phone=False, type="audio", audio={"link": "https://h.test/a.mp3", "voice": True})

    ((media, _data),) = shelf.saved.values()
    assert media.mime_type == OPUS
    assert json.loads(send.body)["audio"] == {"id": media.id, "voice": True}


def test_field_report_38_a_voice_that_a_form_calls_true_is_converted(tmp_path: Path) -> None:
    shelf, web = Shelf(), Web(a_mp3=sound(tmp_path, "a.mp3"))

    send, _ = prepared(web, shelf, type="audio", audio={"link": "https://h.test/a.mp3", "voice": "true"})

    part = left(send, shelf)["audioMessage"]
    assert (part["mimetype"], part["PTT"]) == (OPUS, True)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_field_report_38_an_opus_file_stays_as_it_is_and_gets_its_codec(tmp_path: Path, name: str) -> None:
    shelf, data = Shelf(), sound(tmp_path, "a.ogg", "-ac", "1", "-c:a", "libopus")
    web = Web(**{name.replace(".", "_"): data})

    send, _ = prepared(web, shelf, type="audio", audio={"link": f"https://h.test/{name}", "voice": True})

    assert shelf.saved == {}
    assert left(send, shelf)["audioMessage"]["mimetype"] == OPUS


@pytest.mark.parametrize("mime_type", ["audio/ogg", "audio/ogg; codecs=opus", "audio/opus", "Audio/OGG"])
def test_field_report_38_sound_in_ogg_always_goes_with_its_codec(mime_type: str) -> None:
    send = Send.model_validate({"content": {"kind": "audio", "mime_type": mime_type, "voice": True}})

    assert whatsapp_message(send, to=CONTACT, uploaded={})["audioMessage"]["mimetype"] == OPUS


def test_field_report_43_an_mp3_that_is_called_ogg_is_converted(tmp_path: Path) -> None:
    shelf, web = Shelf(), Web(a_ogg=sound(tmp_path, "a.mp3"))

    prepared(web, shelf, type="audio", audio={"link": "https://h.test/a.ogg", "voice": True})

    ((media, data),) = shelf.saved.values()
    assert (media.mime_type, data[:4]) == (OPUS, b"OggS")


@pytest.mark.parametrize(
    ("name", "options"), [("a.webm", ("-c:a", "libopus")), ("a.wav", ()), ("a.flac", ()), ("a.ogg", ("-c:a", "flac"))]
)
def test_field_report_43_sound_that_phones_cannot_play_is_converted(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    shelf, web = Shelf(), Web(**{name.replace(".", "_"): sound(tmp_path, name, *options)})

    send, problem = prepared(web, shelf, type="audio", audio={"link": f"https://h.test/{name}"})

    part = left(send, shelf)["audioMessage"]
    assert (problem, part["mimetype"], part["seconds"], part["PTT"]) == ("", "audio/mp4", 2, False)
    assert "waveform" not in part


@pytest.mark.parametrize("mime_type", ["audio/webm", "video/webm", "audio/wav", "application/octet-stream", ""])
def test_field_report_43_what_could_not_be_converted_is_refused(mime_type: str) -> None:
    with pytest.raises(SendRefused) as refused:
        ensure_shown(Media(kind="audio", mime_type=mime_type), 1)

    assert refused.value.code == 131053


def test_field_report_40_a_picture_has_its_size_and_a_preview() -> None:
    shelf, web = Shelf(), Web(a_jpg=picture())

    send, _ = prepared(web, shelf, type="image", image={"link": "https://h.test/a.jpg", "caption": "c"})

    part = left(send, shelf)["imageMessage"]
    assert (part["width"], part["height"], part["caption"]) == (640, 480, "c")
    with Image.open(io.BytesIO(base64.b64decode(part["JPEGThumbnail"]))) as small:
        assert (small.format, max(small.size)) == ("JPEG", 100)


def test_field_report_40_a_turned_picture_has_the_size_that_is_seen() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    web = Web(a_jpg=picture(exif=exif))

    send, _ = prepared(web, Shelf(), type="image", image={"link": "https://h.test/a.jpg"})

    assert (left(send, Shelf())["imageMessage"]["width"], json.loads(send.body)["image"]["height"]) == (480, 640)


def test_field_report_40_a_film_has_its_size_its_length_and_a_preview(tmp_path: Path) -> None:
    film = made(
        tmp_path, "a.mp4", "-f", "lavfi", "-i", "testsrc=duration=2:size=320x240:rate=10", "-pix_fmt", "yuv420p"
    )

    send, problem = prepared(Web(a_mp4=film), Shelf(), type="video", video={"link": "https://h.test/a.mp4"})

    part = left(send, Shelf())["videoMessage"]
    assert (problem, part["width"], part["height"], part["seconds"]) == ("", 320, 240, 2)
    with Image.open(io.BytesIO(base64.b64decode(part["JPEGThumbnail"]))) as small:
        assert small.format == "JPEG"


def test_field_report_40_a_pdf_has_its_pages_and_a_preview() -> None:
    buffer = io.BytesIO()
    sheets = [Image.new("RGB", (300, 400), color) for color in ("white", "red")]
    sheets[0].save(buffer, "PDF", save_all=True, append_images=sheets[1:])
    item = {"link": "https://h.test/a.pdf", "caption": "c"}

    send, problem = prepared(Web(a_pdf=buffer.getvalue()), Shelf(), type="document", document=item)

    part = left(send, Shelf())["documentWithCaptionMessage"]["message"]["documentMessage"]
    assert (problem, part["pageCount"], part["fileName"]) == ("", 2, "a.pdf")
    with Image.open(io.BytesIO(base64.b64decode(part["JPEGThumbnail"]))) as small:
        assert (small.format, max(small.size)) == ("JPEG", 100)


@pytest.mark.parametrize(
    ("document", "is_prepared"),
    [
        ({"id": "1", "filename": "Contrato"}, True),
        ({"id": "1", "filename": "Contrato.PDF"}, True),
        ({"link": "https://h.test/nota/123"}, True),
        ({"link": "https://h.test/a.pdf", "filename": "Contrato"}, True),
        ({"id": "1", "filename": "Contrato.docx"}, False),
        ({"link": "https://h.test/a.docx", "filename": "Contrato"}, False),
    ],
)
def test_field_report_40_a_document_without_an_ending_may_be_a_pdf(document: dict[str, Any], is_prepared: bool) -> None:
    message = parse_message({"to": CONTACT, "type": "document", "document": document})

    assert preparation.wanted(message, for_phone=True, voice=True, always_voice=False) is is_prepared


def test_other_documents_are_not_prepared() -> None:
    message = parse_message({"to": CONTACT, "type": "document", "document": {"link": "https://h.test/a.docx"}})

    assert not preparation.wanted(message, for_phone=True, voice=True, always_voice=False)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_picture_that_phones_do_not_show_becomes_a_jpeg(kind: str) -> None:
    shelf = Shelf()

    send, _ = prepared(Web(a_jpg=picture(kind)), shelf, type="image", image={"link": "https://h.test/a.jpg"})

    assert left(send, shelf)["imageMessage"]["mimetype"] == "image/jpeg"
    ((_, data),) = shelf.saved.values()
    assert data[:3] == b"\xff\xd8\xff"


def test_a_picture_has_the_type_that_it_is_of() -> None:
    send, _ = prepared(Web(a_png=picture("JPEG")), Shelf(), type="image", image={"link": "https://h.test/a.png"})

    assert left(send, Shelf())["imageMessage"]["mimetype"] == "image/jpeg"


@pytest.mark.parametrize("name", ["a.webm", "a.avi", "a.gif", "a.mkv"])
def test_a_film_that_phones_do_not_show_becomes_an_mp4(tmp_path: Path, name: str) -> None:
    film = made(tmp_path, name, "-f", "lavfi", "-i", "testsrc=duration=1:size=161x121:rate=5")
    shelf = Shelf()

    send, problem = prepared(
        Web(**{name.replace(".", "_"): film}), shelf, type="video", video={"link": f"https://h.test/{name}"}
    )

    shown = left(send, shelf)["videoMessage"]
    assert (problem, shown["mimetype"]) == ("", "video/mp4")
    assert shown.get("gifPlayback", False) is (name == "a.gif")
    ((media, data),) = shelf.saved.values()
    (tmp_path / "out.mp4").write_bytes(data)
    assert media.mime_type == "video/mp4"
    assert FileTools().film(tmp_path / "out.mp4", tmp_path).played


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_field_report_44_a_picture_becomes_a_sticker(kind: str) -> None:
    shelf, web = Shelf(), Web(a_png=picture(kind))

    send, problem = prepared(web, shelf, type="sticker", sticker={"link": "https://h.test/a.png"})

    part = left(send, shelf)["stickerMessage"]
    assert (problem, part["mimetype"], part["isAnimated"], part["width"]) == ("", "image/webp", False, 512)
    ((_, data),) = shelf.saved.values()
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size, len(data) <= 100 * 1024) == ("WEBP", (512, 512), True)


def test_field_report_44_a_moving_picture_becomes_a_moving_sticker() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue", "green")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    shelf = Shelf()

    send, _ = prepared(Web(a_gif=buffer.getvalue()), shelf, type="sticker", sticker={"link": "https://h.test/a.gif"})

    assert left(send, shelf)["stickerMessage"]["isAnimated"] is True
    ((_, data),) = shelf.saved.values()
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3


@pytest.mark.parametrize(("mime_type", "size"), [("image/png", 1), ("audio/mpeg", 1), ("image/webp", 2 * 1024 * 1024)])
def test_field_report_44_what_is_no_sticker_is_refused(mime_type: str, size: int) -> None:
    with pytest.raises(SendRefused) as refused:
        ensure_shown(Media(kind="sticker", mime_type=mime_type), size)

    assert refused.value.code == 131053


PAGE = b"""<html><head><title>Plain &amp; old</title><meta property="og:title" content="Loja">
<meta name="description" content="Tudo  barato"><meta property="og:image" content="/p.jpg"></head></html>"""
LINKED: dict[str, Any] = {"type": "text", "text": {"preview_url": True, "body": "veja https://h.test/page."}}


def test_field_report_41_a_link_has_its_preview() -> None:
    web = Web(page=PAGE, p_jpg=picture())

    send, _ = prepared(web, Shelf(), **LINKED)

    part = left(send, Shelf())["extendedTextMessage"]
    assert (part["text"], part["matchedText"]) == ("veja https://h.test/page.", "https://h.test/page")
    assert (part["title"], part["description"]) == ("Loja", "Tudo barato")
    assert part["JPEGThumbnail"]


def test_field_report_41_of_a_page_that_is_not_there_the_link_is_matched() -> None:
    send, problem = prepared(Web(), Shelf(), **LINKED)

    part = left(send, Shelf())["extendedTextMessage"]
    assert problem == ""
    assert part == {"text": "veja https://h.test/page.", "matchedText": "https://h.test/page"}


def test_field_report_41_a_page_with_a_broken_picture_has_its_title() -> None:
    page = b'<title>T</title><meta property="og:image" content="http://[x/a.png">'
    text = {"preview_url": True, "body": "veja https://h.test/a.html"}

    send, problem = prepared(Web(a_html=page), Shelf(), type="text", text=text)

    assert problem == ""
    assert left(send, Shelf())["extendedTextMessage"]["title"] == "T"


def test_what_breaks_the_reader_of_its_form_is_sent_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(FileTools, "film", breaks)
    web = Web(a_avif=picture("AVIF").replace(b"av01", b"av0x"))

    image, no_picture = prepared(web, Shelf(), type="image", image={"link": "https://h.test/a.avif"})
    film, no_film = prepared(web, Shelf(), type="video", video={"link": "https://h.test/a.avif"})

    assert "could not be read: RuntimeError" in no_picture
    assert "RuntimeError" in no_film
    assert [message_of(send).type for send in (image, film)] == ["image", "video"]


def test_field_report_41_of_a_shops_large_page_the_beginning_is_read() -> None:
    web = Web(page=PAGE + b"x" * 30 * 1_048_576)
    text = {"body": "veja https://h.test/page", "preview_url": True}

    send, problem = prepared(web, Shelf(), type="text", text=text)

    assert (problem, json.loads(send.body)["text"]["preview"].get("title")) == ("", "Loja")


def test_field_report_41_without_preview_url_no_page_is_asked() -> None:
    message = parse_message({"to": CONTACT, "type": "text", "text": {"body": "veja https://h.test/page"}})

    assert not preparation.wanted(message, for_phone=True, voice=True, always_voice=False)


def test_numbers_at_meta_get_their_files_as_they_came() -> None:
    for kind in ("image", "video", "sticker"):
        message = parse_message({"to": CONTACT, "type": kind, kind: {"link": "https://h.test/a"}})
        assert not preparation.wanted(message, for_phone=False, voice=True, always_voice=False)
        assert preparation.wanted(message, for_phone=True, voice=True, always_voice=False)


def test_what_must_be_converted_waits_while_files_cannot_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the bucket did not answer as it should")

    web, shelf = Web(a_avif=picture("AVIF"), a_jpg=picture()), Shelf()
    monkeypatch.setattr(shelf, "save", away)

    with pytest.raises(Postponed, match="the bucket did not answer"):
        prepared(web, shelf, type="image", image={"link": "https://h.test/a.avif"})
    as_it_is, nothing = prepared(web, shelf, type="image", image={"link": "https://h.test/a.jpg"})
    as_it_came, problem = prepared(web, shelf, accepted_at_ms=1, type="image", image={"link": "https://h.test/a.avif"})

    assert (message_of(as_it_is).type, nothing) == ("image", "")
    assert "the bucket did not answer" in problem
    assert json.loads(as_it_came.body)["image"] == {"link": "https://h.test/a.avif"}


def test_over_the_quota_an_audio_is_sent_as_it_came(tmp_path: Path) -> None:
    audio = {"link": "https://h.test/a.mp3", "voice": True}

    send, problem = prepared(
        Web(a_mp3=sound(tmp_path, "a.mp3")), Shelf(counted=1000), quota=1000, type="audio", audio=audio
    )

    assert json.loads(send.body)["audio"] == audio
    assert "UNOAPI_SESSION_MEDIA_MAX" in problem


@pytest.mark.parametrize("kind", ["image", "video", "audio", "sticker", "document"])
@pytest.mark.parametrize("data", [b"", b"<html>no such file</html>", b"\x89PNG\r\n\x1a\n broken", bytes(range(256))])
def test_what_is_no_file_of_its_kind_is_sent_as_it_came(kind: str, data: bytes) -> None:
    item: Any = {"link": "https://h.test/a.bin"}

    send, problem = prepared(Web(a_bin=data), Shelf(), type=kind, **{kind: item})

    assert json.loads(send.body)[kind] == item
    assert problem


def test_a_bomb_of_pixels_is_not_decoded() -> None:
    bomb = picture("PNG", (10_000, 10_000))

    _, problem = prepared(Web(a_png=bomb), Shelf(), type="image", image={"link": "https://h.test/a.png"})

    assert "could not be read" in problem


def test_the_words_of_a_sound_follow_it_as_a_text() -> None:
    message = parse_message({"to": CONTACT, "type": "audio", "audio": {"link": "https://h.test/a.mp3", "caption": "c"}})

    sound_, words = commands_for(message, message_id="wamid.1", session=make_session(), keys=lambda _: None, until_ms=1)

    assert sound_.command_id == "wamid.1"
    assert (words.data["content"]["body"], words.data["silent"]) == ("c", True)


@pytest.mark.parametrize(
    ("text", "link"),
    [
        (
            "https://pt.wikipedia.org/wiki/Ip\u00ea_(\u00e1rvore)",
            "https://pt.wikipedia.org/wiki/Ip\u00ea_(\u00e1rvore)",
        ),
        ("(veja https://a.test/x_(y)).", "https://a.test/x_(y)"),
        ("(https://a.test/x)", "https://a.test/x"),
        ("https://a.test/?q[]=1&r=[2]", "https://a.test/?q[]=1&r=[2]"),
        ("\u201chttps://a.test/x\u201d", "https://a.test/x"),
        ("\u770b https://a.test/x\u3002", "https://a.test/x"),
        ("*https://a.test/x*, ou", "https://a.test/x"),
        ("https://a.test/x\u200b", "https://a.test/x"),
    ],
)
def test_field_report_41_the_link_of_a_text_is_whole_and_ends_where_it_ends(text: str, link: str) -> None:
    assert preparation.first_link(text) == link


BUTTONS = {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}]}


@pytest.mark.parametrize("mode", ["text", "classic", "native"])
def test_field_report_40_the_picture_above_buttons_is_prepared_as_one_alone(mode: Any) -> None:
    shelf = Shelf()
    head = {"type": "image", "image": {"link": "https://h.test/a.webp"}}
    menu = {"type": "button", "header": head, "body": {"text": "b"}, "action": BUTTONS}

    send, problem = prepared(Web(a_webp=picture("WEBP")), shelf, type="interactive", interactive=menu)

    part = left(send, shelf, mode=mode)
    for name in ("buttonsMessage", "interactiveMessage", "header"):
        part = part.get(name, part)
    shown = part["imageMessage"]
    assert (problem, shown["mimetype"], shown["width"], shown["height"]) == ("", "image/jpeg", 640, 480)
    assert shown["JPEGThumbnail"]


def test_field_report_40_the_file_of_a_template_is_prepared_as_one_alone() -> None:
    shelf = Shelf()
    head = {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://h.test/a.webp"}}]}
    template = {"name": "hello", "language": {"code": "en"}, "components": [head]}

    send, _ = prepared(Web(a_webp=picture("WEBP")), shelf, type="template", template=template)

    file = message_of(send).to_wire()["template"]["components"][0]["parameters"][0]["image"]
    assert (file["mime_type"], file["width"]) == ("image/jpeg", 640)
    assert file["id"] in shelf.saved


def test_a_template_that_names_many_files_holds_no_worker_for_them_all() -> None:
    web = Web(a_png=picture("PNG"))
    files = [{"type": "image", "image": {"link": "https://h.test/a.png"}}] * 50
    template = {"name": "hello", "language": {"code": "en"}, "components": [{"type": "body", "parameters": files}] * 20}

    prepared(web, Shelf(), type="template", template=template)

    assert len(web.asked) == 1


def test_a_menu_without_a_file_is_not_prepared() -> None:
    menu = {"type": "button", "body": {"text": "b"}, "action": BUTTONS}
    message = parse_message({"to": CONTACT, "type": "interactive", "interactive": menu})

    assert not preparation.wanted(message, for_phone=True, voice=True, always_voice=False)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mov", ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")),
        ("a.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-c:a", "aac")),
        ("a.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "ac3")),
    ],
    ids=["quicktime", "pixels", "sound"],
)
def test_field_report_43_a_film_that_phones_do_not_show_or_let_hear_is_converted(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    shelf = Shelf()
    sources = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-f", "lavfi", "-i", "sine=duration=1")
    film = made(tmp_path, name, *sources, *options)

    send, problem = prepared(
        Web(**{name.replace(".", "_"): film}), shelf, type="video", video={"link": f"https://h.test/{name}"}
    )

    part = left(send, shelf)["videoMessage"]
    assert (problem, part["mimetype"]) == ("", "video/mp4")
    ((_, converted),) = shelf.saved.values()
    (tmp_path / "out.mp4").write_bytes(converted)
    assert FileTools().film(tmp_path / "out.mp4", tmp_path).played


def test_a_photo_with_others_behind_it_is_a_jpeg_and_no_film() -> None:
    """As cameras of phones write it; and the pages of a TIFF do not move either."""
    photo = picture("MPO", save_all=True, append_images=[Image.new("RGB", (640, 480), "blue")])
    pages = picture("TIFF", save_all=True, append_images=[Image.new("RGB", (640, 480), "blue")])
    shelf = Shelf()
    web = Web(a_jpg=photo, b_tiff=pages)

    image, _ = prepared(web, shelf, type="image", image={"link": "https://h.test/a.jpg"})
    stickers = [
        prepared(web, shelf, type="sticker", sticker={"link": f"https://h.test/{name}"})[0]
        for name in ("a.jpg", "b.tiff")
    ]

    sent = message_of(image).to_wire()["image"]
    assert (sent["mime_type"], sent["link"]) == ("image/jpeg", "https://h.test/a.jpg")
    assert [left(sticker, shelf)["stickerMessage"]["isAnimated"] for sticker in stickers] == [False, False]


def test_field_report_43_sound_in_quicktime_is_converted(tmp_path: Path) -> None:
    shelf = Shelf()
    web = Web(a_mov=sound(tmp_path, "a.mov", "-c:a", "aac"))

    send, problem = prepared(web, shelf, type="audio", audio={"link": "https://h.test/a.mov"})

    ((media, data),) = shelf.saved.values()
    assert (problem, media.mime_type, data[4:8]) == ("", "audio/mp4", b"ftyp")
    assert data[8:12] != b"qt  "
    assert left(send, shelf)["audioMessage"]["mimetype"] == "audio/mp4"
