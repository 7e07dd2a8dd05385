"""One table of media types: a file has the same type and the same ending, whichever way it goes."""

from __future__ import annotations

import pytest

from unoapi.models.connector import content
from unoapi.models.media import EXTENSIONS, ascii_filename, extension, file_key, type_of
from unoapi.providers.whatsmeow.commands import mime_type_of
from unoapi.providers.whatsmeow.content import cloud_content, file_name, media_type_of

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize("ending", ["aac", "m4a", "mp3", "amr", "webp", "3gp", "jpg", "docx", "csv", "tar.gz"])
def test_a_sent_and_a_received_file_have_the_type_of_an_uploaded_one(ending: str) -> None:
    uploaded = type_of(f"report.{ending}")

    assert uploaded
    assert mime_type_of(f"https://h.test/report.{ending}?a=b", kind="document") == uploaded
    assert media_type_of("application/octet-stream", f"report.{ending}") == uploaded


@pytest.mark.parametrize("ending", ["ogg", "oga", "opus"])
def test_a_voice_note_is_sent_with_its_codec_and_saved_without(ending: str) -> None:
    assert type_of(f"voice.{ending}") == "audio/ogg"
    assert mime_type_of(f"https://h.test/voice.{ending.upper()}", kind="audio") == "audio/ogg; codecs=opus"
    assert media_type_of("", f"voice.{ending}") == "audio/ogg"


@pytest.mark.parametrize("mime_type", [*EXTENSIONS, "image/gif", "application/of-nobody"])
def test_a_file_without_a_name_gets_the_ending_under_which_it_is_saved(mime_type: str) -> None:
    ending = extension(mime_type)

    assert file_key("5511", "1", mime_type) == f"5511/1.{ending}"
    assert file_name("wamid.1", mime_type) == f"wamid.1.{ending}"
    assert EXTENSIONS.get(mime_type, ending) == ending


@pytest.mark.parametrize(("mime_type", "ending"), [("audio/aac", "aac"), ("audio/x-aac", "aac"), (WORD, "docx")])
def test_both_names_of_a_type_have_its_ending(mime_type: str, ending: str) -> None:
    received = content.Media(kind="document", mime_type=mime_type, media=content.MediaFile(key="1", state="ready"))

    message = cloud_content(received, message_id="wamid.1")

    assert message is not None
    assert message["document"] == {"filename": f"wamid.1.{ending}", "mime_type": mime_type, "id": "1"}


@pytest.mark.parametrize(("kind", "mime_type"), [("audio", "audio/mpeg"), ("document", "application/octet-stream")])
def test_a_link_that_names_no_type_has_that_of_its_kind(kind: str, mime_type: str) -> None:
    assert type_of("nobody-knows") == ""
    assert mime_type_of("https://h.test/nobody-knows", kind=kind) == mime_type


@pytest.mark.parametrize(
    ("name", "plain"),
    [('a"b.pdf', "ab.pdf"), ("a\\b/c.pdf", "abc.pdf"), (".env", "file.env"), ("..", "file"), ("", "file"), ("a.", "a")],
)
def test_field_report_47_a_plain_name_is_a_name_of_its_own(name: str, plain: str) -> None:
    assert ascii_filename(name) == plain
